package virtual

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/transport/memnet"
)

// roomPerHost is the memory of every host, in units: workloads of 3 to 9 of them
// fill it to the last one, so that one too many shows at once.
const roomPerHost = 72

func linkOf(latency, jitter time.Duration, loss float64) memnet.Link {
	return memnet.Link{Latency: latency, Jitter: jitter, Loss: loss}
}

// world is what is really on the hosts: memory taken and copies running. Safe
// for concurrent use.
type world struct {
	judge *judge

	mu      sync.Mutex // guards everything below
	memory  map[fleet.HostID]map[fleet.WorkloadID]int64
	running map[fleet.WorkloadID]fleet.HostID
}

func newWorld(j *judge) *world {
	return &world{judge: j, memory: map[fleet.HostID]map[fleet.WorkloadID]int64{}, running: map[fleet.WorkloadID]fleet.HostID{}}
}

// take is what a host does before it accepts the first byte.
func (w *world) take(host fleet.HostID, r *resident) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.memory[host] == nil {
		w.memory[host] = map[fleet.WorkloadID]int64{}
	}
	w.memory[host][r.id] = r.memory
	var sum int64
	for _, n := range w.memory[host] {
		sum += n
	}
	if sum > roomPerHost {
		w.judge.violated(physicalPromise, "host %s has %d units of memory and %d in use: %v", host, roomPerHost, sum, w.memory[host])
	}
}

func (w *world) free(host fleet.HostID, id fleet.WorkloadID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.memory[host], id)
}

func (w *world) start(host fleet.HostID, id fleet.WorkloadID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if other := w.running[id]; other != "" && other != host {
		w.judge.violated(ownerPromise, "workload %s runs on host %s and starts on host %s", id, other, host)
	}
	w.running[id] = host
}

func (w *world) stop(host fleet.HostID, id fleet.WorkloadID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running[id] == host {
		delete(w.running, id)
	}
}

// resident is a workload on a host.
type resident struct {
	id     fleet.WorkloadID
	at     fleet.HostID
	memory int64
	tokens []fleet.Token // of its earlier leases
}

func (r *resident) reservation() fleet.Vector { return fleet.Vector{CPU: 1000, Memory: r.memory} }

func (r *resident) workload() fleet.Workload {
	return fleet.Workload{ID: r.id, Driver: "region", Tolerance: 500, Reservation: r.reservation()}
}

// sources are the agents that the controller tells to begin: they note it, and
// whoever asked for the move carries it out.
type sources struct {
	mu   sync.Mutex
	told map[fleet.LeaseID]int
}

func newSources() *sources { return &sources{told: map[fleet.LeaseID]int{}} }

func (s *sources) Migrate(_ context.Context, source fleet.Host, l fleet.Lease) error {
	if source.ID != l.Source {
		return fmt.Errorf("lease %s went to host %s", l.ID, source.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[l.ID]++
	return nil
}

// agent plays both ends of the moves of a few workloads, one after the other.
type agent struct {
	*client
	world     *world
	residents []*resident
	rate      float64         // of its clock
	over      context.Context // done when the run ends at once, with a verdict
	made      int
}

func (a *agent) run(ctx context.Context) {
	for ctx.Err() == nil {
		a.think()
		switch n := a.dice.IntN(100); {
		case n < 48:
			a.look(a.anyHost())
		case n < 54:
			a.stale()
		case n < 72:
			a.place()
		default:
			a.move(ctx, a.residents[a.dice.IntN(len(a.residents))])
		}
	}
}

// think pauses, mostly for less than the mean.
func (a *agent) think() {
	if a.over.Err() != nil {
		runtime.Goexit()
	}
	time.Sleep(time.Duration(a.dice.ExpFloat64() * float64(thinking)))
}

const thinking = 130 * time.Millisecond

func (a *agent) anyHost() fleet.HostID {
	return fleet.HostID(a.fleet.voters[a.dice.IntN(len(a.fleet.voters))].id)
}

func (a *agent) elsewhere(not fleet.HostID) fleet.HostID {
	for {
		if h := a.anyHost(); h != not {
			return h
		}
	}
}

// must repeats what an end has to say until the books have answered: the word of
// a host is not lost because nobody heard it.
func (a *agent) must(from fleet.HostID, op fsm.Operation) fsm.OpResult {
	for {
		if result, outcome := a.propose(from, op); outcome == answered {
			return result.Ops[0]
		}
		a.think()
	}
}

// place reserves room for one to three new workloads, all or none, starts them,
// and ends them a little later.
func (a *agent) place() {
	host := a.anyHost()
	var grants []fsm.Operation
	var new []*resident
	for range 1 + a.dice.IntN(8)/5 {
		a.made++
		r := &resident{id: fleet.WorkloadID(fmt.Sprintf("%s-p%d", a.name, a.made)), at: host, memory: 1 + a.dice.Int64N(5)}
		new = append(new, r)
		grants = append(grants, fsm.Grant{Workload: r.id, Destination: host, Kind: fleet.LeasePlacement, Reservation: r.reservation()})
	}
	result, outcome := a.propose(a.anyHost(), grants...)
	if outcome != answered {
		return // whatever was granted expires
	}
	for i, r := range new {
		l := result.Ops[i].Lease
		if result.Ops[i].Err != nil || l == nil {
			continue
		}
		switch a.dice.IntN(12) {
		case 0: // forgotten: it expires
			continue
		case 1, 2:
			a.must(host, fsm.Release{Lease: l.ID, Reason: "changed its mind"})
			continue
		}
		if claim := a.must(host, fsm.Claim{Lease: l.ID, Workload: r.workload()}); claim.Err != nil {
			continue
		}
		a.world.take(host, r)
		a.world.start(host, r.id)
		a.think()
		a.world.stop(host, r.id)
		a.world.free(host, r.id)
		a.must(host, fsm.DeregisterWorkload{Workload: r.id})
	}
}

// grant asks for a move, through the leader's controller or a bare entry.
func (a *agent) grant(r *resident, to fleet.HostID) *fleet.Lease {
	if a.dice.IntN(3) > 0 {
		result, outcome := a.propose(a.anyHost(), fsm.Grant{Workload: r.id, Destination: to, Type: fleet.Requested})
		if outcome == answered {
			return result.Ops[0].Lease
		}
		return a.granted(r)
	}
	var lease *fleet.Lease
	_, err := a.call(a.fleet.voters[a.hint], func(ctx context.Context, l *life) error {
		_, got, err := l.control.Move(ctx, fleet.Request{Workload: r.id, Type: fleet.Requested, DestinationHost: to, By: a.name, At: time.Now()})
		lease = got
		return err
	})
	if err != nil {
		a.next(err)
		return a.granted(r)
	}
	return lease
}

// granted finds out what became of a request without an answer.
func (a *agent) granted(r *resident) *fleet.Lease {
	var found fleet.Lease
	var there bool
	if a.read(func(_ string, s *fsm.State) { found, there = s.LeaseOf(r.id) }) && there && found.State == fleet.Granted && found.Source == r.at {
		return &found
	}
	return nil
}

// move carries one workload to another host, or part of the way.
func (a *agent) move(ctx context.Context, r *resident) {
	l := a.grant(r, a.elsewhere(r.at))
	if l == nil || l.State != fleet.Granted || l.Workload != r.id {
		return
	}
	m := &migration{agent: a, resident: r, lease: *l, renewed: a.now()}
	m.run(ctx)
	r.tokens = append(r.tokens[max(0, len(r.tokens)-2):], l.Token)
}

// now is the agent's own clock.
func (a *agent) now() time.Time {
	return a.fleet.start.Add(time.Duration(float64(time.Since(a.fleet.start)) * a.rate))
}

// startAll puts the residents on their hosts.
func (a *agent) startAll() {
	for _, r := range a.residents {
		a.world.take(r.at, r)
		a.world.start(r.at, r.id)
	}
}

// reportAll sends a report of every host to every voter, as agents do.
func (c *cluster) reportAll(ctx context.Context) {
	for seq := uint64(1); ctx.Err() == nil; seq++ {
		for _, from := range c.voters {
			for _, to := range c.voters {
				c.background(func() {
					if c.net.Pass(ctx, from.id, to.id) != nil {
						return
					}
					if l := to.running(); l != nil {
						l.reports.Add(reportOf(from.id, seq), time.Now())
					}
				})
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
}
