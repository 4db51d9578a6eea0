package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const smallFleet = `{
 "hosts": [{"id": "h1", "capacity": {"cpu": 10, "memory": 100e9}}, {"id": "h2", "capacity": {"cpu": 10, "memory": 100e9}}],
 "instances": [
  {"id": "a", "host": "h1", "usage": {"cpu": 5, "memory": 20e9}},
  {"id": "b", "host": "h1", "usage": {"cpu": 4, "memory": 10e9}}
 ]}`

// The answer of `placed plan` and its exit codes: 2 with moves, 0 without, 1 on
// an error, which names file, line and reason.
func TestPlanOffline(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fleet := write("fleet.json", smallFleet)
	bad := write("bad.json", "{\"hosts\": [\n{\"id\": \"h1\", \"state\": \"off\"}]}")
	policy := write("policy.hcl", "policy {\n  headroom = 0.6\n}\n")

	code, out, errs := call("plan", "--fleet", fleet, "--json")
	if code != exitChanges || errs != "" {
		t.Fatalf("exit %d, %s", code, errs)
	}
	var plan struct {
		Moves []struct {
			Step                       int
			Workload, From, To, Reason string
			Memory                     int64
			Score                      struct{ Total float64 }
		}
		Before, After struct {
			MaxUtilisation struct{ CPU, Memory float64 } `json:"max_utilisation"`
			Overloaded     int                           `json:"overloaded_hosts"`
		}
		Unrelieved, Refused []any
	}
	if err := json.Unmarshal([]byte(out), &plan); err != nil {
		t.Fatal(err)
	}
	if len(plan.Moves) != 1 || plan.Moves[0].Step != 1 || plan.Moves[0].Workload != "b" || plan.Moves[0].From != "h1" || plan.Moves[0].To != "h2" ||
		plan.Moves[0].Memory != 10e9 || plan.Before.Overloaded != 1 || plan.After.Overloaded != 0 ||
		plan.Before.MaxUtilisation.CPU != 0.9 || plan.After.MaxUtilisation.CPU != 0.5 || plan.Unrelieved == nil || plan.Refused == nil {
		t.Errorf("%s", out)
	}
	for _, c := range []struct {
		args []string
		code int
		says string // on stdout when the code is not 1, on stderr otherwise
	}{
		{[]string{"--fleet", fleet}, exitChanges, "1 move"},
		{[]string{"--fleet", fleet, "--ceiling", "0.95"}, exitOK, "nothing to do: no host is above the ceiling; closest is h1 with 90 %"},
		{[]string{"--fleet", fleet, "--drain", "h2"}, exitOK, "the hosts to be emptied are empty"},
		{[]string{"--fleet", fleet, "--drain", "h1"}, exitChanges, "h1 is draining"},
		{[]string{"--fleet", fleet, "--objective", "place"}, exitOK, "no instance is pending"},
		{[]string{"--fleet", fleet, "--policy", policy}, exitOK, "unrelieved h1"},
		{nil, exitError, "--fleet FILE.json"},
		{[]string{"--fleet", bad}, exitError, bad + `: line 2: hosts[0] (h1): state "off"`},
		{[]string{"--fleet", filepath.Join(dir, "none")}, exitError, "no such file"},
		{[]string{"--fleet", fleet, "--objective", "tidy"}, exitError, "want one of [relieve balance"},
		{[]string{"--fleet", fleet, "--minimise", "cost"}, exitError, "want one of [moves memory"},
		{[]string{"--fleet", fleet, "--ceiling", "-1"}, exitError, "ceiling"},
		{[]string{"--fleet", fleet, "--drain", "h9"}, exitError, `host "h9" is not in the fleet`},
		{[]string{"--fleet", fleet, "--policy", bad}, exitError, "bad.json"},
	} {
		code, out, errs := call(append([]string{"plan"}, c.args...)...)
		if said := map[bool]string{true: errs, false: out}[c.code == exitError]; code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("plan %v: exit %d, %q%q; want %d and %q", c.args, code, out, errs, c.code, c.says)
		}
	}
}
