package virtual

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/hashicorp/raft"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

const (
	agentsPerRun = 8
	// A run with fewer grants, or with more entries whose outcome nobody
	// knows, has tested too little to count.
	wantedGrants  = 1000
	mostUnknown   = 0.20
	porcupineWall = 60 * time.Second
)

// outcomeOf a run: what was done, and what was found.
type outcomeOf struct {
	counts
	verdicts []string
	faults   int
	torn     int // power cuts that cost unsynced bytes
	states   int // whole states compared
	leader   time.Duration
	caughtUp time.Duration
	cluster  *cluster
	initial  map[fleet.HostID]books
}

// simulate runs one seed in a bubble of virtual time.
func simulate(t *testing.T, seed uint64, length time.Duration) (out outcomeOf) {
	t.Helper()
	finished, bubble := false, ""
	defer func() {
		// A raft that shuts down forgets to answer what it has taken; who waits
		// for that answer stays behind. Nothing else may.
		if p := recover(); p != nil {
			if !finished || !forgotten(fmt.Sprint(p), bubble) {
				panic(p)
			}
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		bubble = thisBubble()
		over, stop := context.WithCancel(context.Background())
		defer stop()
		out = runIn(over, stop, seed, length)
		finished = true
	})
	return out
}

// thisBubble names the caller's bubble as stacks do.
func thisBubble() string {
	buf := make([]byte, 256)
	head, _, _ := strings.Cut(string(buf[:runtime.Stack(buf, false)]), "]")
	_, name, _ := strings.Cut(head, "synctest bubble ")
	return "synctest bubble " + name + "]"
}

// forgotten says whether all that is left of a bubble waits for raft.
func forgotten(message, bubble string) bool {
	if !strings.Contains(message, "main bubble goroutine has exited") {
		return false
	}
	buf := make([]byte, 16<<20)
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		head, _, _ := strings.Cut(g, "\n")
		if strings.Contains(head, bubble) && strings.Contains(head, "durable") &&
			!strings.Contains(g, "raft.(*deferError).Error") && !strings.Contains(g, "callGate).idle") {
			return false
		}
	}
	return true
}

func runIn(over context.Context, stop func(), seed uint64, length time.Duration) outcomeOf {
	size := 3
	if seed%2 == 0 {
		size = 5
	}
	c := newCluster(seed, size, stop)
	out := outcomeOf{cluster: c, initial: map[fleet.HostID]books{}}
	for _, v := range c.voters {
		v.boot()
	}
	agents := c.employ(over, seed)
	var residents []resident
	for _, a := range agents {
		for _, r := range a.residents {
			residents = append(residents, *r)
			out.initial[r.at] = out.initial[r.at].with(held{r.id, r.memory})
		}
	}
	if err := c.found(residents); err != nil {
		c.judge.violated(crashed, "%v", err)
	}
	work, rest := context.WithCancel(over)
	f := &injector{cluster: c}
	var working, faulting sync.WaitGroup
	for _, a := range agents {
		a.startAll()
		f.clients = append(f.clients, a.name)
		working.Go(func() { a.run(work) })
	}
	c.background(func() { c.reportAll(over) })
	faulting.Go(func() { f.run(work) })

	select {
	case <-over.Done():
	case <-time.After(length):
	}
	rest()
	faulting.Wait()
	f.repair()
	c.log.add("healed")
	out.leader, out.caughtUp = c.heal()
	working.Wait()
	if over.Err() == nil {
		c.leaseless()
		c.sameEverywhere()
	}
	stop()
	c.shutDown()
	out.verdicts, out.counts = c.judge.broken(), c.history.count()
	out.faults, out.states = len(c.log.lines), c.judge.snapshots
	for _, v := range c.voters {
		out.torn += v.disk.torn
	}
	return out
}

// employ makes the agents and puts their workloads on the hosts, as far as these
// have room.
func (c *cluster) employ(over context.Context, seed uint64) []*agent {
	w := newWorld(c.judge)
	used := map[fleet.HostID]int64{}
	var out []*agent
	for i := range agentsPerRun {
		name := fmt.Sprintf("a%d", i+1)
		a := &agent{client: newClient(c, name, seed<<16+uint64(i)), world: w, over: over}
		a.rate = 0.99 + 0.02*a.dice.Float64()
		for k := range len(c.voters)/2 + 1 {
			r := &resident{id: fleet.WorkloadID(fmt.Sprintf("%s-w%d", name, k+1)), memory: 3 + a.dice.Int64N(4)}
			for r.at = a.anyHost(); used[r.at]+r.memory > roomPerHost; r.at = a.anyHost() {
			}
			used[r.at] += r.memory
			a.residents = append(a.residents, r)
		}
		out = append(out, a)
	}
	return out
}

const caughtUpWithin = 30 * time.Second

// heal measures how long a leader and then every voter need once all is repaired.
func (c *cluster) heal() (leader, caughtUp time.Duration) {
	began := time.Now()
	l, leader := c.steadyLeader(leaderWithin)
	if l == nil {
		c.judge.violated(healPromise, "no leader within %s", leaderWithin)
		return leader, 0
	}
	want := l.replica.Applied()
	for {
		behind := ""
		for _, v := range c.voters {
			if l := v.running(); l == nil || l.replica.Applied() < want {
				behind = v.id
			}
		}
		caughtUp = time.Since(began)
		if behind == "" {
			return leader, caughtUp
		}
		if caughtUp > caughtUpWithin {
			c.judge.violated(healPromise, "voter %s is behind %s after everything was repaired", behind, caughtUp)
			return leader, caughtUp
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// leaseless: within TTL + 60 s of the heal no lease is left.
func (c *cluster) leaseless() {
	limit := leaseTTL + 60*time.Second
	for began := time.Now(); ; time.Sleep(time.Second) {
		var left []fleet.Lease
		if l := c.leader(); l != nil {
			l.replica.Read(func(s *fsm.State) { left = s.Leases() })
			if len(left) == 0 {
				return
			}
		}
		if time.Since(began) > limit {
			c.judge.violated(healPromise, "leases are left %s after all agents have ended: %+v", limit, left)
			return
		}
	}
}

// sameEverywhere: every voter holds the state that all entries together make, and
// no acknowledged one is missing.
func (c *cluster) sameEverywhere() {
	time.Sleep(5 * time.Second) // the last commit reaches every voter
	j := c.judge
	for id, index := range c.history.acknowledged() {
		if at, ok := j.first[id]; !ok || at != index {
			j.violated(durablePromise, "proposal %s was acknowledged at index %d, and is at %d", id, index, at)
		}
	}
	replay := fsm.NewReplica(func(err error) { j.violated(byteEquality, "the log does not apply again: %v", err) })
	for _, index := range slices.Sorted(maps.Keys(j.entries)) {
		replay.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: j.entries[index].data})
	}
	compare := func(voter string, s *fsm.State) {
		j.mu.Lock()
		defer j.mu.Unlock()
		if s.Index() != j.newest {
			j.note(healPromise, "voter %s is at index %d, not at %d", voter, s.Index(), j.newest)
			return
		}
		j.sameState(voter, s.Index(), s)
	}
	replay.Read(func(s *fsm.State) { compare("(all entries applied once more)", s) })
	for _, v := range c.voters {
		if l := v.running(); l != nil {
			l.replica.Read(func(s *fsm.State) { compare(v.id, s) })
		} else {
			j.violated(healPromise, "voter %s is down at the end", v.id)
		}
	}
}

func (h *history) acknowledged() map[string]uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]uint64{}
	for _, p := range h.proposals {
		if p.Outcome == answered {
			out[p.ID] = p.Result.Index
		}
	}
	return out
}

// verify adds Porcupine's word, which needs real time.
func (o *outcomeOf) verify() porcupine.CheckResult {
	if len(o.verdicts) > 0 {
		return porcupine.Unknown
	}
	result := o.cluster.history.linearizable(o.initial, porcupineWall)
	if result == porcupine.Illegal {
		o.verdicts = append(o.verdicts, linearPromise+": no order of the operations on a host explains its answers")
	}
	return result
}

// TestVoters holds the promises about the books under faults, seed by seed:
// PLACED_SEEDS is "first..last", PLACED_VIRTUAL the length of a run.
func TestVoters(t *testing.T) {
	first, last := seeds(t)
	length := 10 * time.Minute
	if s := os.Getenv("PLACED_VIRTUAL"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	if testing.Short() {
		last, length = first, time.Minute
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			hold(t, seed, length)
		})
	}
}

// TestSoak goes on with fresh seeds for PLACED_SOAK_HOURS.
func TestSoak(t *testing.T) {
	s := os.Getenv("PLACED_SOAK_HOURS")
	if s == "" {
		t.Skip("soak: set PLACED_SOAK_HOURS, or run make soak")
	}
	hours, err := strconv.ParseFloat(s, 64)
	if err != nil || hours <= 0 {
		t.Fatalf("PLACED_SOAK_HOURS is %q: a number of hours is needed", s)
	}
	until := time.Now().Add(time.Duration(hours * float64(time.Hour)))
	var next atomic.Uint64
	next.Store(uint64(time.Now().Unix()))
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprintf("worker=%d", worker), func(t *testing.T) {
			t.Parallel()
			for time.Now().Before(until) {
				seed := next.Add(1)
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { hold(t, seed, 10*time.Minute) })
			}
		})
	}
}

// mostTries of a seed whose run does not count: faults that keep the voters down
// for long leave too little to judge, and no two runs are alike.
const mostTries = 3

// hold runs one seed until a run counts, and fails with what it broke.
func hold(t *testing.T, seed uint64, length time.Duration) {
	for try := 1; ; try++ {
		why := holdOnce(t, seed, length)
		switch {
		case why == "":
			return
		case try == mostTries:
			t.Errorf("seed %d is inconclusive after %d runs: %s", seed, try, why)
			return
		}
		t.Logf("FIGURE seed %d: this run does not count, it is repeated: %s", seed, why)
	}
}

// holdOnce returns why the run does not count, if so.
func holdOnce(t *testing.T, seed uint64, length time.Duration) string {
	began := time.Now()
	out := simulate(t, seed, length)
	simulated := time.Since(began)
	checked := out.verify()
	t.Logf("FIGURE seed %d, %d voters, %s virtual: %s", seed, len(out.cluster.voters), length, out.counts)
	t.Logf("FIGURE seed %d: %d lines of faults, %d power cuts lost unsynced bytes, %d came just after a vote, %d whole states compared; after the last heal leader %s, all caught up %s; wall %.1f s, Porcupine %s in %.1f s",
		seed, out.faults, out.torn, out.cluster.sprung.Load(), out.states, out.leader.Round(time.Millisecond), out.caughtUp.Round(time.Millisecond), simulated.Seconds(), checked, (time.Since(began) - simulated).Seconds())
	if len(out.verdicts) > 0 {
		dir, err := out.cluster.save(seed, out.verdicts)
		t.Errorf("seed %d breaks promises; history and faults are in %s (%v):\nVERDICT %s", seed, dir, err, strings.Join(out.verdicts, "\nVERDICT "))
		return ""
	}
	switch {
	case checked != porcupine.Ok:
		return fmt.Sprintf("Porcupine did not finish within %s", porcupineWall)
	case out.unknownShare() > mostUnknown:
		return fmt.Sprintf("%.0f %% of the outcomes are unknown", 100*out.unknownShare())
	case out.grants < wantedGrants && length >= 10*time.Minute:
		return fmt.Sprintf("%d grants, %d are needed", out.grants, wantedGrants)
	}
	return ""
}

func seeds(t *testing.T) (first, last uint64) {
	s := os.Getenv("PLACED_SEEDS")
	if s == "" {
		return 1, 10
	}
	from, to, _ := strings.Cut(s, "..")
	if to == "" {
		to = from
	}
	first, errFirst := strconv.ParseUint(from, 10, 32)
	last, errLast := strconv.ParseUint(to, 10, 32)
	if errFirst != nil || errLast != nil || last < first {
		t.Fatalf("PLACED_SEEDS is %q: a number or first..last is needed", s)
	}
	return first, last
}
