package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/predictor"
)

// description is one day's look at a workload. Until the leader has said what
// category follows from it, it goes with every report.
type description struct {
	day      int64
	sent     controller.Description
	none     bool // the history is too short for one
	answered bool
}

// profiled is what the books were last told of a workload.
type profiled struct {
	day      int64
	category predictor.Category
}

// traitDays is how much of the end of a history a description looks at.
const traitDays = 14

// describe looks at one workload that has not been looked at today. One per report
// is enough: it takes some milliseconds, and a day has many reports.
func (r *reporter) describe(now time.Time) {
	day := loadDay(r.clock.At(now))
	host, _ := r.books.host(r.self)
	for _, id := range r.series.here() {
		if r.series.described(id, day) {
			continue
		}
		mine, reservation := false, int64(0)
		var before predictor.Membership
		r.books.Read(func(s *fsm.State) {
			w, ok := s.Workload(id)
			mine, reservation = ok && w.Owner == r.self, w.Reservation.CPU
			before = membershipIn(s, id)
		})
		if mine {
			r.series.describe(id, day, reservation, host.Capacity, before)
			return
		}
	}
}

func loadDay(load time.Time) int64 { return load.Unix() / int64(24*time.Hour/time.Second) }

// membershipIn reads the category of a workload, and how it came to it, from the
// books.
func membershipIn(s *fsm.State, id fleet.WorkloadID) predictor.Membership {
	have, ok := s.Profile(id)
	if !ok {
		return predictor.Membership{}
	}
	var p predictor.Profile
	if err := p.UnmarshalBinary(have.Blob); err != nil {
		return predictor.Membership{} // of a newer version: it begins anew
	}
	return p.Membership
}

// here lists the workloads that run here and have a history, in order.
func (s *seriesSet) here() []fleet.WorkloadID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []fleet.WorkloadID
	for id, o := range s.loads {
		if o.left.IsZero() && o.known() {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

func (s *seriesSet) described(id fleet.WorkloadID, day int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.of(id).traits
	return d != nil && d.day == day
}

// describe computes a workload's traits of the day. before is what the books say
// of its category: a host that has just begun knows no other.
func (s *seriesSet) describe(id fleet.WorkloadID, day, reservation int64, capacity fleet.Vector, before predictor.Membership) {
	_, values := s.ticks(id, fleet.CPU)
	values = values[max(len(values)-traitDays*int(24*time.Hour/fleet.Tick), 0):]
	full := 1000.0 // one core
	if reservation > 0 {
		full = float64(reservation)
	}
	traits, ok := predictor.TraitsOf(values, full)
	d := &description{day: day, none: !ok}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.of(id)
	if o.member.Category == "" {
		o.member = before
	}
	if ok {
		d.sent = controller.Description{Day: day, Traits: traits, Diurnal: predictor.Diurnal(values), Shares: sharesOf(o.habits, capacity)}
	}
	o.traits = d
}

// sharesOf is how much of the host a workload takes of each resource.
func sharesOf(h *predictor.Habits, capacity fleet.Vector) predictor.Shares {
	share := func(r fleet.Resource) float64 {
		if all := capacity.Get(r); all > 0 {
			return h.Upper(r) / float64(all)
		}
		return 0
	}
	return predictor.Shares{CPU: share(fleet.CPU), Memory: share(fleet.Memory), Net: share(fleet.Net), Disk: share(fleet.Disk)}
}

// description is what is still to be told of a workload, nil when nothing is.
func (s *seriesSet) description(id fleet.WorkloadID) *controller.Description {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.of(id).traits
	if d == nil || d.none || d.answered {
		return nil
	}
	sent := d.sent
	return &sent
}

// categorise takes the leader's answer.
func (s *seriesSet) categorise(members map[fleet.WorkloadID]predictor.Membership) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, m := range members {
		if o := s.loads[id]; o != nil && o.traits != nil && m.Day >= o.traits.day {
			o.member, o.traits.answered = m, true
		}
	}
}

// profile puts the compact profile of every workload into the books once a load
// day, and when its category has changed: it is what remains when this host is
// lost with its history.
func (r *reporter) profile(ctx context.Context, now time.Time) {
	day := loadDay(r.clock.At(now))
	var ops []fsm.Operation
	told := map[fleet.WorkloadID]profiled{}
	for _, id := range r.series.here() {
		blob, category, err := r.series.profile(id)
		if done, ok := r.profiled[id]; ok && done == (profiled{day, category}) || len(ops) == fsm.MaxOperations {
			continue
		}
		mine := false
		r.books.Read(func(s *fsm.State) {
			w, ok := s.Workload(id)
			mine = ok && w.Owner == r.self
		})
		if !mine {
			continue
		}
		if err != nil {
			r.log.Warn("no profile of a workload", "workload", id, "error", err)
			r.profiled[id] = profiled{day, category}
			continue
		}
		ops = append(ops, fsm.PutProfile{Workload: id, Blob: blob, Category: string(category)})
		told[id] = profiled{day, category}
	}
	if len(ops) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := r.books.Propose(ctx, ops...); err != nil {
		r.log.Debug("profiles wait for a leader", "error", err)
		return
	}
	for id, what := range told {
		r.profiled[id] = what
	}
}

// profile makes the compact profile of one workload.
func (s *seriesSet) profile(id fleet.WorkloadID) (blob []byte, category predictor.Category, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.of(id)
	p := predictor.NewProfile(o.habits, o.member)
	blob, err = p.MarshalBinary()
	return blob, p.Category, err
}
