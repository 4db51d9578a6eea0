package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/precopy"
)

// candidate is a workload that could leave a contended host.
type candidate struct {
	*load
	parts []fleet.ScorePart
	total float64
	// removed is the share of the shortage that goes with it.
	removed float64
}

// Weights of a candidate's score. Each part is its weight times a share between
// 0 and 1 (priority: −1 to 1).
const (
	weightRemoved   = 1.0
	weightSize      = 0.3
	weightPriority  = 0.2
	weightTolerance = 0.1
	weightCost      = 0.2
	weightDowntime  = 0.1
	weightChurn     = 0.1

	halfCost     = time.Minute // predicted duration that costs half its weight
	halfDowntime = time.Second
	halfPriority = 10.0

	// minRemoved: a move that takes less of the shortage away is not worth
	// its interruption.
	minRemoved = 0.1
)

// mayLeave says whether the automation may take the workload away from a host,
// and if not, why.
func (p *pass) mayLeave(l *load) (bool, string) {
	if ok, why := p.mayMove(l); !ok {
		return false, why
	}
	if why, frozen := p.frozen(l); frozen {
		return false, why
	}
	if l.CooldownUntil.After(p.view.Now) {
		return false, fmt.Sprintf("it moved lately and cools down until %s", clockText(l.CooldownUntil))
	}
	return true, ""
}

// mayMove says whether a workload may move at all.
func (p *pass) mayMove(l *load) (bool, string) {
	if l.planned {
		return false, "this pass moves it already"
	}
	if l.adjusted {
		return false, "this pass changes it in place"
	}
	if l.lease != nil {
		return false, fmt.Sprintf("lease %s (%s) holds it", l.lease.ID, l.lease.State)
	}
	if ok, why := l.Movable(); !ok {
		return false, why
	}
	return true, ""
}

// candidates ranks the workloads of a contended host by how well they would
// relieve it, best first, and excludes the rest with reasons.
func (p *pass) candidates(s *site, c fleet.Contention) (ranked []candidate, excluded []fleet.Exclusion) {
	for _, l := range s.members {
		if l.Owner != s.ID {
			// It is on its way here under a lease; mayLeave names it.
			excluded = append(excluded, fleet.Exclusion{Workload: l.ID, Reason: "it is still arriving"})
			continue
		}
		if ok, why := p.mayLeave(l); !ok {
			excluded = append(excluded, fleet.Exclusion{Workload: l.ID, Reason: why})
			continue
		}
		ranked = append(ranked, candidate{load: l})
	}
	shortage := p.shortage(s, s.of(c.Resource), c)
	p.par(len(ranked), func(i int) { p.scoreCandidate(&ranked[i], s, c, shortage) })
	for _, r := range ranked {
		if r.removed < minRemoved {
			excluded = append(excluded, fleet.Exclusion{Workload: r.ID,
				Reason: fmt.Sprintf("moving it would remove only %s of the shortage", percentText(r.removed))})
		}
	}
	ranked = slices.DeleteFunc(ranked, func(r candidate) bool { return r.removed < minRemoved })
	slices.SortFunc(ranked, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(excluded, func(a, b fleet.Exclusion) int { return cmp.Compare(a.Workload, b.Workload) })
	return ranked, excluded
}

// shortage is what is missing: right now, and per step within the horizon. It is
// judged as strictly as a destination (its quantile, and demand below its mean
// of the last day is taken to return to it), so that the workload that leaves is
// large enough for the host to stay below the line, not just to get there: a
// host relieved by the least possible would be the next one to cross it.
func (p *pass) shortage(s *site, u use, c fleet.Contention) []float64 {
	if p.books.isBooked(c) {
		return []float64{max(float64(u.booked-c.Allocatable), 0)}
	}
	out := []float64{max(u.current-float64(c.Allocatable), 0)}
	level := float64(p.strictQuantile()) / 1000
	for _, step := range p.stepsOf(s, u.demand) {
		raise := max(u.dayMean-u.demand.Centre(step), 0)
		out = append(out, max(u.demand.Quantile(step, level)+raise-float64(c.Allocatable), 0))
	}
	return out
}

// scoreCandidate fills the parts. The contention removed weighs most, so a
// workload that clears the breach beats all that do not; among those, the
// smallest, least important, most tolerant and cheapest goes.
func (p *pass) scoreCandidate(r *candidate, s *site, c fleet.Contention, shortage []float64) {
	left := p.shortage(s, p.books.without(s.of(c.Resource), r.load, c.Resource), c)
	var before, after float64
	for i := range shortage {
		before, after = before+shortage[i], after+left[i]
	}
	if before > 0 {
		r.removed = clamp(1 - after/before)
	}
	cost := p.predict(r.load, s, nil)
	r.parts = []fleet.ScorePart{
		{Name: "contention removed", Value: weightRemoved * r.removed},
		{Name: "size", Value: -weightSize * r.shareOf(c, p.books.isBooked(c))},
		{Name: "priority", Value: -weightPriority * float64(r.Priority) / (halfPriority + abs(float64(r.Priority)))},
		{Name: "tolerance", Value: weightTolerance * float64(r.Tolerance) / 1000},
		{Name: "migration cost", Value: -weightCost * saturating(cost.Duration, halfCost)},
		{Name: "downtime", Value: -weightDowntime * saturating(cost.Downtime, halfDowntime)},
		{Name: "churn", Value: -weightChurn * flag(!r.CooldownUntil.IsZero())},
	}
	for _, part := range r.parts {
		r.total += part.Value
	}
}

// shareOf is how much of the host the workload is.
func (r *candidate) shareOf(c fleet.Contention, booked bool) float64 {
	amount := r.dayMean
	if i := besideAt(c.Resource); booked {
		amount = known(r.Reservation.Memory)
	} else if i >= 0 {
		amount = r.load.parts[i].dayMean
	}
	if c.Allocatable <= 0 {
		return 1
	}
	return clamp(amount / float64(c.Allocatable))
}

// What a workload counts as that was never measured.
const (
	// defaultSize stands for a workload without size and reservation.
	defaultSize = 1 << 30
	// defaultWriteShare: a twentieth of its state a second is a busy
	// workload; a quarter of it is the working set. Too high rather than too
	// low, so that a first move leaves early.
	defaultWriteShare   = 0.05
	defaultWorkingShare = 0.25
	// defaultCutover is the part of the downtime that is the same for every
	// move: freeze, commit, activation, switching of the traffic.
	defaultCutover = 100 * time.Millisecond
)

// predict is what moving the workload will take in machine time, over the
// slower of the two links; an unmeasured link counts as precopy.DefaultBandwidth.
func (p *pass) predict(l *load, from, to *site) precopy.Prediction {
	size := l.Size
	if size <= 0 {
		size = int64(known(l.Reservation.Memory))
	}
	if size <= 0 {
		size = defaultSize
	}
	model := precopy.Model{WriteRate: float64(l.WriteRate), WorkingSet: float64(l.WorkingSet)}
	if l.WriteRate <= 0 {
		model = precopy.Model{WriteRate: defaultWriteShare * float64(size), WorkingSet: defaultWorkingShare * float64(size)}
	}
	bandwidth := from.Bandwidth
	if to != nil && to.Bandwidth > 0 && (bandwidth <= 0 || to.Bandwidth < bandwidth) {
		bandwidth = to.Bandwidth
	}
	if to != nil {
		if way, ok := p.around.ways.Between(from.Host, to.Host); ok && way.Bandwidth > 0 && (bandwidth <= 0 || way.Bandwidth < bandwidth) {
			bandwidth = way.Bandwidth
		}
	}
	return model.Predict(precopy.Link{Bandwidth: float64(bandwidth), FixedCutover: defaultCutover}, size, precopy.Target{})
}

func saturating(d, half time.Duration) float64 { return float64(d) / (float64(d) + float64(half)) }
func clamp(x float64) float64                  { return max(0, min(1, x)) }
func abs(x float64) float64                    { return max(x, -x) }

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
