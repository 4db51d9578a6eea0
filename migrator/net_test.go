package migrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDead = errors.New("this agent was killed")

const workload fleet.WorkloadID = "vm-1"

// testNet is a fleet of hosts on one ledger and real TCP connections.
type testNet struct {
	t      testing.TB
	drive  func(agentDriver) driver.Driver
	books  *ledger
	hosts  map[fleet.HostID]*host
	log    hclog.Logger
	mu     sync.Mutex
	frozen []byte // what the source held when it was frozen
	cut    bool   // the hosts do not reach each other
	blind  bool   // do not compare contents: a benchmark measures the gap
	bad    []string
	jump   atomic.Int64  // nanoseconds that a standby's source is ahead of the clock
	held   time.Time     // when clients were last held
	gap    time.Duration // from there to the switch
}

type host struct {
	net      *testNet
	id       fleet.HostID
	machine  *machine
	blockers []driver.Blocker
	room     error

	mu   sync.Mutex
	life *life
}

// life is one life of a host's agent, from start to kill -9.
type life struct {
	host *host
	m    *Migrator
	dir  string
	died chan struct{}
	// fault strikes at the n-th passing of its gate.
	fault *fault
	stop  context.CancelFunc
	wg    sync.WaitGroup
	// onFault is called when the fault strikes; quiet: nothing else happens;
	// refuse: the books say no. spoil changes the next page that arrives.
	onFault       func()
	quiet, refuse bool
	spoil         atomic.Bool
	door          atomic.Pointer[driver.Spec] // what this life lets in
	doorToken     atomic.Pointer[fleet.Token]

	mu    sync.Mutex
	gone  bool
	left  string // what the disk held at death
	conns []net.Conn
}

// fault is a planted failure at a gate.
type fault struct {
	op     string
	before bool
	nth    int // 1 = the first passing
	// kill ends the agent; otherwise the answer is lost.
	kill   bool
	struck *atomic.Bool
}

func (f fault) String() string {
	when, what := "after", "loses the answer"
	if f.before {
		when = "before"
	}
	if f.kill {
		what = "dies"
	}
	return fmt.Sprintf("%s %s %s %d", what, when, f.op, f.nth)
}

func (l *life) dead() bool {
	select {
	case <-l.died:
		return true
	default:
		return false
	}
}

// gate is passed before and after every effect of the agent on the world.
func (l *life) gate(op string, before bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return errDead
	}
	f := l.fault
	if f == nil || f.op != op || f.before != before {
		return nil
	}
	if f.nth--; f.nth > 0 {
		return nil
	}
	l.fault = nil
	if f.struck != nil {
		f.struck.Store(true)
	}
	if l.onFault != nil {
		l.onFault()
	}
	switch {
	case l.quiet:
		return nil
	case l.refuse:
		return ErrRefused
	case !f.kill:
		return ErrUnknownOutcome
	}
	l.killLocked()
	return errDead
}

// killLocked is kill -9: the disk is what it is now, connections break, nothing
// this life still does reaches the world.
func (l *life) killLocked() {
	if l.gone {
		return
	}
	l.gone = true
	l.left = l.host.net.t.TempDir()
	data, err := os.ReadFile(filepath.Join(l.dir, "tokens"))
	if err == nil {
		err = os.WriteFile(filepath.Join(l.left, "tokens"), data, 0o600)
	}
	if err != nil {
		l.host.net.t.Error(err)
	}
	for _, c := range l.conns {
		c.Close()
	}
	close(l.died)
}

func (l *life) kill() {
	l.mu.Lock()
	l.killLocked()
	l.mu.Unlock()
}

func newNet(t testing.TB, size int64) *testNet {
	return newNetWith(t, size, func(d agentDriver) driver.Driver { return d })
}

// newNetWith lets a test put its own driver around the hosts'.
func newNetWith(t testing.TB, size int64, drive func(agentDriver) driver.Driver) *testNet {
	n := &testNet{t: t, drive: drive, books: newLedger(), hosts: map[fleet.HostID]*host{}, log: hclog.NewNullLogger()}
	if os.Getenv("PLACED_TEST_LOG") != "" {
		n.log = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug})
	}
	for _, id := range []fleet.HostID{"h1", "h2"} {
		h := &host{net: n, id: id}
		h.machine = &machine{host: h, has: map[fleet.WorkloadID]*region{}}
		n.hosts[id] = h
		n.books.hosts[id] = fleet.Host{ID: id, Name: string(id)}
		h.start(t.TempDir(), nil)
	}
	w := newRegion(driver.Spec{ID: workload, Driver: "test", Size: size}, fleet.Token{Cluster: "c1", Generation: 1, Index: 7}, driver.Running)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range w.data {
		if i/pageSize%4 != 3 { // some pages are never written
			w.data[i] = byte(r.Uint32() & 0x0f)
			w.written[i/pageSize] = true
		}
	}
	n.hosts["h1"].machine.has[workload] = w
	t.Cleanup(n.close)
	return n
}

func (n *testNet) close() {
	for _, h := range n.hosts {
		h.now().end()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.bad {
		n.t.Error(b)
	}
}

func (h *host) now() *life {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.life
}

// start begins a new life over a directory.
func (h *host) start(dir string, f *fault) *life {
	l := &life{host: h, dir: dir, died: make(chan struct{}), fault: f}
	m, err := New(Config{
		Host: h.id, Cluster: "c1", Dir: dir, Drivers: map[string]driver.Driver{"test": h.net.drive(agentDriver{h.machine, l})},
		Books: view{h.net.books, l}, Traffic: testTraffic{l}, Dial: l.dial, Ask: l.ask,
		Check: func(context.Context, driver.Spec) error { return h.room }, Logger: h.net.log.Named(string(h.id)),
		TTL: time.Minute, RecoverEvery: 20 * time.Millisecond, AskAfter: 100 * time.Millisecond, CutoverWait: 5 * time.Second,
		Proposal: 5 * time.Second, Effect: 10 * time.Second, Handshake: 5 * time.Second, Idle: 5 * time.Second, StopWait: 5 * time.Second,
		TargetDowntime: 20 * time.Millisecond, FixedCutover: 2 * time.Millisecond,
		DowntimeLimit: time.Minute, // the writers do not wait for a slow machine
	})
	if err != nil {
		h.net.t.Fatal(err)
	}
	l.m = m
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	l.wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			h.net.t.Errorf("host %s: run: %v", h.id, err)
		}
	})
	<-m.started
	h.mu.Lock()
	h.life = l
	h.mu.Unlock()
	return l
}

// end stops the agent in order and waits for it.
func (l *life) end() {
	l.mu.Lock()
	if l.gone {
		l.m.mu.Lock()
		l.m.cfg.StopWait = time.Millisecond // a killed agent has no time to end in order
		l.m.mu.Unlock()
	}
	l.mu.Unlock()
	l.stop()
	l.mu.Lock()
	if l.gone {
		for _, c := range l.conns {
			c.Close()
		}
	}
	l.mu.Unlock()
	l.wg.Wait()
}

// rise starts a new life from what the killed one left on disk.
func (h *host) rise() *life {
	old := h.now()
	old.kill()
	fresh := h.start(old.left, nil)
	old.end()
	return fresh
}

func (l *life) dial(ctx context.Context, to fleet.Host) (net.Conn, error) {
	if err := l.gate("dial", true); err != nil {
		return nil, err
	}
	far := l.host.net.hosts[to.ID].now()
	if l.host.net.isCut() || far.dead() {
		return nil, errors.New("connection refused")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return nil, err
	}
	other, err := listener.Accept()
	if err != nil {
		return nil, err
	}
	if !l.keep(conn) || !far.keep(other) {
		conn.Close()
		other.Close()
		return nil, errDead
	}
	var served net.Conn = other
	if far.spoil.Load() {
		served = &spoiledConn{Conn: other}
	}
	far.wg.Go(func() {
		if err := far.m.Serve(context.Background(), served, l.host.id); err != nil {
			far.host.net.log.Debug("serve", "error", err)
		}
	})
	return conn, l.gate("dial", false)
}

func (l *life) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
	return !l.gone
}

func (l *life) ask(ctx context.Context, to fleet.Host, q Question) (Answer, error) {
	far := l.host.net.hosts[to.ID].now()
	if l.dead() || far.dead() || l.host.net.isCut() {
		return Answer{}, errors.New("no route to host")
	}
	a, err := far.m.Answer(ctx, l.host.id, q)
	if far.dead() {
		return Answer{}, errDead
	}
	return a, err
}

func (n *testNet) isCut() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut
}

// isolate cuts a host off at once, as seen by everybody.
func (n *testNet) isolate(id fleet.HostID) {
	n.mu.Lock()
	n.cut = true
	n.mu.Unlock()
	l := n.hosts[id].now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
}

// setCut breaks or heals everything between the hosts.
func (n *testNet) setCut(cut bool) {
	n.mu.Lock()
	n.cut = cut
	n.mu.Unlock()
	for _, h := range n.hosts {
		l := h.now()
		l.mu.Lock()
		if cut {
			for _, c := range l.conns {
				c.Close()
			}
		}
		l.mu.Unlock()
	}
}

func (n *testNet) complain(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bad = append(n.bad, fmt.Sprintf(format, args...))
}

func (n *testNet) setFrozen(_ fleet.WorkloadID, data []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen = data
}

// oneRuns is called with the lock of one machine held, when its copy begins to
// run: no other may.
func (n *testNet) oneRuns(id fleet.WorkloadID, here *machine) {
	for _, h := range n.hosts {
		if h.machine != here && h.machine.state(id) == driver.Running {
			n.complain("two running copies: on %s and on %s", here.host.id, h.id)
		}
	}
}

func (n *testNet) activated(id fleet.WorkloadID, here *machine, data []byte) {
	n.oneRuns(id, here)
	n.mu.Lock()
	same := n.blind || bytes.Equal(n.frozen, data)
	n.mu.Unlock()
	if !same {
		n.complain("the activated copy differs from what was frozen")
	}
}

// running counts the running copies.
func (n *testNet) running() (count int, where fleet.HostID) {
	for id, h := range n.hosts {
		if h.machine.state(workload) == driver.Running {
			count, where = count+1, id
		}
	}
	return count, where
}

// write lets the workload change its state until the returned stop is called.
func (n *testNet) write(hot int64, perTick int) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(3, 4))
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for range perTick {
				for _, h := range n.hosts {
					h.machine.mutate(workload, r, hot)
				}
			}
		}
	})
	var once sync.Once
	return func() { once.Do(func() { close(done); wg.Wait() }) }
}

// settles waits until the lease is over and one copy runs.
func (n *testNet) settles(id fleet.LeaseID, within time.Duration) fleet.HostID {
	n.t.Helper()
	var where fleet.HostID
	until(n.t, within, func() string {
		l := n.books.lease(id)
		var count int
		count, where = n.running()
		if count == 1 && !l.Active() {
			return ""
		}
		return fmt.Sprintf("%d running copies, h1 %q, h2 %q, lease %s (discarded %v)", count,
			n.hosts["h1"].machine.state(workload), n.hosts["h2"].machine.state(workload), l.State, l.Discarded)
	})
	l := n.books.lease(id)
	if want := map[fleet.LeaseState]fleet.HostID{fleet.Released: "h2", fleet.Aborted: "h1"}[l.State]; want != where {
		n.t.Errorf("the lease is %s, but the workload runs on %s", l.State, where)
	}
	for hid, h := range n.hosts {
		if s := h.machine.state(workload); hid != where && s != "" {
			n.t.Errorf("host %s still holds a %s copy", hid, s)
		}
	}
	return where
}

// until polls with a deadline; check returns "" or what is still missing.
func until(t testing.TB, within time.Duration, check func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		missing := check()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", within, missing)
		}
		pause(context.Background(), 2*time.Millisecond)
	}
}
