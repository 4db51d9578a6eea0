package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
)

// The test binary is also the proxy process and the agent process of the tests
// of Ensure.
func TestMain(m *testing.M) {
	switch os.Getenv("TRAFFIC_TEST_ROLE") {
	case "proxy":
		runProxyProcess()
	case "agent":
		runAgentProcess()
	default:
		goleak.VerifyTestMain(m)
	}
}

func runProxyProcess() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	port, _ := strconv.Atoi(os.Getenv("TRAFFIC_TEST_PORT"))
	p, err := NewProxy(Config{Dir: os.Getenv("TRAFFIC_TEST_DIR"), Address: "127.0.0.1", PeerPort: port, Logger: hclog.Default()})
	if err == nil {
		err = p.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// backend is a workload: one line in, one line out. "inc" counts, "PING" is
// answered without a change, "die" breaks the connection in mid-request.
type backend struct {
	t        testing.TB
	l        net.Listener
	name     string
	counter  *atomic.Int64
	slow     chan struct{} // when not nil, answers wait until it is closed
	requests chan string   // when not nil, every request is told

	mu    sync.Mutex
	conns []net.Conn
	done  sync.WaitGroup
}

func newBackend(t testing.TB, name string, counter *atomic.Int64) *backend {
	t.Helper()
	return listenBackend(t, name, counter, "127.0.0.1:0")
}

func listenBackend(t testing.TB, name string, counter *atomic.Int64, addr string) *backend {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{t: t, l: l, name: name, counter: counter}
	b.done.Add(1)
	go b.accept()
	t.Cleanup(b.stop)
	return b
}

func (b *backend) addr() string { return b.l.Addr().String() }

func (b *backend) accept() {
	defer b.done.Done()
	for {
		c, err := b.l.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns = append(b.conns, c)
		b.mu.Unlock()
		b.done.Add(1)
		go b.serve(c)
	}
}

func (b *backend) serve(c net.Conn) {
	defer b.done.Done()
	defer func() { _ = c.Close() }()
	in := bufio.NewReaderSize(c, MaxLine)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if b.requests != nil {
			select {
			case b.requests <- line:
			default: // full: the test sees enough
			}
		}
		if b.slow != nil {
			<-b.slow
		}
		var answer string
		switch word := strings.TrimSpace(line); {
		case word == "PING":
			answer = "PONG\n"
		case word == "inc":
			answer = fmt.Sprintf("%d %s\n", b.counter.Add(1), b.name)
		case word == "die":
			return
		default:
			answer = line // echo
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// drop closes the connections that are open; the workload goes on.
func (b *backend) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		_ = c.Close()
	}
	b.conns = nil
}

func (b *backend) stop() {
	_ = b.l.Close()
	b.drop()
	b.done.Wait()
}

// host is a proxy in this process with its control.
type host struct {
	*Control
	t        testing.TB
	address  string
	peerPort int
	dir      string
	stop     func()
}

func newHost(t testing.TB, address string, limits Limits) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "px")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, address: address, peerPort: freePort(t, address), dir: dir}
	p, err := NewProxy(Config{Dir: dir, Address: address, PeerPort: h.peerPort, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("proxy on %s: %v", address, err)
			}
			_ = os.RemoveAll(dir)
		})
	}
	t.Cleanup(h.stop)
	eventually(t, "proxy on "+address, func() error {
		h.Control, err = Connect(t.Context(), dir)
		return err
	})
	return h
}

func (h *host) peer() string { return net.JoinHostPort(h.address, strconv.Itoa(h.peerPort)) }

func (h *host) set(routes ...Route) {
	h.t.Helper()
	problems, err := h.SetRoutes(h.t.Context(), routes)
	if err != nil || len(problems) > 0 {
		h.t.Fatalf("routes of %s: %v, problems %v", h.address, err, problems)
	}
}

func (h *host) status() Status {
	h.t.Helper()
	s, err := h.Status(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func local(port int, b *backend, epoch uint64) Route {
	return Route{Workload: "w", Port: port, Local: true, Backend: b.addr(), Epoch: epoch}
}

func remote(port int, owner *host, epoch uint64) Route {
	return Route{Workload: "w", Port: port, Peer: owner.peer(), Epoch: epoch}
}

// freePort is free now on the address; a port of a workload must be the same on
// three of them, hence the choice outside the ephemeral range.
var nextPort atomic.Int64

func freePort(t testing.TB, address string) int {
	t.Helper()
	for range 2000 {
		port := 12000 + int(os.Getpid()*7+int(nextPort.Add(1)))%18000
		l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// client sends lines over one connection.
type client struct {
	c  net.Conn
	in *bufio.Reader
}

func dialClient(t testing.TB, address string, port int) *client {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &client{c: c, in: bufio.NewReaderSize(c, MaxLine)}
}

func (c *client) send(line string) error {
	_, err := io.WriteString(c.c, line+"\n")
	return err
}

func (c *client) receive() (string, error) {
	if err := c.c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	line, err := c.in.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

func (c *client) ask(line string) (string, error) {
	if err := c.send(line); err != nil {
		return "", err
	}
	return c.receive()
}

func (c *client) mustAsk(t testing.TB, line, want string) {
	t.Helper()
	got, err := c.ask(line)
	if err != nil || got != want {
		t.Fatalf("%s: got %q, %v; want %q", line, got, err, want)
	}
}

func (c *client) mustBeClosed(t testing.TB) {
	t.Helper()
	got, err := c.receive()
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("got %q, %v; want a closed connection", got, err)
	}
}

func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(2 * time.Millisecond) // a poll with a deadline
	}
}
