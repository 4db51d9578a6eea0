package peer

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/transport"
)

const (
	hostA = fleet.HostID("5f1c0a9e-0000-4000-8000-00000000000a")
	hostB = fleet.HostID("5f1c0a9e-0000-4000-8000-00000000000b")
)

// childEnv makes the test binary an agent whose one call never returns.
const childEnv = "PLACED_PEER_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fmt.Fprintln(os.Stderr, runChild(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func runChild(dir string) error {
	tr, err := transport.New(at(dir, "127.0.0.1:0"))
	if err != nil {
		return err
	}
	s := NewServer(ServerConfig{Listener: tr.Listen(transport.RPC)})
	Serve(s, "hang", func(ctx context.Context, _ transport.Identity, _ string) (string, error) {
		fmt.Println("received")
		<-ctx.Done()
		return "", ctx.Err()
	})
	fmt.Println(tr.Addr())
	go func() { _ = s.Run(context.Background()) }()
	return tr.Run(context.Background())
}

func at(dir, bind string) transport.Config {
	return transport.Config{Bind: bind, CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "host.pem"), KeyFile: filepath.Join(dir, "key.pem")}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type cluster struct{ ca transport.CA }

func newCluster(t testing.TB) cluster {
	t.Helper()
	ca, err := transport.NewCA("prod")
	must(t, err)
	return cluster{ca}
}

// dir writes the certificates of one host.
func (c cluster) dir(t testing.TB, role string, id fleet.HostID) string {
	t.Helper()
	dir := t.TempDir()
	cert, key, err := c.ca.Issue(role, id, nil, time.Hour)
	must(t, err)
	must(t, transport.WritePair(filepath.Join(dir, "host.pem"), filepath.Join(dir, "key.pem"), cert, key))
	must(t, os.WriteFile(filepath.Join(dir, "ca.pem"), c.ca.CertPEM, 0o644))
	return dir
}

// agent is a running server.
type agent struct {
	*Server
	at   Address
	stop func() error
}

// serve starts an agent; add registers its calls.
func (c cluster) serve(t testing.TB, add func(s *Server)) agent {
	t.Helper()
	tr, err := transport.New(at(c.dir(t, transport.RoleVoter, hostB), "127.0.0.1:0"))
	must(t, err)
	s := NewServer(ServerConfig{Listener: tr.Listen(transport.RPC)})
	add(s)
	ctx, cancel := context.WithCancel(context.Background())
	served, accepted := make(chan error, 1), make(chan error, 1)
	go func() { served <- s.Run(ctx) }()
	trCtx, trCancel := context.WithCancel(context.Background())
	go func() { accepted <- tr.Run(trCtx) }()
	var stopped atomic.Bool
	stop := func() error {
		if stopped.Swap(true) {
			return nil
		}
		cancel()
		err := <-served
		trCancel()
		if trErr := <-accepted; err == nil {
			err = trErr
		}
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return agent{Server: s, at: Address{ID: hostB, Addr: tr.Addr().String()}, stop: stop}
}

// client returns a client with a certificate of the role, and a count of the
// connections it opened.
func (c cluster) client(t testing.TB, role string) (*Client, *atomic.Int64) {
	t.Helper()
	tr, err := transport.New(at(c.dir(t, role, hostA), ""))
	must(t, err)
	dials := new(atomic.Int64)
	cl := NewClient(ClientConfig{Dial: func(ctx context.Context, addr string, want fleet.HostID) (net.Conn, error) {
		dials.Add(1)
		return tr.Dial(ctx, addr, want, transport.RPC)
	}})
	t.Cleanup(cl.Close)
	return cl, dials
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
