package peer

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/transport"
)

// The agent is killed while it works on a request: nobody knows the outcome. Then
// nothing listens any more: the next request certainly was not processed.
func TestServerKilledInMidRequest(t *testing.T) {
	c := newCluster(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+c.dir(t, transport.RoleHost, hostB))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	lines := bufio.NewScanner(out)
	line := func() string {
		if !lines.Scan() {
			t.Fatalf("the agent ended: %v", lines.Err())
		}
		return lines.Text()
	}
	to := Address{ID: hostB, Addr: line()}
	cl, _ := c.client(t, transport.RoleHost)
	result := make(chan error, 1)
	go func() { result <- ask(t, cl, to, "hang", "x") }()
	if got := line(); got != "received" {
		t.Fatalf("the agent says %q", got)
	}
	must(t, child.Process.Kill())
	if err := <-result; !errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrUnreachable) {
		t.Fatalf("killed in mid-request: %v", err)
	}
	if err := ask(t, cl, to, "hang", "x"); !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("nothing listens: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	c := newCluster(t)
	a := c.serve(t, func(s *Server) {
		Serve(s, "never", func(context.Context, transport.Identity, any) (any, error) {
			t.Error("the request was processed")
			return nil, nil
		})
	})
	cl, _ := c.client(t, transport.RoleHost)
	closed, _ := c.client(t, transport.RoleHost)
	closed.Close()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	for name, call := range map[string]func() error{
		"another host at the address": func() error { return ask(t, cl, Address{ID: "somebody", Addr: a.at.Addr}, "never", 1) },
		"no address":                  func() error { return ask(t, cl, Address{ID: hostB}, "never", 1) },
		"certificate of another CA": func() error {
			stranger, _ := newCluster(t).client(t, transport.RoleHost)
			return ask(t, stranger, a.at, "never", 1)
		},
		"request that is no JSON": func() error { return ask(t, cl, a.at, "never", make(chan int)) },
		"closed client":           func() error { return ask(t, closed, a.at, "never", 1) },
		"context already over": func() error {
			_, err := Call[int, any](ended, cl, a.at, "never", 1)
			return err
		},
		"deadline before the handshake is done": func() error {
			_, err := Call[int, any](within(t, 100*time.Millisecond), cl, Address{Addr: silent.Addr().String()}, "never", 1)
			return err
		},
	} {
		if err := call(); !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnknownOutcome(t *testing.T) {
	c := newCluster(t)
	entered := make(chan struct{}, 1)
	a := c.serve(t, func(s *Server) {
		Serve(s, "panic", func(context.Context, transport.Identity, any) (any, error) { panic("a bug") })
		Serve(s, "slow", func(ctx context.Context, _ transport.Identity, _ any) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, MaxTime(20*time.Millisecond))
		Serve(s, "block", func(ctx context.Context, _ transport.Identity, _ any) (any, error) {
			entered <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		addEcho(s)
	})
	cl, _ := c.client(t, transport.RoleHost)
	var answer *Error
	if err := ask(t, cl, a.at, "panic", 1); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("a handler that panics: %v", err)
	}
	if err := ask(t, cl, a.at, "echo", question{"x"}); err != nil {
		t.Errorf("the server does not survive a panic: %v", err)
	}
	if err := ask(t, cl, a.at, "slow", 1); !errors.Is(err, ErrUnknownOutcome) || !errors.As(err, &answer) || answer.Code != CodeDeadline {
		t.Errorf("a handler out of time: %v", err)
	}
	_, err := Call[int, any](within(t, 50*time.Millisecond), cl, a.at, "block", 1)
	if !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("a caller out of time: %v", err)
	}
	<-entered
	result := make(chan error, 1)
	go func() { result <- ask(t, cl, a.at, "block", 1) }()
	<-entered
	must(t, a.stop())
	if err := <-result; !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("a server that stops: %v", err)
	}
	// From a client without a connection: one that still holds one may write into it
	// before it learns that it is closed, and then the outcome is unknown.
	fresh, _ := c.client(t, transport.RoleHost)
	if err := ask(t, fresh, a.at, "echo", question{}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a server that has stopped: %v", err)
	}
}

// An answer that breaks off was an answer to a processed request.
func TestAnswerCutShort(t *testing.T) {
	for name, text := range map[string]string{
		"in the header": "HTTP/1.1 200 OK\r\nContent-Le",
		"in the body":   "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"te",
		"no JSON":       "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"te",
	} {
		cl := NewClient(ClientConfig{Dial: func(context.Context, string, fleet.HostID) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				r := bufio.NewReader(far)
				for { // the request's header; its body is one byte
					line, err := r.ReadString('\n')
					if err != nil || strings.TrimSpace(line) == "" {
						break
					}
				}
				_, _ = r.ReadByte()              // fails with the caller
				_, _ = io.WriteString(far, text) // likewise
			}()
			return near, nil
		}})
		if _, err := Call[int, question](within(t, 5*time.Second), cl, Address{Addr: "x:1"}, "echo", 1); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("cut %s: %v", name, err)
		}
		cl.Close()
	}
}

// Without a verified identity nothing is answered, whatever the listener.
func TestConnectionWithoutIdentityIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := NewServer(ServerConfig{Listener: l})
	addEcho(s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	cl := NewClient(ClientConfig{Dial: func(ctx context.Context, addr string, _ fleet.HostID) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}})
	err = ask(t, cl, Address{Addr: l.Addr().String()}, "echo", question{})
	var answer *Error
	if !errors.As(err, &answer) || answer.Code != CodeForbidden {
		t.Errorf("got %v", err)
	}
	cl.Close()
	cancel()
	must(t, <-done)
}

// When the port goes away under a server, its handlers end and Run says so.
func TestRunEndsWithItsListener(t *testing.T) {
	c := newCluster(t)
	tr, err := transport.New(at(c.dir(t, transport.RoleVoter, hostB), "127.0.0.1:0"))
	must(t, err)
	trCtx, trCancel := context.WithCancel(context.Background())
	accepted := make(chan error, 1)
	go func() { accepted <- tr.Run(trCtx) }()
	l := tr.Listen(transport.RPC)
	s := NewServer(ServerConfig{Listener: l})
	entered := make(chan struct{})
	Serve(s, "block", func(ctx context.Context, _ transport.Identity, _ any) (any, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	cl, _ := c.client(t, transport.RoleHost)
	result := make(chan error, 1)
	go func() { result <- ask(t, cl, Address{ID: hostB, Addr: tr.Addr().String()}, "block", 1) }()
	<-entered
	must(t, l.Close())
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run: %v", err)
	}
	if err := <-result; !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("the caller: %v", err)
	}
	trCancel()
	must(t, <-accepted)
}
