package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// books are the bytes of a snapshot with one host and one lease.
func books(t *testing.T) []byte {
	t.Helper()
	state := fsm.New()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	capacity := fleet.Vector{CPU: 4000, Memory: 8 << 30, Net: fleet.Unknown, Disk: fleet.Unknown}
	for i, op := range []fsm.Operation{
		fsm.InitCluster{Cluster: "prod"},
		fsm.RegisterHost{Host: fleet.Host{ID: "h1", Name: "h1", Zone: "a", Voter: true, Address: "10.0.0.1:4100", Capacity: capacity}},
		fsm.RegisterWorkloads{Host: "h1"},
		fsm.Grant{Workload: "w1", Destination: "h1", Kind: fleet.LeasePlacement, Type: fleet.Requested, Reservation: fleet.Vector{CPU: 1000}},
	} {
		data, err := fsm.Encode(fsm.Header{ID: "id-" + string(rune('a'+i)), Proposer: "h1", At: now, LoadAt: now}, op)
		if err != nil {
			t.Fatal(err)
		}
		if err := state.Apply(uint64(i+1), data).Refused(); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := state.Capture().WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestSnapshotInspect: the figures of a file, and a word for every kind of file
// that is none.
func TestSnapshotInspect(t *testing.T) {
	dir := t.TempDir()
	good, cut, flipped := filepath.Join(dir, "good"), filepath.Join(dir, "cut"), filepath.Join(dir, "flipped")
	data := books(t)
	damaged := bytes.Clone(data)
	damaged[len(damaged)/2] ^= 4
	for file, content := range map[string][]byte{good: data, cut: data[:len(data)-3], flipped: damaged, filepath.Join(dir, "empty"): nil} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := call("operator", "snapshot", "inspect", good)
	for _, want := range []string{"prod", "Index       4 of generation 1", "2026-01-02T03:04:05Z", "Hosts       1", "1 active of 1"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("exit %d, %q not in:\n%s%s", code, want, out, errs)
		}
	}
	code, out, _ = call("operator", "snapshot", "inspect", good, "--json")
	var summary snapshotSummary
	if err := json.Unmarshal([]byte(out), &summary); err != nil || code != exitOK || summary.Bytes != len(data) || summary.LeaseStates["granted"] != 1 || len(summary.SHA256) != 64 {
		t.Errorf("exit %d, %+v, %v", code, summary, err)
	}
	for file, want := range map[string]int{"cut": exitError, "flipped": exitError, "empty": exitError, "missing": exitNotFound} {
		if code, _, errs := call("operator", "snapshot", "inspect", filepath.Join(dir, file)); code != want || !strings.Contains(errs, file) {
			t.Errorf("%s: exit %d, %s", file, code, errs)
		}
	}
}

// TestOperatorCommands against an agent that answers what the table says.
func TestOperatorCommands(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "books.snap")
	if err := os.WriteFile(file, books(t), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "none.hcl")
	server := `{"id":"h1","name":"h1","address":"10.0.0.1:4100","voter":true,"leader":LEADER,"healthy":WELL,"last_contact_ms":3,"last_index":41}`
	state := func(leader, judged, well string) string {
		return `{"term":3,"index":41,"judged":` + judged + `,"healthy":` + well + `,"failure_tolerance":0,"servers":[` + strings.NewReplacer("LEADER", leader, "WELL", well).Replace(server) + `]}`
	}
	accepted := `{"index":42,"message":"done"}`
	for _, c := range []struct {
		args   string
		status int
		answer string
		code   int
		says   string
	}{
		{"raft list-peers", 200, state("true", "true", "true"), exitOK, "10.0.0.1:4100"},
		{"raft list-peers --json", 200, state("true", "true", "true"), exitOK, `"last_index": 41`},
		{"raft list-peers", 200, state("true", "true", "false"), exitChanges, "sick"},
		{"raft list-peers", 200, state("false", "false", "false"), exitNoLeader, "no leader"},
		{"raft add-peer h2 10.0.0.2:4100", 200, accepted, exitOK, "done (index 42)"},
		{"raft add-peer", 200, accepted, exitError, "between 1 and 2 arg"},
		{"raft remove-peer h2", 200, accepted, exitOK, "done"},
		{"raft remove-peer h2 --json", 200, accepted, exitOK, `"index": 42`},
		{"raft remove-peer h2", 409, `{"error":{"code":"conflict","message":"host h2 is the only voter"}}`, exitError, "only voter"},
		{"raft remove-peer h2", 404, `{"error":{"code":"not_found","message":"no host h2"}}`, exitNotFound, "no host h2"},
		{"raft remove-peer h2", 403, `{"error":{"code":"denied","message":"no"}}`, exitDenied, "denied"},
		{"raft transfer-leadership", 200, accepted, exitOK, "done"},
		{"raft transfer-leadership h2 h3", 200, accepted, exitError, "at most 1 arg"},
		{"raft snapshot", 200, accepted, exitOK, "done"},
		{"snapshot restore " + file, 200, accepted, exitError, "--yes"},
		{"snapshot restore --yes " + file, 200, accepted, exitOK, "done"},
		{"snapshot restore --yes " + filepath.Join(dir, "none"), 200, accepted, exitNotFound, "none"},
		{"snapshot restore --yes " + os.Args[0], 200, accepted, exitError, "snapshot"},
		{"snapshot save " + filepath.Join(dir, "got"), 503, `{"error":{"code":"no_leader","message":"no leader"}}`, exitNoLeader, "no leader"},
		{"snapshot save " + filepath.Join(dir, "got"), 200, "not a snapshot", exitError, "not those that the agent sent"},
	} {
		agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.answer))
		}))
		code, out, errs := call(append([]string{"operator"}, strings.Fields(c.args+" --addr "+agent.URL)...)...)
		agent.Close()
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: exit %d, want %d with %q in:\n%s%s", c.args, code, c.code, c.says, out, errs)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "got")); err == nil {
		t.Error("a file was left behind by a save that failed")
	}
	for _, c := range []struct{ args, says string }{
		{"raft recover --config " + config, "--dry-run"},
		{"raft recover --yes --config " + config, "does not exist"},
	} {
		if code, _, errs := call(append([]string{"operator"}, strings.Fields(c.args)...)...); code != exitError || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit %d, %s", c.args, code, errs)
		}
	}
}

// TestSnapshotSave writes the whole file or none, for its owner alone.
func TestSnapshotSave(t *testing.T) {
	data := books(t)
	summary, err := snapshotSummaryOf(data)
	if err != nil {
		t.Fatal(err)
	}
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Placed-SHA256", summary.SHA256)
		_, _ = w.Write(data)
	}))
	defer agent.Close()
	file := filepath.Join(t.TempDir(), "books.snap")
	if err := os.WriteFile(file, []byte("an older one"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := call("operator", "snapshot", "save", file, "--addr", agent.URL); code != exitOK || !strings.Contains(out, summary.SHA256) {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	got, err := os.ReadFile(file)
	info, err2 := os.Stat(file)
	if err != nil || err2 != nil || !bytes.Equal(got, data) || info.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes, mode %v, %v, %v", len(got), info.Mode(), err, err2)
	}
	missing := filepath.Join(t.TempDir(), "no", "books.snap")
	if code, _, errs := call("operator", "snapshot", "save", missing, "--addr", agent.URL); code != exitError || !strings.Contains(errs, "no such file") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
