package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// atRoot runs the test where the runner is run.
func atRoot(t *testing.T) {
	t.Helper()
	t.Chdir(filepath.Join("..", ".."))
}

// TestEveryPatchApplies: each planted bug still has its place, exactly one.
func TestEveryPatchApplies(t *testing.T) {
	atRoot(t)
	paths, err := filepath.Glob("mutants/*.patch")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d patches, %v: at least 10 are needed", len(paths), err)
	}
	for _, path := range paths {
		p, err := readPatch(path)
		if err != nil {
			t.Error(err)
			continue
		}
		files, err := p.apply(os.ReadFile)
		if err != nil {
			t.Error(err)
		}
		for file, text := range files {
			if before, err := os.ReadFile(file); err != nil || string(before) == string(text) {
				t.Errorf("%s changes nothing in %s (%v)", p.name, file, err)
			}
		}
	}
}

// TestApply: a hunk must be found once; otherwise the patch is refused.
func TestApply(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.patch")
	diff := "A bug.\n\n--- a/f.go\n+++ b/f.go\n@@ -7,3 +7,3 @@\n a\n-b\n+c\n d\n"
	if err := os.WriteFile(path, []byte(diff), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := readPatch(path)
	if err != nil || p.title != "A bug." || p.name != "x" {
		t.Fatalf("%+v, %v", p, err)
	}
	for text, want := range map[string]string{"0\na\nb\nd\n": "0\na\nc\nd\n", "a\nx\nd\n": "", "a\nb\nd\na\nb\nd\n": ""} {
		files, err := p.apply(func(string) ([]byte, error) { return []byte(text), nil })
		if got := string(files["f.go"]); got != want || (err == nil) != (want != "") {
			t.Errorf("%q became %q, %v", text, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "no longer applies") {
			t.Error(err)
		}
	}
}

// TestVerdict: the first promise of the smallest seed counts, and a seed whose
// voters did not start does not.
func TestVerdict(t *testing.T) {
	list := func(seed int, verdicts ...string) string {
		return fmt.Sprintf("    x_test.go:1: seed %d breaks promises; history and faults are in /tmp (<nil>):\n        VERDICT %s\n",
			seed, strings.Join(verdicts, "\n        VERDICT "))
	}
	for name, c := range map[string]struct {
		out     string
		promise string
		seed    int
	}{
		"nothing":             {"ok\n", "", 0},
		"a panic":             {"panic: VERDICT G1: made up\n", "", 0},
		"an echo":             {list(3, "G1 capacity: a: b", "byte equality: c"), "G1 capacity", 3},
		"two seeds":           {list(4, "G2 tokens: a") + list(3, "G1 capacity: a"), "G1 capacity", 3},
		"not started":         {list(1, "not started: a", "G4 acknowledged writes: b"), "", 0},
		"not started beside":  {list(1, "not started: a", "byte equality: b") + list(2, "G4 acknowledged writes: a"), "G4 acknowledged writes", 2},
		"did not start later": {list(2, "G4 acknowledged writes: a", "not started: b"), "G4 acknowledged writes", 2},
	} {
		if promise, seed := verdict(c.out); promise != c.promise || seed != c.seed {
			t.Errorf("%s: %q of seed %d, want %q of seed %d", name, promise, seed, c.promise, c.seed)
		}
	}
}

// TestPlantedBugsAreCaught is the short form of `make mutants`: two bugs, caught
// by a promise.
func TestPlantedBugsAreCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("short: builds the simulation twice")
	}
	atRoot(t)
	rows, err := table(context.Background(), "mutants", "^(capacity-plus-one|expiry-frees-capacity)", search{seeds: 4, length: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		t.Logf("FIGURE %s: %s", r.name, r.summary())
		if !strings.HasPrefix(r.promise, "G") && !strings.HasPrefix(r.promise, "byte equality") {
			t.Errorf("%s: caught by %q (%s)", r.name, r.promise, r.note)
		}
	}
	if len(rows) != 2 {
		t.Errorf("%d of 2 bugs were tried", len(rows))
	}
}
