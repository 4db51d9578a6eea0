package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// Keys that raft uses in its stable store.
const (
	keyTerm     = "CurrentTerm"
	keyVoteTerm = "LastVoteTerm"
	keyVoteFor  = "LastVoteCand"
)

// errNotFound carries the text that raft compares with.
var errNotFound = errors.New("not found")

var voteBucket = []byte("vote")

// voteStore is the stable store in a file of its own. Raft writes a vote as two
// keys, one after the other; here the first waits in memory and both reach the
// disk in one transaction, so that a crash in between can not leave the term of
// one vote with the candidate of another. Every value carries a CRC32C.
type voteStore struct {
	db *bbolt.DB

	mu          sync.Mutex
	pendingTerm []byte // LastVoteTerm, not yet written
}

func openVoteStore(path string, lockWait time.Duration) (*voteStore, error) {
	db, err := bbolt.Open(path, 0o600, boltOptions(lockWait))
	if err != nil {
		return nil, err
	}
	made := false
	err = db.View(func(tx *bbolt.Tx) error {
		made = tx.Bucket(voteBucket) != nil
		return nil
	})
	if err == nil && !made { // opening an old one writes nothing
		err = db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket(voteBucket)
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &voteStore{db: db}, nil
}

func (s *voteStore) Close() error { return s.db.Close() }

// Set writes one key; the candidate of a vote takes the waiting term with it.
func (s *voteStore) Set(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(key) == keyVoteTerm {
		s.pendingTerm = append([]byte(nil), value...)
		return nil
	}
	withTerm := string(key) == keyVoteFor && s.pendingTerm != nil
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(voteBucket)
		if withTerm {
			if err := b.Put([]byte(keyVoteTerm), checked(s.pendingTerm)); err != nil {
				return err
			}
		}
		return b.Put(key, checked(value))
	})
	if err == nil && withTerm {
		s.pendingTerm = nil
	}
	return err
}

// Get returns what is on disk; a vote that is not complete does not exist.
func (s *voteStore) Get(key []byte) ([]byte, error) {
	var value []byte
	err := s.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(voteBucket).Get(key)
		if raw == nil {
			return errNotFound
		}
		var err error
		value, err = unchecked(string(key), raw)
		return err
	})
	return value, err
}

func (s *voteStore) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

func (s *voteStore) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("%w: %s has %d bytes", ErrStoreDamaged, key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

func checked(value []byte) []byte {
	out := append([]byte(nil), value...)
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(value, castagnoli))
}

func unchecked(key string, raw []byte) ([]byte, error) {
	if len(raw) < 4 {
		return nil, fmt.Errorf("%w: %s is too short", ErrStoreDamaged, key)
	}
	value, sum := raw[:len(raw)-4], raw[len(raw)-4:]
	if crc32.Checksum(value, castagnoli) != binary.BigEndian.Uint32(sum) {
		return nil, fmt.Errorf("%w: %s has a wrong checksum", ErrStoreDamaged, key)
	}
	return append([]byte(nil), value...), nil
}
