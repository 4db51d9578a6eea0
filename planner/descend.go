package planner

import (
	"cmp"
	"slices"
)

// Bounds of the search for an even fleet.
const (
	// manySources and manyPlaces: in a large fleet a step looks only at the
	// hosts that stand out most, above and below.
	manySources, manyPlaces = 12, 24
	fewSources, fewPlaces   = 4, 8
	// staleness: the list of the hosts that stand out is made anew after
	// hosts / staleness changes, so in a small fleet after every one.
	staleness = 64
	// polishes bounds how often every moved workload is looked at again.
	polishes = 6
)

// descend takes the best move as long as one is worth its price, then polishes:
// moved workloads may go elsewhere, go home, or let another one go instead. Both
// repeat until neither finds anything.
func (s *spread) descend(most int) {
	for range polishes {
		n := s.greedy(most)
		if !s.polish() && n == 0 {
			return
		}
	}
}

// extremes lists the open hosts that stand out, above and below the mean.
//
// While the fleet is shaken, the hosts that were touched and a few extremes do.
func (s *spread) extremes() (sources, places []int) {
	if s.touched == nil && s.sources != nil && s.age <= len(s.open)/staleness {
		return s.sources, slices.Clip(s.places)
	}
	above, below := manySources, manyPlaces
	if s.touched != nil {
		above, below = fewSources, fewPlaces
		sources, places = slices.Clone(s.touched), slices.Clone(s.touched)
	}
	type rank struct {
		h      int
		excess float64
	}
	ranks := make([]rank, len(s.open))
	for i, h := range s.open {
		ranks[i] = rank{h, s.excess(h)}
	}
	slices.SortFunc(ranks, func(x, y rank) int { return cmp.Or(cmp.Compare(y.excess, x.excess), cmp.Compare(x.h, y.h)) })
	add := func(list []int, h int) []int {
		if s.touched != nil && slices.Contains(list, h) {
			return list
		}
		return append(list, h)
	}
	for i := range min(above, len(ranks)) {
		sources = add(sources, ranks[i].h)
	}
	for i := range min(below, len(ranks)) {
		places = add(places, ranks[len(ranks)-1-i].h)
	}
	for _, t := range s.top {
		if t >= 0 && !slices.Contains(sources, t) {
			sources = append(sources, t)
		}
	}
	if s.touched == nil {
		s.sources, s.places, s.age = sources, places, 0
	}
	return sources, slices.Clip(places)
}

func (s *spread) greedy(most int) (steps int) {
	for s.moved < most {
		sources, places := s.extremes()
		best, gain := hop{w: -1}, 1e-9
		for _, h := range sources {
			for _, w := range s.b.on[h] {
				if s.b.fixed[w] != "" {
					continue
				}
				for _, to := range places {
					if to == h {
						continue
					}
					if g := s.score - s.try(w, to) - s.price(w, to); g > gain && s.b.may(w, to) {
						best, gain = hop{w, h, to}, g
					}
				}
			}
		}
		switch {
		case best.w >= 0:
			s.put(best.w, best.to)
			steps++
		case s.age > 0 && s.touched == nil:
			s.sources = nil // look again with hosts that stand out now
		default:
			return steps
		}
	}
	return steps
}

// polish changes moves that are made already without adding one. It reports
// whether it has found anything.
func (s *spread) polish() bool {
	found := false
	for _, w := range s.movedList() {
		if s.b.at[w] == s.b.home[w] || s.touched != nil && !slices.Contains(s.touched, s.b.at[w]) && !slices.Contains(s.touched, s.b.home[w]) {
			continue
		}
		found = s.redirect(w) || s.replace(w) || s.exchange(w) || found
	}
	return found
}

// redirect sends a moved workload to the best place there is, home included.
func (s *spread) redirect(w int) bool {
	_, places := s.extremes()
	if home := s.b.home[w]; s.b.closed[home] == "" {
		places = append(places, home)
	}
	best, gain := -1, 1e-9
	for _, to := range places {
		if to == s.b.at[w] {
			continue
		}
		if g := s.score - s.try(w, to) - s.price(w, to); g > gain && s.b.may(w, to) {
			best, gain = to, g
		}
	}
	if best < 0 {
		return false
	}
	s.put(w, best)
	return true
}

// replace takes a moved workload home and lets another one of the same host go
// in its place, or to another.
func (s *spread) replace(w int) bool {
	home, there := s.b.home[w], s.b.at[w]
	if s.b.closed[home] != "" || !s.b.may(w, home) {
		return false
	}
	before := s.score
	refund := s.price(w, home)
	s.put(w, home)
	_, places := s.extremes()
	if !slices.Contains(places, there) {
		places = append(places, there)
	}
	best, gain := hop{w: -1}, 1e-9
	for _, x := range s.b.on[home] {
		if x == w || s.b.fixed[x] != "" || s.b.at[x] != s.b.home[x] {
			continue
		}
		for _, to := range places {
			if to == home {
				continue
			}
			if g := before - s.try(x, to) - s.price(x, to) - refund; g > gain && s.b.may(x, to) {
				best, gain = hop{x, home, to}, g
			}
		}
	}
	if best.w < 0 {
		s.put(w, there)
		return false
	}
	s.put(best.w, best.to)
	return true
}

// exchange lets a moved workload change places with another one.
func (s *spread) exchange(w int) bool {
	here := s.b.at[w]
	before := s.score
	_, places := s.extremes()
	best, gain := hop{w: -1}, 1e-9
	for _, to := range places {
		if to == here || !s.b.may(w, to) {
			continue
		}
		price := s.price(w, to)
		s.put(w, to)
		for _, x := range s.b.on[to] {
			if x == w || s.b.fixed[x] != "" {
				continue
			}
			if g := before - s.try(x, here) - s.price(x, here) - price; g > gain && s.b.may(x, here) {
				best, gain = hop{x, to, here}, g
			}
		}
		s.put(w, here)
	}
	if best.w < 0 {
		return false
	}
	s.put(w, best.from)
	s.put(best.w, best.to)
	return true
}
