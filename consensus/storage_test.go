package consensus

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

func nullLogger() hclog.Logger { return hclog.NewNullLogger() }

// filled is the directory of a stopped single server that holds 200 entries.
func filled(t *testing.T) (*cluster, *member) {
	t.Helper()
	c := newCluster(t, 1)
	m := c.leader()
	for v := range uint64(200) {
		if _, _, err := m.Propose(t.Context(), command(v)); err != nil {
			t.Fatal(err)
		}
	}
	m.stop()
	return c, m
}

// open tries to open a directory again and returns the error.
func open(t *testing.T, c *cluster, m *member) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.state = newRegister()
	n, err := New(c.config(m, l))
	if err != nil {
		_ = l.Close()
		return err
	}
	return n.Close()
}

func TestStoreIsRefused(t *testing.T) {
	c, m := filled(t)
	if err := open(t, c, m); err != nil {
		t.Fatalf("undamaged: %v", err)
	}
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.RemoveAll(filepath.Join(dir, name)) }
	}
	truncate := func(name string, size int64) func(string) error {
		return func(dir string) error { return os.Truncate(filepath.Join(dir, name), size) }
	}
	segment := filepath.Join(logDir, "0000000000000001.seg")
	for name, tc := range map[string]struct {
		damage func(dir string) error
		kind   error
		says   string
	}{
		"log deleted":  {remove(logDir), ErrStoreLost, "log is missing"},
		"vote deleted": {remove(voteFile), ErrStoreLost, "vote.db is missing"},
		"log made anew": {func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, logDir)), os.Mkdir(filepath.Join(dir, logDir), 0o700))
		}, ErrStoreLost, "the log is empty, but held entries before"},
		"vote made anew": {func(dir string) error {
			path := filepath.Join(dir, voteFile)
			db, err := bbolt.Open(path+".new", 0o600, nil)
			if err != nil {
				return err
			}
			return errors.Join(db.Close(), os.Rename(path+".new", path))
		}, ErrStoreLost, "the vote is empty, but this host voted before"},
		"log emptied":       {truncate(segment, 0), ErrStoreDamaged, "the file is empty"},
		"log cut to a page": {truncate(segment, 4096), ErrStoreDamaged, "add it back"},
		"log cut in half":   {truncate(segment, 1<<19), ErrStoreDamaged, "add it back"},
		"vote cut":          {truncate(voteFile, 8192), ErrStoreDamaged, "add it back"},
		"vote emptied":      {truncate(voteFile, 0), ErrStoreDamaged, "the file is empty"},
		"not a log": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, segment), []byte(strings.Repeat("garbage ", 9000)), 0o600)
		}, ErrStoreDamaged, "not a segment of a log"},
		"not a vote": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, voteFile), []byte(strings.Repeat("garbage ", 9000)), 0o600)
		}, ErrStoreDamaged, "invalid database"},
		"identity unreadable": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, identityFile), []byte("{"), 0o600)
		}, ErrStoreDamaged, "read the identity"},
		"other host": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, identityFile), []byte(`{"host":"h9","cluster":"test"}`), 0o600)
		}, ErrStoreForeign, "it belongs to host h9 of cluster test"},
		"newer format": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, identityFile), []byte(`{"host":"h1","cluster":"test","format":3}`), 0o600)
		}, ErrStoreForeign, "Start the newer version"},
		"identity deleted, two logs": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, identityFile)), os.WriteFile(filepath.Join(dir, boltFile), []byte("x"), 0o600))
		}, ErrStoreDamaged, "nobody knows which is the newer"},
	} {
		t.Run(name, func(t *testing.T) {
			copied := &member{t: t, id: m.id, address: m.address, dir: t.TempDir()}
			if err := os.CopyFS(copied.dir, os.DirFS(m.dir)); err != nil {
				t.Fatal(err)
			}
			if err := tc.damage(copied.dir); err != nil {
				t.Fatal(err)
			}
			before := files(t, copied.dir)
			err := open(t, c, copied)
			if !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(name, "anew") {
				return // an empty store is opened before it is found to be empty
			}
			after := files(t, copied.dir)
			for name, data := range before {
				if after[name] != data {
					t.Errorf("%s was changed", name)
				}
			}
		})
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Every single flipped bit of an entry, of whatever field, is found.
func TestFlippedBitsInEntries(t *testing.T) {
	inner := raft.NewInmemStore()
	s := &sealedLogs{LogStore: inner}
	want := &raft.Log{Index: 9, Term: 4, Type: raft.LogConfiguration, Data: []byte("payload"), Extensions: []byte("ext")}
	if err := s.StoreLog(want); err != nil {
		t.Fatal(err)
	}
	if string(want.Extensions) != "ext" {
		t.Fatal("the caller's entry was changed")
	}
	var got raft.Log
	if err := s.GetLog(9, &got); err != nil || string(got.Data) != "payload" || string(got.Extensions) != "ext" {
		t.Fatalf("%+v, %v", got, err)
	}
	var stored raft.Log
	if err := inner.GetLog(9, &stored); err != nil {
		t.Fatal(err)
	}
	flips := 0
	try := func(damaged raft.Log) {
		t.Helper()
		flips++
		if err := inner.StoreLog(&damaged); err != nil {
			t.Fatal(err)
		}
		if err := s.GetLog(9, new(raft.Log)); !errors.Is(err, ErrStoreDamaged) {
			t.Errorf("%+v was read: %v", damaged, err)
		}
	}
	flip := func(b []byte, bit int) []byte {
		out := append([]byte(nil), b...)
		out[bit/8] ^= 1 << (bit % 8)
		return out
	}
	for bit := range 8 * len(stored.Data) {
		d := stored
		d.Data = flip(stored.Data, bit)
		try(d)
	}
	for bit := range 8 * len(stored.Extensions) {
		d := stored
		d.Extensions = flip(stored.Extensions, bit)
		try(d)
	}
	for bit := range 64 {
		d := stored
		d.Term ^= 1 << bit
		try(d)
	}
	for bit := range 8 {
		d := stored
		d.Type ^= 1 << bit
		try(d)
	}
	if flips < 180 {
		t.Errorf("only %d flips", flips)
	}
}

// Flips anywhere in the file of a real store are either harmless (unused bytes)
// or refused; none changes what is replayed.
func TestFlippedBitsInTheFile(t *testing.T) {
	c, m := filled(t)
	path := filepath.Join(logDir, "0000000000000001.seg")
	data, err := os.ReadFile(filepath.Join(m.dir, path))
	if err != nil {
		t.Fatal(err)
	}
	want, err := entries(t, c, m)
	if err != nil || len(want) < 200 {
		t.Fatalf("%d entries, %v", len(want), err)
	}
	used := len(data)
	for data[used-1] == 0 {
		used--
	}
	refused, flips := 0, 60
	for i := range flips {
		dir := &member{t: t, id: m.id, address: m.address, dir: t.TempDir()}
		if err := os.CopyFS(dir.dir, os.DirFS(m.dir)); err != nil {
			t.Fatal(err)
		}
		damaged := append([]byte(nil), data...)
		at := (i*used/flips + 37*i) % used
		damaged[at] ^= 1 << (i % 8)
		if err := os.WriteFile(filepath.Join(dir.dir, path), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := entries(t, c, dir)
		switch {
		case err != nil:
			refused++
			if !errors.Is(err, ErrStoreDamaged) && !errors.Is(err, ErrStoreLost) {
				t.Errorf("flip at %d: %v", at, err)
			}
		case !slices.Equal(got, want):
			t.Errorf("flip at %d: %d entries were read, %d written", at, len(got), len(want))
		}
	}
	if refused < flips/2 {
		t.Errorf("only %d of %d flips were found", refused, flips)
	}
	t.Logf("%d of %d flips refused in a file of %d bytes", refused, flips, used)
}

// entries opens a directory and reads the payloads of its log.
func entries(t *testing.T, c *cluster, m *member) (out []string, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.state, m.fatal = newRegister(), make(chan error, 1)
	n, err := New(c.config(m, l))
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	last, err := n.logs.LastIndex()
	for i := uint64(1); err == nil && i <= last; i++ {
		var entry raft.Log
		if err = n.logs.GetLog(i, &entry); err == nil {
			out = append(out, string(entry.Data))
		}
	}
	return out, errors.Join(err, n.Close())
}

func TestStoreInUse(t *testing.T) {
	c := newCluster(t, 1)
	c.leader()
	start := time.Now()
	err := open(t, c, &member{t: t, id: "h1", address: "127.0.0.1:1", dir: c.members[0].dir})
	if !errors.Is(err, ErrStoreInUse) || !strings.Contains(err.Error(), "another placed agent") {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s to say so", took)
	}
}

// A vote and its term reach the disk together or not at all.
func TestVoteIsOneTransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vote.db")
	s, err := openVoteStore(path, lockWait)
	if err != nil {
		t.Fatal(err)
	}
	vote := func(term uint64, candidate string, complete bool) {
		t.Helper()
		if err := s.SetUint64([]byte(keyVoteTerm), term); err != nil {
			t.Fatal(err)
		}
		if complete {
			if err := s.Set([]byte(keyVoteFor), []byte(candidate)); err != nil {
				t.Fatal(err)
			}
		}
	}
	vote(3, "a", true)
	vote(4, "b", false) // the process dies between the two writes
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = openVoteStore(path, lockWait); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	term, err := s.GetUint64([]byte(keyVoteTerm))
	candidate, err2 := s.Get([]byte(keyVoteFor))
	if term != 3 || string(candidate) != "a" || errors.Join(err, err2) != nil {
		t.Errorf("vote for %q in term %d, %v", candidate, term, errors.Join(err, err2))
	}
	if _, err := s.Get([]byte("missing")); err == nil || err.Error() != "not found" {
		t.Errorf("missing key: %v (raft compares the text)", err)
	}
}

// faultyLogs and faultyVote fail or hang when told to.
type faultyLogs struct {
	raft.LogStore
	fail chan error    // each error received fails one write
	hang chan struct{} // a write waits for the close of it
	now  chan struct{} // closed when hang is in force
}

func (f *faultyLogs) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

func (f *faultyLogs) StoreLogs(logs []*raft.Log) error {
	select {
	case err := <-f.fail:
		return err
	case <-f.now:
		<-f.hang
	default:
	}
	return f.LogStore.StoreLogs(logs)
}

type faultyVote struct {
	raft.StableStore
	fail chan error
}

func (f *faultyVote) SetUint64(key []byte, v uint64) error {
	select {
	case err := <-f.fail:
		return err
	default:
	}
	return f.StableStore.SetUint64(key, v)
}

// The guard reports once, in time, what kind of failure it is, and Run ends.
func TestGuard(t *testing.T) {
	for name, tc := range map[string]struct {
		provoke func(*faultyLogs, *faultyVote)
		kind    error
	}{
		"append fails": {func(l *faultyLogs, _ *faultyVote) { l.fail <- syscall.ENOSPC }, ErrStoreFailed},
		"append hangs": {func(l *faultyLogs, _ *faultyVote) { close(l.now) }, ErrStoreStalled},
		"term fails":   {func(_ *faultyLogs, v *faultyVote) { v.fail <- syscall.EIO }, ErrStoreFailed},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 3)
			var logs *faultyLogs
			var vote *faultyVote
			victim := c.leader()
			victim.stop()
			mem := raft.NewInmemStore()
			logs = &faultyLogs{LogStore: mem, fail: make(chan error, 1), hang: make(chan struct{}), now: make(chan struct{})}
			vote = &faultyVote{StableStore: mem, fail: make(chan error, 1)}
			c.change = func(cfg *Config) {
				cfg.Storage = &Storage{Logs: logs, Vote: vote, Snapshots: raft.NewInmemSnapshotStore()}
				cfg.Bootstrap = nil
				cfg.Timeouts.StoreStall = 200 * time.Millisecond
			}
			c.start(victim, nil)
			leader := c.leader()
			eventually(t, "the victim follows", func() error {
				if id, _ := victim.Leader(); id != leader.id {
					return errors.New("not yet")
				}
				return nil
			})
			tc.provoke(logs, vote)
			if _, _, err := leader.Propose(t.Context(), command(1)); err != nil {
				t.Fatal(err)
			}
			if name == "term fails" {
				_ = leader.TransferLeadership(t.Context(), "")
			}
			var err error
			select {
			case err = <-victim.fatal:
			case <-time.After(60 * time.Second):
				t.Fatal("the guard did not fire")
			}
			var store *StoreError
			if !errors.As(err, &store) || !errors.Is(err, tc.kind) || store.Hint == "" {
				t.Errorf("fatal: %v", err)
			}
			close(logs.hang) // the disk comes back: too late
			if err := <-victim.done; !errors.Is(err, tc.kind) {
				t.Errorf("Run: %v", err)
			}
			victim.cancel()
			victim.cancel = nil
			if len(victim.fatal) != 0 {
				t.Error("OnFatal was called twice")
			}
			// The others go on.
			if _, _, err := c.leader().Propose(t.Context(), command(2)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A leader whose disk hangs does not stay in office (hashicorp/raft #503).
func TestLeaderWithHangingDiskIsReplaced(t *testing.T) {
	c := newCluster(t, 3)
	first := c.follower()
	first.stop()
	mem := raft.NewInmemStore()
	logs := &faultyLogs{LogStore: mem, fail: make(chan error, 1), hang: make(chan struct{}), now: make(chan struct{})}
	c.change = func(cfg *Config) {
		cfg.Storage = &Storage{Logs: logs, Vote: mem, Snapshots: raft.NewInmemSnapshotStore()}
		cfg.Bootstrap = nil
		cfg.Timeouts.StoreStall = 200 * time.Millisecond
		cfg.Timeouts.Shutdown = 500 * time.Millisecond
	}
	c.start(first, nil)
	eventually(t, "it leads", func() error {
		leader := c.leader()
		if leader == first {
			return nil
		}
		return errors.Join(errors.New("another leads"), leader.TransferLeadership(t.Context(), first.id))
	})
	close(logs.now)
	go func() { _, _, _ = first.Propose(t.Context(), command(1)) }()
	<-first.fatal
	eventually(t, "another leader", func() error {
		for _, m := range c.members {
			if m != first && m.IsLeader() {
				return nil
			}
		}
		return errors.New("nobody else leads")
	})
	if err := <-first.done; !errors.Is(err, ErrStoreStalled) || !strings.Contains(err.Error(), "did not stop") {
		t.Errorf("Run: %v", err)
	}
	first.cancel()
	first.cancel = nil
	close(logs.hang)
}
