package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Clients through owner, non-owner and later owner see one counter that never
// jumps, while the workload moves back and forth under load.
func TestMovesUnderLoad(t *testing.T) {
	const clients, moves = 12, 6
	var counter atomic.Int64
	hosts := []*host{newHost(t, "127.0.0.1", Limits{}), newHost(t, "127.0.0.2", Limits{}), newHost(t, "127.0.0.3", Limits{})}
	backends := []*backend{newBackend(t, "a", &counter), newBackend(t, "b", &counter), newBackend(t, "c", &counter)}
	port := freePort(t, "127.0.0.1")
	for i, h := range hosts {
		if i == 0 {
			h.set(local(port, backends[0], 1))
		} else {
			h.set(remote(port, hosts[0], 1))
		}
	}

	var stop atomic.Bool
	var load sync.WaitGroup
	var mu sync.Mutex
	seen := map[int64]int{}
	for i := range clients {
		c := dialClient(t, hosts[i%3].address, port)
		load.Add(1)
		go func() {
			defer load.Done()
			last := int64(0)
			for !stop.Load() {
				answer, err := c.ask("inc")
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				n, err := strconv.ParseInt(strings.Fields(answer)[0], 10, 64)
				if err != nil || n <= last {
					t.Errorf("client %d: %q after %d", i, answer, last)
					return
				}
				last = n
				mu.Lock()
				seen[n]++
				mu.Unlock()
			}
		}()
	}

	owner := 0
	for move := range moves {
		before := counter.Load()
		eventually(t, "load between moves", func() error {
			if counter.Load() < before+200 {
				return errors.New("clients do not get on")
			}
			return nil
		})
		from, to := hosts[owner], (owner+1)%3
		epoch := uint64(move + 2)
		if err := from.Hold(t.Context(), "w"); err != nil {
			t.Fatal(err)
		}
		held := counter.Load()
		if s := from.status().Routes[0]; !s.Held || s.InFlight != 0 {
			t.Fatalf("after hold: %+v", s)
		}
		// The source learns first, as in a real move the third host last.
		result := make(chan SwitchResult, 1)
		go func() {
			r, err := from.Switch(context.Background(), "w", remote(port, hosts[to], epoch))
			if err != nil {
				t.Error(err)
			}
			result <- r
		}()
		if n := counter.Load(); n != held {
			t.Fatalf("the workload counted from %d to %d while it was held", held, n)
		}
		hosts[to].set(local(port, backends[to], epoch))
		r := <-result
		if !r.Probed || r.Downtime <= 0 || r.Downtime > 5*time.Second {
			t.Fatalf("switch: %+v", r)
		}
		t.Logf("move %d: downtime %s", move, r.Downtime)
		hosts[(to+1)%3].set(remote(port, hosts[to], epoch))
		owner = to
	}
	stop.Store(true)
	load.Wait()

	if got := int64(len(seen)); got != counter.Load() {
		t.Errorf("%d different answers for %d counts", got, counter.Load())
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("%d was answered %d times", n, times)
		}
	}
	for _, h := range hosts {
		if c := h.status().Counters; c.Unknown+c.HeldTooLong+c.TooManyHeld > 0 {
			t.Errorf("%s: %+v", h.address, c)
		}
	}
}

// A request that was sent when the upstream broke is not repeated, and its
// client is told by the end of its connection.
func TestUpstreamBreaksInMidRequest(t *testing.T) {
	h := newHost(t, "127.0.0.1", Limits{})
	b := newBackend(t, "a", new(atomic.Int64))
	b.requests = make(chan string, 10)
	port := freePort(t, h.address)
	h.set(local(port, b, 1))
	c := dialClient(t, h.address, port)
	if err := c.send("die"); err != nil {
		t.Fatal(err)
	}
	c.mustBeClosed(t)
	if n := len(b.requests); n != 1 {
		t.Errorf("the workload saw the request %d times", n)
	}
	if s := h.status(); s.Counters.Unknown != 1 {
		t.Errorf("counters %+v", s.Counters)
	}
	dialClient(t, h.address, port).mustAsk(t, "PING", "PONG")
}

// Between requests the upstream may break, be away and come back.
func TestUpstreamBreaksBetweenRequests(t *testing.T) {
	h := newHost(t, "127.0.0.1", Limits{})
	b := newBackend(t, "a", new(atomic.Int64))
	port := freePort(t, h.address)
	h.set(local(port, b, 1))
	c := dialClient(t, h.address, port)
	c.mustAsk(t, "hello", "hello")
	addr := b.addr()
	b.stop()
	if err := c.send("again"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a refused dial", func() error {
		if h.status().Counters.DialFailures == 0 {
			return errors.New("none")
		}
		return nil
	})
	listenBackend(t, "a", b.counter, addr)
	if got, err := c.receive(); err != nil || got != "again" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestUnreachableUpstreamEndsAtTheLimit(t *testing.T) {
	h := newHost(t, "127.0.0.1", Limits{Redial: 200 * time.Millisecond})
	b := newBackend(t, "a", new(atomic.Int64))
	port := freePort(t, h.address)
	h.set(local(port, b, 1))
	b.stop()
	c := dialClient(t, h.address, port)
	if err := c.send("hello"); err != nil {
		t.Fatal(err)
	}
	c.mustBeClosed(t)
	if s := h.status().Counters; s.Unknown != 0 || s.DialFailures < 2 {
		t.Errorf("counters %+v", s)
	}
}

// A hold that cannot be completed releases the workload and says so.
func TestHoldThatTimesOutReleases(t *testing.T) {
	h := newHost(t, "127.0.0.1", Limits{})
	b := newBackend(t, "a", new(atomic.Int64))
	b.slow, b.requests = make(chan struct{}), make(chan string, 10)
	release := sync.OnceFunc(func() { close(b.slow) })
	t.Cleanup(release) // before the backend's own clean-up, which waits for answers
	port := freePort(t, h.address)
	h.set(local(port, b, 1))
	c, other := dialClient(t, h.address, port), dialClient(t, h.address, port)
	if err := c.send("slow"); err != nil {
		t.Fatal(err)
	}
	<-b.requests
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := h.Hold(ctx, "w")
	if err == nil || !strings.Contains(err.Error(), "1 requests were still without an answer") {
		t.Fatalf("hold: %v", err)
	}
	release()
	if got, err := c.receive(); err != nil || got != "slow" {
		t.Fatalf("%q, %v", got, err)
	}
	other.mustAsk(t, "PING", "PONG")
}

// A held client waits for its own deadline and no longer; there is a bound to
// how many wait; the hold itself stays when its agent is gone.
func TestHeldClientsAreBounded(t *testing.T) {
	h := newHost(t, "127.0.0.1", Limits{Held: 300 * time.Millisecond, MaxHeld: 1})
	b := newBackend(t, "a", new(atomic.Int64))
	port := freePort(t, h.address)
	h.set(local(port, b, 1))
	if err := h.Hold(t.Context(), "w"); err != nil {
		t.Fatal(err)
	}
	first, second := dialClient(t, h.address, port), dialClient(t, h.address, port)
	if err := first.send("one"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "first request waits", func() error {
		if h.status().Waiting != 1 {
			return errors.New("it does not")
		}
		return nil
	})
	if err := second.send("two"); err != nil {
		t.Fatal(err)
	}
	second.mustBeClosed(t)
	first.mustBeClosed(t)
	s := h.status()
	if s.Counters.TooManyHeld != 1 || s.Counters.HeldTooLong != 1 || !s.Routes[0].Held {
		t.Errorf("status %+v", s)
	}
	// A table that forgets a held workload does not drop it.
	problems, err := h.SetRoutes(t.Context(), nil)
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, "it is held and stays") {
		t.Errorf("problems %v, %v", problems, err)
	}
	if err := h.Resume(t.Context(), "w"); err != nil {
		t.Fatal(err)
	}
	dialClient(t, h.address, port).mustAsk(t, "PING", "PONG")
}

// Two proxies that each believe the other owns the workload end the request
// after their patience instead of sending it round.
func TestNoLoops(t *testing.T) {
	limits := Limits{Owner: 300 * time.Millisecond}
	a, b := newHost(t, "127.0.0.1", limits), newHost(t, "127.0.0.2", limits)
	port := freePort(t, a.address)
	a.set(remote(port, b, 5))
	b.set(remote(port, a, 5))
	c := dialClient(t, a.address, port)
	if err := c.send("hello"); err != nil {
		t.Fatal(err)
	}
	c.mustBeClosed(t)
	if n := a.status().Counters.Forwarded + b.status().Counters.Forwarded; n != 1 {
		t.Errorf("the request was forwarded %d times, want once", n)
	}
}

// Routes that grow newer along the way may be followed, three hops at most.
func TestHopsAreBounded(t *testing.T) {
	limits := Limits{Owner: 300 * time.Millisecond}
	var h []*host
	for i := range 5 {
		h = append(h, newHost(t, fmt.Sprintf("127.0.0.%d", i+1), limits))
	}
	back := newBackend(t, "a", new(atomic.Int64))
	port := freePort(t, h[0].address)
	h[4].set(local(port, back, 9))
	h[3].set(remote(port, h[4], 4))
	h[2].set(remote(port, h[3], 3))
	h[1].set(remote(port, h[2], 2))
	h[0].set(remote(port, h[1], 1))
	dialClient(t, h[1].address, port).mustAsk(t, "three hops", "three hops")
	c := dialClient(t, h[0].address, port)
	if err := c.send("four hops"); err != nil {
		t.Fatal(err)
	}
	c.mustBeClosed(t)
}

// A request that arrives before the new owner's table has changed waits there.
func TestForwardAheadOfTheTable(t *testing.T) {
	a, b := newHost(t, "127.0.0.1", Limits{}), newHost(t, "127.0.0.2", Limits{})
	back := newBackend(t, "b", new(atomic.Int64))
	port := freePort(t, a.address)
	b.set(remote(port, a, 1))
	a.set(remote(port, b, 2))
	c := dialClient(t, a.address, port)
	if err := c.send("early"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "request waits at the new owner", func() error {
		if b.status().Waiting != 1 {
			return errors.New("it does not")
		}
		return nil
	})
	b.set(local(port, back, 2))
	if got, err := c.receive(); err != nil || got != "early" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestPortInUseIsReportedAndRetried(t *testing.T) {
	h := newHost(t, "127.0.0.1", Limits{})
	b := newBackend(t, "a", new(atomic.Int64))
	port := freePort(t, h.address)
	taken, err := net.Listen("tcp", net.JoinHostPort(h.address, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	problems, err := h.SetRoutes(t.Context(), []Route{local(port, b, 1)})
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, "address already in use") {
		t.Fatalf("problems %v, %v", problems, err)
	}
	_ = taken.Close()
	eventually(t, "the port opens", func() error {
		if s := h.status().Routes[0]; !s.Listening || s.Problem != "" {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	dialClient(t, h.address, port).mustAsk(t, "PING", "PONG")
}

func TestRoutesOnlyGrowNewer(t *testing.T) {
	h := newHost(t, "127.0.0.1", Limits{})
	old, now := newBackend(t, "old", new(atomic.Int64)), newBackend(t, "new", new(atomic.Int64))
	port := freePort(t, h.address)
	h.set(local(port, now, 7))
	problems, err := h.SetRoutes(t.Context(), []Route{local(port, old, 6)})
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, "epoch 6 is older than 7") {
		t.Fatalf("problems %v, %v", problems, err)
	}
	dialClient(t, h.address, port).mustAsk(t, "inc", "1 new")
	// A route that leaves the table takes its clients with it.
	c := dialClient(t, h.address, port)
	c.mustAsk(t, "PING", "PONG")
	h.set()
	c.mustBeClosed(t)
}

func TestSwitchWithoutAnswerSaysSo(t *testing.T) {
	h := newHost(t, "127.0.0.1", Limits{})
	b := newBackend(t, "a", new(atomic.Int64))
	port := freePort(t, h.address)
	h.set(local(port, b, 1))
	dead := newBackend(t, "dead", new(atomic.Int64))
	dead.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := h.Switch(ctx, "w", local(port, dead, 2))
	if err == nil || !strings.Contains(err.Error(), "nothing has answered through it") {
		t.Fatal(err)
	}
	// The same switch may be repeated once the workload is there.
	listenBackend(t, "back", dead.counter, dead.addr())
	r, err := h.Switch(t.Context(), "w", local(port, dead, 2))
	if err != nil || !r.Probed {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestLongLines(t *testing.T) {
	h := newHost(t, "127.0.0.1", Limits{})
	b := newBackend(t, "a", new(atomic.Int64))
	port := freePort(t, h.address)
	h.set(local(port, b, 1))
	longest := strings.Repeat("x", MaxLine-1)
	c := dialClient(t, h.address, port)
	c.mustAsk(t, longest, longest)
	_ = c.send(longest + "y")
	c.mustBeClosed(t)
	if n := h.status().Counters.TooLong; n != 1 {
		t.Errorf("too long: %d", n)
	}
}

func TestSecondProxyIsRefused(t *testing.T) {
	h := newHost(t, "127.0.0.1", Limits{})
	p, err := NewProxy(Config{Dir: h.dir, Address: h.address, PeerPort: freePort(t, h.address)})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another proxy runs on") {
		t.Fatal(err)
	}
	other, err := NewProxy(Config{Dir: t.TempDir(), Address: h.address, PeerPort: h.peerPort})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "choose another peer port") {
		t.Fatal(err)
	}
}

func TestRouteValidation(t *testing.T) {
	for want, r := range map[string]Route{
		"workload id is empty":      {Local: true, Backend: "127.0.0.1:1"},
		"port 70000 is outside":     {Workload: "w", Port: 70000, Peer: "127.0.0.1:1"},
		`backend "" is not ip:port`: {Workload: "w", Local: true, Peer: "127.0.0.1:1"},
		`peer "h2" is not ip:port`:  {Workload: "w", Peer: "h2"},
		"is this proxy itself":      {Workload: "w", Peer: "127.0.0.1:9"},
	} {
		if err := r.Validate("127.0.0.1:9"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
}

func FuzzForward(f *testing.F) {
	f.Add("placed-forward/1 w 1 7")
	f.Add("placed-forward/1 vm-1/db 3 18446744073709551615\n")
	f.Add("PING")
	f.Add("placed-forward/1 w 0 7")
	f.Fuzz(func(t *testing.T, line string) {
		got, err := parseForward(line)
		if err != nil {
			return
		}
		again, err := parseForward(got.String())
		if err != nil || again != got || got.hops < 1 || got.hops > maxHops {
			t.Fatalf("%q: %+v, then %+v, %v", line, got, again, err)
		}
	})
}

func BenchmarkDirect(b *testing.B) {
	benchmark(b, func(_ *host, _ int, k *backend) string { return k.addr() })
}

func BenchmarkOneHop(b *testing.B) {
	benchmark(b, func(h *host, port int, _ *backend) string { return net.JoinHostPort(h.address, strconv.Itoa(port)) })
}

func benchmark(b *testing.B, where func(*host, int, *backend) string) {
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			h := newHost(b, "127.0.0.1", Limits{})
			k := newBackend(b, "a", new(atomic.Int64))
			port := freePort(b, h.address)
			h.set(local(port, k, 1))
			addr := where(h, port, k)
			hostOf, portOf, _ := net.SplitHostPort(addr)
			n, _ := strconv.Atoi(portOf)
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for range clients {
				c := dialClient(b, hostOf, n)
				wg.Add(1)
				go func() {
					defer wg.Done()
					for left.Add(-1) >= 0 {
						if _, err := c.ask("PING"); err != nil {
							b.Error(err)
							return
						}
					}
				}()
			}
			wg.Wait()
		})
	}
}
