package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConformance: the connections behave as the standard library says net.Conn
// does, on real time and on a link with latency.
func TestConformance(t *testing.T) {
	nettest.TestConn(t, func() (near, far net.Conn, stop func(), err error) {
		n := New(1, Link{Latency: 50 * time.Microsecond, Jitter: 50 * time.Microsecond})
		a, b := n.Boot("a"), n.Boot("b")
		l, err := b.Listen("1")
		if err != nil {
			return nil, nil, nil, err
		}
		if near, err = a.Dial(context.Background(), "b:1"); err != nil {
			return nil, nil, nil, err
		}
		far, err = l.Accept()
		return near, far, func() { a.Kill(); b.Kill() }, err
	})
}

type pair struct {
	net       *Network
	a, b      *Host
	near, far net.Conn
}

// joined is a connection from a to b:1 in virtual time; both hosts end with the test.
func joined(t *testing.T, base Link) *pair {
	t.Helper()
	p := &pair{net: New(7, base)}
	p.a, p.b = p.net.Boot("a"), p.net.Boot("b")
	l, err := p.b.Listen("1")
	if err != nil {
		t.Fatal(err)
	}
	if p.near, err = p.a.Dial(t.Context(), "b:1"); err != nil {
		t.Fatal(err)
	}
	if p.far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.a.Kill(); p.b.Kill() })
	return p
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("received %q, %v; want %q", b, err, want)
	}
}

// TestLatency: a request and its answer take two latencies, a connection one round trip.
func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := joined(t, Link{Latency: 10 * time.Millisecond})
		if took := time.Since(start); took != 20*time.Millisecond {
			t.Errorf("connecting took %s", took)
		}
		start = time.Now()
		send(t, p.near, "ping")
		receive(t, p.far, "ping")
		send(t, p.far, "pong")
		receive(t, p.near, "pong")
		if took := time.Since(start); took != 20*time.Millisecond {
			t.Errorf("a round trip took %s", took)
		}
	})
}

// TestLossDelaysAndKeepsOrder: everything arrives in order, later than without loss.
func TestLossDelaysAndKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := joined(t, Link{Latency: time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.3})
		start := time.Now()
		var want, got []byte
		for i := range 200 {
			want = append(want, byte(i))
			send(t, p.near, string([]byte{byte(i)}))
		}
		for range 200 {
			b := make([]byte, 1)
			if _, err := p.far.Read(b); err != nil {
				t.Fatal(err)
			}
			got = append(got, b...)
		}
		if !slices.Equal(got, want) {
			t.Error("segments arrived out of order")
		}
		if took := time.Since(start); took < retransmit {
			t.Errorf("30 %% loss cost nothing: %s", took)
		}
	})
}

// TestOneWayCut: only the cut direction is silent; what was sent arrives after it
// is mended, and new connections need both directions.
func TestOneWayCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := joined(t, Link{Latency: time.Millisecond})
		p.net.Cut("a", "b")
		send(t, p.near, "late")
		send(t, p.far, "through")
		receive(t, p.near, "through")
		_ = p.far.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := p.far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read over a cut link: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.b.Dial(ctx, "a:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dialling without a way back: %v", err)
		}
		if err := p.net.Pass(t.Context(), "a", "b"); !errors.Is(err, ErrLost) {
			t.Errorf("a message over the cut: %v", err)
		}
		if err := p.net.Pass(t.Context(), "b", "a"); err != nil {
			t.Error(err)
		}
		_ = p.far.SetReadDeadline(time.Time{})
		p.net.Mend()
		mended := time.Now()
		receive(t, p.far, "late")
		if took := time.Since(mended); took > time.Second {
			t.Errorf("after mending it took %s", took)
		}
	})
}

// TestKillAndPowerOff: a killed peer closes its connections; a powered-off one is
// silent until it is up again, and then resets what it no longer knows.
func TestKillAndPowerOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := joined(t, Link{Latency: time.Millisecond})
		p.b.Kill()
		if _, err := p.near.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("reading from a killed peer: %v", err)
		}
		if _, err := p.b.Listen("2"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a killed host listens: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := joined(t, Link{Latency: time.Millisecond})
		p.b.PowerOff()
		if _, err := p.far.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the dead host's own end: %v", err)
		}
		send(t, p.near, "into the void")
		_ = p.near.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := p.near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("reading from a vanished peer: %v", err)
		}
		b := p.net.Boot("b")
		defer b.Kill()
		if _, err := p.near.Write([]byte("hello?")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("writing to a host that has forgotten us: %v", err)
		}
		if _, err := p.a.Dial(t.Context(), "b:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialling a port nobody listens on: %v", err)
		}
	})
}

// TestWindow: a writer waits once the window is full, until the reader takes some.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := joined(t, Link{Latency: time.Millisecond})
		done := make(chan error, 1)
		go func() {
			_, err := p.near.Write(make([]byte, window+1))
			done <- err
		}()
		time.Sleep(time.Hour) // virtual
		select {
		case err := <-done:
			t.Fatalf("the write returned with nobody reading: %v", err)
		default:
		}
		if _, err := io.ReadFull(p.far, make([]byte, window+1)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
