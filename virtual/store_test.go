package virtual

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/placed-dev/placed/consensus"
)

// Files of a voter.
const (
	logFile      = "log"
	voteFile     = "vote"
	snapshotFile = "snapshots"
)

// openStorage reads what the disk still holds, as a starting voter does.
func openStorage(m *mount, stored func(*raft.Log), voted func()) *consensus.Storage {
	return &consensus.Storage{Logs: openLogs(m, stored), Vote: openVote(m, voted), Snapshots: openSnapshots(m)}
}

// logStore is a log file; what the process has written, it can read.
type logStore struct {
	m      *mount
	stored func(*raft.Log) // of every entry written, before it is safe

	mu        sync.Mutex // guards everything below
	entries   map[uint64]*raft.Log
	low, high uint64
}

const (
	recordEntry byte = iota + 1
	recordDelete
)

func openLogs(m *mount, stored func(*raft.Log)) *logStore {
	s := &logStore{m: m, stored: stored, entries: map[uint64]*raft.Log{}}
	for _, r := range m.records(logFile) {
		for rest := r; len(rest) > 0; {
			rest = s.replay(rest)
		}
	}
	var whole []byte
	for i := s.low; i > 0 && i <= s.high; i++ {
		if l := s.entries[i]; l != nil {
			whole = append(whole, record(appendEntry(nil, l))...)
		}
	}
	m.replace(logFile, whole)
	return s
}

func appendEntry(b []byte, l *raft.Log) []byte {
	b = append(b, recordEntry, byte(l.Type))
	b = binary.BigEndian.AppendUint64(b, l.Index)
	b = binary.BigEndian.AppendUint64(b, l.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(l.AppendedAt.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Data)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Extensions)))
	return append(append(b, l.Data...), l.Extensions...)
}

func (s *logStore) replay(b []byte) (rest []byte) {
	u64 := func(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }
	if b[0] == recordDelete {
		s.drop(u64(1), u64(9))
		return b[17:]
	}
	l := &raft.Log{Type: raft.LogType(b[1]), Index: u64(2), Term: u64(10), AppendedAt: time.Unix(0, int64(u64(18)))}
	data, extensions := int(binary.BigEndian.Uint32(b[26:])), int(binary.BigEndian.Uint32(b[30:]))
	b = b[34:]
	l.Data, l.Extensions = bytes.Clone(b[:data]), bytes.Clone(b[data:data+extensions])
	s.put(l)
	return b[data+extensions:]
}

// put and drop need mu, or the store to be opening.
func (s *logStore) put(l *raft.Log) {
	s.entries[l.Index] = l
	if s.low == 0 || l.Index < s.low {
		s.low = l.Index
	}
	s.high = max(s.high, l.Index)
}

func (s *logStore) drop(low, high uint64) {
	for i := low; i <= high; i++ {
		delete(s.entries, i)
	}
	if low <= s.low {
		s.low = high + 1
	}
	if high >= s.high {
		s.high = low - 1
	}
	if s.low > s.high {
		s.low, s.high = 0, 0
	}
}

func (s *logStore) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.low, nil
}

func (s *logStore) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.high, nil
}

func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.entries[index]
	if have == nil {
		return raft.ErrLogNotFound
	}
	*l = *have
	return nil
}

func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs writes each entry as a record of its own: a power cut may keep the
// first ones of a batch.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	var out []byte
	s.mu.Lock()
	for _, l := range logs {
		entry := *l
		s.put(&entry)
		s.stored(&entry)
		out = append(out, record(appendEntry(nil, &entry))...)
	}
	s.mu.Unlock()
	return s.m.write(logFile, out)
}

func (s *logStore) DeleteRange(low, high uint64) error {
	s.mu.Lock()
	s.drop(low, high)
	s.mu.Unlock()
	b := binary.BigEndian.AppendUint64([]byte{recordDelete}, low)
	return s.m.write(logFile, record(binary.BigEndian.AppendUint64(b, high)))
}

// voteStore is the stable store; its file holds every value ever set.
type voteStore struct {
	m     *mount
	voted func() // a new term was entered, mostly for a vote

	mu     sync.Mutex // guards values
	values map[string][]byte
}

var errNotFound = errors.New("not found") // the text raft compares with

func openVote(m *mount, voted func()) *voteStore {
	s := &voteStore{m: m, voted: voted, values: map[string][]byte{}}
	for _, r := range m.records(voteFile) {
		n := int(r[0])
		s.values[string(r[1:1+n])] = bytes.Clone(r[1+n:])
	}
	return s
}

func (s *voteStore) Set(key, value []byte) error {
	s.mu.Lock()
	entered := string(key) == "CurrentTerm" && !bytes.Equal(s.values[string(key)], value) // a starting raft sets its term again
	s.values[string(key)] = bytes.Clone(value)
	s.mu.Unlock()
	payload := append(append([]byte{byte(len(key))}, key...), value...)
	err := s.m.write(voteFile, record(payload))
	if err == nil && entered {
		s.voted()
	}
	return err
}

func (s *voteStore) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.values[string(key)]; ok {
		return bytes.Clone(v), nil
	}
	return nil, errNotFound
}

func (s *voteStore) SetUint64(key []byte, v uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, v))
}

func (s *voteStore) GetUint64(key []byte) (uint64, error) {
	v, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// snapshotStore keeps the newest snapshots; one is there once it is whole.
type snapshotStore struct {
	m *mount

	mu   sync.Mutex // guards list
	list []stored   // newest first
}

type stored struct {
	Meta raft.SnapshotMeta
	Data []byte
}

const keptSnapshots = 2

func openSnapshots(m *mount) *snapshotStore {
	s := &snapshotStore{m: m}
	for _, r := range m.records(snapshotFile) {
		var one stored
		if err := json.Unmarshal(r, &one); err != nil {
			panic(fmt.Sprintf("a snapshot with a right checksum does not decode: %v", err))
		}
		s.keep(one)
	}
	var whole []byte
	for i := len(s.list) - 1; i >= 0; i-- {
		whole = append(whole, record(s.list[i].encode())...)
	}
	m.replace(snapshotFile, whole)
	return s
}

func (s stored) encode() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return b
}

// keep needs mu, or the store to be opening.
func (s *snapshotStore) keep(one stored) {
	s.list = append([]stored{one}, s.list...)
	s.list = s.list[:min(len(s.list), keptSnapshots)]
}

func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*raft.SnapshotMeta
	for _, one := range s.list {
		meta := one.Meta
		out = append(out, &meta)
	}
	return out, nil
}

func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.list {
		if one.Meta.ID == id {
			meta := one.Meta
			return &meta, io.NopCloser(bytes.NewReader(one.Data)), nil
		}
	}
	return nil, nil, fmt.Errorf("snapshot %s is not there", id)
}

func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	return &sink{s: s, one: stored{Meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d-%d", term, index, time.Now().UnixNano()), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}}, nil
}

type sink struct {
	s     *snapshotStore
	one   stored
	ended bool
}

func (k *sink) ID() string { return k.one.Meta.ID }

func (k *sink) Write(b []byte) (int, error) {
	k.one.Data = append(k.one.Data, b...)
	return len(b), nil
}

func (k *sink) Close() error {
	if k.ended {
		return nil
	}
	k.ended = true
	k.one.Meta.Size = int64(len(k.one.Data))
	if err := k.s.m.write(snapshotFile, record(k.one.encode())); err != nil {
		return err
	}
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.s.keep(k.one)
	return nil
}

func (k *sink) Cancel() error {
	k.ended = true
	return nil
}
