package httpapi

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestServeDemo shows the page with moving data until it is interrupted:
// PLACED_UI_DEMO=127.0.0.1:7490 PLACED_UI_DEMO_HOSTS=50 go test ./httpapi -run ServeDemo -timeout 0
func TestServeDemo(t *testing.T) {
	address := os.Getenv("PLACED_UI_DEMO")
	if address == "" {
		t.Skip("set PLACED_UI_DEMO=127.0.0.1:7490 to look at the page with moving data")
	}
	hosts := 3
	if os.Getenv("PLACED_UI_DEMO_HOSTS") == "50" {
		hosts = 50
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	backend := newDemo(hosts)
	for range 40 {
		backend.advance()
	}
	server, err := New(Config{Backend: backend})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				backend.advance()
			}
		}
	}()
	if err := server.Serve(ctx, listener); err != nil {
		t.Fatal(err)
	}
}

// The page works in a real browser: it draws every host and chart, and breaks
// neither its own content policy nor any script.
func TestPageInBrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium in PATH: the page is not tried in a browser (apt-get install chromium)")
	}
	if testing.Short() {
		t.Skip("a browser takes seconds: not in -short")
	}
	backend := newDemo(3)
	for range 30 {
		backend.advance()
	}
	base := serve(t, Config{Backend: backend})
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	wanted := []string{`aria-label="Host h1"`, `aria-label="Host h2"`, `aria-label="Host h3"`, `class="outer" d="M`, `class="used" d="M`, `class="capacity"`, "vm-1/cache"}
	var complaints strings.Builder
	lacks := wanted
	// The browser's virtual time may be spent before an answer has come over
	// the real socket: it is given more until the page is whole.
	for budget := 4000; len(lacks) > 0 && budget <= 64_000; budget *= 2 {
		complaints.Reset()
		command := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
			"--user-data-dir="+filepath.Join(t.TempDir(), "profile"), "--enable-logging=stderr", "--v=0",
			fmt.Sprintf("--virtual-time-budget=%d", budget), "--timeout=20000", "--window-size=1400,1000", "--dump-dom", base+"/ui/")
		command.Stderr = &complaints
		page, err := command.Output()
		if err != nil {
			t.Fatalf("chromium: %v\n%s", err, complaints.String())
		}
		lacks = slices.DeleteFunc(slices.Clone(wanted), func(w string) bool { return strings.Contains(string(page), w) })
	}
	if len(lacks) > 0 {
		t.Errorf("the page lacks %q", lacks)
	}
	for line := range strings.Lines(complaints.String()) {
		if strings.Contains(line, "CONSOLE") && (strings.Contains(line, "Error") || strings.Contains(line, "Refused") || strings.Contains(line, "violates")) {
			t.Errorf("the browser complains: %s", line)
		}
	}
}
