package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writePeers(t *testing.T, dir string, servers ...Server) {
	t.Helper()
	var list []map[string]any
	for _, s := range servers {
		list = append(list, map[string]any{"id": s.ID, "address": s.Address, "non_voter": s.Nonvoter})
	}
	data, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, PeersFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// restate adds the number 1000 to what was left.
func restate(left io.Reader, index uint64, out io.Writer) (uint64, error) {
	var s registerState
	if err := json.NewDecoder(left).Decode(&s); err != nil {
		return 0, err
	}
	s.Values, s.Applied = append(s.Values, 1000), index+1
	return index + 1, json.NewEncoder(out).Encode(s)
}

func (m *member) recovery() RecoverConfig {
	return RecoverConfig{ID: m.id, Cluster: "test", Dir: m.dir, Replica: newRegister(), Restate: restate}
}

// Two of three servers are lost for good: the third goes on alone with all it
// had, restated, and takes a new one in.
func TestRecoverAfterLostQuorum(t *testing.T) {
	c := newCluster(t, 3)
	for v := range uint64(20) {
		// On a starved machine leadership may be lost: whoever leads then
		// takes it, also a second time.
		eventually(t, fmt.Sprintf("value %d is committed", v), func() error {
			_, _, err := c.leader().Propose(t.Context(), command(v))
			return err
		})
	}
	left := c.follower()
	eventually(t, "the follower has it all", func() error {
		if !left.state.has(19) {
			return errors.New("not yet")
		}
		return nil
	})
	writePeers(t, left.dir, Server{ID: left.id, Address: left.address})
	if _, err := Recover(left.recovery(), false); !errors.Is(err, ErrStoreInUse) {
		t.Fatalf("recovered under a running node: %v", err)
	}
	for _, m := range c.members {
		m.stop()
	}
	if err := open(t, c, left); !errors.Is(err, ErrRecoveryPending) || !strings.Contains(err.Error(), "placed operator raft recover") {
		t.Fatalf("started with a recovery pending: %v", err)
	}
	look, err := Recover(left.recovery(), true)
	if err != nil || look.Index != 0 || look.LastIndex < 20 || look.LastTerm == 0 {
		t.Fatalf("dry run: %+v, %v", look, err)
	}
	// A crash in the middle leaves the file: everything can be done again.
	failing := left.recovery()
	failing.Restate = func(io.Reader, uint64, io.Writer) (uint64, error) { return 0, errors.New("power cut") }
	if _, err := Recover(failing, false); err == nil || !strings.Contains(err.Error(), "power cut") {
		t.Fatalf("after the power cut: %v", err)
	}
	done, err := Recover(left.recovery(), false)
	if err != nil || done.Index <= look.LastIndex {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := os.Stat(filepath.Join(left.dir, PeersFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if _, err := os.Stat(done.UsedFile); err != nil {
		t.Error(err)
	}
	c.start(left, nil)
	eventually(t, "it leads alone", func() error {
		if _, err := left.Linearizable(t.Context()); err != nil {
			return err
		}
		return nil
	})
	for v := range uint64(20) {
		if !left.state.has(v) {
			t.Errorf("value %d is lost", v)
		}
	}
	if !left.state.has(1000) {
		t.Error("the state was not restated")
	}
	if _, index, err := left.Propose(t.Context(), command(21)); err != nil || index <= done.Index {
		t.Errorf("index %d after %d, %v", index, done.Index, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	joined := &member{t: t, id: "h9", dir: t.TempDir(), address: l.Addr().String()}
	c.change = func(cfg *Config) { cfg.Bootstrap = nil }
	c.start(joined, l)
	c.members = append(c.members, joined)
	eventually(t, "the new server is a voter", func() error { return left.AddVoter(t.Context(), joined.id, joined.address) })
	eventually(t, "the new server has the state", func() error {
		if !joined.state.has(1000) || !joined.state.has(21) {
			return fmt.Errorf("values %v", joined.state.values())
		}
		return nil
	})
}

func TestRecoverRefuses(t *testing.T) {
	empty := &member{t: t, id: "h1", dir: t.TempDir()}
	if _, err := Recover(empty.recovery(), false); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "non_voter") {
		t.Errorf("without the file: %v", err)
	}
	for name, tc := range map[string]struct{ content, says string }{
		"no JSON":   {"{", "unexpected EOF"},
		"a twin":    {`[{"id":"h1","address":"a:1"},{"id":"h1","address":"a:2"}]`, "duplicate"},
		"no voter":  {`[{"id":"h1","address":"a:1","non_voter":true}]`, "voter"},
		"others":    {`[{"id":"h2","address":"a:1"}]`, "not among its voters"},
		"new store": {`[{"id":"h1","address":"a:1"}]`, "neither an entry nor a snapshot"},
	} {
		m := &member{t: t, id: "h1", dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(m.dir, PeersFile), []byte(tc.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Recover(m.recovery(), false); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(m.dir, PeersFile)); err != nil {
			t.Errorf("%s: the file was used up", name)
		}
	}
}

// Restore replaces the state everywhere, also on a follower that was behind.
func TestRestoreReplacesTheState(t *testing.T) {
	c := newCluster(t, 3)
	leader := c.leader()
	for v := range uint64(5) {
		if _, _, err := leader.Propose(t.Context(), command(v)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(registerState{Applied: 3, Values: []uint64{77}})
	if err != nil {
		t.Fatal(err)
	}
	var not *ErrNotLeader
	if err := c.follower().Restore(t.Context(), 3, int64(len(data)), strings.NewReader(string(data))); !errors.As(err, &not) {
		t.Errorf("restore on a follower: %v", err)
	}
	if err := leader.Restore(t.Context(), 3, int64(len(data)), strings.NewReader(string(data))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := leader.Propose(t.Context(), command(6)); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.members {
		eventually(t, m.id+" has the restored state and what followed", func() error {
			if got := m.state.values(); len(got) != 2 || got[0] != 77 || got[1] != 6 {
				return fmt.Errorf("values %v", got)
			}
			return nil
		})
	}
	if _, err := leader.Linearizable(t.Context()); err != nil {
		t.Error(err)
	}
}
