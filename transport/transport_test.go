package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestNewNamesFileOrPortAndRemedy(t *testing.T) {
	ca := newTestCA(t, "prod")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, c *Config)
		want  []string
	}{
		{"port in use", func(_ *testing.T, c *Config) { c.Bind = taken.Addr().String() }, []string{taken.Addr().String(), "another process has it"}},
		{"foreign address", func(_ *testing.T, c *Config) { c.Bind = "192.0.2.1:0" }, []string{"192.0.2.1", "no interface of this host"}},
		{"no certificate", func(_ *testing.T, c *Config) { c.CertFile += "x" }, []string{"host.pemx", "placed tls"}},
		{"no CA", func(_ *testing.T, c *Config) { c.CAFile += "x" }, []string{"ca.pemx", "placed tls"}},
		{"CA is a key", func(_ *testing.T, c *Config) { c.CAFile = c.KeyFile }, []string{"holds no PEM certificate"}},
		{"open key", func(t *testing.T, c *Config) { must(t, os.Chmod(c.KeyFile, 0o640)) }, []string{"0640", "chmod 600"}},
		{"key of another", func(t *testing.T, c *Config) { c.KeyFile = files(t, ca, RoleHost, hostB, time.Hour).KeyFile }, []string{"must be PEM files made together"}},
		{"expired", func(t *testing.T, c *Config) { install(t, *c, ca, RoleHost, hostA, -time.Minute) }, []string{"expired on", "renew it"}},
		{"CA of another", func(t *testing.T, c *Config) {
			c.CAFile = files(t, newTestCA(t, "lab"), RoleHost, hostB, time.Hour).CAFile
		}, []string{"does not vouch for it"}},
		{"operator as agent", func(t *testing.T, c *Config) { install(t, *c, ca, RoleOperator, hostA, time.Hour) }, []string{"is an operator's"}},
		{"CA certificate as host", func(t *testing.T, c *Config) {
			dir := t.TempDir()
			must(t, ca.Write(dir))
			c.CertFile, c.KeyFile = filepath.Join(dir, CACertFile), filepath.Join(dir, CAKeyFile)
		}, []string{"has 0 URI names"}},
		{"local address", func(_ *testing.T, c *Config) { c.LocalIP = "host-a" }, []string{`"host-a" is not an IP address`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := files(t, ca, RoleHost, hostA, time.Hour)
			c.Bind = "127.0.0.1:0"
			test.spoil(t, &c)
			tr, err := New(c)
			if err == nil {
				_ = tr.Close()
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Two hundred clients that say nothing delay neither others nor the end, and are
// thrown out after the handshake time-out.
func TestSlowClientsDelayNobody(t *testing.T) {
	ca := newTestCA(t, "prod")
	c := files(t, ca, RoleVoter, hostB, time.Hour)
	c.HandshakeTimeout = 700 * time.Millisecond
	srv := start(t, c)
	echo(t, srv.Listen(RPC))
	var slow []net.Conn
	for range 200 {
		conn, err := net.Dial("tcp", srv.Addr().String())
		must(t, err)
		defer conn.Close()
		slow = append(slow, conn)
	}
	began := time.Now()
	conn, err := dialer(t, files(t, ca, RoleHost, hostA, time.Hour)).Dial(dialCtx(t), srv.Addr().String(), hostB, RPC)
	must(t, err)
	defer conn.Close()
	checkEcho(t, conn, RoleHost)
	t.Logf("a member got through beside 200 silent clients in %s", time.Since(began))
	for _, s := range slow {
		must(t, s.SetReadDeadline(time.Now().Add(10*time.Second)))
		if _, err := s.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a silent client was not thrown out: %v", err)
		}
	}
}

// A server that accepts TCP and then says nothing does not hold a caller longer
// than the handshake time-out, nor longer than the caller's own patience.
func TestDialGivesUpOnSilence(t *testing.T) {
	ca := newTestCA(t, "prod")
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts for it
	must(t, err)
	defer l.Close()
	c := files(t, ca, RoleHost, hostA, time.Hour)
	c.HandshakeTimeout = 200 * time.Millisecond
	began := time.Now()
	if _, err := dialer(t, c).Dial(dialCtx(t), l.Addr().String(), "", RPC); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	c.HandshakeTimeout = time.Minute
	if _, err := dialer(t, c).Dial(ctx, l.Addr().String(), "", RPC); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Fatalf("gave up after %s", took)
	}
}

func TestConnectionLimit(t *testing.T) {
	ca := newTestCA(t, "prod")
	c := files(t, ca, RoleVoter, hostB, time.Hour)
	c.MaxConns = 3
	srv := start(t, c)
	l := srv.Listen(RPC)
	cl := dialer(t, files(t, ca, RoleHost, hostA, time.Hour))
	var accepted []net.Conn
	for range 3 {
		conn, err := cl.Dial(dialCtx(t), srv.Addr().String(), hostB, RPC)
		must(t, err)
		defer conn.Close()
		in, err := l.Accept()
		must(t, err)
		accepted = append(accepted, in)
	}
	if _, err := cl.Dial(dialCtx(t), srv.Addr().String(), hostB, RPC); err == nil || !strings.Contains(err.Error(), "all 3 connections are in use") {
		t.Fatalf("the fourth: %v", err)
	}
	must(t, accepted[0].Close())
	_ = accepted[0].Close() // twice must not free two places
	conn, err := cl.Dial(dialCtx(t), srv.Addr().String(), hostB, RPC)
	must(t, err)
	defer conn.Close()
	in, err := l.Accept()
	must(t, err)
	defer in.Close()
	if _, err := cl.Dial(dialCtx(t), srv.Addr().String(), hostB, RPC); err == nil {
		t.Fatal("one closed connection freed two places")
	}
	for _, a := range accepted[1:] {
		must(t, a.Close())
	}
}

func TestHundredsOfConnectionsAtOnce(t *testing.T) {
	ca := newTestCA(t, "prod")
	srv := start(t, files(t, ca, RoleVoter, hostB, time.Hour))
	echo(t, srv.Listen(RPC))
	c := files(t, ca, RoleHost, hostA, time.Hour)
	c.HandshakeTimeout = 20 * time.Second // the race detector on a busy machine
	cl := dialer(t, c)
	const n = 240 // below a single address's share of handshakes
	began := time.Now()
	conns := make([]net.Conn, n)
	errs := make([]error, n)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { conns[i], errs[i] = cl.Dial(ctx, srv.Addr().String(), hostB, RPC) })
	}
	all.Wait()
	t.Logf("%d handshakes at once in %s", n, time.Since(began))
	for i := range n {
		must(t, errs[i])
		checkEcho(t, conns[i], RoleHost)
		must(t, conns[i].Close())
	}
}

func TestOutgoingConnectionsComeFromTheLocalAddress(t *testing.T) {
	ca := newTestCA(t, "prod")
	c := files(t, ca, RoleVoter, hostB, time.Hour)
	c.Bind = "127.0.0.3:0"
	srv := start(t, c)
	l := srv.Listen(Raft)
	own := files(t, ca, RoleVoter, hostA, time.Hour)
	own.LocalIP = "127.0.0.2"
	conn, err := dialer(t, own).Dial(dialCtx(t), srv.Addr().String(), hostB, Raft)
	must(t, err)
	defer conn.Close()
	in, err := l.Accept()
	must(t, err)
	defer in.Close()
	if got := remoteIP(in); got != "127.0.0.2" {
		t.Fatalf("the call came from %s", got)
	}
}

// The greeting takes no byte of what follows it, in whatever pieces that comes.
func TestStreamIsWhole(t *testing.T) {
	ca := newTestCA(t, "prod")
	srv := start(t, files(t, ca, RoleHost, hostB, time.Hour))
	l := srv.Listen(Migrate)
	conn, err := dialer(t, files(t, ca, RoleHost, hostA, time.Hour)).Dial(dialCtx(t), srv.Addr().String(), hostB, Migrate)
	must(t, err)
	defer conn.Close()
	in, err := l.Accept()
	must(t, err)
	sent := bytes.Repeat([]byte{0, 1, 2, 3, 255}, 1<<18)
	done := make(chan error, 1)
	go func() {
		_, err := in.Write(sent)
		if half, ok := in.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		}
		done <- err
	}()
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	got, err := io.ReadAll(conn)
	must(t, err)
	must(t, <-done)
	must(t, in.Close())
	if !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes arrived of %d, or others", len(got), len(sent))
	}
}

func TestListenersCloseAndReopen(t *testing.T) {
	ca := newTestCA(t, "prod")
	c := files(t, ca, RoleVoter, hostB, time.Hour)
	c.Bind = "127.0.0.1:0"
	srv, err := New(c)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	cl := dialer(t, files(t, ca, RoleHost, hostA, time.Hour))

	l := srv.Listen(RPC)
	if srv.Listen(RPC) != l {
		t.Error("a second Listen gave another listener")
	}
	waiting, err := cl.Dial(dialCtx(t), srv.Addr().String(), hostB, RPC)
	must(t, err)
	defer waiting.Close()
	must(t, l.Close())
	must(t, waiting.SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := waiting.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a connection nobody took was not closed: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Accept after Close: %v", err)
	}
	if _, err := cl.Dial(dialCtx(t), srv.Addr().String(), hostB, RPC); err == nil {
		t.Fatal("a closed protocol was accepted")
	}
	again := srv.Listen(RPC)
	conn, err := cl.Dial(dialCtx(t), srv.Addr().String(), hostB, RPC)
	must(t, err)
	defer conn.Close()
	in, err := again.Accept()
	must(t, err)
	must(t, in.Close())

	blocked := make(chan error, 1)
	go func() { _, err := again.Accept(); blocked <- err }()
	cancel()
	must(t, <-done)
	if err := <-blocked; !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Accept at the end of Run: %v", err)
	}
	if _, err := srv.Listen(Raft).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Listen after the end: %v", err)
	}
	must(t, srv.Close())
	if _, err := cl.Dial(dialCtx(t), srv.Addr().String(), hostB, RPC); err == nil {
		t.Fatal("the port is still open")
	}
}

func BenchmarkDial(b *testing.B) {
	ca := newTestCA(b, "prod")
	srv := start(b, files(b, ca, RoleVoter, hostB, time.Hour))
	echo(b, srv.Listen(RPC))
	cl := dialer(b, files(b, ca, RoleHost, hostA, time.Hour))
	for b.Loop() {
		conn, err := cl.Dial(context.Background(), srv.Addr().String(), hostB, RPC)
		must(b, err)
		must(b, conn.Close())
	}
}
