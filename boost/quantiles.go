package boost

import (
	"fmt"
	"slices"
)

// Quantiles is one model per level, over the same features.
type Quantiles struct {
	Levels []float64 // ascending
	Models []*Model
}

// TrainQuantiles trains a model per level on the same rows; cfg.Loss is ignored.
// The levels are handed to par, because whole models share threads better than
// the parts of one do.
func TrainQuantiles(b *Binned, target, weight []float32, levels []float64, cfg Config, par Par) (*Quantiles, error) {
	if len(levels) == 0 || !slices.IsSorted(levels) {
		return nil, fmt.Errorf("train quantiles: levels %v must ascend, at least one", levels)
	}
	q := &Quantiles{Levels: slices.Clone(levels), Models: make([]*Model, len(levels))}
	errs := make([]error, len(levels))
	each(par, len(levels), func(i int) {
		c := cfg
		c.Loss = Loss{Kind: Quantile, Alpha: levels[i]}
		q.Models[i], errs[i] = Train(b, target, weight, c, nil)
	})
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return q, nil
}

// Predict writes the quantiles of one row to out, in the order of Levels and
// ascending: models that were trained apart may cross, and sorting what they say
// never makes the pinball loss worse (Chernozhukov et al. 2010).
func (q *Quantiles) Predict(row []float32, out []float64) {
	for i, m := range q.Models {
		out[i] = m.Predict(row)
	}
	slices.Sort(out[:len(q.Models)])
}

// PredictAll writes len(Levels) ascending quantiles per row of x to out, row
// after row.
func (q *Quantiles) PredictAll(x Matrix, out []float64, par Par) {
	levels := len(q.Models)
	column := make([]float64, x.Rows)
	for i, m := range q.Models {
		m.PredictAll(x, column, par)
		for r, v := range column {
			out[r*levels+i] = v
		}
	}
	for r := range x.Rows {
		slices.Sort(out[r*levels : (r+1)*levels])
	}
}
