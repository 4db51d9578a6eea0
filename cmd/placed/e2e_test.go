//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/devfleet"
	"github.com/placed-dev/placed/workload"
)

// binaryUnderTest is the real program, built by make.
func binaryUnderTest(t *testing.T) string {
	t.Helper()
	path := os.Getenv("PLACED_BIN")
	if path == "" {
		t.Fatal("PLACED_BIN is not set: run `make e2e`")
	}
	return path
}

// lockedBuffer collects what a process prints while a test reads it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// cluster is one `placed dev` process.
type cluster struct {
	t       *testing.T
	binary  string
	dir     string
	cmd     *exec.Cmd
	out     lockedBuffer // standard output: the summary
	talk    lockedBuffer // standard error: the banner
	ended   chan error
	clients []*api.Client
	hosts   []agentProcess
}

type agentProcess struct {
	name string
	pid  int
	api  string // ip:port
}

// startFleet runs `placed dev` and returns when its banner names every agent.
func startFleet(t *testing.T, dir string, args ...string) *cluster {
	t.Helper()
	f := &cluster{t: t, binary: binaryUnderTest(t), dir: dir, ended: make(chan error, 1)}
	args = append([]string{"dev", "--headless", "--json", "--data-dir", dir}, args...)
	f.cmd = exec.Command(f.binary, args...)
	f.cmd.Stdout, f.cmd.Stderr = &f.out, &f.talk
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { f.ended <- f.cmd.Wait() }()
	t.Cleanup(func() {
		if f.cmd.ProcessState == nil {
			f.stop()
		}
		for _, c := range f.clients {
			c.Close()
		}
		if t.Failed() {
			f.dump()
		}
	})
	f.until(90*time.Second, "the banner", func() error {
		select {
		case err := <-f.ended:
			f.ended <- err
			t.Fatalf("placed dev ended during its start (%v):\n%s\n%s", err, f.talk.String(), f.out.String())
		default:
		}
		if !strings.Contains(f.talk.String(), "open http://") {
			return errors.New("no banner yet")
		}
		return nil
	})
	line := regexp.MustCompile(`(?m)^  (host-\d+) +pid (\d+) +http://([^/]+)/ui/`)
	for _, m := range line.FindAllStringSubmatch(f.talk.String(), -1) {
		pid, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		f.hosts = append(f.hosts, agentProcess{name: m[1], pid: pid, api: m[3]})
		c, err := api.New(api.Config{Address: m[3], Getenv: func(string) string { return "" }})
		if err != nil {
			t.Fatal(err)
		}
		f.clients = append(f.clients, c)
	}
	return f
}

// stop sends what Ctrl-C sends, and returns the summary.
func (f *cluster) stop() devfleet.Summary {
	f.t.Helper()
	_ = f.cmd.Process.Signal(os.Interrupt) // it may have ended by itself
	return f.wait()
}

func (f *cluster) wait() (s devfleet.Summary) {
	f.t.Helper()
	select {
	case err := <-f.ended:
		f.ended <- err
		if err != nil {
			f.t.Errorf("placed dev: %v\n%s\n%s", err, f.talk.String(), f.out.String())
		}
	case <-time.After(4 * time.Minute):
		_ = f.cmd.Process.Kill()
		f.t.Fatalf("placed dev does not end:\n%s", f.talk.String())
	}
	if err := json.Unmarshal([]byte(f.out.String()), &s); err != nil {
		f.t.Errorf("the summary is no JSON: %v\n%s", err, f.out.String())
	}
	return s
}

// dump prints the agents' logs of a failed test.
func (f *cluster) dump() {
	logs, _ := filepath.Glob(filepath.Join(f.dir, "host-*", "agent.log"))
	for _, path := range logs {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		if len(lines) > 60 {
			lines = lines[len(lines)-60:]
		}
		f.t.Logf("%s:\n%s", path, strings.Join(lines, "\n"))
	}
}

// until polls a condition with a deadline.
func (f *cluster) until(limit time.Duration, what string, ok func() error) {
	f.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%s did not come within %s: %v", what, limit, err)
		}
		time.Sleep(50 * time.Millisecond) // the pace of asking, not a wait for an effect
	}
}

// any asks the agents in turn until one answers.
func ask[T any](f *cluster, question func(*api.Client) (T, api.Meta, error)) (T, error) {
	var last error
	var none T
	for _, c := range f.clients {
		answer, _, err := question(c)
		if err == nil {
			return answer, nil
		}
		last = err
	}
	return none, last
}

// told asks until somebody answers: on a busy machine the cluster is without a
// leader now and then.
func told[T any](f *cluster, what string, question func(*api.Client) (T, api.Meta, error)) (answer T) {
	f.t.Helper()
	f.until(60*time.Second, what, func() (err error) {
		answer, err = ask(f, question)
		return err
	})
	return answer
}

func (f *cluster) workload(id string) api.Workload {
	f.t.Helper()
	return told(f, "workload "+id, func(c *api.Client) (api.Workload, api.Meta, error) {
		return c.Workload(context.Background(), id, api.QueryOptions{})
	})
}

// client reaches a workload through its port on every host.
func (f *cluster) client(id string) *workload.Client {
	f.t.Helper()
	port := f.workload(id).Port
	var addresses []string
	for _, h := range f.hosts {
		address := netip.MustParseAddrPort(h.api)
		addresses = append(addresses, netip.AddrPortFrom(address.Addr(), uint16(port)).String())
	}
	c := workload.NewClient(addresses)
	f.t.Cleanup(func() { c.Close() })
	return c
}

// settled returns the migration once it has ended, by its workload.
func (f *cluster) settled(id string, after int) api.Migration {
	f.t.Helper()
	var found api.Migration
	f.until(60*time.Second, "the end of the migration of "+id, func() error {
		all, err := ask(f, func(c *api.Client) ([]api.Migration, api.Meta, error) {
			return c.Migrations(context.Background(), 0, api.QueryOptions{})
		})
		if err != nil {
			return err
		}
		n := 0
		for _, m := range all {
			if m.Workload != id {
				continue
			}
			n++
			if n == 1 {
				found = m
			}
		}
		switch {
		case n <= after:
			return fmt.Errorf("%d migrations of it are known", n)
		case found.Active():
			return fmt.Errorf("it is %s", found.Phase)
		}
		return nil
	})
	return found
}

// move asks for a move to whichever other host the books let take the workload;
// what the forecast says against it is a warning only.
func (f *cluster) move(ctx context.Context, id string) (accepted api.Accepted, to string, err error) {
	f.t.Helper()
	owner := f.workload(id).Owner
	hosts, err := ask(f, func(c *api.Client) ([]api.Host, api.Meta, error) { return c.Hosts(ctx, api.QueryOptions{}) })
	if err != nil {
		return accepted, "", err
	}
	err = errors.New("there is no other host")
	for _, h := range hosts {
		if h.ID == owner {
			continue
		}
		for _, c := range f.clients {
			limited, cancel := context.WithTimeout(ctx, 5*time.Second)
			accepted, err = c.Move(limited, api.MoveRequest{Workload: id, DestinationHost: h.ID, Reason: "test"})
			cancel()
			if err == nil {
				return accepted, h.ID, nil
			}
		}
	}
	return accepted, "", err
}

// processes of a workload: exactly one may exist once a migration is over.
func (f *cluster) processes(id string) []int {
	f.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		f.t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // it has ended
		}
		words := strings.Split(string(line), "\x00")
		if len(words) > 2 && words[1] == "workload" && strings.Contains(string(line), f.dir) {
			for i, word := range words[:len(words)-1] {
				if word == "-id" && words[i+1] == id || word == "-id="+id {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// kernelTracks says whether this kernel has PAGEMAP_SCAN (6.7 and later).
func kernelTracks(t *testing.T) bool {
	t.Helper()
	var name syscall.Utsname
	if err := syscall.Uname(&name); err != nil {
		t.Fatal(err)
	}
	var release []byte
	for _, c := range name.Release {
		if c == 0 {
			break
		}
		release = append(release, byte(c))
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(release), "%d.%d", &major, &minor); err != nil {
		t.Fatalf("kernel %q: %v", release, err)
	}
	return major > 6 || major == 6 && minor >= 7
}

// TestFirstPreemptiveMigration is the main job, end to end: recorded load, a
// forecast, a move before the breach, and clients that notice nothing.
func TestFirstPreemptiveMigration(t *testing.T) {
	var s devfleet.Summary
	var first *devfleet.Move
	// Of ten seeds nine have one on a machine of their own (make demo-proof). Elsewhere
	// what a workload uses when it starts may move it before anything is foreseen.
	for seed := 1; seed <= 2 && first == nil; seed++ {
		started := time.Now()
		s = startFleet(t, t.TempDir(), "--until-migrations", "1", "--timeout", "120s", "--seed", strconv.Itoa(seed)).wait()
		t.Logf("FIGURE seed %d: first pre-emptive migration after %.0f s: %+v", seed, time.Since(started).Seconds(), s.Client)
		for i := range s.Migrations {
			if m := &s.Migrations[i]; m.Type == "preemptive" && m.CommittedIndex > 0 {
				first = m
				break
			}
		}
	}
	if first == nil {
		t.Fatalf("no pre-emptive migration was committed: %s", s.Failed)
	}
	t.Logf("FIGURE %s %s -> %s: %d rounds, %d bytes, downtime %.1f ms, tracker %s, contention came %v", first.Workload, first.From, first.To, first.Rounds, first.Bytes, first.DowntimeMS, first.Tracker, s.ContentionCame)
	switch {
	case s.Client.Requests < 1000:
		t.Errorf("only %d requests were made: the clients prove nothing", s.Client.Requests)
	case s.Client.Errors != 0 || s.Client.LostWrites != 0:
		t.Errorf("clients saw %d errors and %d lost writes", s.Client.Errors, s.Client.LostWrites)
	}
	if first.Reason == "" || first.Rounds < 1 || first.Bytes < 1 || first.DowntimeMS <= 0 || first.LeadTimeS == nil || first.PredictedBreach.IsZero() {
		t.Errorf("the summary of the move is incomplete: %+v", *first)
	}
	if kernelTracks(t) && s.Tracker != "pagemap-scan" {
		t.Errorf("this kernel has PAGEMAP_SCAN, the tracker was %q", s.Tracker)
	}
	if s.Raft.Leader == "" || s.Raft.Index == 0 || s.TimeScale != 300 {
		t.Errorf("the summary is incomplete: %+v", s.Raft)
	}
}

// TestMoveKillRestart: a thousand writes survive a move into another process, a
// killed leader, Ctrl-C and a second run.
func TestMoveKillRestart(t *testing.T) {
	dir := t.TempDir()
	f := startFleet(t, dir, "--automation", "observe", "--seed", "3")
	const id, keys = "web-02", 1000
	client := f.client(id)
	ctx := deadline(t, 4*time.Minute)
	for i := range keys {
		if _, err := client.Set(ctx, fmt.Sprintf("key-%d", i), fmt.Sprintf("value-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	readAll := func(when string, client *workload.Client) {
		t.Helper()
		for i := range keys {
			got, ok, err := client.Get(ctx, fmt.Sprintf("key-%d", i))
			if err != nil || !ok || got != fmt.Sprintf("value-%d", i) {
				t.Fatalf("%s: key-%d = %q, %v, %v", when, i, got, ok, err)
			}
		}
		if _, err := client.Verify(ctx); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	_, before, counter, err := client.Ping(ctx)
	if err != nil {
		t.Fatal(err)
	}
	owner := f.workload(id).Owner
	// Any agent takes the request; the leader decides where.
	accepted, _, err := f.move(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(accepted.Message)
	m := f.settled(id, 0)
	if m.Phase != "done" || m.CommittedIndex == 0 {
		t.Fatalf("the move ended %s: %s", m.Phase, m.Error)
	}
	t.Logf("FIGURE requested move: %d rounds, %d bytes of %d, %.0f ms, downtime %.1f ms, %s", m.RoundCount, m.Bytes, m.TotalBytes, m.DurationMS, m.DowntimeMS, m.Tracker)
	if now := f.workload(id).Owner; now == owner || now != m.To {
		t.Errorf("owner is %s, was %s, moved to %s", now, owner, m.To)
	}
	_, after, counterAfter, err := client.Ping(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if after == before {
		t.Error("the workload answers from the process it ran in before the move")
	}
	if counterAfter < counter {
		t.Errorf("the counter went back from %d to %d", counter, counterAfter)
	}
	if err := syscall.Kill(before, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the source's process %d still exists (%v)", before, err)
	}
	readAll("after the move", client)

	var status api.Status
	f.until(60*time.Second, "a leader", func() (err error) {
		status, err = ask(f, func(c *api.Client) (api.Status, api.Meta, error) { return c.Status(ctx, api.QueryOptions{}) })
		if err == nil && status.Leader == nil {
			err = errors.New("no host leads")
		}
		return err
	})
	var killed agentProcess
	for _, h := range f.hosts {
		if h.name == status.Leader.Name {
			killed = h
		}
	}
	if err := syscall.Kill(killed.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	readAll("while the leader is dead", client)
	f.until(60*time.Second, "a new leader", func() error {
		s, err := ask(f, func(c *api.Client) (api.Status, api.Meta, error) { return c.Status(ctx, api.QueryOptions{}) })
		if err != nil {
			return err
		}
		if s.Leader == nil || s.Leader.Name == killed.name {
			return fmt.Errorf("leader is %v", s.Leader)
		}
		return nil
	})
	t.Logf("FIGURE new leader %.1f s after kill -9 of the old one", time.Since(gone).Seconds())
	command := regexp.MustCompile(`(?m)^  (\S+ agent --config \S+)$`)
	f.until(60*time.Second, "the command to start the agent again", func() error {
		if !command.MatchString(f.talk.String()) {
			return errors.New("it is not printed")
		}
		return nil
	})
	words := strings.Fields(command.FindStringSubmatch(f.talk.String())[1])
	if want := []string{f.binary, "agent", "--config", filepath.Join(dir, killed.name, "config.hcl")}; strings.Join(words, " ") != strings.Join(want, " ") {
		t.Errorf("the command is %q, want %q", words, want)
	}
	again := f.startAgain(killed.name)
	t.Cleanup(func() { _ = again.Process.Kill(); _ = again.Wait() })
	f.until(60*time.Second, "a healthy fleet", func() error {
		s, err := ask(f, func(c *api.Client) (api.Status, api.Meta, error) { return c.Status(ctx, api.QueryOptions{}) })
		if err != nil || s.Healthy {
			return err
		}
		return fmt.Errorf("%+v", s.Problems)
	})
	for i := 1; i <= 12; i++ {
		name := fmt.Sprintf("web-%02d", i)
		if pids := f.processes(name); len(pids) != 1 {
			t.Errorf("%s has the processes %v, want exactly one", name, pids)
		}
	}
	if s := f.stop(); s.Client.Errors != 0 || s.Client.LostWrites != 0 {
		t.Errorf("clients saw %d errors and %d lost writes", s.Client.Errors, s.Client.LostWrites)
	}
	for i := 1; i <= 12; i++ {
		if pids := f.processes(fmt.Sprintf("web-%02d", i)); len(pids) != 0 {
			t.Errorf("processes %v of web-%02d outlive the fleet", pids, i)
		}
	}

	f = startFleet(t, dir, "--automation", "observe")
	client = f.client(id)
	readAll("in the second run", client)
	if _, _, resumed, err := client.Ping(ctx); err != nil || resumed < counterAfter {
		t.Errorf("the counter went back from %d to %d (%v)", counterAfter, resumed, err)
	}
	if now := f.workload(id).Owner; now != m.To {
		t.Errorf("the second run has %s on %s, it had moved to %s", id, now, m.To)
	}
	f.stop()
}

// TestKillDuringMoves kills an end of a move, or the leader, again and again
// while a workload moves, each time a little later in the move, and finds exactly
// one copy of it, with every write. $PLACED_KILLS sets how often.
func TestKillDuringMoves(t *testing.T) {
	dir := t.TempDir()
	f := startFleet(t, dir, "--automation", "observe", "--seed", "5")
	const id = "web-01"
	kills := 9
	if text := os.Getenv("PLACED_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	ctx := deadline(t, time.Duration(kills)*time.Minute)
	client := f.client(id)
	restarted := map[string]*exec.Cmd{}
	t.Cleanup(func() {
		for _, cmd := range restarted {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	ended := map[string]int{}
	var slowest time.Duration
	for round := range kills {
		key, value := fmt.Sprintf("round-%d", round), fmt.Sprintf("value-%d", round)
		if _, err := client.Set(ctx, key, value); err != nil {
			t.Fatal(err)
		}
		source, leader, names := f.roles(ctx, id)
		before := len(f.migrations(ctx, id))
		var destination string
		f.until(60*time.Second, "a granted lease", func() (err error) {
			_, destination, err = f.move(ctx, id)
			return err
		})
		victim := names[[]string{source, destination, leader}[round%3]]
		time.Sleep(time.Duration(round/3*35) * time.Millisecond) // where in the move the kill falls, not a wait
		pid := f.pidOf(victim, restarted)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("round %d: kill %s (pid %d): %v", round, victim, pid, err)
		}
		f.until(60*time.Second, "the death of the agent", func() error {
			if syscall.Kill(pid, 0) == nil && !zombie(pid) {
				return errors.New("it lives")
			}
			return nil
		})
		if old := restarted[victim]; old != nil {
			_ = old.Wait() // reap it
		}
		restarted[victim] = f.startAgain(victim)
		back := time.Now()

		limited, cancel := context.WithTimeout(ctx, 60*time.Second)
		got, ok, err := client.Get(limited, key)
		cancel()
		if err != nil || !ok || got != value {
			t.Fatalf("round %d (%s killed): %s = %q, %v, %v", round, victim, key, got, ok, err)
		}
		slowest = max(slowest, time.Since(back))
		f.until(60*time.Second, "the end of the lease and one copy", func() error {
			leases, err := ask(f, func(c *api.Client) ([]api.Lease, api.Meta, error) { return c.Leases(ctx, api.QueryOptions{}) })
			if err != nil {
				return err
			}
			for _, l := range leases {
				if l.Active {
					return fmt.Errorf("lease %s is %s", l.ID, l.State)
				}
			}
			if pids := f.processes(id); len(pids) != 1 {
				return fmt.Errorf("%s has the processes %v", id, pids)
			}
			return nil
		})
		if _, err := client.Verify(ctx); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if after := f.migrations(ctx, id); len(after) > before {
			ended[after[0].Phase]++
			t.Logf("round %d: %s killed %d ms into the move: %s", round, victim, round/3*35, after[0].Phase)
		}
	}
	t.Logf("FIGURE %d kills during moves: moves ended %v, slowest answer %.2f s after the agent was started again", kills, ended, slowest.Seconds())
	s := f.stop()
	if s.Client.LostWrites != 0 {
		t.Errorf("clients lost %d writes", s.Client.LostWrites)
	}
}

// TestWorkloadDiesInMidCopy: the lease ends, nothing half-done stays behind, and
// the fleet says what is missing.
func TestWorkloadDiesInMidCopy(t *testing.T) {
	f := startFleet(t, t.TempDir(), "--automation", "observe", "--seed", "4")
	ctx := deadline(t, 2*time.Minute)
	const id = "web-03"
	_, pid, _, err := f.client(id).Ping(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.move(ctx, id); err != nil {
		t.Fatal(err)
	}
	// SIGKILL is to meet the workload while it is copied: as soon as any
	// agent has seen the source begin.
	for seen := false; !seen && ctx.Err() == nil; {
		for _, c := range f.clients {
			leases, _, err := c.Leases(ctx, api.QueryOptions{Stale: true})
			for _, l := range leases {
				seen = seen || err == nil && l.Workload == id && l.Kind == "migration" && l.State != "granted"
			}
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m := f.settled(id, 0)
	t.Logf("the move ended %s: %s", m.Phase, m.Error)
	if m.Phase == "done" {
		t.Skip("the move was over before the workload died; this run proves nothing")
	}
	f.until(60*time.Second, "no copy and no lease", func() error {
		if pids := f.processes(id); len(pids) != 0 {
			return fmt.Errorf("processes %v", pids)
		}
		leases, err := ask(f, func(c *api.Client) ([]api.Lease, api.Meta, error) { return c.Leases(ctx, api.QueryOptions{}) })
		for _, l := range leases {
			if l.Active {
				return fmt.Errorf("lease %s is %s", l.ID, l.State)
			}
		}
		return err
	})
	f.until(60*time.Second, "a problem that names the workload", func() error {
		s, err := ask(f, func(c *api.Client) (api.Status, api.Meta, error) { return c.Status(ctx, api.QueryOptions{}) })
		if err != nil {
			return err
		}
		for _, p := range s.Problems {
			if p.Code == "workload_absent" && p.Workload == id && p.Hint != "" {
				return nil
			}
		}
		return fmt.Errorf("problems %+v", s.Problems)
	})
	// The dead workload's clients fail, and the run says so; the others do not.
	_ = f.cmd.Process.Signal(os.Interrupt)
	<-f.ended
	f.ended <- nil
	if !strings.Contains(f.talk.String(), id) {
		t.Errorf("the end of the run does not name %s:\n%s", id, f.talk.String())
	}
}

// roles returns the ids of the workload's host and of the leader, and the names
// of all hosts.
func (f *cluster) roles(ctx context.Context, id string) (owner, leader string, names map[string]string) {
	f.t.Helper()
	f.until(60*time.Second, "a leader", func() error {
		hosts, err := ask(f, func(c *api.Client) ([]api.Host, api.Meta, error) { return c.Hosts(ctx, api.QueryOptions{}) })
		if err != nil {
			return err
		}
		names = map[string]string{}
		for _, h := range hosts {
			names[h.ID] = h.Name
			if h.Leader {
				leader = h.ID
			}
			if h.Liveness != "alive" {
				return fmt.Errorf("%s is %s", h.Name, h.Liveness)
			}
		}
		if leader == "" {
			return errors.New("no host leads")
		}
		return nil
	})
	return f.workload(id).Owner, leader, names
}

// migrations of a workload, newest first.
func (f *cluster) migrations(ctx context.Context, id string) []api.Migration {
	f.t.Helper()
	all := told(f, "the migrations", func(c *api.Client) ([]api.Migration, api.Meta, error) {
		return c.Migrations(ctx, 0, api.QueryOptions{})
	})
	var out []api.Migration
	for _, m := range all {
		if m.Workload == id {
			out = append(out, m)
		}
	}
	return out
}

// startAgain starts the agent of a host as an operator would.
func (f *cluster) startAgain(host string) *exec.Cmd {
	f.t.Helper()
	cmd := exec.Command(f.binary, "agent", "--config", filepath.Join(f.dir, host, "config.hcl"))
	log, err := os.OpenFile(filepath.Join(f.dir, host, "agent.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	return cmd
}

func (f *cluster) pidOf(name string, restarted map[string]*exec.Cmd) int {
	if cmd := restarted[name]; cmd != nil {
		return cmd.Process.Pid
	}
	for _, h := range f.hosts {
		if h.name == name {
			return h.pid
		}
	}
	f.t.Fatalf("no agent %s", name)
	return 0
}

func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	rest := string(stat[bytes.LastIndexByte(stat, ')')+1:])
	return strings.HasPrefix(strings.TrimSpace(rest), "Z")
}
