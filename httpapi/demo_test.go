package httpapi

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

// demo is a fleet with daily load, forecasts, contentions and moves, in memory.
// It moves only when advance is called, so tests are repeatable.
type demo struct {
	mu         sync.Mutex
	tick       int64
	index      uint64
	term       uint64
	leader     int // -1: none
	hosts      []demoHost
	workloads  []demoWorkload
	policy     api.Policy
	migrations []api.Migration // oldest first
	decisions  []api.Decision  // oldest first
	leases     []api.Lease
	events     []api.Event
	changed    chan struct{}
	oldest     uint64 // events below are forgotten
	writes     map[string]api.Accepted
	batches    map[string]api.LeaseBatch // lease operations by id
	by         []string
	failSync   error
	rules      []fleet.Rule
	calendar   []fleet.CalendarSource
	refused    int // writes without a leader
}

type demoHost struct {
	id, name, zone string
	state          string
	liveness       string
	allocatable    float64
}

type demoWorkload struct {
	id       string
	owner    int
	base     float64
	peak     float64
	phase    float64
	size     int64
	cooldown time.Time
	priority int64
}

const demoHostMemory = int64(4 << 30)

func newDemo(hosts int) *demo {
	d := &demo{
		tick: fleet.TickOf(time.Date(2026, 3, 9, 8, 0, 0, 0, time.UTC)), index: 412, term: 3,
		changed: make(chan struct{}), writes: map[string]api.Accepted{},
		policy: PolicyOf(fleet.DefaultPolicy()),
	}
	d.policy.Automation = "auto"
	for h := range hosts {
		id := fmt.Sprintf("%08x-5c1a-4e0b-9d3f-00000000%04x", 0x7f3a1c00+h*0x1111, h+1)
		d.hosts = append(d.hosts, demoHost{
			id: id, name: fmt.Sprintf("h%d", h+1), zone: string(rune('a'+h%3)) + "1",
			state: "active", liveness: "alive", allocatable: 3.4,
		})
		for k := range 4 {
			w := demoWorkload{
				id: fmt.Sprintf("vm-%d/%s", h*4+k+1, []string{"cache", "api", "index", "batch"}[k]), owner: h,
				base: 0.2 + 0.1*float64(k), peak: 0.25 + 0.12*float64((h+k)%4),
				phase: 2 * math.Pi * float64((h*5+k)%11) / 30, size: int64(16<<20) << (k % 3), priority: int64(50 - 10*k),
			}
			if h > 0 {
				w.peak *= 0.7
			} else {
				w.peak += 0.2 // this host will be short in the afternoon
			}
			d.workloads = append(d.workloads, w)
		}
	}
	d.emit(fleet.TopicCluster, "leader-elected", d.hosts[0].id, "", "", "host h1 became leader in term 3")
	return d
}

func (d *demo) now() time.Time { return fleet.TickStart(d.tick) }

// load of a workload in cores at a tick: a day's wave and repeatable noise.
func (w demoWorkload) load(tick int64) float64 {
	wave := math.Sin(2*math.Pi*float64(tick%288)/288 - 2.4 + w.phase)
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", w.id, tick)
	noise := float64(h.Sum64()%1000)/1000 - 0.5
	return max(0.02, w.base+w.peak*max(0, wave)+0.10*noise)
}

func (d *demo) demand(host int, tick int64) float64 {
	var sum float64
	for _, w := range d.workloads {
		if w.owner == host {
			sum += w.load(tick)
		}
	}
	return sum
}

var demoLevels = []float64{0.05, 0.25, 0.5, 0.75, 0.9, 0.95}

// forecast gives the quantiles of a host's demand k ticks ahead.
func (d *demo) forecast(host int, k int64) []float64 {
	var centre float64
	for i := int64(-2); i <= 2; i++ {
		centre += d.demand(host, d.tick+k+i) / 5
	}
	spread := 0.06 + 0.035*math.Sqrt(float64(k))
	var out []float64
	for _, z := range []float64{-1.64, -0.67, 0, 0.67, 1.28, 1.64} {
		out = append(out, max(0, centre+z*spread))
	}
	return out
}

// contention is the first step of the horizon whose 90 % quantile crosses.
func (d *demo) contention(host int) *api.Contention {
	for k := int64(1); k <= 12; k++ {
		q := d.forecast(host, k)[4]
		if q <= d.hosts[host].allocatable {
			continue
		}
		return &api.Contention{
			Host: d.hosts[host].id, Zone: d.hosts[host].zone, Resource: "cpu", Probability: 0.31 + 0.05*float64(12-k),
			Breach: fleet.TickStart(d.tick + k), Steps: int(k), Demand: q, Allocatable: d.hosts[host].allocatable,
			Now: d.demand(host, d.tick) > d.hosts[host].allocatable,
		}
	}
	return nil
}

// advance moves load time by one tick and the running migration by one phase.
func (d *demo) advance() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tick++
	if n := len(d.migrations); n > 0 && d.migrations[n-1].Active() {
		d.advanceMigration(&d.migrations[n-1])
		return
	}
	if d.leader < 0 {
		return
	}
	for h := range d.hosts {
		if c := d.contention(h); c != nil && d.decide(h, c) {
			return
		}
	}
}

func (d *demo) decide(host int, c *api.Contention) bool {
	var candidate = -1
	for i, w := range d.workloads {
		if w.owner == host && !w.cooldown.After(d.now()) && (candidate < 0 || w.load(d.tick) < d.workloads[candidate].load(d.tick)) {
			candidate = i
		}
	}
	if candidate < 0 {
		return false
	}
	w := d.workloads[candidate]
	pass := fmt.Sprintf("p%d", d.tick)
	decision := api.Decision{
		ID: pass + ".1", Pass: pass, At: d.now(), Outcome: "move", Workload: w.id, From: d.hosts[host].id, Type: "preemptive",
		Contention: c, LeaveBy: c.Breach.Add(-4 * time.Minute),
		CandidateScore: []api.ScorePart{{Name: "clears", Value: 0.6}, {Name: "priority", Value: 0.18}, {Name: "cost", Value: -0.05}},
		Scores:         []api.Score{}, Exclusions: []api.Exclusion{}, InputHash: "9c1f0a77",
	}
	best := -1
	for h := range d.hosts {
		switch {
		case h == host:
			continue
		case d.hosts[h].liveness != "alive":
			decision.Exclusions = append(decision.Exclusions, api.Exclusion{Host: d.hosts[h].id, Reason: "dead: no report for 14 s"})
			continue
		case d.forecast(h, 6)[4]+w.load(d.tick+6) > d.hosts[h].allocatable*0.95:
			decision.Exclusions = append(decision.Exclusions, api.Exclusion{Host: d.hosts[h].id,
				Reason: fmt.Sprintf("cpu at the 0.9 quantile would be %.2f cores in 30 min; %.2f may be used", d.forecast(h, 6)[4]+w.load(d.tick+6), d.hosts[h].allocatable*0.95)})
			continue
		}
		free := 1 - d.demand(h, d.tick)/d.hosts[h].allocatable
		decision.Scores = append(decision.Scores, api.Score{Host: d.hosts[h].id, Total: free + 0.3, Parts: []api.ScorePart{{Name: "headroom", Value: free}, {Name: "affinity", Value: 0.3}}})
		if best < 0 || d.demand(h, d.tick) < d.demand(best, d.tick) {
			best = h
		}
	}
	slices.SortFunc(decision.Scores, func(a, b api.Score) int {
		if a.Total > b.Total {
			return -1
		}
		return 1
	})
	last := d.lastDecision()
	if best < 0 {
		decision.Outcome, decision.Type = "refused", "preemptive"
		decision.Reason = fmt.Sprintf("cpu of %s is predicted to run short at %s, but no host has room for %s", d.hosts[host].name, c.Breach.Format("15:04"), w.id)
	} else {
		decision.To = d.hosts[best].id
		decision.Reason = fmt.Sprintf("cpu of %s reaches %.2f of %.2f cores at %s with %.0f %% probability; %s is the smallest move that clears it, %s has the most headroom",
			d.hosts[host].name, c.Demand, c.Allocatable, c.Breach.Format("15:04"), 100*c.Probability, w.id, d.hosts[best].name)
	}
	if d.policy.Automation != "auto" && best >= 0 {
		decision.Outcome = "observe"
	}
	if last != nil && last.Outcome == decision.Outcome && last.Workload == decision.Workload && decision.Outcome != "move" {
		return false // said already
	}
	d.decisions = append(d.decisions, decision)
	d.emit(fleet.TopicDecision, decision.Outcome, decision.From, w.id, "", decision.Reason)
	if decision.Outcome == "move" {
		d.begin(candidate, host, best, decision)
	}
	return true
}

func (d *demo) lastDecision() *api.Decision {
	if len(d.decisions) == 0 {
		return nil
	}
	return &d.decisions[len(d.decisions)-1]
}

func (d *demo) begin(workload, from, to int, decision api.Decision) {
	w := &d.workloads[workload]
	lease := fmt.Sprintf("L%d", d.index+1)
	zero := 0.0
	d.leases = append(d.leases, api.Lease{
		ID: lease, Kind: "migration", Workload: w.id, Source: d.hosts[from].id, Destination: d.hosts[to].id, Type: "preemptive",
		State: "granted", Active: true, Token: api.Token{Cluster: "demo", Generation: 1, Index: d.index + 1},
		Reservation: api.Vector{CPU: &zero, Memory: &w.size}, Decision: decision.ID, Changed: d.index + 1, GrantedAt: time.Now().UTC(),
	})
	d.migrations = append(d.migrations, api.Migration{
		Lease: lease, Workload: w.id, From: d.hosts[from].id, To: d.hosts[to].id, Type: "preemptive", Reason: decision.Reason, Decision: decision.ID,
		Phase: "offered", Tracker: "pagemap-scan", TotalBytes: w.size, Rounds: []api.Round{},
		PredictedBreach: decision.Contention.Breach, LeaveBy: decision.LeaveBy, Started: time.Now().UTC(),
	})
	d.emit(fleet.TopicLease, "granted", d.hosts[to].id, w.id, lease, fmt.Sprintf("lease %s: %s may move from %s to %s", lease, w.id, d.hosts[from].name, d.hosts[to].name))
}

var demoPhases = []string{"offered", "copying", "copying", "copying", "holding", "frozen", "prepared", "committed", "activated", "done"}

func (d *demo) advanceMigration(m *api.Migration) {
	at := slices.Index(demoPhases, m.Phase)
	if m.Phase == "copying" {
		at += len(m.Rounds) - 1
	}
	m.Phase = demoPhases[at+1]
	m.DurationMS += 137.5
	lease := &d.leases[len(d.leases)-1]
	switch m.Phase {
	case "copying":
		n := len(m.Rounds) + 1
		dirty := m.TotalBytes >> (3 * (n - 1))
		m.Rounds = append(m.Rounds, api.Round{Round: n, Scanned: m.TotalBytes, Dirty: dirty, Wire: dirty * 6 / 10, TookMS: 80 / float64(n), WriteRate: 9 << 20})
		m.Bytes += dirty * 6 / 10
		lease.State = "transferring"
	case "prepared":
		lease.State = "prepared"
	case "committed":
		lease.State = "committed"
		i := slices.IndexFunc(d.workloads, func(w demoWorkload) bool { return w.id == m.Workload })
		d.workloads[i].owner = slices.IndexFunc(d.hosts, func(h demoHost) bool { return h.id == m.To })
		d.workloads[i].cooldown = d.now().Add(30 * time.Minute)
		lead := m.PredictedBreach.Sub(d.now()).Seconds()
		m.LeadTimeS, m.CommittedIndex = &lead, d.index+1
		d.emit(fleet.TopicMigration, "committed", m.To, m.Workload, m.Lease, fmt.Sprintf("%s now belongs to %s", m.Workload, d.hosts[d.workloads[i].owner].name))
	case "done":
		m.DowntimeMS, m.Ended = 11.4, time.Now().UTC()
		lease.State, lease.Active = "released", false
		came := len(d.migrations)%3 != 0
		m.ContentionCame = &came
		d.emit(fleet.TopicMigration, "done", m.To, m.Workload, m.Lease, fmt.Sprintf("%s moved in %.0f ms with %.1f ms downtime", m.Workload, m.DurationMS, m.DowntimeMS))
	}
}

// emit adds an event at a new index and wakes whoever waits. d.mu is held, or d
// is not yet shared.
func (d *demo) emit(topic, kind, host, workload, lease, message string) {
	d.index++
	d.events = append(d.events, api.Event{Index: d.index, At: time.Now().UTC(), Topic: topic, Type: kind, Host: host, Workload: workload, Lease: lease, Message: message})
	close(d.changed)
	d.changed = make(chan struct{})
}

// say is emit for tests.
func (d *demo) say(topic, message string) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.emit(topic, "said", "", "", "", message)
	return d.index
}
