package planner

import (
	"cmp"
	"slices"
)

// sequence puts the way from the start of the board to where its workloads are
// now into steps, each of which is safe once those before it are done: the
// destination has room while the source still holds its part, and no hard rule
// breaks. Of the steps that are safe, those come first that use no host beyond
// what it can serve.
//
// Moves that wait for each other in a circle are solved by parking one of them
// on a third host. What cannot be solved is not done, and returned as stuck. The
// board ends in the state after the steps. maxSteps 0 = no bound.
func (b *board) sequence(order []int, maxSteps int) (steps []hop, stuck []hop) {
	goal := slices.Clone(b.at)
	final := make([]float64, len(b.hosts))
	full := newLimits(b, 1000)
	for h := range b.hosts {
		final[h], _ = full.degree(b, h)
	}
	for w := range b.works {
		if b.at[w] != b.home[w] {
			b.put(w, b.home[w])
		}
	}
	pending := slices.DeleteFunc(slices.Clone(order), func(w int) bool { return goal[w] == b.home[w] })
	calm := func(w, to int) bool { return full.with(b, to, w) <= max(1, final[to])+1e-12 }
	for len(pending) > 0 && (maxSteps == 0 || len(steps) < maxSteps) {
		i := slices.IndexFunc(pending, func(w int) bool { return b.may(w, goal[w]) && calm(w, goal[w]) })
		if i < 0 {
			// A moment above what a host can serve costs less than a further move.
			i = slices.IndexFunc(pending, func(w int) bool { return b.may(w, goal[w]) })
		}
		if i >= 0 {
			w := pending[i]
			steps = append(steps, hop{w, b.at[w], goal[w]})
			b.put(w, goal[w])
			pending = slices.Delete(pending, i, i+1)
			continue
		}
		if maxSteps > 0 && len(steps)+2 > maxSteps {
			break
		}
		w, aside := b.parking(pending, goal, calm)
		if aside < 0 {
			w, aside = b.parking(pending, goal, func(int, int) bool { return true })
		}
		if aside < 0 {
			break
		}
		steps = append(steps, hop{w, b.at[w], aside})
		b.put(w, aside)
	}
	parked := slices.DeleteFunc(slices.Clone(pending), func(w int) bool { return b.at[w] == b.home[w] })
	if len(parked) > 0 {
		return b.without(parked, goal, order, maxSteps)
	}
	for _, w := range pending {
		stuck = append(stuck, hop{w, b.at[w], goal[w]})
	}
	return steps, stuck
}

// without sequences the way anew and lets those stay at home that would end in
// their parking place, for what they were to make room for cannot follow.
func (b *board) without(parked, goal, order []int, maxSteps int) (steps, stuck []hop) {
	for w, h := range goal {
		if slices.Contains(parked, w) {
			h = b.home[w]
		}
		if b.at[w] != h {
			b.put(w, h)
		}
	}
	order = slices.DeleteFunc(slices.Clone(order), func(w int) bool { return slices.Contains(parked, w) })
	steps, stuck = b.sequence(order, maxSteps)
	for _, w := range parked {
		stuck = append(stuck, hop{w, b.home[w], goal[w]})
	}
	return steps, stuck
}

// parking finds a workload that blocks another one and can wait on a third host:
// of those in the way, the one that copies least. A workload is parked once.
func (b *board) parking(pending, goal []int, calm func(w, to int) bool) (w, aside int) {
	inTheWay := map[int]bool{}
	for _, w := range pending {
		inTheWay[goal[w]] = true
	}
	blockers := slices.DeleteFunc(slices.Clone(pending), func(w int) bool { return b.at[w] < 0 || b.at[w] != b.home[w] || !inTheWay[b.at[w]] })
	slices.SortFunc(blockers, func(x, y int) int { return cmp.Or(cmp.Compare(b.size[x], b.size[y]), cmp.Compare(x, y)) })
	for _, w := range blockers {
		for aside := range b.hosts {
			if aside != goal[w] && b.may(w, aside) && calm(w, aside) {
				// It must be able to leave its parking place again.
				from := b.at[w]
				b.put(w, aside)
				ok, _ := b.compatible(w, goal[w])
				b.put(w, from)
				if ok {
					return w, aside
				}
			}
		}
	}
	return -1, -1
}
