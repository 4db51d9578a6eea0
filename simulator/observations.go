package simulator

import (
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// Observations are what the agents of a fleet would report of its loads, tick by
// tick. They depend on the loads alone and not on where the workloads run, so
// runs of the same fleet under different deciders and budgets can share them.
// They are read-only once made.
type Observations struct {
	from      int // first tick that Series answers for
	features  [][][]float32
	residuals [][]fleet.Residual // per workload, one per tick that has one
	upto      [][]int32          // per tick and workload, how many of them are known
	base      fleet.Series
	firstTick int64
	ids       []fleet.WorkloadID
}

// NewObservations observes the workloads from tick warm on and remembers what is
// reported from tick from to tick to−1. firstTick is the number of tick 0 on the
// load clock.
func NewObservations(workloads []Workload, firstTick int64, warm, from, to int, par func(n int, do func(i int))) *Observations {
	o := &Observations{
		from: from, firstTick: firstTick,
		base:      fleet.Series{Resource: fleet.CPU, FeatureVersion: predictor.FeatureVersion},
		residuals: make([][]fleet.Residual, len(workloads)),
		features:  make([][][]float32, to-from),
		upto:      make([][]int32, to-from),
		ids:       make([]fleet.WorkloadID, len(workloads)),
	}
	for t := range o.features {
		o.features[t], o.upto[t] = make([][]float32, len(workloads)), make([]int32, len(workloads))
	}
	for w := range workloads {
		o.ids[w] = workloads[w].ID
	}
	if par == nil {
		par = func(n int, do func(i int)) {
			for i := range n {
				do(i)
			}
		}
	}
	par(len(workloads), func(w int) {
		s := predictor.NewSeries()
		for t := max(warm, 0); t < to; t++ {
			s.Observe(firstTick+int64(t), workloads[w].Demand[t]*1000)
			if t >= from-predictor.Window {
				if r, ok := s.LastResidual(); ok {
					o.residuals[w] = append(o.residuals[w], r)
				}
			}
			if t >= from {
				o.features[t-from][w] = s.Features()
				o.upto[t-from][w] = int32(len(o.residuals[w]))
			}
		}
	})
	return o
}

// Series is what is known of a workload at the end of a tick.
func (o *Observations) Series(tick, w int) fleet.Series {
	s := o.base
	n := int(o.upto[tick-o.from][w])
	s.Workload, s.Tick, s.Features = o.ids[w], o.firstTick+int64(tick), o.features[tick-o.from][w]
	s.Residuals = o.residuals[w][max(n-predictor.Window, 0):n:n]
	return s
}
