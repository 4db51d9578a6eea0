package workload

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// scripted is a server that answers lines as told and counts them.
type scripted struct {
	addr string

	mu    sync.Mutex
	lines []string
}

// serveLines answers with what answer returns; false closes the connection.
func serveLines(t testing.TB, answer func(line string) (string, bool)) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{addr: l.Addr().String()}
	var wait sync.WaitGroup
	t.Cleanup(func() { l.Close(); wait.Wait() })
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer conn.Close()
				in := bufio.NewScanner(conn)
				for in.Scan() {
					s.mu.Lock()
					s.lines = append(s.lines, in.Text())
					s.mu.Unlock()
					text, ok := answer(in.Text())
					if !ok {
						return
					}
					if _, err := conn.Write([]byte(text + "\n")); err != nil {
						return
					}
				}
			})
		}
	})
	return s
}

func (s *scripted) seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lines)
}

func newTestClient(t testing.TB, addrs ...string) *Client {
	t.Helper()
	c := NewClient(addrs)
	t.Cleanup(func() { c.Close() })
	return c
}

const nobody = "127.0.0.1:1" // a port that refuses

func TestClientFailsOver(t *testing.T) {
	broken := serveLines(t, func(string) (string, bool) { return "", false })
	good := serveLines(t, func(string) (string, bool) { return "OK 7", true })
	c := newTestClient(t, nobody, broken.addr, good.addr)
	n, err := c.Set(deadline(t), "k", "v")
	if err != nil || n != 7 {
		t.Fatalf("%d %v", n, err)
	}
	if broken.seen() != 1 || good.seen() != 1 || good.lines[0] != "SET k v" {
		t.Fatalf("broken saw %v, good saw %v", broken.lines, good.lines)
	}
}

// TestIncrIsSentOnce: what is not idempotent must not be repeated in silence.
func TestIncrIsSentOnce(t *testing.T) {
	broken := serveLines(t, func(string) (string, bool) { return "", false })
	c := newTestClient(t, broken.addr, broken.addr)
	if _, err := c.Incr(deadline(t)); !errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("%v, want ErrUnknownOutcome", err)
	}
	if broken.seen() != 1 {
		t.Fatalf("sent %v", broken.lines)
	}
	c = newTestClient(t, nobody)
	if _, err := c.Incr(deadline(t)); !errors.Is(err, ErrNoServer) || errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("%v, want ErrNoServer", err)
	}
}

func TestClientTypesItsErrors(t *testing.T) {
	c := newTestClient(t, serveLines(t, func(line string) (string, bool) {
		return map[string]string{"SET k v": "ERR table full", "VERIFY": "BAD heap page 3", "GET k": "what"}[line], true
	}).addr)
	var refused *Refusal
	if _, err := c.Set(deadline(t), "k", "v"); !errors.As(err, &refused) || refused.Answer != "ERR table full" {
		t.Errorf("%v", err)
	}
	if _, err := c.Verify(deadline(t)); !errors.As(err, &refused) || refused.Answer != "BAD heap page 3" {
		t.Errorf("%v", err)
	}
	if _, _, err := c.Get(deadline(t), "k"); err == nil {
		t.Error("a malformed answer was taken")
	}
	if _, err := c.Do(deadline(t), "two\nlines"); err == nil {
		t.Error("two lines were sent as one")
	}
}

func TestClientKeepsItsDeadline(t *testing.T) {
	silent := make(chan struct{})
	s := serveLines(t, func(string) (string, bool) { <-silent; return "", false })
	defer close(silent)
	c := newTestClient(t, s.addr)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := c.Set(ctx, "k", "v")
	if !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Fatalf("took %s", took)
	}
}

// memoryServer is a key-value server whose faults a test chooses.
type memoryServer struct {
	mu      sync.Mutex
	counter int
	values  map[string]string
	forget  string // drop writes of this key after acknowledging them
}

func (m *memoryServer) answer(line string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	verb, rest, _ := strings.Cut(line, " ")
	key, value, _ := strings.Cut(rest, " ")
	if verb == "SET" {
		m.counter++
		if key != m.forget || m.values[key] == "" {
			m.values[key] = value
		}
		return "OK " + string(rune('0'+m.counter%10)), true // a counter that goes back
	}
	if v, ok := m.values[key]; ok {
		return "VALUE " + v, true
	}
	return "NONE", true
}

// TestLoadSeesFaults: a checker that cannot fail proves nothing.
func TestLoadSeesFaults(t *testing.T) {
	m := &memoryServer{values: map[string]string{}, forget: "c0.3"}
	l, err := NewLoad(LoadConfig{Addrs: []string{serveLines(t, m.answer).addr}, Keys: 10, Interval: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	runUntil(t, l, func(s Summary) bool { return s.Acked >= 60 })
	sum, err := l.ReadBack(deadline(t))
	if err == nil || sum.LostWrites != 1 || !strings.Contains(err.Error(), "c0.3") {
		t.Errorf("lost writes %d, %v: want one, of c0.3", sum.LostWrites, err)
	}
	if sum.Regressions < 5 {
		t.Errorf("%d regressions of a counter that goes back every tenth write", sum.Regressions)
	}
}

func TestLoadOnAWorkload(t *testing.T) {
	a, _, _ := begin(t, nil)
	backend := a.must(t, "hello", "").Backend
	l, err := NewLoad(LoadConfig{Addrs: []string{nobody, backend}, Clients: 3, Keys: 20, Interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	runUntil(t, l, func(s Summary) bool { return s.Acked >= 200 })
	sum, err := l.ReadBack(deadline(t))
	if err != nil || sum.Errors != 0 || sum.LostWrites != 0 || sum.Regressions != 0 || sum.MaxGap <= 0 || sum.Requests <= sum.Acked {
		t.Fatalf("%+v %v", sum, err)
	}
}

func TestLoadCountsErrorsAfterTheDeadline(t *testing.T) {
	l, err := NewLoad(LoadConfig{Addrs: []string{nobody}, Deadline: 30 * time.Millisecond, Interval: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	runUntil(t, l, func(s Summary) bool { return s.Errors >= 2 })
	if sum := l.Summary(); sum.Acked != 0 || !errors.Is(sum.FirstError, ErrNoServer) {
		t.Fatalf("%+v", sum)
	}
}

// runUntil runs a load until its summary is as asked.
func runUntil(t testing.TB, l *Load, enough func(Summary) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(deadline(t))
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && !enough(l.Summary()) {
		<-tick.C
	}
	timedOut := ctx.Err() != nil
	cancel()
	if err := <-done; err != nil || timedOut {
		t.Fatalf("%v; timed out %v with %+v", err, timedOut, l.Summary())
	}
}
