package planner

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/scorer"
)

// WhatIf plans from loads as they are: which moves reach the goal, in an order
// in which each is safe. It is the offline sister of Plan, which decides from
// forecasts and a few moves at a time. The same view and goal give the same
// answer; work is bounded by counts.
func WhatIf(view fleet.View, goal Goal) (Arrangement, error) {
	if err := goal.Validate(); err != nil {
		return Arrangement{}, err
	}
	a, err := newArranger(view, goal)
	if err != nil {
		return Arrangement{}, err
	}
	a.out.Before = a.b.picture(a.limits)
	a.empty()
	switch goal.Objective {
	case Relieve:
		a.repair()
		if goal.Minimise == MinimiseMaxLoad {
			a.flatten()
		} else {
			a.relieve()
		}
	case Balance:
		a.repair()
		if goal.Minimise == MinimiseMaxLoad {
			a.flatten()
		} else {
			a.balance()
		}
	case Consolidate:
		a.consolidate()
	case Place:
		a.placePending()
	}
	a.conclude()
	return a.out, nil
}

// arranger is the working state of one WhatIf.
type arranger struct {
	b      *board
	goal   Goal
	limits limits // the ceiling
	// room is the share of its limits to which a destination may be filled.
	room float64
	// leaving are the hosts to be emptied.
	leaving []int
	// order lists the workloads in the order in which they were moved, reason
	// why each was.
	order  []int
	reason map[int]string
	// exposed says of the workloads that leave a host all the same what that takes
	// of the room for hosts that fail.
	exposed map[int]string
	out     Arrangement
	// nothing says why nothing is to be done, if the objective knows better than
	// the general sentence.
	nothing string
}

func newArranger(view fleet.View, goal Goal) (*arranger, error) {
	drained := map[fleet.HostID]bool{}
	for _, id := range goal.Drain {
		if !slices.ContainsFunc(view.Hosts, func(h fleet.HostView) bool { return h.ID == id }) {
			return nil, fmt.Errorf("drain: host %q is not in the fleet", id)
		}
		drained[id] = true
	}
	a := &arranger{b: newBoard(view, drained), goal: goal, reason: map[int]string{}, exposed: map[int]string{}, room: float64(1000-goal.Headroom) / 1000}
	a.limits = newLimits(a.b, goal.Ceiling)
	for h, host := range a.b.hosts {
		asked := host.State == fleet.HostDraining || host.State == fleet.HostMaintenance
		if drained[host.ID] || goal.Objective == Drain && asked {
			a.leaving = append(a.leaving, h)
		}
	}
	return a, nil
}

// left is how many more moves the goal allows; a large number if unbounded.
func (a *arranger) left() int {
	if a.goal.MaxMoves == 0 {
		return 1 << 30
	}
	return a.goal.MaxMoves - len(a.order)
}

// move applies a move and remembers why. A workload that was moved before keeps
// its first reason, since it leaves its host for that.
func (a *arranger) move(w, to int, reason string) {
	a.b.put(w, to)
	if i := slices.Index(a.order, w); i >= 0 {
		if to == a.b.home[w] {
			a.order = slices.Delete(a.order, i, i+1)
		}
		return
	}
	a.order = append(a.order, w)
	a.reason[w] = reason
}

// conclude orders the moves, scores them, and says what is left.
func (a *arranger) conclude() {
	steps, stuck := a.shelter(a.b.sequence(a.order, a.goal.MaxMoves))
	end := slices.Clone(a.b.at)
	for i := len(steps) - 1; i >= 0; i-- {
		a.b.put(steps[i].w, steps[i].from)
	}
	for _, s := range steps {
		a.out.Steps = append(a.out.Steps, a.step(s, end[s.w] != s.to))
		a.b.put(s.w, s.to)
	}
	for _, s := range stuck {
		why := "the moves of the plan wait for each other in a circle and no third host can park one of them"
		if a.goal.MaxMoves > 0 && len(steps)+2 > a.goal.MaxMoves {
			why = fmt.Sprintf("parking it takes more than the %d moves allowed (max-moves)", a.goal.MaxMoves)
		}
		a.refuse(s.w, s.to, why)
	}
	a.out.After = a.b.picture(a.limits)
	a.unrelieved()
	a.out.Summary = a.summary()
}

func (a *arranger) refuse(w, to int, why string) {
	e := fleet.Exclusion{Workload: a.b.works[w].ID, Reason: why}
	if to >= 0 {
		e.Host = a.b.hosts[to].ID
	}
	a.out.Refused = append(a.out.Refused, e)
}

// step scores a move just before it is made.
func (a *arranger) step(s hop, parked bool) Step {
	b := a.b
	out := Step{Workload: b.works[s.w].ID, To: b.hosts[s.to].ID, Memory: b.size[s.w], Reason: a.reason[s.w]}
	if why := a.exposed[s.w]; why != "" {
		out.Reason += "; against the reserve: " + why
	}
	if parked {
		out.Reason = "it makes room for another move and waits here for its own"
	}
	parts := []fleet.ScorePart{{Name: "destination load", Value: -a.limits.with(b, s.to, s.w)}}
	if s.from >= 0 {
		out.From = b.hosts[s.from].ID
		before, _ := a.limits.degree(b, s.from)
		parts = append([]fleet.ScorePart{{Name: "source load", Value: before}, {Name: "source load after", Value: -a.limits.without(b, s.from, s.w)}}, parts...)
	}
	if soft := b.softCost(s.w, s.to) - b.softCost(s.w, s.from); soft != 0 {
		parts = append(parts, fleet.ScorePart{Name: "soft rules", Value: -softWeight * float64(soft)})
	}
	out.Score = fleet.Score{Host: out.To, Parts: parts}
	for _, p := range parts {
		out.Score.Total += p.Value
	}
	return out
}

// unrelieved lists the open hosts above the ceiling and the hosts that should be
// empty and are not.
func (a *arranger) unrelieved() {
	b := a.b
	for h := range b.hosts {
		id := b.hosts[h].ID
		if slices.Contains(a.leaving, h) {
			if n := len(b.on[h]); n > 0 {
				a.out.Unrelieved = append(a.out.Unrelieved, fleet.Exclusion{Host: id,
					Reason: fmt.Sprintf("%s on it: %s", counted(n, "workload"), a.stayReasons(h))})
			}
			continue
		}
		if a.goal.Objective != Relieve && a.goal.Objective != Balance {
			continue
		}
		degree, kind := a.limits.degree(b, h)
		if degree <= 1 {
			continue
		}
		text := fmt.Sprintf("%s stays at %s (ceiling %s)", b.kinds[kind], percentText(b.load(h, kind)), a.ceilingText(kind))
		if kind == kindMemory {
			text = "memory stays short"
		}
		a.out.Unrelieved = append(a.out.Unrelieved, fleet.Exclusion{Host: id, Reason: text + ": " + a.stayReasons(h)})
	}
}

func (a *arranger) ceilingText(kind int) string {
	if kind == kindMemory {
		return "100 %"
	}
	return scorer.Percent(a.goal.Ceiling)
}

// stayReasons sums up why the workloads of a host do not leave it.
func (a *arranger) stayReasons(h int) string {
	b := a.b
	if b.hosts[h].Liveness != fleet.Alive {
		return fmt.Sprintf("it is %s and cannot send anything away: bring its agent back", b.hosts[h].Liveness)
	}
	if a.goal.MaxMoves > 0 && len(a.order) >= a.goal.MaxMoves {
		return fmt.Sprintf("the %d moves allowed are spent (max-moves)", a.goal.MaxMoves)
	}
	var all []fleet.Exclusion
	on := slices.Clone(b.on[h])
	slices.Sort(on)
	for _, w := range on {
		all = append(all, fleet.Exclusion{Workload: b.works[w].ID, Reason: a.stayReason(w)})
	}
	return summary(all)
}

// stayReason is why one workload does not leave its host.
func (a *arranger) stayReason(w int) string {
	if a.b.fixed[w] != "" {
		return a.b.fixed[w]
	}
	var hosts []fleet.Exclusion
	for to := range a.b.hosts {
		if to == a.b.at[w] {
			continue
		}
		why := a.b.why(w, to)
		if why == "" && a.limits.with(a.b, to, w) > a.room {
			why = "no host stays below the ceiling with it"
		}
		if why == "" {
			return "moving it would not help enough"
		}
		hosts = append(hosts, fleet.Exclusion{Reason: why})
	}
	if len(hosts) == 0 {
		return "there is no other host"
	}
	// The reason that most hosts give; figures of single hosts would hide it.
	return mostFrequent(hosts)
}

func mostFrequent(list []fleet.Exclusion) string {
	times := map[string]int{}
	best := ""
	for _, e := range list {
		times[e.Reason]++
	}
	for _, e := range list {
		if best == "" || times[e.Reason] > times[best] || times[e.Reason] == times[best] && e.Reason < best {
			best = e.Reason
		}
	}
	return best
}

// summary is the sentence at the head of the answer.
func (a *arranger) summary() string {
	if len(a.out.Steps) > 0 {
		bytes := int64(0)
		for _, s := range a.out.Steps {
			bytes += s.Memory
		}
		return fmt.Sprintf("%s, %s: the most loaded host goes from %s to %s of its cpu, hosts above the ceiling from %d to %d",
			counted(len(a.out.Steps), "move"), fleet.FormatAmount(fleet.Memory, bytes), percentText(a.out.Before.MaxCPU), percentText(a.out.After.MaxCPU),
			a.out.Before.Overloaded, a.out.After.Overloaded)
	}
	if len(a.out.Unrelieved) > 0 || len(a.out.Refused) > 0 {
		return "nothing can be done: " + cmp.Or(a.nothing, "see unrelieved and refused for the reasons")
	}
	return "nothing to do: " + cmp.Or(a.nothing, a.closest())
}

// closest names the host that is nearest to the ceiling.
func (a *arranger) closest() string {
	best, most, kind := -1, 0.0, 0
	for h := range a.b.hosts {
		if degree, k := a.limits.degree(a.b, h); degree > most {
			best, most, kind = h, degree, k
		}
	}
	if best < 0 {
		return "no workload uses anything"
	}
	return fmt.Sprintf("no host is above the ceiling; closest is %s with %s of its %s (ceiling %s)", a.b.hostName(best),
		percentText(a.b.load(best, kind)), a.b.kinds[kind], a.ceilingText(kind))
}

// counted prints "1 move", "2 moves".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
