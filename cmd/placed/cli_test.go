package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/placed-dev/placed/api"
)

// call runs one command in this process.
func call(args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = run(args, strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// TestWrongArguments: every mistake ends with one line that says what is wrong,
// and the exit code that scripts rely on.
func TestWrongArguments(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	listener.Close()
	missing := filepath.Join(t.TempDir(), "none.hcl")
	bad := filepath.Join(t.TempDir(), "bad.hcl")
	if err := os.WriteFile(bad, []byte("cluster { id = \"c\" }\nnode { id = \"h\" }\nintervals { pass = \"soon\" }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		code int
		says []string
	}{
		{"frobnicate", exitError, []string{`unknown command "frobnicate"`}},
		{"status --addr " + nobody, exitError, []string{nobody, "does not answer"}},
		{"status --addr ftp://x", exitError, []string{"want host:port"}},
		{"why", exitError, []string{"accepts 1 arg"}},
		{"dev --automation sometimes", exitError, []string{"--automation", "observe, recommend or auto"}},
		{"dev --hosts 0 --headless", exitError, []string{"--hosts 0"}},
		{"dev --hosts x", exitError, []string{"--hosts"}},
		{"agent --config " + missing, exitError, []string{missing, "does not exist"}},
		{"config validate " + bad, exitError, []string{"bad.hcl:3", "intervals.pass", `"soon"`}},
		{"lease resolve L1 --owner me --reason x --addr " + nobody, exitError, []string{"source or destination"}},
		{"local thaw web-01 --data-dir " + t.TempDir(), exitError, []string{"i-have-fenced"}},
		{"local release web-01 --data-dir " + t.TempDir(), exitError, []string{"does not answer", "start it here"}},
		{"policy set automation --addr " + nobody, exitError, []string{"does not answer"}},
		{"tls cert create --ca " + t.TempDir() + " --id h1", exitError, []string{"ca"}},
	} {
		code, _, errs := call(strings.Fields(c.args)...)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d", c.args, code, c.code)
		}
		for _, word := range c.says {
			if !strings.Contains(errs, word) {
				t.Errorf("%s: %q does not say %q", c.args, errs, word)
			}
		}
	}
}

func TestExitCodes(t *testing.T) {
	for status, want := range map[int]int{404: exitNotFound, 403: exitDenied, 503: exitNoLeader, 500: exitError, 409: exitError} {
		if got := exitCode(&api.Error{Status: status}); got != want {
			t.Errorf("HTTP %d ends with %d, want %d", status, got, want)
		}
	}
}

func TestOverlay(t *testing.T) {
	p := api.Policy{Automation: "observe", Quantile: 0.9, MovesPerPass: 1}
	got, err := overlay(p, []string{"automation=auto", "quantile=0.95", "paused=true"})
	if err != nil || got.Automation != "auto" || got.Quantile != 0.95 || !got.Paused || got.MovesPerPass != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, pair := range []string{"automation", "speed=1", "quantile=high", "moves_per_pass=1.5"} {
		if _, err := overlay(p, []string{pair}); err == nil {
			t.Errorf("%s was taken", pair)
		}
	}
}

// TestCertificates: the CA and certificates that the commands make are such that
// a second CA never replaces the first.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	if code, _, errs := call("tls", "ca", "create", "--dir", dir, "--cluster", "prod"); code != exitOK {
		t.Fatal(errs)
	}
	if code, _, errs := call("tls", "ca", "create", "--dir", dir, "--cluster", "prod"); code != exitError || !strings.Contains(errs, "cut off every host") {
		t.Errorf("a second CA: %d, %s", code, errs)
	}
	code, out, errs := call("tls", "cert", "create", "--ca", dir, "--role", "voter", "--id", "h1", "--address", "10.0.0.1", "--out", dir)
	if code != exitOK {
		t.Fatal(errs)
	}
	for _, file := range strings.Fields(out) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(file, "key") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", file, info.Mode().Perm())
		}
	}
	if code, out, _ := call("keygen"); code != exitOK || len(strings.TrimSpace(out)) != 44 {
		t.Errorf("keygen printed %q", out)
	}
	if code, out, _ := call("version"); code != exitOK || !strings.Contains(out, "placed dev") {
		t.Errorf("version printed %q", out)
	}
}
