package transport

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	hostA = fleet.HostID("5f1c0a9e-0000-4000-8000-00000000000a")
	hostB = fleet.HostID("5f1c0a9e-0000-4000-8000-00000000000b")
)

func newTestCA(t testing.TB, cluster string) CA {
	t.Helper()
	ca, err := NewCA(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// files writes a certificate and returns a config that uses it.
func files(t testing.TB, ca CA, role string, id fleet.HostID, validity time.Duration) Config {
	t.Helper()
	dir := t.TempDir()
	c := Config{CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "host.pem"), KeyFile: filepath.Join(dir, "host-key.pem")}
	install(t, c, ca, role, id, validity)
	return c
}

// install replaces the files of c.
func install(t testing.TB, c Config, ca CA, role string, id fleet.HostID, validity time.Duration) {
	t.Helper()
	cert, key, err := ca.Issue(role, id, []string{"127.0.0.1"}, validity)
	if err != nil {
		t.Fatal(err)
	}
	if err := WritePair(c.CertFile, c.KeyFile, cert, key); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(c.CAFile, ca.CertPEM, 0o644); err != nil {
		t.Fatal(err)
	}
}

// start runs a transport until the test ends.
func start(t testing.TB, c Config) *Transport {
	t.Helper()
	if c.Bind == "" {
		c.Bind = "127.0.0.1:0"
	}
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return tr
}

// dialer makes a transport that only dials.
func dialer(t testing.TB, c Config) *Transport {
	t.Helper()
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// echo serves a protocol: it writes the caller's identity and what it reads.
func echo(t testing.TB, l net.Listener) {
	t.Helper()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				peer, _ := PeerOf(conn)
				if _, err := conn.Write([]byte(peer.Role + "\n")); err != nil {
					return
				}
				buf := make([]byte, 64)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if _, err := conn.Write(buf[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
}

func dialCtx(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// logBuffer collects log lines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: b, Level: hclog.Debug})
}

// eventually polls until ok or the deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(60 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 60 s: %s", what)
		case <-ticker.C:
		}
	}
}
