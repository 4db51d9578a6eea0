package config

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestScenarioFiles: every scenario of the repository is read.
func TestScenarioFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "scenarios", "*.hcl"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		set := map[string]string{}
		if filepath.Base(file) == "planetlab.hcl" {
			set["trace"] = "day.csv.gz"
		}
		if _, err := LoadScenario(file, set); err != nil {
			t.Errorf("%v", err)
		}
	}
}

// TestScenarioVariables: a value from outside takes the type of the default.
func TestScenarioVariables(t *testing.T) {
	s, err := LoadScenario(filepath.Join("..", "scenarios", "closed-loop.hcl"), map[string]string{"pool": "bitbrains", "budgets": "0.1,0.2", "min_gain": "7"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Pool.Traces != "bitbrains" || len(s.Budget.PerDay) != 2 || s.Budget.PerDay[1] != 0.2 || s.Policy.Quantile != 0.8 {
		t.Errorf("%+v", s)
	}
	for _, d := range s.Deciders {
		if d.Name == "ours" && d.MinGain != 7 {
			t.Errorf("ours: %+v", d)
		}
	}
}

const goodScenario = `
hosts "h" {
  count  = 2
  cpu    = 8
  memory = "64GiB"
}
workloads "w" {
  count  = 4
  cpu    = 2
  memory = "8GiB"
  wave {
    mean = 50
  }
}
window {
  length = "24h"
}
decider "none" {
  kind = "nothing"
}
`

// TestScenarioMistakes: each mistake is named with what to do about it.
func TestScenarioMistakes(t *testing.T) {
	if _, err := ParseScenario("good", []byte(goodScenario), nil); err != nil {
		t.Fatal(err)
	}
	for message, change := range map[string][2]string{
		`"sometimes" is no kind`:       {`kind = "nothing"`, `kind = "sometimes"`},
		"it is not clear what they do": {"  wave {\n    mean = 50\n  }\n", ""},
		"there is no window block":     {"window {\n  length = \"24h\"\n}\n", ""},
		"is no duration":               {`length = "24h"`, `length = "a day"`},
		"is no amount of bytes":        {`memory = "64GiB"`, `memory = "much"`},
		"unknown key":                  {"cpu    = 8", "cpu    = 8\n  cores = 8"},
		"wants traces":                 {`hosts "h" {`, "pool {\n traces = \"x\"\n cores=[1]\n probability=[1]\n memory_per_core=\"1GiB\"\n per_host=2\n quantile=.9\n fill=.7\n memory_room=2\n}\nhosts \"h\" {"},
		"nothing to simulate":          {`workloads "w"`, `variable "w"`},
	} {
		source := strings.Replace(goodScenario, change[0], change[1], 1)
		_, err := ParseScenario("bad.hcl", []byte(source), nil)
		if message == "wants traces" || message == "nothing to simulate" {
			if err == nil {
				t.Errorf("%s: accepted", message)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), message) || !strings.Contains(err.Error(), "bad.hcl") {
			t.Errorf("want %q, got %v", message, err)
		}
	}
	if _, err := ParseScenario("x", []byte(goodScenario), map[string]string{"speed": "1"}); err == nil || !strings.Contains(err.Error(), `no variable "speed"`) {
		t.Errorf("an unknown variable: %v", err)
	}
}
