package workload

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is also a workload process.
const workloadWord = "run-as-workload"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workloadWord {
		c, err := ParseArgs(os.Args[2:])
		if err == nil {
			err = Run(context.Background(), c)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// agent speaks to a control socket.
type agent struct {
	conn net.Conn
	in   *bufio.Reader
}

func connect(t testing.TB, dir string) *agent {
	t.Helper()
	t.Chdir(dir) // the path of a socket may have 107 bytes only
	var dialer net.Dialer
	for ctx, tick := deadline(t), time.NewTicker(time.Millisecond); ; {
		conn, err := dialer.DialContext(ctx, "unix", SocketFile)
		if err == nil {
			tick.Stop()
			t.Cleanup(func() { conn.Close() })
			return &agent{conn: conn, in: bufio.NewReader(conn)}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

func (a *agent) ask(op, token string) (ControlAnswer, error) {
	var answer ControlAnswer
	if err := a.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return answer, err
	}
	if err := json.NewEncoder(a.conn).Encode(ControlRequest{Op: op, Token: token}); err != nil {
		return answer, err
	}
	line, err := a.in.ReadBytes('\n')
	if err != nil {
		return answer, err
	}
	return answer, json.Unmarshal(line, &answer)
}

func (a *agent) must(t testing.TB, op, token string) ControlAnswer {
	t.Helper()
	answer, err := a.ask(op, token)
	if err != nil || answer.Error != "" {
		t.Fatalf("%s: %v %s", op, err, answer.Error)
	}
	return answer
}

// begin runs a workload inside the test until the test ends.
func begin(t testing.TB, change func(*Config)) (*agent, *Client, string) {
	t.Helper()
	c := Config{ID: "w", Dir: t.TempDir(), Mode: ModeNew, Size: MinSize, Listen: "127.0.0.1:0", Seed: 1}
	if change != nil {
		change(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	a := connect(t, c.Dir)
	client := NewClient([]string{a.must(t, "hello", "").Backend})
	t.Cleanup(func() { client.Close() })
	return a, client, c.Dir
}

func TestProtocol(t *testing.T) {
	_, c, _ := begin(t, nil)
	for _, exchange := range []struct{ request, answer string }{
		{"PING", "PONG w " + strconv.Itoa(os.Getpid()) + " 0"},
		{"GET k", "NONE"},
		{"SET k some words", "OK 1"},
		{"GET k", "VALUE some words"},
		{"INCR", "OK 2"},
		{"SET k ", "OK 3"},
		{"GET k", "VALUE "},
		{"ECHO a  b", "a  b"},
		{"SET", "ERR key must have 1 to 64 bytes"},
		{"SET k " + strings.Repeat("v", 129), "ERR value must have at most 128 bytes"},
		{"GET " + strings.Repeat("k", 65), "ERR key must have 1 to 64 bytes"},
		{"DELETE k", `ERR unknown request "DELETE": want PING, SET, GET, INCR, INFO, VERIFY or ECHO`},
		{"VERIFY", "OK pages=222 keys=1 counter=3"},
		{"PING", "PONG w " + strconv.Itoa(os.Getpid()) + " 3"},
	} {
		answer, err := c.Do(deadline(t), exchange.request)
		if err != nil || answer != exchange.answer {
			t.Errorf("%.40s: %q %v, want %q", exchange.request, answer, err, exchange.answer)
		}
	}
	info, err := c.Info(deadline(t))
	if err != nil || info.ID != "w" || info.Counter != 3 || info.Keys != 1 || info.Size != MinSize {
		t.Errorf("INFO: %+v %v", info, err)
	}
}

func TestLongLineIsRefused(t *testing.T) {
	a, _, _ := begin(t, nil)
	conn, err := net.Dial("tcp", a.must(t, "hello", "").Backend)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(strings.Repeat("x", MaxLine))); err != nil {
		t.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || answer != "ERR line too long\n" {
		t.Fatalf("%q %v", answer, err)
	}
}

// TestFrozenOutlivesItsAgent: no answer and no thaw when the control connection
// is lost or replaced; the request that waited is answered after the thaw.
func TestFrozenOutlivesItsAgent(t *testing.T) {
	first, c, dir := begin(t, nil)
	first.must(t, "set-token", "c/1/7")
	first.must(t, "freeze", "")
	first.must(t, "freeze", "")
	answered := make(chan error, 1)
	ctx := deadline(t)
	go func() { _, err := c.Set(ctx, "k", "v"); answered <- err }()
	first.conn.Close()

	second := connect(t, dir)
	if a := second.must(t, "hello", ""); a.State != PhaseFrozen || a.Token != "c/1/7" || a.Counter != 0 {
		t.Fatalf("%+v", a)
	}
	third := connect(t, dir)
	if a := third.must(t, "hello", ""); a.State != PhaseFrozen {
		t.Fatalf("%+v", a)
	}
	if _, err := second.ask("thaw", ""); err == nil {
		t.Fatal("an agent that was replaced is still obeyed")
	}
	select {
	case err := <-answered:
		t.Fatalf("answered while frozen: %v", err)
	default:
	}
	if a, err := third.ask("activate", "c/1/8"); err != nil || a.Error == "" {
		t.Fatalf("a frozen workload was activated: %v", err)
	}
	third.must(t, "thaw", "")
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if a := third.must(t, "hello", ""); a.State != PhaseRunning || a.Counter != 1 {
		t.Fatalf("%+v", a)
	}
}

func TestIncomingRefuses(t *testing.T) {
	a, _, _ := begin(t, func(c *Config) { c.Mode = ModeIncoming })
	for _, op := range []string{"freeze", "thaw", "activate", "dance"} {
		answer, err := a.ask(op, "t")
		if err != nil || answer.Error == "" || answer.State != PhaseIncoming {
			t.Errorf("%s: %+v %v, want a refusal", op, answer, err)
		}
	}
}

func TestOneProcessPerDirectory(t *testing.T) {
	_, _, dir := begin(t, nil)
	err := Run(deadline(t), Config{ID: "w", Dir: dir, Mode: ModeNew, Size: MinSize, Listen: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), "another process of this workload lives") {
		t.Fatalf("%v", err)
	}
}

func TestExitEndsTheProcess(t *testing.T) {
	dir := t.TempDir()
	done := make(chan error, 1)
	go func() {
		done <- Run(context.Background(), Config{ID: "w", Dir: dir, Mode: ModeNew, Size: MinSize, Listen: "127.0.0.1:0"})
	}()
	connect(t, dir).must(t, "exit", "")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestGate(t *testing.T) {
	g := newGate()
	g.open()
	if err := g.enter(deadline(t)); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.shut(gone); !errors.Is(err, context.Canceled) || g.shutting.Load() {
		t.Fatalf("shut over a writer: %v; shut %v, want it open again", err, g.shutting.Load())
	}
	shut := make(chan error, 1)
	ctx := deadline(t)
	go func() { shut <- g.shut(ctx) }()
	for !g.shutting.Load() {
		if ctx.Err() != nil {
			t.Fatal("it never began to shut")
		}
	}
	select {
	case <-shut:
		t.Fatal("shut with a writer inside")
	default:
	}
	g.leave()
	if err := <-shut; err != nil {
		t.Fatal(err)
	}
	if err := g.enter(gone); !errors.Is(err, context.Canceled) {
		t.Fatalf("entered a shut gate: %v", err)
	}
}

// cpuOf sums what all threads of a process have run, in nanoseconds.
func cpuOf(t testing.TB, pid int) time.Duration {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d: %v", pid, err)
	}
	var sum time.Duration
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}

// TestBurnsWhatTheTraceSays in a process of its own. On a crowded machine it may
// get less than it asks for; it must never take noticeably more.
func TestBurnsWhatTheTraceSays(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector is a load of its own")
	}
	for _, c := range []struct {
		percent   string
		low, high float64 // millicores
	}{{"0", 0, 5}, {"20", 120, 220}} {
		dir := t.TempDir()
		trace := filepath.Join(dir, "trace.csv")
		if err := os.WriteFile(trace, []byte("t,cpu\n0,"+c.percent+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", workloadWord, "-id=w", "-dir="+dir, "-size="+strconv.Itoa(MinSize), "-trace-file="+trace, "-scale=10")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		a := connect(t, dir)
		a.must(t, "hello", "")
		settle := time.NewTimer(200 * time.Millisecond)
		<-settle.C
		before, begin := cpuOf(t, cmd.Process.Pid), time.Now()
		settle.Reset(1500 * time.Millisecond) // the span that is measured
		<-settle.C
		got := float64(cpuOf(t, cmd.Process.Pid)-before) / float64(time.Since(begin)) * 1000
		a.must(t, "exit", "")
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s %% at 10 millicores per percent: %.1f millicores", c.percent, got)
		if got < c.low || got > c.high {
			t.Errorf("%s %%: %.1f millicores, want %v to %v", c.percent, got, c.low, c.high)
		}
	}
}
