package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// Hash identifies everything the books hold at one index. Replicas that applied
// the same log have the same one; it shows a divergence by accident (a flipped
// bit, a build that decides differently), it is no defence against a forger.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:8]) }

// MarshalText writes all 64 hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h[:])), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("hash of %d characters: %d hexadecimal digits are needed", len(text), 2*len(h))
	}
	if _, err := hex.Decode(h[:], text); err != nil {
		return fmt.Errorf("hash %q: %w", text, err)
	}
	return nil
}

// HashEvery is the distance of the indexes whose hash is kept for comparison.
const HashEvery = 1024

const (
	// hashVersion counts the canonical encodings that were hashed. Builds of
	// different versions do not compare: a field more is no divergence.
	hashVersion = 1
	// maxMarks bounds how far back a comparison may reach: 64 × 1024 entries,
	// more than a log keeps.
	maxMarks = 64
)

// digest is the SHA-256 of one record in its canonical encoding, as four numbers.
type digest [4]uint64

// multiset is the sum of the digests of all records, number by number. A sum
// does not depend on the order, so a change costs one subtraction and one
// addition, and the same records give the same sum however they came about.
// Two different sets of records sum to the same with a chance of 2^-256; only
// someone who searches for such records could do better, and every voter may
// write what it likes anyway.
type multiset digest

func (m *multiset) add(d digest) {
	for i, n := range d {
		m[i] += n
	}
}

func (m *multiset) sub(d digest) {
	for i, n := range d {
		m[i] -= n
	}
}

// mark is the hash after all entries up to an index, a multiple of HashEvery.
type mark struct {
	index uint64
	hash  Hash
}

// Kinds of record, so that equal bytes of two kinds are not taken for another.
const (
	hostKind byte = iota + 1
	workloadKind
	leaseKind
	disputeKind
	profileKind
	outcomeKind
	ruleKind
	calendarKind
	modelKind
	sourceKind
	adjustmentKind
	thresholdsKind
)

// digestOf hashes one record; code writes it.
func (s *State) digestOf(kind byte, code func(*coder)) (d digest) {
	c := s.scratch
	c.buf = append(c.buf[:0], kind)
	code(c)
	sum := sha256.Sum256(c.buf)
	for i := range d {
		d[i] = binary.LittleEndian.Uint64(sum[8*i:])
	}
	return d
}

// replace takes the old record out of the sum and the new one in; a zero digest
// is no record.
func (s *State) replace(old, new digest) {
	s.records.sub(old)
	s.records.add(new)
}

// link binds what an entry answered and announced to all that went before:
// results and events are remembered for a while only, the chain for ever. Words
// for people are left out, here and in digestOfLease: a newer build may choose
// better ones, and that is no divergence.
func (s *State) link(r *storedResult, events []*eventRecord) {
	c := s.scratch
	c.buf = append(c.buf[:0], s.chain[:]...)
	str(c, &r.id)
	c.uint(&r.index)
	c.time(&r.at)
	c.buf = binary.LittleEndian.AppendUint32(c.buf, r.content)
	for i := range r.ops {
		op := &r.ops[i]
		c.bool(&op.Skipped)
		optional(c, &op.Lease, func(l *fleet.Lease) {
			str(c, &l.ID)
			enum(c, &l.State)
			c.token(&l.Token)
		})
		optional(c, &op.Err, func(r *Refusal) {
			wordless := *r
			wordless.Message = ""
			c.refusal(&wordless)
		})
	}
	for _, ev := range events {
		c.small(&ev.Seq)
		str(c, &ev.Type)
		str(c, &ev.Host)
		str(c, &ev.Workload)
		str(c, &ev.Lease)
	}
	s.chain = sha256.Sum256(c.buf)
}

func (s *State) digestOfLease(l *leaseRecord) digest {
	wordless := *l
	wordless.Reason = ""
	return s.digestOf(leaseKind, func(c *coder) { c.leaseRecord(&wordless) })
}

// hash is that of the state as it stands. What is bounded and cheap to write is
// written; the records are in their sum, the rings in the chain.
func (s *State) hash() Hash {
	c := s.scratch
	c.buf = append(c.buf[:0], hashVersion)
	s.scalars(c)
	list(c, &s.ended.items, func(id *fleet.LeaseID) { str(c, id) })
	list(c, &s.grants.items, c.time)
	for _, n := range s.records {
		c.buf = binary.LittleEndian.AppendUint64(c.buf, n)
	}
	c.buf = append(c.buf, s.chain[:]...)
	return sha256.Sum256(c.buf)
}

// scalars codes what the state holds once; the index is left out, because
// replicas may differ in the entries of Raft's own that they have seen.
func (s *State) scalars(c *coder) {
	str(c, &s.cluster)
	c.uint(&s.generation)
	c.uint(&s.level)
	c.time(&s.wall)
	c.time(&s.load)
	c.policy(&s.policy)
	c.uint(&s.released)
	c.uint(&s.aborted)
	c.uint(&s.checked)
}

// advance begins the entry with an index. If a multiple of HashEvery lies
// between it and the last one, the hash of the state as it still stands is kept.
func (s *State) advance(index uint64) {
	due := (index - 1) / HashEvery * HashEvery
	if s.level >= levelHash && due >= s.index && due > 0 && s.hashed() < due {
		s.marks.push(mark{due, s.hash()}, maxMarks, maxMarks, one[mark])
	}
	s.index = index
}

// hashed is the newest index whose hash is kept.
func (s *State) hashed() uint64 {
	if n := len(s.marks.items); n > 0 {
		return s.marks.items[n-1].index
	}
	return 0
}

// HashAt returns the hash of the books after every entry up to index, a multiple
// of HashEvery; false when it is not kept any more, or not yet.
func (s *State) HashAt(index uint64) (Hash, bool) {
	for _, m := range s.marks.items {
		if m.index == index {
			return m.hash, true
		}
	}
	return Hash{}, false
}

// Hash returns the hash of the books as they stand. Two replicas with the same
// Index have the same.
func (s *State) Hash() Hash {
	copied := *s // reading must not use the scratch of the writer
	copied.scratch = writer()
	return copied.hash()
}

// NextHash returns what the leader is to propose next for comparison; false
// while there is nothing new.
func (s *State) NextHash() (StateHash, bool) {
	newest := s.hashed()
	if newest <= s.checked {
		return StateHash{}, false
	}
	hash, _ := s.HashAt(newest)
	return StateHash{Index: newest, Version: hashVersion, Hash: hash}, true
}

// StateHash is the leader's hash of a past multiple of HashEvery. A replica that
// kept another for that index has diverged and stops; one that kept none (it was
// restored from an older snapshot, or hashes in another version) cannot tell.
type StateHash struct {
	Index   uint64 `json:"index"`
	Version uint64 `json:"version"`
	Hash    Hash   `json:"hash"`
}

func (StateHash) number() uint64 { return numStateHash }
func (o *StateHash) code(c *coder) {
	c.uint(&o.Index)
	c.uint(&o.Version)
	c.fixed(o.Hash[:])
}

func (o StateHash) apply(e *entry) OpResult {
	if r := e.fromVoter("the hash of the books"); r != nil {
		return OpResult{Err: r}
	}
	if o.Index >= e.index || o.Index%HashEvery != 0 {
		return OpResult{Err: refuse(CodeRule, "hash of index %d proposed at index %d: a past multiple of %d is needed", o.Index, e.index, HashEvery)}
	}
	own, kept := e.HashAt(o.Index)
	if kept && o.Version == hashVersion && own != o.Hash {
		// No result is enough: whatever this replica would go on to say may
		// be wrong. See Result.Fatal.
		e.fatal = &DivergedError{Index: o.Index, Own: own, Leader: o.Hash}
		return OpResult{}
	}
	e.checked = max(e.checked, o.Index)
	return OpResult{}
}

// DivergedError: this replica holds other books than the leader although both
// applied the same log.
type DivergedError struct {
	Index       uint64
	Own, Leader Hash
}

func (e *DivergedError) Error() string {
	return fmt.Sprintf("after entry %d this host's books have the hash %s, the leader's have %s: one of the two is wrong; "+
		"compare with the other voters, then empty this host's data directory and let it join again, or restore the voter that is wrong",
		e.Index, e.Own, e.Leader)
}

// Is makes errors.Is(err, ErrDiverged) work.
func (e *DivergedError) Is(target error) bool { return target == ErrDiverged }

// marked codes the kept hashes. Those of another hashVersion cannot be compared
// with what this build would compute, and are dropped when read.
func (c *coder) marked(s *State) {
	version := uint64(hashVersion)
	c.uint(&version)
	list(c, &s.marks.items, func(m *mark) {
		c.uint(&m.index)
		c.fixed(m.hash[:])
	})
	if c.reading && version != hashVersion {
		s.marks = ring[mark]{}
	}
	c.uint(&s.checked)
	c.fixed(s.chain[:])
}
