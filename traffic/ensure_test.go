package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// runAgentProcess ensures a proxy, routes the workload to TRAFFIC_TEST_BACKEND,
// holds it if asked to, says who serves, and waits to be killed.
func runAgentProcess() {
	ctx := context.Background()
	cfg := ensureConfig(os.Getenv("TRAFFIC_TEST_DIR"), os.Getenv("TRAFFIC_TEST_PORT"))
	c, err := Ensure(ctx, cfg)
	if err == nil {
		port, _ := strconv.Atoi(os.Getenv("TRAFFIC_TEST_CLIENTS"))
		_, err = c.SetRoutes(ctx, []Route{{Workload: "w", Port: port, Local: true, Backend: os.Getenv("TRAFFIC_TEST_BACKEND"), Epoch: 1}})
	}
	if err == nil {
		err = c.Hold(ctx, "w")
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(c.Identity().PID)
	select {}
}

func ensureConfig(dir, port string) EnsureConfig {
	n, _ := strconv.Atoi(port)
	return EnsureConfig{
		Dir: dir, Command: []string{os.Args[0]}, Address: "127.0.0.1", PeerPort: n,
		Env: []string{"TRAFFIC_TEST_ROLE=proxy", "TRAFFIC_TEST_DIR=" + dir, "TRAFFIC_TEST_PORT=" + port},
	}
}

func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "px")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// The proxy that an agent started outlives its kill -9, with its hold; the next
// agent finds the same process and takes it over.
func TestProxyOutlivesItsAgent(t *testing.T) {
	dir, port := shortDir(t), strconv.Itoa(freePort(t, "127.0.0.1"))
	b := newBackend(t, "a", new(atomic.Int64))
	clients := freePort(t, "127.0.0.1")
	agent := exec.Command(os.Args[0])
	agent.Env = append(os.Environ(), "TRAFFIC_TEST_ROLE=agent", "TRAFFIC_TEST_DIR="+dir, "TRAFFIC_TEST_PORT="+port,
		"TRAFFIC_TEST_CLIENTS="+strconv.Itoa(clients), "TRAFFIC_TEST_BACKEND="+b.addr())
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("agent says %q", line)
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()

	held := dialClient(t, "127.0.0.1", clients)
	if err := held.send("PING"); err != nil {
		t.Fatal(err)
	}
	c, err := Ensure(t.Context(), ensureConfig(dir, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopProcess(t, c) })
	if got := c.Identity().PID; got != pid {
		t.Fatalf("the second agent got process %d, the first had %d", got, pid)
	}
	s, err := c.Status(t.Context())
	if err != nil || len(s.Routes) != 1 || !s.Routes[0].Held {
		t.Fatalf("status %+v, %v: want one held route", s, err)
	}
	if err := c.Resume(t.Context(), "w"); err != nil {
		t.Fatal(err)
	}
	if got, err := held.receive(); err != nil || got != "PONG" {
		t.Fatalf("%q, %v", got, err)
	}
	if sid := sessionOf(t, pid); sid == sessionOf(t, os.Getpid()) {
		t.Error("the proxy is in the session of the test: a signal to it would end the proxy")
	}

	// A configuration that asks for another proxy does not replace it.
	other := ensureConfig(dir, port)
	other.PeerPort++
	if _, err := Ensure(t.Context(), other); !errors.Is(err, ErrWrongProxy) {
		t.Errorf("other peer port: %v", err)
	}
	// A proxy that died is replaced, and whoever held the old one is told.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "death of the proxy", func() error {
		if _, err := startTime(pid); err == nil {
			return errors.New("it lives")
		}
		return nil
	})
	fresh, err := Ensure(t.Context(), ensureConfig(dir, port))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrRestarted) {
		t.Errorf("old control: %v, want ErrRestarted", err)
	}
	stopProcess(t, fresh)
	if _, err := Connect(t.Context(), dir); !errors.Is(err, ErrNoProxy) {
		t.Errorf("after stop: %v, want ErrNoProxy", err)
	}
}

// A proxy that cannot start says why, through its log.
func TestEnsureTellsWhyTheProxyDoesNotStart(t *testing.T) {
	dir, port := shortDir(t), freePort(t, "127.0.0.1")
	taken, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	cfg := ensureConfig(dir, strconv.Itoa(port))
	cfg.Wait = 500 * time.Millisecond
	_, err = Ensure(t.Context(), cfg)
	if !errors.Is(err, ErrNoProxy) || !strings.Contains(err.Error(), "choose another peer port") {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, logFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("log: %v, %v", info, err)
	}
}

func stopProcess(t *testing.T, c *Control) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.Stop(ctx); err != nil && !errors.Is(err, ErrNoProxy) && !errors.Is(err, ErrRestarted) {
		t.Error(err)
	}
	eventually(t, "end of the proxy", func() error {
		if now, err := identify(c.Identity().PID); err == nil && now.same(c.Identity()) {
			return errors.New("it runs")
		}
		return nil
	})
}

func sessionOf(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[3]
}
