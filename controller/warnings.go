package controller

import (
	"sync"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// Warnings keep the record of what is said about contention of cpu before it comes.
// Every load tick they note, of every host, how probable contention is at each of
// predictor's leads, by the joint scenarios that passes plan from, and judge what was
// said earlier. Moves do not blur the record: what is judged is the demand of the
// workloads that were on the host when it was said, wherever they have gone since.
// Every voter keeps one, so a new leader has it. Safe for concurrent use.
type Warnings struct {
	mu      sync.Mutex // guards everything below
	tick    int64
	records [len(predictor.WarningLeads)]predictor.WarningRecord
	waiting []saidWarning
	newest  map[fleet.HostID][len(predictor.WarningLeads)]float64
}

// saidWarning waits until the last of its ticks has been measured.
type saidWarning struct {
	tick      int64 // the newest complete one when it was said
	members   []fleet.WorkloadID
	foreign   float64 // millicores of no workload
	limit     [len(predictor.WarningLeads)]float64
	said      [len(predictor.WarningLeads)]float64
	judged    [len(predictor.WarningLeads)]bool
	contended bool
	line      float64 // from which probability on passes act
}

// warningPatience is how many ticks after its end a case waits for measurements.
const warningPatience = 3

// NewWarnings returns a record that has judged nothing.
func NewWarnings() *Warnings {
	return &Warnings{newest: map[fleet.HostID][len(predictor.WarningLeads)]float64{}}
}

// Observe judges what has come due and says what comes, once per load tick. The
// view's series carry what may be acted upon (Foresights.Fill).
func (w *Warnings) Observe(view fleet.View, reports *Reports) {
	tick := fleet.TickOf(view.Now) - 1
	w.mu.Lock()
	defer w.mu.Unlock()
	if tick <= w.tick {
		return
	}
	for i := range w.records {
		for range min(tick-w.tick, int64(24*time.Hour/fleet.Tick)) {
			w.records[i].Fade()
		}
	}
	w.tick = tick
	w.judge(reports)
	w.say(view, reports)
}

func (w *Warnings) judge(reports *Reports) {
	kept := w.waiting[:0]
	for _, s := range w.waiting {
		open := false
		for i, lead := range predictor.WarningLeads {
			last := s.tick + int64(lead+predictor.OnsetWindow)
			if s.judged[i] {
				continue
			}
			if peak, known := s.peak(reports, last); last <= w.tick && known {
				w.records[i].Observe(s.said[i], s.line, s.contended, peak > s.limit[i])
				s.judged[i] = true
			}
			open = open || !s.judged[i] && w.tick <= last+warningPatience
		}
		if open {
			kept = append(kept, s)
		}
	}
	clear(w.waiting[len(kept):])
	w.waiting = kept
}

// peak is the largest joint demand of the window that ends with the tick.
func (s *saidWarning) peak(reports *Reports, last int64) (peak float64, known bool) {
	for tick := last - predictor.OnsetWindow + 1; tick <= last; tick++ {
		sum := s.foreign
		for _, id := range s.members {
			used, ok := reports.DemandAt(id, tick)
			if !ok {
				return 0, false
			}
			sum += used
		}
		peak = max(peak, sum)
	}
	return peak, true
}

func (w *Warnings) say(view fleet.View, reports *Reports) {
	calendar := predictor.NewCalendar(view.Calendar).Within(view.Now.Add(-time.Hour), view.Now.Add(2*time.Hour))
	on := map[fleet.HostID][]*fleet.WorkloadView{}
	for i := range view.Workloads {
		on[view.Workloads[i].Owner] = append(on[view.Workloads[i].Owner], &view.Workloads[i])
	}
	clear(w.newest)
	for _, h := range view.Hosts {
		if limit := h.Allocatable().CPU; h.Liveness != fleet.Alive || limit == fleet.Unknown || limit <= 0 || len(on[h.ID]) == 0 {
			continue
		}
		s := saidWarning{tick: w.tick, foreign: float64(max(h.Foreign.CPU, 0)), line: 1 - float64(view.Policy.Quantile)/1000}
		blocks := make([]predictor.Block, 0, len(on[h.ID]))
		for _, member := range on[h.ID] {
			s.members = append(s.members, member.ID)
			blocks = append(blocks, calendar.Bend(BlockOf(*member, fleet.CPU, w.tick), member.Workload, h.Host, fleet.CPU))
		}
		demand := predictor.Sum(s.foreign, blocks)
		for i, lead := range predictor.WarningLeads {
			first := int(w.tick + int64(lead) + 1 - demand.Tick())
			s.limit[i] = float64(calendar.Allocatable(h.Host, fleet.CPU, w.tick+int64(lead)+1))
			s.said[i] = demand.PeakExceeds(first, first+predictor.OnsetWindow-1, s.limit[i])
		}
		used, measured := reports.HostDemandAt(h.ID, w.tick)
		s.contended = measured && used > float64(calendar.Allocatable(h.Host, fleet.CPU, w.tick))
		w.newest[h.ID] = s.said
		w.waiting = append(w.waiting, s)
	}
}

// BlockOf is the demand of a workload of one resource, from its series or from what it
// uses (then as measured in the tick).
func BlockOf(w fleet.WorkloadView, r fleet.Resource, tick int64) predictor.Block {
	for _, s := range w.Series {
		if s.Resource == r && predictor.Readable(s) {
			return predictor.NewBlock(s, predictor.Baseline{})
		}
	}
	return predictor.UsageBlock(w.ID, r, tick, float64(max(w.Usage.Get(r), 0)))
}

// Records are how warnings have fared, per lead.
func (w *Warnings) Records() [len(predictor.WarningLeads)]predictor.WarningRecord {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.records
}

// Newest is what was said last of a host, per lead.
func (w *Warnings) Newest(id fleet.HostID) (said [len(predictor.WarningLeads)]float64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	said, ok = w.newest[id]
	return said, ok
}
