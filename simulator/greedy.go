package simulator

import (
	"math"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// Outlook is what a Greedy decider expects.
type Outlook int

// Kinds of outlook.
const (
	// OutlookNow: load stays as it is.
	OutlookNow Outlook = iota
	// OutlookMargin: load stays as it is, plus Z standard deviations of the
	// last hour of the host's present workloads.
	OutlookMargin
	// OutlookTruth: what will be recorded in the next hour.
	OutlookTruth
)

// Greedy is the loop that other engines run: take the host that is worst above
// its capacity, make the one move to one of the least loaded hosts that leaves
// the least above capacity on both, and the smallest workload of equals, as long
// as it helps. With another outlook the same loop is the oracle.
type Greedy struct {
	Title   string
	Outlook Outlook
	Z       float64
	// Future holds the recorded demand per workload and tick, for
	// OutlookTruth.
	Future func(workload, tick int) float64

	past [][]float64 // newest last, up to an hour per workload
}

// maxGreedy bounds the moves of one tick.
const maxGreedy = 20

// Name of the decider.
func (g *Greedy) Name() string { return g.Title }

// Observe keeps the last hour.
func (g *Greedy) Observe(_ int, demand []float64) {
	if g.Outlook != OutlookMargin {
		return
	}
	if g.past == nil {
		g.past = make([][]float64, len(demand))
	}
	for w, d := range demand {
		if len(g.past[w]) == Ahead {
			g.past[w] = slices.Delete(g.past[w], 0, 1)
		}
		g.past[w] = append(g.past[w], d)
	}
}

// Decide makes the moves of one tick.
func (g *Greedy) Decide(s Situation) ([]Move, error) {
	if s.Allowed == 0 {
		return nil, nil
	}
	f := g.foresee(s)
	free := slices.Clone(s.Free)
	busy := slices.Clone(s.Busy)
	at := slices.Clone(s.At)
	hopeless := make([]bool, len(s.Capacity))
	var moves []Move
	for len(moves) < min(maxGreedy, s.Allowed) {
		peaks := make([]float64, len(f.hosts))
		worst := -1
		for h := range f.hosts {
			peaks[h] = f.peak(f.hosts[h])
			if over := peaks[h] - s.Capacity[h]; !hopeless[h] && over > 0 && (worst < 0 || over > peaks[worst]-s.Capacity[worst]) {
				worst = h
			}
		}
		if worst < 0 {
			break
		}
		m, ok := f.best(s, at, busy, free, peaks, worst)
		if !ok {
			hopeless[worst] = true
			continue
		}
		moves = append(moves, m)
		f.shift(m.Workload, worst, m.To)
		at[m.Workload], busy[m.Workload] = m.To, true
		free[m.To] -= s.Memory[m.Workload]
	}
	return moves, nil
}

// foresight is the outlook as one row of values per workload and per host; a
// host's row is the sum of its workloads'.
type foresight struct {
	workloads, hosts [][]float64
	peak             func(row []float64) float64
}

func (g *Greedy) foresee(s Situation) *foresight {
	f := &foresight{workloads: make([][]float64, len(s.At)), hosts: make([][]float64, len(s.Capacity)), peak: slices.Max[[]float64]}
	width := 1
	switch g.Outlook {
	case OutlookTruth:
		width = Ahead
	case OutlookMargin:
		width = len(g.past[0])
		f.peak = func(row []float64) float64 { return margin(row, g.Z) }
	}
	for h := range f.hosts {
		f.hosts[h] = make([]float64, width)
	}
	for w, h := range s.At {
		row := make([]float64, width)
		switch g.Outlook {
		case OutlookNow:
			row[0] = s.Demand[w]
		case OutlookMargin:
			copy(row, g.past[w])
		case OutlookTruth:
			for k := range row {
				row[k] = g.Future(w, s.Tick+1+k)
			}
		}
		f.workloads[w] = row
		for k, v := range row {
			f.hosts[h][k] += v
		}
	}
	return f
}

// margin is the newest value plus z standard deviations.
func margin(row []float64, z float64) float64 {
	mean, square := 0.0, 0.0
	for _, v := range row {
		mean += v / float64(len(row))
	}
	for _, v := range row {
		square += (v - mean) * (v - mean) / float64(len(row))
	}
	return row[len(row)-1] + z*math.Sqrt(square)
}

func (f *foresight) shift(w, from, to int) {
	for k, v := range f.workloads[w] {
		f.hosts[from][k] -= v
		f.hosts[to][k] += v
	}
}

// tried is how many of the least loaded hosts are looked at.
const tried = 3

// best is the move away from a host that leaves the least above capacity.
func (f *foresight) best(s Situation, at []int, busy []bool, free []int64, peaks []float64, from int) (Move, bool) {
	order := make([]int, len(peaks))
	for h := range order {
		order[h] = h
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return compare(peaks[a]/s.Capacity[a], peaks[b]/s.Capacity[b])
	})
	const small = 1e-9
	left := peaks[from] - s.Capacity[from] - small
	best, found := Move{Type: fleet.Threshold}, false
	source, target := make([]float64, len(f.hosts[from])), make([]float64, len(f.hosts[from]))
	for w, h := range at {
		if h != from || busy[w] {
			continue
		}
		looked := 0
		for _, to := range order {
			if to == from {
				continue
			}
			if looked++; looked > tried {
				break
			}
			if free[to] < s.Memory[w] {
				continue
			}
			for k, v := range f.workloads[w] {
				source[k], target[k] = f.hosts[from][k]-v, f.hosts[to][k]+v
			}
			over := max(f.peak(source)-s.Capacity[from], 0) + max(f.peak(target)-s.Capacity[to], 0)
			if over < left-small || found && over < left+small && s.Memory[w] < s.Memory[best.Workload] {
				best.Workload, best.To, left, found = w, to, over, true
			}
		}
	}
	return best, found
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
