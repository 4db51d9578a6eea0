package planner

import "slices"

// Bounds of the shaking, in moves tried on the score: what is spent on a fleet of
// any size after the straight descent.
const (
	shakeTries = 3_000_000
	shakeHosts = 20_000_000 // by the number of hosts
	// shakeFruitless ends it early when so many rounds in a row found nothing.
	shakeFruitless = 1000
)

// draw is a small generator of reproducible numbers (splitmix64): the same fleet
// is shaken the same way everywhere.
type draw uint64

func (d *draw) below(n int) int {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) % uint64(n))
}

// shake looks for what no single change finds: it takes a few related moves back
// and lets the descent fill the gap. What is not better is undone.
func (s *spread) shake(most int) {
	random := draw(len(s.b.works))
	budget := s.tries + min(shakeTries, shakeHosts/len(s.open))
	for fruitless := 0; fruitless < shakeFruitless && s.tries < budget; fruitless++ {
		moved := s.movedList()
		if len(moved) < 2 {
			return
		}
		start := s.total()
		kept := slices.Clone(s.b.at)
		s.touched = []int{}
		for _, w := range s.related(moved, 2+random.below(4), &random) {
			if home := s.b.home[w]; s.b.closed[home] == "" && s.b.may(w, home) {
				s.touched = append(s.touched, s.b.at[w], home)
				s.put(w, home)
			}
		}
		slices.Sort(s.touched)
		s.touched = slices.Compact(s.touched)
		s.greedy(most)
		s.polish()
		s.touched = nil
		if s.total() < start-1e-9 {
			fruitless = -1
			continue
		}
		for w, h := range kept {
			if s.b.at[w] != h {
				s.put(w, h)
			}
		}
	}
}

// total is the score with the price of the moves.
func (s *spread) total() float64 {
	return s.score + s.perMove*(float64(s.moved)+softMoves*s.softTotal())
}

func (s *spread) softTotal() float64 {
	n := 0
	for w, rules := range s.b.ruled {
		if len(rules) > 0 {
			n += s.b.softCost(w, s.b.at[w])
		}
	}
	return float64(n)
}

// movedList are the workloads that are away from home and may go back.
func (s *spread) movedList() []int {
	var moved []int
	for w, h := range s.b.at {
		if h >= 0 && h != s.b.home[w] && s.b.home[w] >= 0 && s.b.fixed[w] == "" {
			moved = append(moved, w)
		}
	}
	return moved
}

// related draws a moved workload and others that share its source or its
// destination.
func (s *spread) related(moved []int, n int, random *draw) []int {
	seed := moved[random.below(len(moved))]
	out := []int{seed}
	var near []int
	for _, w := range moved {
		if w != seed && (s.b.home[w] == s.b.home[seed] || s.b.at[w] == s.b.at[seed] || s.b.home[w] == s.b.at[seed] || s.b.at[w] == s.b.home[seed]) {
			near = append(near, w)
		}
	}
	for len(out) < n && len(near) > 0 {
		i := random.below(len(near))
		out = append(out, near[i])
		near = slices.Delete(near, i, i+1)
	}
	for len(out) < n {
		if w := moved[random.below(len(moved))]; !slices.Contains(out, w) {
			out = append(out, w)
		} else if len(moved) <= n {
			break
		}
	}
	return out
}
