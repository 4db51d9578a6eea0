package predictor

import (
	"fmt"
	"math"
	"slices"

	"github.com/placed-dev/placed/boost"
)

// SequenceConfig says what to forecast from plain histories without a clock.
type SequenceConfig struct {
	Horizon int
	// Seasons in steps, ascending; the first is the one that repeats most.
	Seasons []int
	// Levels of the quantiles, ascending, each within (0,1).
	Levels []float64
	Seed   uint64
	// Rows is how many examples train a model at most (default 120,000).
	Rows int
	// Trees of a model (default 250).
	Trees int
}

func (c SequenceConfig) check() error {
	switch {
	case c.Horizon < 1 || c.Horizon > 10_000:
		return fmt.Errorf("a horizon of %d steps is outside 1..10000", c.Horizon)
	case len(c.Seasons) == 0:
		return fmt.Errorf("no season is given: want the number of steps after which the series repeat")
	case len(c.Levels) == 0:
		return fmt.Errorf("no quantile is given")
	}
	for i, s := range c.Seasons {
		if s < 1 || i > 0 && s <= c.Seasons[i-1] {
			return fmt.Errorf("seasons %v: want positive numbers of steps, ascending", c.Seasons)
		}
	}
	for i, q := range c.Levels {
		if !(q > 0 && q < 1) || i > 0 && q <= c.Levels[i-1] {
			return fmt.Errorf("quantiles %v: want levels within (0,1), ascending", c.Levels)
		}
	}
	return nil
}

// Sequence is the forecast of one history: Steps[k][q] is the quantile
// Levels[q] of the value k+1 steps after its end, ascending in q.
type Sequence struct {
	Steps [][]float64
	// Plain says why the history got a plain forecast instead of the models';
	// empty when it did not.
	Plain string
}

// Sequences forecasts every history with one pooled model per level, trained on
// all of them together and on nothing else, and widens the outer quantiles by
// what held-out ends of the histories demand. Histories may hold NaN, be
// constant, negative, short or empty; such get a plain forecast. The same
// input and seed give the same bytes on any number of threads.
func Sequences(histories [][]float64, cfg SequenceConfig, par boost.Par) ([]Sequence, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("forecast: %w", err)
	}
	if cfg.Rows <= 0 {
		cfg.Rows = 120_000
	}
	if cfg.Trees <= 0 {
		cfg.Trees = 250
	}
	if par == nil {
		par = func(n int, do func(int)) {
			for i := range n {
				do(i)
			}
		}
	}
	f := sequencePool{cfg: cfg, par: par, all: make([]*sequence, len(histories))}
	par(len(histories), func(i int) { f.all[i] = newSequence(histories[i], cfg.Seasons) })
	if err := f.train(); err != nil {
		return nil, fmt.Errorf("forecast: %w", err)
	}
	out := make([]Sequence, len(histories))
	par(len(histories), func(i int) { out[i] = f.forecast(i) })
	return out, nil
}

type sequencePool struct {
	cfg    SequenceConfig
	par    boost.Par
	all    []*sequence
	models []*boost.Model // per level; nil without enough examples
	widen  []float64      // per level, in units of the distance to the median
}

// train makes early models that have not seen the last horizon, measures on it
// how far the quantiles must be widened, and then the models that count.
func (f *sequencePool) train() error {
	// Every phase of the long season ends one of the held-out windows: a
	// weekend says little about a Monday. Short histories hold out one window.
	first, last := f.cfg.Seasons[0], f.cfg.Seasons[len(f.cfg.Seasons)-1]
	if len(f.cfg.Seasons) == 1 {
		last = longSeason * first
	}
	var err error
	for _, held := range []int{f.cfg.Horizon + last - first, f.cfg.Horizon} {
		if f.models, err = f.grow(held, f.cfg.Rows/2); err != nil {
			return err
		}
		if f.models[0] != nil {
			f.calibrate(held)
			break
		}
	}
	f.models, err = f.grow(0, f.cfg.Rows)
	return err
}

// grow trains on what lies before the last `without` steps.
func (f *sequencePool) grow(without, rows int) ([]*boost.Model, error) {
	f.par(len(f.all), func(i int) {
		s := f.all[i]
		if s.usable() && len(s.values)-without > 2*s.season {
			s.linear = newLinear(s, len(s.values)-without)
		}
	})
	m, target := f.rows(without, rows)
	models := make([]*boost.Model, len(f.cfg.Levels))
	if m.Rows < MinExamples {
		return models, nil
	}
	binned := boost.Bin(m, 0)
	var failed = make([]error, len(models))
	f.par(len(models), func(q int) {
		cfg := boost.Config{
			Loss:  boost.Loss{Kind: boost.Quantile, Alpha: f.cfg.Levels[q]},
			Trees: f.cfg.Trees, Leaves: 40, Rate: 0.06, MinLeaf: 40, L2: 1, RowFraction: 0.6, ColFraction: 0.5,
			Seed: f.cfg.Seed + uint64(q),
		}
		models[q], failed[q] = boost.Train(binned, target, nil, cfg, nil)
	})
	for _, err := range failed {
		if err != nil {
			return nil, err
		}
	}
	return models, nil
}

// stepsPerOrigin is how many of the horizon's steps one origin teaches: many
// origins with a few steps teach more than few origins with all.
const stepsPerOrigin = 6

// rows collects examples whose targets lie before the last `without` steps of
// every history, evenly over the series, the newest origins first.
func (f *sequencePool) rows(without, most int) (boost.Matrix, []float32) {
	usable := 0
	for _, s := range f.all {
		if s.usable() {
			usable++
		}
	}
	perSeries := most / max(usable, 1) / stepsPerOrigin
	type block struct{ data, target []float32 }
	blocks := make([]block, len(f.all))
	f.par(len(f.all), func(i int) {
		s := f.all[i]
		if !s.usable() {
			return
		}
		newest := len(s.values) - 1 - without - 1
		oldest := 2 * s.season
		if reach := 2*s.long + f.cfg.Horizon; newest-reach > s.long {
			oldest = s.long + s.season
		}
		origins := newest - oldest
		if origins < 1 {
			return
		}
		every := max(float64(origins)/float64(max(perSeries, 1)), 1)
		b := &blocks[i]
		path := make([]float64, f.cfg.Horizon)
		x := make([]float32, sequenceCols)
		rng := sequenceRandom(f.cfg.Seed + uint64(i)*0x9e3779b97f4a7c15)
		for k := 0.0; k < float64(origins); k += every {
			origin := newest - int(k)
			f.path(s, origin, path)
			stride := (f.cfg.Horizon + stepsPerOrigin - 1) / stepsPerOrigin
			for ahead := 1 + rng.below(stride); ahead <= f.cfg.Horizon; ahead += stride {
				if origin+ahead >= len(s.values)-without {
					break
				}
				base := s.row(x, origin, ahead, path)
				t := (s.values[origin+ahead] - base) / s.unit
				b.data = append(b.data, x...)
				b.target = append(b.target, float32(min(max(t, -targetClip), targetClip)))
			}
		}
	})
	m := boost.Matrix{Cols: sequenceCols}
	var target []float32
	for _, b := range blocks {
		m.Data, target = append(m.Data, b.data...), append(target, b.target...)
	}
	m.Rows = len(target)
	return m, target
}

func (f *sequencePool) path(s *sequence, origin int, out []float64) {
	if s.linear == nil {
		for k := range out {
			out[k] = s.at(origin)
		}
		return
	}
	s.linear.path(s, origin, out)
}

// raw writes the models' quantiles for the steps after origin.
func (f *sequencePool) raw(s *sequence, origin int) [][]float64 {
	path := make([]float64, f.cfg.Horizon)
	f.path(s, origin, path)
	x := make([]float32, sequenceCols)
	out := make([][]float64, f.cfg.Horizon)
	for k := range out {
		base := s.row(x, origin, k+1, path)
		q := make([]float64, len(f.models))
		for i, m := range f.models {
			q[i] = base + s.unit*m.Predict(x)
		}
		slices.Sort(q)
		out[k] = q
	}
	return out
}

// calibrate measures, on the last `held` steps of every history, the factor by which
// the distance of each quantile from the median must grow for it to cover what
// it promises.
func (f *sequencePool) calibrate(held int) {
	levels := f.cfg.Levels
	f.widen = make([]float64, len(levels))
	middle := f.middle()
	ratios := make([][]float64, len(f.all))
	f.par(len(f.all), func(i int) {
		s := f.all[i]
		for back := f.cfg.Horizon; back <= held; back += s.season {
			origin := len(s.values) - 1 - back
			if !s.usable() || origin <= 2*s.season {
				return
			}
			for k, q := range f.raw(s, origin) {
				for j := range levels {
					// How many of its own distances from the median the truth lies out.
					ratio := math.NaN()
					if d := q[j] - q[middle]; d != 0 {
						ratio = (s.values[origin+1+k] - q[middle]) / d
					}
					ratios[i] = append(ratios[i], ratio)
				}
			}
		}
	})
	all := slices.Concat(ratios...)
	for j, level := range levels {
		f.widen[j] = 1
		var of []float64
		for i := j; i < len(all); i += len(levels) {
			if all[i] == all[i] {
				of = append(of, all[i])
			}
		}
		if j == middle || len(of) < 200 {
			continue
		}
		slices.Sort(of)
		inside := level
		if level < levels[middle] {
			inside = 1 - level
		}
		f.widen[j] = min(max(interpolated(of, inside), 0.5), 3)
	}
}

// middle is the level nearest to the median.
func (f *sequencePool) middle() int {
	best := 0
	for i, l := range f.cfg.Levels {
		if math.Abs(l-0.5) < math.Abs(f.cfg.Levels[best]-0.5) {
			best = i
		}
	}
	return best
}

func (f *sequencePool) forecast(i int) Sequence {
	s := f.all[i]
	switch {
	case len(s.values) == 0:
		return Sequence{Plain: "the history is empty"}
	case !s.usable():
		reason := "the history is too short"
		if s.unit == 0 {
			reason = "the history is constant"
		}
		return Sequence{Steps: s.plain(f.cfg), Plain: reason}
	case f.models[0] == nil:
		return Sequence{Steps: s.plain(f.cfg), Plain: "all histories together are too short for a model"}
	}
	steps := f.raw(s, len(s.values)-1)
	middle := f.middle()
	for _, q := range steps {
		for j := range q {
			if f.widen != nil {
				q[j] = q[middle] + f.widen[j]*(q[j]-q[middle])
			}
		}
		for j := range q {
			q[j] = max(q[j], s.floor)
		}
		slices.Sort(q)
	}
	return Sequence{Steps: steps}
}

// plain repeats the last season, or the last value, in a band of past errors.
func (s *sequence) plain(cfg SequenceConfig) [][]float64 {
	n := len(s.values)
	lag := s.season
	if n <= lag {
		lag = 1
	}
	spread := s.lagError(lag)
	if !(spread >= 0) {
		spread = math.Abs(s.values[n-1]) / 4 // one value: nothing is known of its moves
	}
	out := make([][]float64, cfg.Horizon)
	for k := range out {
		centre := s.values[n-1]
		if n > lag {
			centre = s.values[n-lag+k%lag]
		}
		out[k] = make([]float64, len(cfg.Levels))
		for j, level := range cfg.Levels {
			z := math.Sqrt2 * math.Erfinv(2*level-1)
			// A mean absolute change is .8 deviations of a bell.
			width := z * spread * 1.25 * math.Sqrt(1+float64(k/lag))
			out[k][j] = max(centre+width, s.floor)
		}
	}
	return out
}

// sequenceRandom is a small generator (splitmix64), so that the choice of rows
// depends on the seed alone.
type sequenceRandom uint64

func (r *sequenceRandom) below(n int) int {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) % uint64(max(n, 1)))
}
