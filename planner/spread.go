package planner

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// spread keeps, move by move, how unevenly the hosts of a board are loaded:
//
//	J = Σ weight × SD(dimension) + peakWeight × (max cpu − mean cpu) + moveCost / hosts × (moves + softMoves × broken soft rules)
//
// SD is the population's standard deviation over the open hosts, of the usage of
// every resource that all of them declare and, where something is reserved, of
// what is reserved. Means and sums of squares are kept, so that trying a move
// costs a few additions and a root per dimension, whatever the number of hosts.
type spread struct {
	b    *board
	dims []dimension
	n    float64 // open hosts
	// perMove is the price of one move.
	perMove float64
	open    []int
	value   []float64 // per host and dimension
	scale   []float64 // per host and dimension: 1 / what the host has
	unit    []float64 // per workload and dimension
	sum     []float64 // per dimension
	sq      []float64
	score   float64
	moved   int
	// touched, if not nil, are the hosts on which a search concentrates.
	touched []int
	// sources and places are the hosts that stood out age changes ago.
	sources, places []int
	age             int
	tries           int // scores tried, the measure of work
	// top lists the open hosts with the highest cpu load, the highest first:
	// three, since a move changes two.
	top [3]int
	// cpu is the dimension whose maximum counts, -1 if there is none.
	cpu int
}

type dimension struct {
	kind     int
	reserved bool
}

const (
	// peakWeight: the most loaded host is where workloads suffer, so its
	// distance from the mean counts once more.
	peakWeight     = 1.5
	reservedWeight = 1.7
	// moveCost / hosts is the price of a move: a standard deviation over more
	// hosts changes less with one move, so the price falls alike.
	moveCost = 0.064
	// softMoves is how many moves it is worth not to break a soft rule.
	softMoves = 8
)

func newSpread(b *board) *spread {
	s := &spread{b: b, cpu: -1}
	for h := range b.hosts {
		if b.closed[h] == "" {
			s.open = append(s.open, h)
		}
	}
	s.n = float64(len(s.open))
	s.perMove = moveCost / s.n
	s.choose()
	d := len(s.dims)
	s.value, s.scale = make([]float64, len(b.hosts)*d), make([]float64, len(b.hosts)*d)
	s.unit = make([]float64, len(b.works)*d)
	s.sum, s.sq = make([]float64, d), make([]float64, d)
	for i, dim := range s.dims {
		if dim.kind == kindCPU && !dim.reserved {
			s.cpu = i
		}
		for h := range b.hosts {
			at := h*len(b.kinds) + dim.kind
			has, amount := b.serve[at], b.used[at]
			if dim.reserved {
				has, amount = b.give[at], b.held[at]
			}
			if has > 0 {
				s.scale[h*d+i] = 1 / float64(has)
				s.value[h*d+i] = float64(amount) / float64(has)
			}
		}
		for w := range b.works {
			s.unit[w*d+i] = float64(b.use[w*len(b.kinds)+dim.kind])
			if dim.reserved {
				s.unit[w*d+i] = float64(b.want[w*len(b.kinds)+dim.kind])
			}
		}
		for _, h := range s.open {
			s.sum[i] += s.value[h*d+i]
			s.sq[i] += s.value[h*d+i] * s.value[h*d+i]
		}
	}
	s.findTop()
	s.score = s.evaluate(s.sum, s.sq, s.peak(-1, -1, 0, 0))
	return s
}

// choose takes the dimensions in which all open hosts can be compared.
func (s *spread) choose() {
	r := len(s.b.kinds)
	for k := range s.b.kinds {
		for _, reserved := range []bool{false, true} {
			comparable, wanted := len(s.open) > 0, false
			for _, h := range s.open {
				has := s.b.serve[h*r+k]
				if reserved {
					has = s.b.give[h*r+k]
				}
				comparable = comparable && has > 0
			}
			for w := range s.b.works {
				wanted = wanted || !reserved && s.b.use[w*r+k] > 0 || reserved && s.b.want[w*r+k] > 0
			}
			if comparable && wanted {
				s.dims = append(s.dims, dimension{k, reserved})
			}
		}
	}
}

func (s *spread) findTop() {
	s.top = [3]int{-1, -1, -1}
	if s.cpu < 0 {
		return
	}
	d := len(s.dims)
	for _, h := range s.open {
		v := s.value[h*d+s.cpu]
		for i, t := range s.top {
			if t < 0 || v > s.value[t*d+s.cpu] {
				copy(s.top[i+1:], s.top[i:2])
				s.top[i] = h
				break
			}
		}
	}
}

// peak is the highest cpu load when hosts a and b have the loads given.
func (s *spread) peak(a, b int, va, vb float64) float64 {
	most := max(va, vb)
	for _, t := range s.top {
		if t >= 0 && t != a && t != b {
			return max(most, s.value[t*len(s.dims)+s.cpu])
		}
	}
	return most
}

func (s *spread) evaluate(sum, sq []float64, peak float64) float64 {
	total := 0.0
	for i := range sum {
		mean := sum[i] / s.n
		total += s.weight(i) * math.Sqrt(max(0, sq[i]/s.n-mean*mean))
	}
	if s.cpu >= 0 {
		total += peakWeight * (peak - sum[s.cpu]/s.n)
	}
	return total
}

// try is the score if the workload went to the host. A closed source counts
// nowhere: its load is not for comparison.
func (s *spread) try(w, to int) float64 {
	s.tries++
	d := len(s.dims)
	from := s.b.at[w]
	if from >= 0 && s.b.closed[from] != "" {
		from = -1
	}
	total := 0.0
	var pa, pb, cpuSum float64
	for i := range d {
		vb := s.value[to*d+i]
		xb := vb + s.unit[w*d+i]*s.scale[to*d+i]
		sum, sq := s.sum[i]+xb-vb, s.sq[i]+xb*xb-vb*vb
		var xa float64
		if from >= 0 {
			va := s.value[from*d+i]
			xa = va - s.unit[w*d+i]*s.scale[from*d+i]
			sum += xa - va
			sq += xa*xa - va*va
		}
		if i == s.cpu {
			pa, pb, cpuSum = xa, xb, sum
		}
		mean := sum / s.n
		if variance := sq/s.n - mean*mean; variance > 0 {
			total += s.weight(i) * math.Sqrt(variance)
		}
	}
	if s.cpu >= 0 {
		total += peakWeight * (s.peak(from, to, pa, pb) - cpuSum/s.n)
	}
	return total
}

// price is what the number of moves and the soft rules add when a workload that
// is at one host goes to another.
func (s *spread) price(w, to int) float64 {
	moves := count(to != s.b.home[w]) - count(s.b.at[w] != s.b.home[w])
	out := float64(moves)
	if len(s.b.ruled[w]) > 0 {
		out += softMoves * float64(s.b.softCost(w, to)-s.b.softCost(w, s.b.at[w]))
	}
	return out * s.perMove
}

// put moves a workload and keeps the sums.
func (s *spread) put(w, to int) {
	d := len(s.dims)
	from := s.b.at[w]
	s.moved += count(to != s.b.home[w]) - count(from != s.b.home[w])
	for i := range d {
		for _, end := range [2]struct {
			h    int
			sign float64
		}{{from, -1}, {to, 1}} {
			if end.h < 0 {
				continue
			}
			at := end.h*d + i
			before := s.value[at]
			s.value[at] += end.sign * s.unit[w*d+i] * s.scale[at]
			if s.b.closed[end.h] == "" {
				s.sum[i] += s.value[at] - before
				s.sq[i] += s.value[at]*s.value[at] - before*before
			}
		}
	}
	s.b.put(w, to)
	s.age++
	if s.cpu >= 0 && (slices.Contains(s.top[:], from) || slices.Contains(s.top[:], to) || s.top[2] < 0 ||
		s.value[to*d+s.cpu] > s.value[s.top[2]*d+s.cpu]) {
		s.findTop()
	}
	s.score = s.evaluate(s.sum, s.sq, s.peak(-1, -1, 0, 0))
}

// excess is how far a host stands out above the means, in standard deviations:
// the direction in which the score falls fastest.
func (s *spread) excess(h int) float64 {
	d := len(s.dims)
	out := 0.0
	for i := range d {
		mean := s.sum[i] / s.n
		sd := math.Sqrt(max(1e-12, s.sq[i]/s.n-mean*mean))
		out += s.weight(i) * (s.value[h*d+i] - mean) / sd
	}
	return out
}

// balance moves as long as a move is worth its price.
func (a *arranger) balance() {
	s := newSpread(a.b)
	start := s.score
	if len(s.open) < 2 || len(s.dims) == 0 {
		a.nothing = "there are no two open hosts whose load can be compared"
		return
	}
	before := slices.Clone(a.b.at)
	s.descend(a.left())
	s.shake(a.left())
	var moved []int
	after := slices.Clone(a.b.at)
	for w := range a.b.at {
		if after[w] != before[w] {
			moved = append(moved, w)
		}
	}
	a.reset(before)
	// The most loaded sources first: the first steps bring most.
	slices.SortFunc(moved, func(x, y int) int {
		return cmp.Or(cmp.Compare(a.b.load(before[y], kindCPU), a.b.load(before[x], kindCPU)), cmp.Compare(a.b.size[x], a.b.size[y]), cmp.Compare(x, y))
	})
	for _, w := range moved {
		a.move(w, after[w], fmt.Sprintf("the hosts are uneven: %s is at %s cpu and %s memory, %s at %s and %s", a.b.hostName(before[w]),
			percentText(a.b.load(before[w], kindCPU)), percentText(a.b.load(before[w], kindMemory)), a.b.hostName(after[w]),
			percentText(a.b.load(after[w], kindCPU)), percentText(a.b.load(after[w], kindMemory))))
	}
	if len(moved) == 0 {
		a.nothing = fmt.Sprintf("no move makes the hosts so much more even (spread %.3f) that it is worth its price", start)
	}
}

// weight of a dimension. What is reserved counts more than what is used: usage
// comes and goes, a reservation decides tomorrow what still fits.
func (s *spread) weight(i int) float64 {
	if s.dims[i].reserved {
		return reservedWeight
	}
	return 1
}
