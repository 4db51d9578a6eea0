package planner

import (
	"cmp"
	"math"
	"slices"
)

// hop is one workload that goes from one host to another; -1 = from nowhere.
type hop struct{ w, from, to int }

// cover searches the cheapest set of moves after which no host is above its
// limit, by depth-first branch and bound:
//
//   - a node takes the host that is worst off; in every solution one of its
//     workloads leaves, so it branches over them and their destinations;
//   - a branch that has been searched keeps its workload where it is in the
//     branches after it, so a set of moves is met once and not in every order;
//   - what every overloaded host still has to lose bounds the cost from below.
//
// The search ends when it is complete or its nodes are spent: work is bounded by
// counts and not by a clock, so the same fleet gives the same plan anywhere.
type cover struct {
	b      *board
	limits limits
	// room is the share of its limits to which a destination may be filled.
	room float64
	// cost of moving a workload, and the least of what one move adds.
	cost    []int64
	perMove int64
	// scope, if not negative, is the one host to relieve; the others must stay
	// below their limits.
	scope int
	// targets, if not nil, are the only destinations.
	targets  []int
	maxMoves int
	nodes    int
	stays    []bool // moved by the path, or searched already
	path     []hop
	spent    int64
	best     int64
	found    []hop
	solved   bool
}

// costs of each workload's move for what is minimised.
func (b *board) costs(m Minimise) (cost []int64, perMove int64) {
	const (
		move      = int64(1) << 52 // beats everything below
		rank      = int64(1) << 44 // of the priority
		tolerance = int64(1) << 40
	)
	ranks := b.priorityRanks()
	cost = make([]int64, len(b.works))
	for w := range cost {
		if m == MinimiseMemory {
			cost[w] = b.size[w] + 1
			continue
		}
		cost[w] = move + int64(ranks[w])*rank + (1000-b.works[w].Tolerance)/100*tolerance + min(b.size[w]>>10, tolerance-1)
	}
	if m == MinimiseMemory {
		return cost, 1
	}
	return cost, move
}

// priorityRanks numbers the priorities from the least important on.
func (b *board) priorityRanks() []int {
	var seen []int64
	for _, w := range b.works {
		seen = append(seen, w.Priority)
	}
	slices.Sort(seen)
	seen = slices.Compact(seen)
	out := make([]int, len(b.works))
	for w := range b.works {
		i, _ := slices.BinarySearch(seen, b.works[w].Priority)
		out[w] = min(i, 255)
	}
	return out
}

func newCover(b *board, l limits, m Minimise, nodes int) *cover {
	c := &cover{b: b, limits: l, room: 1, scope: -1, nodes: nodes, best: math.MaxInt64, stays: make([]bool, len(b.works))}
	c.cost, c.perMove = b.costs(m)
	for w := range c.stays {
		c.stays[w] = b.fixed[w] != "" || b.at[w] != b.home[w]
	}
	return c
}

// worst is the host in scope that is most above its limits, -1 if none is.
func (c *cover) worst() int {
	if c.scope >= 0 {
		if degree, _ := c.limits.degree(c.b, c.scope); degree > 1 {
			return c.scope
		}
		return -1
	}
	worst, most := -1, 1.0
	for h := range c.b.hosts {
		if degree, _ := c.limits.degree(c.b, h); degree > most && !c.b.silent[h] {
			worst, most = h, degree
		}
	}
	return worst
}

// shortage is the kind that is worst off on a host and by how much; byWant says
// that it is the reservations that are too many.
func (c *cover) shortage(h int) (kind int, amount int64, byWant bool) {
	r := len(c.b.kinds)
	_, kind = c.limits.degree(c.b, h)
	at := h*r + kind
	amount = c.b.used[at] - c.limits[at]
	if over := c.b.held[at] - c.b.give[at]; kind == kindMemory && c.b.give[at] > 0 && over > 0 && (c.limits[at] == 0 || over > amount) {
		return kind, over, true
	}
	return kind, amount, false
}

func (c *cover) amount(w, kind int, byWant bool) int64 {
	if byWant {
		return c.b.want[w*len(c.b.kinds)+kind]
	}
	return c.b.use[w*len(c.b.kinds)+kind]
}

// bound is the least that relieving the host can cost: the largest workloads by
// number, or the cheapest per amount with the last one in part.
func (c *cover) bound(h int) int64 {
	kind, need, byWant := c.shortage(h)
	var few [32]int
	list := few[:0]
	for _, w := range c.b.on[h] {
		if !c.stays[w] && c.amount(w, kind, byWant) > 0 {
			list = append(list, w)
		}
	}
	if c.perMove > 1 {
		slices.SortFunc(list, func(x, y int) int { return cmp.Compare(c.amount(y, kind, byWant), c.amount(x, kind, byWant)) })
		for i, w := range list {
			if need -= c.amount(w, kind, byWant); need <= 0 {
				return int64(i+1) * c.perMove
			}
		}
		return math.MaxInt64
	}
	slices.SortFunc(list, func(x, y int) int {
		return cmp.Compare(float64(c.cost[x])*float64(c.amount(y, kind, byWant)), float64(c.cost[y])*float64(c.amount(x, kind, byWant)))
	})
	total := int64(0)
	for _, w := range list {
		have := c.amount(w, kind, byWant)
		if have >= need {
			return total + int64(float64(c.cost[w])*float64(need)/float64(have))
		}
		need -= have
		total += c.cost[w]
	}
	return math.MaxInt64
}

// hopeless says that no solution below this node beats the best.
func (c *cover) hopeless(worst int) bool {
	if c.maxMoves > 0 && len(c.path) >= c.maxMoves {
		return true
	}
	total := c.spent
	add := func(h int) bool {
		least := c.bound(h)
		if least == math.MaxInt64 {
			return true
		}
		total += least
		return total >= c.best
	}
	if c.scope >= 0 {
		return add(worst)
	}
	for h := range c.b.hosts {
		if c.b.silent[h] {
			continue
		}
		if degree, _ := c.limits.degree(c.b, h); degree > 1 && add(h) {
			return true
		}
	}
	return false
}

// run returns the moves in an order that was safe at every step, and whether
// there is a solution.
func (c *cover) run() ([]hop, bool) {
	c.search()
	return c.found, c.solved
}

func (c *cover) search() {
	h := c.worst()
	if h < 0 {
		if !c.solved || c.spent < c.best {
			c.best, c.found, c.solved = c.spent, slices.Clone(c.path), true
		}
		return
	}
	if c.nodes--; c.nodes <= 0 || c.hopeless(h) {
		return
	}
	kind, need, byWant := c.shortage(h)
	leaving := make([]int, 0, len(c.b.on[h]))
	for _, w := range c.b.on[h] {
		if !c.stays[w] && c.amount(w, kind, byWant) > 0 {
			leaving = append(leaving, w)
		}
	}
	slices.SortFunc(leaving, func(x, y int) int {
		ax, ay := c.amount(x, kind, byWant), c.amount(y, kind, byWant)
		if cx, cy := ax >= need, ay >= need; cx != cy {
			return cmp.Compare(count(cy), count(cx))
		} else if cx {
			return cmp.Or(cmp.Compare(c.cost[x], c.cost[y]), cmp.Compare(x, y))
		}
		return cmp.Or(cmp.Compare(ay, ax), cmp.Compare(c.cost[x], c.cost[y]), cmp.Compare(x, y))
	})
	searched := 0
	for _, w := range leaving {
		if c.spent+c.cost[w] < c.best {
			c.branch(w, h)
		}
		c.stays[w] = true
		searched++
		if c.nodes <= 0 {
			break
		}
	}
	for _, w := range leaving[:searched] {
		c.stays[w] = false
	}
}

// branch tries every destination of one workload, the least loaded first.
func (c *cover) branch(w, from int) {
	type place struct {
		h      int
		degree float64
	}
	var few [16]place
	places := few[:0]
	try := func(to int) {
		if to == from || c.b.closed[to] != "" || !c.b.may(w, to) {
			return
		}
		degree := c.limits.with(c.b, to, w)
		// With a scope the destinations stay below their limits; without, one
		// may be pushed above and has to be relieved in turn.
		if degree > c.room && (c.scope >= 0 || degree <= 1 || c.spent+c.cost[w]+c.perMove >= c.best) {
			return
		}
		places = append(places, place{to, degree + softWeight*float64(c.b.softCost(w, to))})
	}
	if c.targets != nil {
		for _, to := range c.targets {
			try(to)
		}
	} else {
		for to := range c.b.hosts {
			try(to)
		}
	}
	slices.SortFunc(places, func(x, y place) int { return cmp.Or(cmp.Compare(x.degree, y.degree), cmp.Compare(x.h, y.h)) })
	c.stays[w] = true
	c.spent += c.cost[w]
	for _, p := range places {
		c.b.put(w, p.h)
		c.path = append(c.path, hop{w, from, p.h})
		c.search()
		c.path = c.path[:len(c.path)-1]
		c.b.put(w, from)
		if c.nodes <= 0 {
			break
		}
	}
	c.spent -= c.cost[w]
	c.stays[w] = false
}

// softWeight is how much a broken soft rule counts against a destination, in
// shares of its limit.
const softWeight = 0.25
