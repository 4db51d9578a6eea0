package planner

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Bounds of the searches, in nodes. A search that spends them keeps the best it
// has found.
const (
	nodesPerHost = 10_000
	nodesPerTry  = 50_000
	nodesFleet   = 60_000
	// smallHosts and smallOverloaded bound the fleets that are solved as a
	// whole; in larger ones every overloaded host is a problem of its own.
	smallHosts      = 64
	smallOverloaded = 8
	// manyTargets: with so many destinations to choose from, the least loaded
	// ones hold a solution.
	manyTargets = 32
)

// overloaded lists the open hosts above their limits, the worst first.
func (a *arranger) overloaded(l limits) []int {
	var out []int
	degrees := make([]float64, len(a.b.hosts))
	for h := range a.b.hosts {
		if degrees[h], _ = l.degree(a.b, h); degrees[h] > 1 && !a.b.silent[h] {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(x, y int) int { return cmp.Or(cmp.Compare(degrees[y], degrees[x]), cmp.Compare(x, y)) })
	return out
}

// relieve brings every host below the ceiling with the fewest moves or the least
// memory: first host by host, then, in a fleet that is small enough, with the
// cost of that as the bar, as a whole.
func (a *arranger) relieve() {
	hot := a.overloaded(a.limits)
	if len(hot) == 0 {
		return
	}
	before := slices.Clone(a.b.at)
	var path []hop
	clear := true
	for _, h := range hot {
		moves, ok := a.relieveHost(h, a.left()-len(path))
		path = append(path, moves...)
		clear = clear && ok
		for _, m := range moves {
			a.b.put(m.w, m.to)
		}
	}
	if len(a.b.hosts) <= smallHosts && len(hot) <= smallOverloaded {
		after := slices.Clone(a.b.at)
		a.reset(before)
		c := newCover(a.b, a.limits, a.goal.Minimise, nodesFleet)
		c.room = a.room
		if a.goal.MaxMoves > 0 {
			c.maxMoves = a.left()
		}
		if clear {
			c.best = 1
			for _, m := range path {
				c.best += c.cost[m.w]
			}
		}
		if found, ok := c.run(); ok {
			path = found
		} else {
			a.reset(after)
		}
	}
	a.reset(before)
	for _, m := range path {
		degree, kind := a.limits.degree(a.b, m.from)
		text := fmt.Sprintf("%s is at %s of its %s (ceiling %s)", a.b.hostName(m.from), percentText(a.b.load(m.from, kind)), a.b.kinds[kind], a.ceilingText(kind))
		if degree <= 1 || !slices.Contains(hot, m.from) {
			text = fmt.Sprintf("it makes room on %s for what leaves an overloaded host", a.b.hostName(m.from))
		}
		a.move(m.w, m.to, text)
	}
}

// reset puts every workload where it was.
func (a *arranger) reset(at []int) {
	for w, h := range at {
		if a.b.at[w] != h {
			a.b.put(w, h)
		}
	}
}

// relieveHost finds the cheapest moves off one host, or, if it cannot be brought
// below the ceiling, those that help most. The board is left as it was.
func (a *arranger) relieveHost(h, most int) (path []hop, clear bool) {
	if most <= 0 {
		return nil, false
	}
	c := newCover(a.b, a.limits, a.goal.Minimise, nodesPerHost)
	c.room, c.scope, c.targets, c.maxMoves = a.room, h, a.roomiest(h), min(most, math.MaxInt32)
	if found, ok := c.run(); ok {
		return found, true
	}
	for len(path) < most {
		degree, kind := a.limits.degree(a.b, h)
		if degree <= 1 {
			break
		}
		best := hop{w: -1}
		amount := int64(0)
		for _, w := range a.b.on[h] {
			use := max(a.b.use[w*len(a.b.kinds)+kind], count64(kind == kindMemory)*a.b.want[w*len(a.b.kinds)+kind])
			if a.b.fixed[w] != "" || use < amount || use == 0 || use == amount && best.w >= 0 && best.w < w {
				continue
			}
			if to := a.bestPlace(w, c.targets); to >= 0 {
				best, amount = hop{w, h, to}, use
			}
		}
		if best.w < 0 {
			break
		}
		a.b.put(best.w, best.to)
		path = append(path, best)
	}
	for degree, _ := a.limits.degree(a.b, h); degree > 1 && len(path)+2 <= most; degree, _ = a.limits.degree(a.b, h) {
		room := a.makeRoom(h, c.targets)
		if room == nil {
			break
		}
		for _, m := range room {
			a.b.put(m.w, m.to)
		}
		path = append(path, room...)
	}
	degree, _ := a.limits.degree(a.b, h)
	for i := len(path) - 1; i >= 0; i-- {
		a.b.put(path[i].w, path[i].from)
	}
	return path, degree <= 1
}

// makeRoom finds a workload that could leave the host if another one made room
// for it at its destination, by going to a third host or by changing places. The
// one that takes most away comes first, and of those in its way the one that
// copies least. The board is left as it was.
func (a *arranger) makeRoom(h int, targets []int) []hop {
	b := a.b
	before, kind := a.limits.degree(b, h)
	leaving := slices.DeleteFunc(slices.Clone(b.on[h]), func(w int) bool { return b.fixed[w] != "" || b.use[w*len(b.kinds)+kind] == 0 })
	slices.SortFunc(leaving, func(x, y int) int {
		return cmp.Or(cmp.Compare(b.use[y*len(b.kinds)+kind], b.use[x*len(b.kinds)+kind]), cmp.Compare(x, y))
	})
	for _, w := range leaving {
		for _, to := range targets {
			inTheWay := slices.DeleteFunc(slices.Clone(b.on[to]), func(x int) bool { return b.fixed[x] != "" })
			slices.SortFunc(inTheWay, func(x, y int) int { return cmp.Or(cmp.Compare(b.size[x], b.size[y]), cmp.Compare(x, y)) })
			for _, x := range inTheWay {
				if path := a.afterYou(w, x, h, to, targets, before); path != nil {
					return path
				}
			}
		}
	}
	return nil
}

// afterYou tries w from h to a host that x leaves for a third one or for h.
func (a *arranger) afterYou(w, x, h, to int, targets []int, before float64) []hop {
	b := a.b
	b.put(x, -1)
	b.put(w, -1)
	defer func() {
		b.put(w, h)
		b.put(x, to)
	}()
	if !b.may(w, to) || a.limits.with(b, to, w) > a.room {
		return nil
	}
	b.put(w, to)
	defer b.put(w, -1)
	if aside := a.bestPlace(x, slices.DeleteFunc(slices.Clone(targets), func(t int) bool { return t == to })); aside >= 0 {
		return []hop{{x, to, aside}, {w, h, to}}
	}
	if b.may(x, h) && a.limits.with(b, h, x) < before {
		return []hop{{w, h, to}, {x, to, h}}
	}
	return nil
}

func count64(yes bool) int64 { return int64(count(yes)) }

// bestPlace is the target that ends least loaded with the workload and stays
// below its limits, -1 if there is none.
func (a *arranger) bestPlace(w int, targets []int) int {
	best, least := -1, math.Inf(1)
	for _, to := range targets {
		if degree := a.limits.with(a.b, to, w); degree <= a.room && a.b.may(w, to) {
			if degree += softWeight * float64(a.b.softCost(w, to)); degree < least {
				best, least = to, degree
			}
		}
	}
	return best
}

// roomiest lists the open hosts but one, the least loaded first. A host that can
// take nothing for want of memory is no target, however idle its cpu is.
func (a *arranger) roomiest(but int) []int {
	type place struct {
		h      int
		degree float64
	}
	var places []place
	for h := range a.b.hosts {
		if h == but || a.b.closed[h] != "" {
			continue
		}
		degree, _ := a.limits.degree(a.b, h)
		if at := h*len(a.b.kinds) + kindMemory; a.b.give[at] > 0 {
			degree = max(degree, float64(a.b.held[at])/float64(a.b.give[at]))
		}
		places = append(places, place{h, degree})
	}
	slices.SortFunc(places, func(x, y place) int { return cmp.Or(cmp.Compare(x.degree, y.degree), cmp.Compare(x.h, y.h)) })
	// With rules and requirements the idle hosts may be the wrong ones.
	if len(a.b.rules) == 0 && !a.b.choosy {
		places = places[:min(len(places), manyTargets)]
	}
	out := make([]int, len(places))
	for i, p := range places {
		out[i] = p.h
	}
	return out
}

// flatten lowers the load of the most loaded host as far as the moves allow.
func (a *arranger) flatten() {
	rates := newLimits(a.b, 1000)
	for h := range a.b.hosts {
		rates[h*len(a.b.kinds)+kindMemory] = 0
	}
	before := slices.Clone(a.b.at)
	path := a.descend(rates, a.left())
	if a.goal.MaxMoves > 0 && len(a.b.hosts) <= smallHosts && len(path) > 0 {
		reached := 0.0
		for h := range a.b.hosts {
			if degree, _ := rates.degree(a.b, h); !a.b.silent[h] {
				reached = max(reached, degree)
			}
		}
		after := slices.Clone(a.b.at)
		a.reset(before)
		s := newLowest(a.b, rates, a.left(), nodesFleet)
		s.best = reached
		if found := s.run(); found != nil {
			path = found
		} else {
			a.reset(after)
		}
	}
	a.reset(before)
	for _, m := range path {
		_, kind := rates.degree(a.b, m.from)
		a.move(m.w, m.to, fmt.Sprintf("%s has the highest load, %s of its %s", a.b.hostName(m.from), percentText(a.b.load(m.from, kind)), a.b.kinds[kind]))
	}
	if len(path) == 0 {
		a.nothing = "no move lowers the load of the most loaded host"
	}
}

// descend takes, as long as there is one, the move off the most loaded host that
// leaves the two hosts lowest. It leaves the board where it ended.
func (a *arranger) descend(l limits, most int) (path []hop) {
	for len(path) < most {
		h, top := -1, 0.0
		for i := range a.b.hosts {
			if degree, _ := l.degree(a.b, i); degree > top && !a.b.silent[i] {
				h, top = i, degree
			}
		}
		if h < 0 {
			return path
		}
		best, least := hop{w: -1}, top*better
		for _, w := range a.b.on[h] {
			if a.b.fixed[w] != "" {
				continue
			}
			left := l.without(a.b, h, w)
			for to := range a.b.hosts {
				if after := max(left, l.with(a.b, to, w)); after < least && a.b.may(w, to) {
					best, least = hop{w, h, to}, after
				}
			}
		}
		if best.w < 0 {
			return path
		}
		a.b.put(best.w, best.to)
		path = append(path, best)
	}
	return path
}
