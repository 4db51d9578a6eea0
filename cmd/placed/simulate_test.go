package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const smallScenario = `
variable "kind" {
  default = "reactive"
}
hosts "host" {
  count  = 3
  cpu    = 8
  memory = "64GiB"
}
workloads "day" {
  count  = 6
  cpu    = 4
  memory = "8GiB"
  wave {
    mean      = 45
    amplitude = 40
    noise     = 5
  }
}
workloads "night" {
  count  = 6
  cpu    = 4
  memory = "8GiB"
  host   = "host-1"
  wave {
    mean      = 20
    amplitude = 15
    shift     = "12h"
    noise     = 5
  }
}
policy {
  automation      = "auto"
  moves_per_pass  = 5
  moves_in_flight = 10
  churn_per_hour  = 20
}
window {
  start  = "6h"
  length = "24h"
}
decider "nothing" {
  kind = "nothing"
}
decider "tried" {
  kind = var.kind
}
seeds = [1, 2]
`

func simulate(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(append([]string{"simulate"}, args...), strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// TestSimulate plays a made fleet through the command: JSON, report and plot are
// there, two runs print the same bytes, and moving helps.
func TestSimulate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "small.hcl")
	if err := os.WriteFile(file, []byte(smallScenario), 0o600); err != nil {
		t.Fatal(err)
	}
	report, picture := filepath.Join(dir, "r.html"), filepath.Join(dir, "r.svg")
	code, first, errs := simulate(t, "--scenario", file, "--json", "--report", report, "--plot", picture)
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, errs)
	}
	_, second, _ := simulate(t, "--scenario", file, "--json")
	if first != second {
		t.Error("two runs of one scenario print different bytes")
	}
	var summary simulationSummary
	if err := json.Unmarshal([]byte(first), &summary); err != nil {
		t.Fatal(err)
	}
	if len(summary.Runs) != 4 || len(summary.Rows) != 2 || summary.Rows[1].Contended >= summary.Rows[0].Contended || summary.Rows[0].Seeds != 2 {
		t.Errorf("%d runs, rows %+v", len(summary.Runs), summary.Rows)
	}
	page, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(page, []byte("<svg")) || bytes.Contains(page, []byte("<script")) || bytes.Contains(page, []byte("src=")) {
		t.Error("the report is not one self-contained page with its picture")
	}
	if data, err := os.ReadFile(picture); err != nil || !bytes.Contains(data, []byte("<svg")) {
		t.Errorf("the plot: %v", err)
	}
	code, table, _ := simulate(t, "--compare", file+","+file, "--seed", "1", "--only", "nothing")
	if code != exitOK || !strings.Contains(table, "small/nothing") {
		t.Errorf("exit %d: %s", code, table)
	}
}

func TestSimulateMistakes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "small.hcl")
	if err := os.WriteFile(file, []byte(smallScenario), 0o600); err != nil {
		t.Fatal(err)
	}
	for message, args := range map[string][]string{
		"give one of":          {},
		"want name=value":      {"--scenario", file, "--var", "x"},
		`no variable "x"`:      {"--scenario", file, "--var", "x=1"},
		"is no kind":           {"--scenario", file, "--var", "kind=magic"},
		"not all of these":     {"--scenario", file, "--only", "ours"},
		"ends in .svg or .png": {"--scenario", file, "--only", "nothing", "--plot", "x.gif"},
		"has no value":         {"--scenario", filepath.Join("..", "..", "scenarios", "planetlab.hcl")},
		"world \"c\"":          {"--scenario", filepath.Join("..", "..", "scenarios", "planetlab.hcl"), "--var", "trace=x", "--var", "world=c"},
		"needs world b32":      {"--scenario", filepath.Join("..", "..", "scenarios", "planetlab.hcl"), "--var", "trace=x", "--var", "planner=placed"},
		"want lr, thr":         {"--scenario", filepath.Join("..", "..", "scenarios", "planetlab.hcl"), "--var", "trace=x", "--var", "detector=x"},
		"it does not exist":    {"--scenario", filepath.Join(dir, "none.hcl")},
	} {
		code, _, errs := simulate(t, args...)
		if code != exitError || !strings.Contains(errs, message) {
			t.Errorf("%v: exit %d, %q; want %q", args, code, errs, message)
		}
	}
}
