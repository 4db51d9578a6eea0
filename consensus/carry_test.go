package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// olderVersion makes of a stopped server's directory what a version before the
// segments would have left, and returns what its log holds.
func olderVersion(t *testing.T, c *cluster, m *member) []string {
	t.Helper()
	want, err := entries(t, c, m)
	if err != nil || len(want) < 200 {
		t.Fatalf("%d entries, %v", len(want), err)
	}
	o, err := openStorage(c.config(m, nil).filled(), false)
	if err != nil {
		t.Fatal(err)
	}
	old := openOld(t, m.dir)
	err = eachEntry(o.Logs, old.StoreLogs)
	identity, jsonErr := json.Marshal(map[string]any{"host": m.id, "cluster": "test", "voted": true, "stored": true})
	err = errors.Join(err, jsonErr, old.Close(), o.close(), os.RemoveAll(filepath.Join(m.dir, logDir)),
		os.WriteFile(filepath.Join(m.dir, identityFile), identity, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return want
}

func openOld(t *testing.T, dir string) *raftboltdb.BoltStore {
	t.Helper()
	old, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, boltFile), BoltOptions: boltOptions(lockWait), MsgpackUseNewTimeFormat: true})
	if err != nil {
		t.Fatal(err)
	}
	return old
}

func copied(t *testing.T, m *member) *member {
	t.Helper()
	out := &member{t: t, id: m.id, address: m.address, dir: t.TempDir()}
	if err := os.CopyFS(out.dir, os.DirFS(m.dir)); err != nil {
		t.Fatal(err)
	}
	return out
}

// A server whose log an older version has written goes on with all of it.
func TestOldLogIsCarriedOver(t *testing.T) {
	c, m := filled(t)
	want := olderVersion(t, c, m)
	before := files(t, m.dir)
	writePeers(t, m.dir, Server{ID: m.id, Address: m.address})
	if look, err := Recover(m.recovery(), true); err != nil || look.LastIndex < 200 {
		t.Fatalf("a dry run: %+v, %v", look, err)
	}
	if err := os.Remove(filepath.Join(m.dir, PeersFile)); err != nil {
		t.Fatal(err)
	}
	after := files(t, m.dir)
	for name := range before {
		if !strings.HasPrefix(name, "/"+voteFile) && after[name] != before[name] {
			t.Errorf("a dry run changed %s", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("a dry run left %v of %v", slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before)))
	}
	got, err := entries(t, c, m)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%d entries of %d, %v", len(got), len(want), err)
	}
	if _, err := os.Stat(filepath.Join(m.dir, boltFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old file is still there: %v", err)
	}
	m.state, m.fatal = newRegister(), make(chan error, 1)
	c.start(m, nil)
	c.leader()
	if _, _, err := m.Propose(t.Context(), command(999)); err != nil {
		t.Fatal(err)
	}
	for v := range uint64(200) {
		if !m.state.has(v) {
			t.Fatalf("value %d is lost", v)
		}
	}
	m.stop()
}

// Wherever a crash comes, the next start carries everything over, also what the
// older version has written in between.
func TestCrashWhileCarryingOver(t *testing.T) {
	c, m := filled(t)
	want := olderVersion(t, c, m)
	crash := errors.New("crash")
	steps := 0
	for {
		m := copied(t, m)
		cfg := c.config(m, nil).filled()
		id, err := openIdentity(m.dir, m.id, "test")
		if err != nil {
			t.Fatal(err)
		}
		countdown, at := steps, ""
		err = carryLog(cfg, id, func(step string) error {
			if at = step; countdown == 0 {
				return crash
			}
			countdown--
			return nil
		})
		if err == nil {
			break
		}
		if !errors.Is(err, crash) {
			t.Fatalf("before %q: %v", at, err)
		}
		steps++
		want := want
		if id, err = openIdentity(m.dir, m.id, "test"); err != nil {
			t.Fatal(err)
		}
		if id.Format == formatBolt { // the older version starts, and writes
			more := &raft.Log{Index: uint64(len(want)) + 1, Term: 99, Data: command(300)}
			old := openOld(t, m.dir)
			if err := errors.Join((&sealedLogs{LogStore: old}).StoreLog(more), old.Close()); err != nil {
				t.Fatal(err)
			}
			want = append(slices.Clone(want), string(command(300)))
		}
		got, err := entries(t, c, m)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("crash before %q: %d entries of %d, %v", at, len(got), len(want), err)
		}
	}
	if steps < 6 {
		t.Errorf("only %d steps", steps)
	}
}

// An old log that is damaged is refused and stays as it is.
func TestDamagedOldLogIsNotCarriedOver(t *testing.T) {
	c, m := filled(t)
	olderVersion(t, c, m)
	path := func(m *member) string { return filepath.Join(m.dir, boltFile) }
	data, err := os.ReadFile(path(m))
	if err != nil {
		t.Fatal(err)
	}
	flipped := []byte(strings.ReplaceAll(string(data), string(command(77)), string(command(78))))
	if slices.Equal(flipped, data) {
		t.Fatal("the entry is not in the file")
	}
	for name, tc := range map[string]struct {
		data []byte
		kind error
	}{
		"altered": {flipped, ErrStoreDamaged}, "cut": {data[:16384], ErrStoreDamaged}, "emptied": {nil, ErrStoreDamaged}, "deleted": {nil, ErrStoreLost},
	} {
		m := copied(t, m)
		if err := os.WriteFile(path(m), tc.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "deleted" {
			if err := os.Remove(path(m)); err != nil {
				t.Fatal(err)
			}
		}
		if err := open(t, c, m); !errors.Is(err, tc.kind) {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadFile(path(m)); string(after) != string(tc.data) {
			t.Errorf("%s: the file was changed", name)
		}
		if id, err := openIdentity(m.dir, m.id, "test"); err != nil || id.Format != formatBolt {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
}

// What an older version reads of the identity makes it refuse, and say why. It
// compared these two fields, and showed them.
func TestOlderVersionsRefuse(t *testing.T) {
	c, m := filled(t)
	if err := open(t, c, m); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(m.dir, identityFile))
	if err != nil {
		t.Fatal(err)
	}
	var old struct{ Host, Cluster string }
	if err := json.Unmarshal(data, &old); err != nil {
		t.Fatal(err)
	}
	if says := fmt.Sprint(old); old.Host == m.id || !strings.Contains(says, "start a newer one") {
		t.Errorf("it reads %s", says)
	}
}
