package daemon

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/telemetry"
)

// reporter samples what runs on this host and tells every voter, itself among
// them. It measures processes; it never reads a trace.
type reporter struct {
	self      fleet.HostID
	boot      string
	clock     fleet.LoadClock
	inventory *inventory
	sampler   *telemetry.Sampler
	ticks     *telemetry.Accumulator
	series    *seriesSet
	books     *books
	peers     *peer.Client
	reports   *controller.Reports
	progress  func() []fleet.Progress
	trips     func() []controller.ZoneTrip
	intervals func() (sample, report time.Duration)
	// answer is what this host, when it leads, says to its own descriptions; nil
	// says nothing.
	answer func(controller.Report) map[fleet.WorkloadID]predictor.Membership
	// knobs are what can be changed of a workload while it runs; nil: nothing.
	knobs func(fleet.WorkloadID) []fleet.Knob
	// copies says that a driver can keep a copy of a workload up to date elsewhere;
	// nil: none can.
	copies func(driver string) bool
	// pushed adds what others have measured of a workload; nil: nothing.
	pushed func(fleet.WorkloadID, fleet.Vector, time.Time) fleet.Vector
	log    hclog.Logger

	seq       uint64
	contended time.Duration
	latest    atomic.Pointer[controller.Report] // for the other parts of this agent
	alone     bool                              // the machine is this host's alone
	blind     bool                              // the machine as a whole cannot be measured
	newest    map[fleet.WorkloadID]telemetry.TickValue
	profiled  map[fleet.WorkloadID]profiled

	mu      sync.Mutex // guards voters
	voters  map[fleet.HostID]*voterLine
	sending sync.WaitGroup
}

// voterLine is the state of reporting to one voter: at most one report is on its
// way, a newer one replaces what would wait.
type voterLine struct {
	busy bool
	full bool // it asked for days of residuals
	// fit is the version of the host's fit that it has, telling the one that is on
	// its way.
	fit, telling uint64
	// sent is what it has of each workload's series: they change once per tick,
	// reports come more often.
	sent map[fleet.WorkloadID]sentSeries
	// told is the same of the report that is on its way.
	told map[fleet.WorkloadID]sentSeries
	bad  bool // the last report failed; logged once
}

// dayOfResiduals is what a voter gets that asked for everything.
const dayOfResiduals = int(24 * time.Hour / fleet.Tick)

// Run samples and reports until ctx ends.
func (r *reporter) Run(ctx context.Context) error {
	r.newest = map[fleet.WorkloadID]telemetry.TickValue{}
	r.profiled = map[fleet.WorkloadID]profiled{}
	r.voters = map[fleet.HostID]*voterLine{}
	defer r.sending.Wait()
	interval, _ := r.intervals()
	timer := time.NewTimer(interval)
	defer timer.Stop()
	last, reported := time.Now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		now := time.Now()
		report := r.sample(ctx, now, now.Sub(last))
		last = now
		r.latest.Store(&report)
		sampleEvery, reportEvery := r.intervals()
		if now.Sub(reported) >= reportEvery-sampleEvery/2 {
			reported = now
			r.describe(now)
			fit := r.inventory.fit()
			sent := report // the one that was stored is read by others
			sent.FitVersion = fit.Version()
			r.send(ctx, sent, fit)
			r.profile(ctx, now)
		}
		// Jitter of a tenth keeps a fleet from reporting in step.
		jitter := time.Duration(rand.Int64N(int64(sampleEvery)/10 + 1))
		timer.Reset(max(sampleEvery-time.Since(now)-sampleEvery/20+jitter, sampleEvery/10))
	}
}

// sample measures one interval and makes the report of it.
func (r *reporter) sample(ctx context.Context, now time.Time, took time.Duration) controller.Report {
	at := r.clock.At(now)
	found := r.inventory.observe(ctx)
	pids := map[fleet.WorkloadID]telemetry.Process{}
	here := map[fleet.WorkloadID]bool{}
	for _, f := range found {
		here[f.Spec.ID] = true
		if f.State == driver.Running && f.PID > 0 {
			pids[f.Spec.ID] = telemetry.Process{PID: f.PID, StartTime: f.StartTime}
		}
	}
	samples := r.sampler.Sample(now, at, pids)
	r.inventory.measure(samples)
	r.seq++
	report := controller.Report{Host: r.self, Boot: r.boot, Seq: r.seq, At: at, Migrations: r.progress(), Trips: r.trips()}
	for id, s := range samples {
		r.ticks.Add(id, s)
		// Net and disk are known of some workloads only: those are what is known.
		report.Usage = report.Usage.Add(fleet.Vector{CPU: s.Usage.CPU, Memory: s.Usage.Memory, Net: max(s.Usage.Net, 0), Disk: max(s.Usage.Disk, 0)})
	}
	r.addForeign(now, &report)
	for _, v := range r.ticks.Complete(at) {
		r.newest[v.Workload] = v
		if err := r.series.observe(v); err != nil {
			r.log.Warn("a tick could not be kept in the history", "workload", v.Workload, "error", err)
		}
	}
	if host, ok := r.books.host(r.self); ok && report.Usage.CPU > host.Allocatable().CPU {
		r.contended += took
	}
	report.Contended = r.contended.Seconds()
	for _, f := range found {
		id := f.Spec.ID
		if f.State != driver.Running {
			continue
		}
		w := controller.WorkloadReport{ID: id, Usage: samples[id].Usage, Wait: samples[id].Wait, Size: f.Spec.Size}
		if v, ok := r.newest[id]; ok {
			w.Tick, w.TickCPU = v.Tick, v.Mean.CPU
		}
		w.WriteRate = writeRate(report.Migrations, id)
		if r.pushed != nil {
			w.Usage = r.pushed(id, w.Usage, now)
		}
		w.Copies = r.copies != nil && r.copies(f.Spec.Driver)
		if r.knobs != nil {
			w.Knobs = r.knobs(id)
		}
		report.Workloads = append(report.Workloads, w)
	}
	for id := range r.newest {
		if !here[id] {
			delete(r.newest, id)
			r.ticks.Forget(id)
		}
	}
	r.series.keep(here, now)
	return report
}

// writeRate is the newest measurement of any move of the workload, 0 if none.
func writeRate(moves []fleet.Progress, id fleet.WorkloadID) int64 {
	rate := int64(0)
	for _, p := range moves {
		if p.Workload == id && len(p.Rounds) > 0 {
			rate = p.Rounds[len(p.Rounds)-1].WriteRate
		}
	}
	return rate
}

// send passes a report to every voter at once. A voter that is slow or away
// costs the others nothing.
func (r *reporter) send(ctx context.Context, report controller.Report, fit *controller.Fit) {
	var voters []fleet.Host
	r.books.Read(func(s *fsm.State) {
		for _, h := range s.Hosts() {
			if h.Voter && h.State != fleet.HostLeft {
				voters = append(voters, h)
			}
		}
	})
	for _, v := range voters {
		r.mu.Lock()
		line := r.voters[v.ID]
		if line == nil {
			line = &voterLine{full: true, sent: map[fleet.WorkloadID]sentSeries{}}
			r.voters[v.ID] = line
		}
		if line.busy {
			r.mu.Unlock()
			continue
		}
		line.busy = true
		filled := r.fill(report, line)
		if line.telling = report.FitVersion; line.telling != line.fit {
			filled.Fit = fit
		}
		r.mu.Unlock()
		if v.ID == r.self {
			ack := r.reports.Add(filled, time.Now())
			if r.answer != nil {
				ack.Members = r.answer(filled)
			}
			r.done(line, v, filled, ack, nil)
			continue
		}
		r.sending.Add(1)
		go func() { // bounded: one per voter
			defer r.sending.Done()
			limited, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			ack, err := peer.Call[controller.Report, controller.Ack](limited, r.peers, addressOf(v), callReport, filled)
			r.done(line, v, filled, ack, err)
		}()
	}
}

// fill adds the series that the voter has not seen; one that has missed some hears
// everything again. It needs mu.
func (r *reporter) fill(report controller.Report, line *voterLine) controller.Report {
	workloads := make([]controller.WorkloadReport, len(report.Workloads))
	line.told = make(map[fleet.WorkloadID]sentSeries, len(report.Workloads))
	for i, w := range report.Workloads {
		have := line.sent[w.ID]
		if line.full {
			have = sentSeries{}
		}
		w.Series, line.told[w.ID] = r.series.report(w.ID, w.Tick, have)
		w.Description = r.series.description(w.ID)
		workloads[i] = w
	}
	report.Workloads = workloads
	return report
}

func (r *reporter) done(line *voterLine, v fleet.Host, report controller.Report, ack controller.Ack, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line.busy = false
	switch {
	case err != nil && !line.bad:
		line.bad, line.full, line.fit = true, true, 0
		r.log.Warn("a voter does not take reports; tried again with the next one", "host", v.Name, "error", err)
	case err == nil:
		if line.bad {
			r.log.Info("a voter takes reports again", "host", v.Name)
		}
		line.bad, line.full = false, ack.Full
		r.series.categorise(ack.Members)
		line.sent = line.told
		if line.fit = line.telling; ack.Fit {
			line.fit = 0
		}
	}
}
