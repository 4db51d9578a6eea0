package planner

import (
	"cmp"
	"math"
	"slices"
)

// lowest searches the moves, at most a given number, after which the most loaded
// host is least loaded. It branches like cover: as long as the maximum is to
// fall, one workload has to leave the host that has it.
type lowest struct {
	b      *board
	limits limits
	moves  int
	nodes  int
	stays  []bool
	path   []hop
	best   float64
	found  []hop
}

func newLowest(b *board, l limits, moves, nodes int) *lowest {
	s := &lowest{b: b, limits: l, moves: moves, nodes: nodes, best: math.Inf(1), stays: make([]bool, len(b.works))}
	for w := range s.stays {
		s.stays[w] = b.fixed[w] != ""
	}
	return s
}

func (s *lowest) run() []hop {
	s.search()
	return s.found
}

// better is how much the maximum must fall to count: what a fraction of a
// per mille gains is not worth a move.
const better = 1 - 1e-4

func (s *lowest) search() {
	h, most := -1, 0.0
	for i := range s.b.hosts {
		if s.b.silent[i] {
			continue
		}
		if degree, _ := s.limits.degree(s.b, i); degree > most {
			h, most = i, degree
		}
	}
	if most < s.best*better {
		s.best, s.found = most, slices.Clone(s.path)
	}
	if s.nodes--; h < 0 || s.nodes <= 0 || len(s.path) == s.moves || s.hopeless() {
		return
	}
	type branch struct {
		w, to int
		after float64 // the worse of the two hosts afterwards
	}
	var branches []branch
	for _, w := range s.b.on[h] {
		if s.stays[w] {
			continue
		}
		left := s.limits.without(s.b, h, w)
		for to := range s.b.hosts {
			if to == h || s.b.closed[to] != "" || left >= most {
				continue
			}
			with := s.limits.with(s.b, to, w)
			// The last move may not lift its destination above the best.
			if with >= most || with >= s.best*better && len(s.path)+1 == s.moves {
				continue
			}
			branches = append(branches, branch{w, to, max(left, with)})
		}
	}
	slices.SortFunc(branches, func(x, y branch) int {
		return cmp.Or(cmp.Compare(x.after, y.after), cmp.Compare(x.w, y.w), cmp.Compare(x.to, y.to))
	})
	for _, x := range branches {
		if s.nodes <= 0 {
			return
		}
		if !s.b.may(x.w, x.to) {
			continue
		}
		s.stays[x.w] = true
		s.b.put(x.w, x.to)
		s.path = append(s.path, hop{x.w, h, x.to})
		s.search()
		s.path = s.path[:len(s.path)-1]
		s.b.put(x.w, h)
		s.stays[x.w] = false
	}
}

// hopeless says that the moves left cannot bring every host below the best: each
// of those above needs at least as many as its largest workloads are.
func (s *lowest) hopeless() bool {
	left := s.moves - len(s.path)
	for h := range s.b.hosts {
		if s.b.silent[h] {
			continue
		}
		degree, kind := s.limits.degree(s.b, h)
		if degree < s.best*better {
			continue
		}
		at := h*len(s.b.kinds) + kind
		need := s.b.used[at] - int64(s.best*better*float64(s.limits[at]))
		var few [32]int64
		list := few[:0]
		for _, w := range s.b.on[h] {
			if !s.stays[w] {
				list = append(list, s.b.use[w*len(s.b.kinds)+kind])
			}
		}
		slices.SortFunc(list, func(x, y int64) int { return cmp.Compare(y, x) })
		for _, amount := range list {
			if need <= 0 || amount == 0 {
				break
			}
			need -= amount
			left--
		}
		if need > 0 || left < 0 {
			return true
		}
	}
	return false
}
