package consensus

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

// TestMain looks for leaks. A raft that shuts down in the instant in which its
// leader steps down never answers the futures it had just taken, and gives no way
// to withdraw them (seen once in some twenty runs): whoever called Propose has
// long had its answer, the goroutine that waits for raft ends with the process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/hashicorp/raft.(*deferError).Error"),
		goleak.IgnoreAnyFunction("github.com/placed-dev/placed/consensus.(*callGate).idle"))
}

// register is a Replica: it keeps the list of numbers it was given.
type register struct {
	mu      sync.Mutex
	state   registerState
	changed chan struct{}
	slow    chan struct{} // when not nil, each Apply takes one from it
}

type registerState struct {
	Applied uint64
	Values  []uint64
}

func newRegister() *register { return &register{changed: make(chan struct{})} }

func command(value uint64) []byte { return binary.BigEndian.AppendUint64([]byte("cmd"), value) }

func (s *register) Apply(l *raft.Log) any {
	s.mu.Lock()
	slow := s.slow
	s.mu.Unlock()
	if slow != nil {
		<-slow
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	values := numbers(l.Data)
	s.state.Values = append(s.state.Values, values...)
	s.state.Applied = l.Index
	close(s.changed)
	s.changed = make(chan struct{})
	if len(values) == 1 {
		return values[0]
	}
	answers := make([]any, len(values))
	for i, v := range values {
		answers[i] = v
	}
	return answers
}

func (s *register) Applied() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Applied
}

func (s *register) WaitApplied(ctx context.Context, index uint64) error {
	for {
		s.mu.Lock()
		applied, changed := s.state.Applied, s.changed
		s.mu.Unlock()
		if applied >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *register) values() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]uint64(nil), s.state.Values...)
}

func (s *register) has(value uint64) bool {
	for _, v := range s.values() {
		if v == value {
			return true
		}
	}
	return false
}

type registerSnapshot []byte

func (s *register) Snapshot() (raft.FSMSnapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := json.Marshal(s.state)
	return registerSnapshot(b), err
}

func (b registerSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(b); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (registerSnapshot) Release() {}

func (s *register) Restore(r io.ReadCloser) error {
	var state registerState
	if err := json.NewDecoder(r).Decode(&state); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
	return nil
}

// tcpStream is a Stream in plain TCP.
type tcpStream struct{ net.Listener }

func (tcpStream) Dial(address string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", address, timeout)
}

// member is one server of a cluster in this process; it may be stopped and
// started again on the same directory.
type member struct {
	*Node
	t       testing.TB
	id      string
	dir     string
	address string
	state   *register
	fatal   chan error
	cancel  context.CancelFunc
	done    chan error
}

type cluster struct {
	t       testing.TB
	servers []Server
	members []*member
	change  func(*Config)        // applied to every configuration
	wrap    func(*member, *Node) // applied to every node before it runs
}

var fast = Timeouts{Shutdown: 3 * time.Second}.Scale(0.15)

func newCluster(t testing.TB, n int) *cluster {
	t.Helper()
	return newClusterOf(t, n, nil, nil)
}

func newClusterOf(t testing.TB, n int, change func(*Config), wrap func(*member, *Node)) *cluster {
	t.Helper()
	c := &cluster{t: t, change: change, wrap: wrap}
	var listeners []net.Listener
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		c.servers = append(c.servers, Server{ID: fmt.Sprintf("h%d", i+1), Address: l.Addr().String()})
	}
	for i, s := range c.servers {
		m := &member{t: t, id: s.ID, dir: t.TempDir(), address: s.Address}
		c.members = append(c.members, m)
		c.start(m, listeners[i])
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			m.stop()
		}
	})
	return c
}

func (c *cluster) config(m *member, l net.Listener) Config {
	cfg := Config{
		ID: m.id, Cluster: "test", Dir: m.dir, Advertise: m.address, Stream: tcpStream{l},
		Replica: m.state, Bundle: bundle, Bootstrap: c.servers, Timeouts: fast,
		OnFatal: func(err error) { m.fatal <- err },
		Verify: func(b []byte) error {
			if len(b) < 3 || string(b[:3]) != "cmd" {
				return errors.New("not a command")
			}
			return nil
		},
	}
	if c.change != nil {
		c.change(&cfg)
	}
	return cfg
}

// start opens and runs a member; l is nil when it was stopped before.
func (c *cluster) start(m *member, l net.Listener) {
	c.t.Helper()
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", m.address); err != nil {
			c.t.Fatal(err)
		}
	}
	m.state, m.fatal = newRegister(), make(chan error, 1)
	n, err := New(c.config(m, l))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.wrap != nil {
		c.wrap(m, n)
	}
	m.run(n)
}

func (m *member) run(n *Node) {
	ctx, cancel := context.WithCancel(context.Background())
	m.Node, m.cancel, m.done = n, cancel, make(chan error, 1)
	done := m.done
	go func() { done <- n.Run(ctx) }()
}

func (m *member) stop() {
	if m.cancel == nil {
		return
	}
	m.cancel()
	m.cancel = nil
	if err := <-m.done; err != nil {
		m.t.Errorf("%s: %v", m.id, err)
	}
}

// kill ends a member without leave: nothing is handed over, nobody is told.
func (m *member) kill() {
	m.t.Helper()
	m.raft.Load().Shutdown()
	m.cancel()
	m.cancel = nil
	<-m.done
}

func (c *cluster) leader() *member {
	c.t.Helper()
	var leader *member
	eventually(c.t, "a leader", func() error {
		for _, m := range c.members {
			if m.cancel == nil {
				continue
			}
			if _, err := m.Linearizable(c.t.Context()); err == nil {
				leader = m
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return leader
}

// transfer repeats: raft gives a transfer one election time-out, which a busy
// machine may miss.
func (c *cluster) transfer(from *member, to string) {
	c.t.Helper()
	eventually(c.t, "transfer of leadership", func() error {
		err := from.TransferLeadership(c.t.Context(), to)
		if !from.IsLeader() {
			return nil
		}
		return err
	})
}

func (c *cluster) follower() *member {
	leader := c.leader()
	for _, m := range c.members {
		if m != leader && m.cancel != nil {
			return m
		}
	}
	c.t.Fatal("no follower")
	return nil
}

func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond) // a poll with a deadline
	}
}
