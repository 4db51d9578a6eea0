package gossip

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"go.uber.org/goleak"

	"github.com/placed-dev/placed/fleet"
)

// childEnv makes the test binary a member of its own, to be killed.
const childEnv = "PLACED_GOSSIP_TEST_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := runChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if err := noLeaks(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// noLeaks waits longer than goleak does by itself: a probe of memberlist's ends
// within a probe interval.
func noLeaks() (err error) {
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if err = goleak.Find(); err == nil {
			return nil
		}
	}
	return err
}

func runChild(text string) error {
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	g, err := New(c)
	if err != nil {
		return err
	}
	g.SetLoad(Load{CPU: 500, Workloads: 7})
	fmt.Println(g.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return g.Run(ctx)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// local is a config for a member on 127.0.0.n.
func local(n int, join ...string) Config {
	return Config{
		ID: fleet.HostID(fmt.Sprintf("host-%d", n)), Name: fmt.Sprintf("name-%d", n), Cluster: "prod",
		BindAddr: fmt.Sprintf("127.0.0.%d", n), Keyring: [][]byte{bytes.Repeat([]byte{1}, 32)}, Join: join,
		Meta:   Meta{ProtocolMin: 1, ProtocolMax: 2, Role: RoleVoter, RPC: fmt.Sprintf("127.0.0.%d:7700", n), Capability: uint64(n)},
		Preset: PresetLocal,
	}
}

// member is a running Gossip.
type member struct {
	*Gossip
	stop func()
}

// start runs a member until the test ends; tune may change it before.
func start(t testing.TB, c Config, tune ...func(*Gossip)) member {
	t.Helper()
	g, err := New(c)
	must(t, err)
	for _, f := range tune {
		f(g)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run of %s: %v", c.ID, err)
		}
	})
	t.Cleanup(stop)
	return member{g, stop}
}

// child is a member in a process of its own.
type child struct {
	cmd  *exec.Cmd
	addr string
}

func startChild(t testing.TB, c Config) child {
	t.Helper()
	text, err := json.Marshal(c)
	must(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // ended already, or about to
	var addr string
	_, err = fmt.Fscanln(out, &addr)
	must(t, err)
	return child{cmd, addr}
}

func (c child) kill(t testing.TB) {
	t.Helper()
	must(t, c.cmd.Process.Kill())
	_ = c.cmd.Wait() // "signal: killed"
}

// of returns what g knows of a host.
func (g *Gossip) of(n int) (Member, bool) {
	for _, m := range g.Members() {
		if m.ID == fleet.HostID(fmt.Sprintf("host-%d", n)) {
			return m, true
		}
	}
	return Member{}, false
}

// sees says that g has host n in the state.
func (g *Gossip) sees(n int, state fleet.Liveness) bool {
	m, ok := g.of(n)
	return ok && m.State == state
}

// eventually polls until ok, and returns how long it took.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		if time.Since(began) > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
		<-ticker.C
	}
	return time.Since(began)
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

func (b *logBuffer) has(part string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.buf.Bytes(), []byte(part))
}

func (b *logBuffer) logger(level hclog.Level) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: b, Level: level})
}

// cutter is real sockets that can be cut off from an address, both ways when
// both ends are cut.
type cutter struct {
	*sockets
	mu  sync.Mutex
	cut map[string]bool // "ip:port", guarded by mu
}

func (c *cutter) install(g *Gossip) {
	c.sockets, c.cut = g.port.(*sockets), map[string]bool{}
	g.settings.Transport = c
}

func (c *cutter) set(cut bool, addrs ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range addrs {
		c.cut[a] = cut
	}
}

func (c *cutter) isCut(addr string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut[addr]
}

func (c *cutter) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if c.isCut(a.Addr) {
		return time.Now(), nil // lost on the way
	}
	return c.sockets.WriteToAddress(b, a)
}

func (c *cutter) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if c.isCut(a.Addr) {
		return nil, errors.New("the cable is cut")
	}
	return c.sockets.DialAddressTimeout(a, timeout)
}
