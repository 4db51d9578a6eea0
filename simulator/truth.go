package simulator

import (
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// truth is a model that knows what will be recorded in the next hour: with it, a
// pass of the product is the oracle that its own forecasts are held against.
type truth struct {
	future func(workload, tick int) float64 // cores
	tick   int
}

var _ predictor.Model = (*truth)(nil)

func (*truth) Name() string { return "truth" }

// Centre reads the workload's number, which stands in the place of its first
// feature.
func (t *truth) Centre(features []float32, step int) float64 {
	return 1000 * t.future(int(features[0]), t.tick+step)
}

// series are the workloads at the end of a tick as the model reads them: without
// any past error, because it makes none.
func (t *truth) series(ids []fleet.WorkloadID, first int64, tick int) []fleet.Series {
	t.tick = tick
	none := make([]float32, predictor.Steps)
	exact := make([]fleet.Residual, predictor.Window)
	for i := range exact {
		exact[i] = fleet.Residual{Tick: first + int64(tick-len(exact)+1+i), Errors: none}
	}
	out := make([]fleet.Series, len(ids))
	for w, id := range ids {
		features := make([]float32, predictor.FeatureCount)
		features[0] = float32(w)
		out[w] = fleet.Series{Workload: id, Resource: fleet.CPU, Tick: first + int64(tick),
			FeatureVersion: predictor.FeatureVersion, Features: features, Residuals: exact}
	}
	return out
}
