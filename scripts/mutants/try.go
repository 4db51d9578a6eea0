package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// atOnce is how many seeds one process runs beside each other.
const atOnce = 2

// try runs the tests on a copy with the bug until one notices.
func try(ctx context.Context, p patch, files map[string][]byte, s search) (row, error) {
	r := row{name: p.name, title: p.title}
	work, err := os.MkdirTemp("", "placed-mutant-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	overlay, err := writeOverlay(work, files)
	if err != nil {
		return r, err
	}
	if r.tried = s.books && concernsBooks(files); r.tried {
		if r.property, err = properties(ctx, work, overlay); err != nil {
			return r, err
		}
	}
	if s.booksOnly {
		return r, nil
	}
	voters := filepath.Join(work, "voters.test")
	if err := build(ctx, overlay, "./virtual", voters); err != nil {
		return r, err
	}
	began := time.Now()
	for seed := 1; seed <= s.seeds && r.promise == ""; seed += atOnce {
		last := min(seed+atOnce-1, s.seeds)
		out, err := run(ctx, voters, "virtual", []string{
			fmt.Sprintf("PLACED_SEEDS=%d..%d", seed, last), "PLACED_VIRTUAL=" + s.length.String(), "PLACED_ARTIFACTS=" + work,
		}, "-test.run=^TestVoters$", "-test.v", "-test.timeout=30m")
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		r.seeds, r.wall = last, time.Since(began)
		var caught int
		if r.promise, caught = verdict(out); r.promise != "" {
			r.seeds = caught
		} else if err != nil {
			r.note = "seeds " + fmt.Sprintf("%d..%d", seed, last) + " failed without a verdict: " + reason(out)
		}
	}
	return r, nil
}

func writeOverlay(work string, files map[string][]byte) (string, error) {
	replace := map[string]string{}
	for file, data := range files {
		at, err := filepath.Abs(filepath.FromSlash(file))
		if err != nil {
			return "", err
		}
		to := filepath.Join(work, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(to, data, 0o600); err != nil {
			return "", err
		}
		replace[at] = to
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(work, "overlay.json")
	return path, os.WriteFile(path, data, 0o600)
}

func concernsBooks(files map[string][]byte) bool {
	for file := range files {
		if strings.HasPrefix(file, "fsm/") || strings.HasPrefix(file, "fleet/") {
			return true
		}
	}
	return false
}

func build(ctx context.Context, overlay, pkg, to string) error {
	out, err := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", overlay, "-o", to, pkg).CombinedOutput()
	if err != nil {
		return fmt.Errorf("the planted bug does not build: %w\n%s", err, out)
	}
	return nil
}

func run(ctx context.Context, binary, dir string, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// properties runs the random histories of the books on the altered copy, and
// returns how they noticed, or "".
func properties(ctx context.Context, work, overlay string) (string, error) {
	binary := filepath.Join(work, "books.test")
	if err := build(ctx, overlay, "./fsm", binary); err != nil {
		return "", err
	}
	out, err := run(ctx, binary, "fsm", nil, "-test.run=^(TestRandomHistories|TestLongHistories)$", "-test.short", "-test.timeout=30m", "-rapid.nofailfile")
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	if err == nil || strings.Contains(out, "panic:") && !strings.Contains(out, "rapid]") {
		return "", nil
	}
	var noticed []string
	for _, m := range failed.FindAllStringSubmatch(out, -1) {
		noticed = append(noticed, m[1])
	}
	return strings.Join(noticed, ", "), nil
}

var failed = regexp.MustCompile(`(?m)^--- FAIL: (Test\w+)`)

var broken = regexp.MustCompile(`seed (\d+) breaks promises`)

// verdict is the promise that the smallest seed found broken first, and that
// seed; what follows in its list may be an echo. A run whose list begins with
// voters that did not even start says nothing.
func verdict(out string) (promise string, seed int) {
	current := 0 // seed whose list is about to begin
	for line := range strings.Lines(out) {
		if m := broken.FindStringSubmatch(line); m != nil {
			current, _ = strconv.Atoi(m[1]) // digits
			continue
		}
		_, after, found := strings.Cut(line, "VERDICT ")
		if !found || current == 0 {
			continue
		}
		first, _, _ := strings.Cut(after, ":")
		if first != "not started" && (promise == "" || current < seed) {
			promise, seed = first, current
		}
		current = 0
	}
	return promise, seed
}

// reason is the line of a failed run that says most.
func reason(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "panic:") || strings.Contains(line, "inconclusive") || strings.Contains(line, "VERDICT") || strings.Contains(line, "did not finish") {
			return strings.TrimSpace(line)
		}
	}
	return "no reason in the output"
}
