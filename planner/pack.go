package planner

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// empty moves everything off the hosts that are to be emptied, the largest
// workloads first: small ones fit into what is left.
func (a *arranger) empty() {
	for _, h := range a.leaving {
		leaving := slices.Clone(a.b.on[h])
		a.largestFirst(leaving)
		word := "is to be emptied"
		if a.b.hosts[h].State != fleet.HostActive {
			word = map[fleet.HostState]string{fleet.HostDraining: "is draining", fleet.HostMaintenance: "is in maintenance", fleet.HostLeft: "has left"}[a.b.hosts[h].State]
		}
		for _, w := range leaving {
			if a.b.fixed[w] != "" {
				a.refuse(w, -1, a.b.fixed[w])
				continue
			}
			if a.left() <= 0 {
				a.refuse(w, -1, fmt.Sprintf("the %d moves allowed are spent (max-moves)", a.goal.MaxMoves))
				continue
			}
			to, over := a.place(w)
			if to < 0 {
				a.refuseEverywhere(w, false)
				continue
			}
			text := fmt.Sprintf("%s %s", a.b.hostName(h), word)
			if over {
				text += fmt.Sprintf("; no host stays below the ceiling with it, %s is the least loaded", a.b.hostName(to))
			}
			a.move(w, to, text)
		}
	}
	if a.goal.Objective == Drain && len(a.leaving) == 0 {
		a.nothing = "no host is draining or in maintenance, and none was named"
	} else if a.goal.Objective == Drain && !slices.ContainsFunc(a.leaving, func(h int) bool { return len(a.b.on[h]) > 0 }) {
		a.nothing = "the hosts to be emptied are empty"
	}
}

// largestFirst orders workloads by what they ask of a host.
func (a *arranger) largestFirst(list []int) {
	r := len(a.b.kinds)
	total := make([]float64, r)
	for i, amount := range a.b.serve {
		total[i%r] += float64(amount)
	}
	weight := func(w int) float64 {
		most := 0.0
		for k, t := range total {
			if t > 0 {
				most = max(most, float64(max(a.b.use[w*r+k], a.b.want[w*r+k]))/t)
			}
		}
		return most
	}
	slices.SortFunc(list, func(x, y int) int {
		return cmp.Or(cmp.Compare(a.b.works[y].Priority, a.b.works[x].Priority), cmp.Compare(weight(y), weight(x)), cmp.Compare(x, y))
	})
}

// place is the host that ends least loaded with the workload; over says that
// even that one is above the ceiling. -1: no host may take it.
func (a *arranger) place(w int) (to int, over bool) {
	to = -1
	least := math.Inf(1)
	for h := range a.b.hosts {
		degree := a.limits.with(a.b, h, w)
		if degree >= least || !a.b.may(w, h) {
			continue
		}
		if degree += softWeight * float64(a.b.softCost(w, h)); degree < least {
			to, least = h, degree
		}
	}
	return to, to >= 0 && a.limits.with(a.b, to, w) > 1
}

// maxRefusals bounds the hosts named for one refused workload.
const maxRefusals = 16

// refuseEverywhere says per host why it does not take the workload.
func (a *arranger) refuseEverywhere(w int, ceiling bool) {
	said := 0
	for h := range a.b.hosts {
		if h == a.b.at[w] {
			continue
		}
		why := a.b.why(w, h)
		if why == "" && ceiling && a.limits.with(a.b, h, w) > a.room {
			why = fmt.Sprintf("it would be above the ceiling: %s", percentText(a.limits.with(a.b, h, w)*float64(a.goal.Ceiling)/1000))
		}
		if why == "" {
			why = "it has room, but not for this and all the others"
		}
		if said++; said > maxRefusals {
			a.refuse(w, -1, fmt.Sprintf("and %d more hosts", len(a.b.hosts)-maxRefusals))
			return
		}
		a.refuse(w, h, why)
	}
	if said == 0 {
		a.refuse(w, -1, "there is no other host")
	}
}

// placePending gives every pending workload a host, or none of them: the largest
// first, each where it leaves the host least loaded; if one finds no place, with
// backtracking within bounds.
func (a *arranger) placePending() {
	var pending []int
	for w, h := range a.b.at {
		if h < 0 {
			pending = append(pending, w)
		}
	}
	if len(pending) == 0 {
		a.nothing = "no instance is pending: all of them name a host"
		return
	}
	slices.SortFunc(pending, func(x, y int) int { return cmp.Compare(x, y) })
	a.largestFirst(pending)
	if a.goal.MaxMoves > 0 && len(pending) > a.left() {
		a.nothing = fmt.Sprintf("%d instances are pending and %d moves allowed; they are placed together or not at all", len(pending), a.goal.MaxMoves)
		a.refuse(pending[0], -1, a.nothing)
		return
	}
	p := packing{a: a, nodes: nodesPerTry, deepest: -1}
	if p.search(pending, 0) {
		for _, w := range pending {
			to := a.b.at[w]
			a.b.put(w, -1)
			a.move(w, to, fmt.Sprintf("it was pending; %s has room and stays at %s of its worst limit", a.b.hostName(to), percentText(a.limits.with(a.b, to, w))))
		}
		return
	}
	w := pending[p.deepest]
	a.nothing = fmt.Sprintf("%s finds no place beside the others, and pending instances are placed all or none", a.b.works[w].ID)
	// The state in which it found none: those before it are placed.
	for i := range p.deepest {
		a.b.put(pending[i], p.reached[i])
	}
	a.refuseEverywhere(w, true)
	for i := range p.deepest {
		a.b.put(pending[i], -1)
	}
}

// packing is a depth-first search for places for a list of workloads.
type packing struct {
	a       *arranger
	nodes   int
	deepest int
	reached []int // where the others were when the deepest one found no place
}

func (p *packing) search(list []int, i int) bool {
	if i == len(list) {
		return true
	}
	if i > p.deepest {
		p.deepest, p.reached = i, nil
		for _, w := range list[:i] {
			p.reached = append(p.reached, p.a.b.at[w])
		}
	}
	w := list[i]
	type place struct {
		h      int
		degree float64
	}
	var places []place
	for h := range p.a.b.hosts {
		if degree := p.a.limits.with(p.a.b, h, w); degree <= p.a.room && p.a.b.may(w, h) {
			places = append(places, place{h, degree + softWeight*float64(p.a.b.softCost(w, h))})
		}
	}
	slices.SortFunc(places, func(x, y place) int { return cmp.Or(cmp.Compare(x.degree, y.degree), cmp.Compare(x.h, y.h)) })
	for _, x := range places {
		if p.nodes--; p.nodes <= 0 {
			return false
		}
		p.a.b.put(w, x.h)
		if p.search(list, i+1) {
			return true
		}
		p.a.b.put(w, -1)
	}
	return false
}

// consolidate empties hosts, the dearest and least used first, as long as all of
// a host's workloads fit on the others below the ceiling. A host is emptied as a
// whole or left alone.
func (a *arranger) consolidate() {
	hosts := make([]int, 0, len(a.b.hosts))
	cost := make([]float64, len(a.b.hosts))
	for h := range a.b.hosts {
		if a.b.closed[h] == "" && len(a.b.on[h]) > 0 {
			hosts = append(hosts, h)
			cost[h] = a.costPerHour(h)
		}
	}
	degree := func(h int) float64 { d, _ := a.limits.degree(a.b, h); return d }
	slices.SortFunc(hosts, func(x, y int) int {
		return cmp.Or(cmp.Compare(cost[y], cost[x]), cmp.Compare(degree(x), degree(y)), cmp.Compare(x, y))
	})
	emptied := map[int]bool{}
	for _, h := range hosts {
		if len(hosts)-len(emptied) > 1 {
			emptied[h] = a.vacate(h, emptied)
			if !emptied[h] {
				delete(emptied, h)
			}
		}
	}
	if len(emptied) == 0 {
		a.nothing = "no host can be emptied: the others would not stay below the ceiling with what runs on it"
	}
}

// costPerHour is what a host costs while it is on.
func (a *arranger) costPerHour(h int) float64 {
	p := a.b.hosts[h].Price
	at := h * len(a.b.kinds)
	return p.CPUHour*float64(a.b.serve[at+kindCPU])/1000 + p.GiBHour*float64(a.b.serve[at+kindMemory])/(1<<30)
}

// vacate moves all workloads of a host onto fuller ones, or none.
func (a *arranger) vacate(h int, emptied map[int]bool) bool {
	leaving := slices.Clone(a.b.on[h])
	if len(leaving) > a.left() || slices.ContainsFunc(leaving, func(w int) bool { return a.b.fixed[w] != "" || a.b.at[w] != a.b.home[w] }) {
		return false
	}
	a.largestFirst(leaving)
	for i, w := range leaving {
		best, fullest := -1, -1.0
		for to := range a.b.hosts {
			if to == h || emptied[to] || len(a.b.on[to]) == 0 {
				continue
			}
			if degree := a.limits.with(a.b, to, w); degree <= a.room && degree > fullest && a.b.may(w, to) && a.b.softCost(w, to) == 0 {
				best, fullest = to, degree
			}
		}
		if best < 0 {
			for _, back := range leaving[:i] {
				a.b.put(back, h)
			}
			return false
		}
		a.b.put(w, best)
	}
	for _, w := range leaving {
		to := a.b.at[w]
		a.b.put(w, h)
		a.move(w, to, fmt.Sprintf("%s can be emptied: its workloads fit on hosts that are on anyway", a.b.hostName(h)))
	}
	return true
}

// repair moves workloads that break a hard rule where they are.
func (a *arranger) repair() {
	for w := range a.b.works {
		for _, i := range a.b.ruled[w] {
			rule := &a.b.rules[i]
			if h := a.b.at[w]; h < 0 || !rule.Hard || !rule.broken(h) || a.left() <= 0 || slices.Contains(a.leaving, h) {
				continue
			}
			if a.b.fixed[w] != "" {
				a.refuse(w, -1, fmt.Sprintf("it breaks the hard %s, and may not move: %s", rule.Rule, a.b.fixed[w]))
				break
			}
			if to, _ := a.place(w); to >= 0 {
				a.move(w, to, "it breaks the hard "+rule.Rule.String())
			} else {
				a.refuseEverywhere(w, false)
			}
			break
		}
	}
}
