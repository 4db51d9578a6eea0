package predictor

import (
	"errors"
	"fmt"
	"math"

	"github.com/placed-dev/placed/boost"
)

// MaxExamples is how many rows a pool is trained on at most; more are thinned
// out evenly. It bounds the memory and the time of a leader.
const MaxExamples = 100_000

// MinExamples is below how many rows of a horizon no model is trained: the
// baselines are better than trees that have seen too little.
const MinExamples = 500

// Example is one past moment of one series: its outlook then, and what came.
// Targets are in base units, in the order of Horizons; NaN = not known.
type Example struct {
	Outlook []float32
	Targets [HorizonCount]float32
}

// PoolConfig are the settings of a training; zero fields take the defaults.
type PoolConfig struct {
	Seed   uint64
	Trees  int     // default 120
	Leaves int     // default 24
	Rate   float64 // default 0.08
	// Only, if not empty, names the horizons to train.
	Only []Horizon
	// Stop, if not nil, is asked before every tree; when it says yes, training
	// ends with an error. It may be called from several threads.
	Stop func() bool
}

func (c PoolConfig) withDefaults() PoolConfig {
	if c.Trees <= 0 {
		c.Trees = 120
	}
	if c.Leaves <= 0 {
		c.Leaves = 24
	}
	if c.Rate <= 0 {
		c.Rate = 0.08
	}
	if len(c.Only) == 0 {
		c.Only = Horizons[:]
	}
	return c
}

// Pool forecasts quantiles of any series from its outlook with models that were
// trained on many series: per horizon and level one. It is read-only and may be
// shared between threads.
type Pool struct {
	models [HorizonCount][LevelCount]*boost.Model
}

// TrainPool trains one model per horizon and level. Horizons with too few
// examples get none (see Ready). The same examples and seed give the same bytes
// on any number of threads.
func TrainPool(examples []Example, cfg PoolConfig, par boost.Par) (*Pool, error) {
	cfg = cfg.withDefaults()
	for i, e := range examples {
		if len(e.Outlook) != OutlookCount {
			return nil, fmt.Errorf("train a pool: example %d has %d features, want the %d of outlook version %d", i, len(e.Outlook), OutlookCount, OutlookVersion)
		}
	}
	examples = thinned(examples)
	p := &Pool{}
	for _, h := range cfg.Only {
		i := h.Index()
		if i < 0 {
			return nil, fmt.Errorf("train a pool: the outlook has no features for %s", h)
		}
		if err := p.train(i, examples, cfg, par); err != nil {
			return nil, fmt.Errorf("train a pool for %s: %w", h, err)
		}
	}
	if !p.trained() {
		return nil, errors.New("train a pool: no horizon has enough examples: wait for more history")
	}
	return p, nil
}

func (p *Pool) trained() bool {
	for i := range p.models {
		if p.Ready(i) {
			return true
		}
	}
	return false
}

// Ready says whether there are models for the horizon at that place of Horizons.
func (p *Pool) Ready(horizon int) bool { return p != nil && p.models[horizon][0] != nil }

// thinned takes MaxExamples of them, evenly.
func thinned(examples []Example) []Example {
	if len(examples) <= MaxExamples {
		return examples
	}
	out := make([]Example, MaxExamples)
	for i := range out {
		out[i] = examples[i*len(examples)/MaxExamples]
	}
	return out
}

func (p *Pool) train(horizon int, examples []Example, cfg PoolConfig, par boost.Par) error {
	m := boost.Matrix{Cols: rowLength}
	var target []float32
	row := make([]float32, rowLength)
	for _, e := range examples {
		y := e.Targets[horizon]
		if y != y {
			continue
		}
		centre, scale := poolRow(row, e.Outlook, horizon)
		m.Data = append(m.Data, row...)
		t := (float64(y) - centre) / scale
		target = append(target, float32(min(max(t, -targetClip), targetClip)))
	}
	if m.Rows = len(target); m.Rows < MinExamples {
		return nil
	}
	binned := boost.Bin(m, 0)
	var failed [LevelCount]error
	run := func(q int) {
		kind := boost.Loss{Kind: boost.Quantile, Alpha: Levels[q]}
		p.models[horizon][q], failed[q] = boost.Train(binned, target, nil, boost.Config{
			Loss: kind, Trees: cfg.Trees, Leaves: cfg.Leaves, Rate: cfg.Rate,
			MinLeaf: 60, L2: 1, Bins: 255, RowFraction: 0.7, ColFraction: 0.5,
			Seed: cfg.Seed + uint64(horizon*LevelCount+q), Stop: cfg.Stop,
		}, nil)
	}
	if par == nil {
		for q := range LevelCount {
			run(q)
		}
	} else {
		par(LevelCount, run)
	}
	return errors.Join(failed[:]...)
}

// targetClip bounds a scaled target: one series that broke out of all bounds
// must not set the leaves of the others.
const targetClip = 30

// Forecast writes the quantiles (Levels) of one horizon into out: ascending,
// never negative. It returns false when the outlook has another layout or the
// horizon no models.
func (p *Pool) Forecast(outlook []float32, horizon int, out *[LevelCount]float64) bool {
	if len(outlook) != OutlookCount || !p.Ready(horizon) {
		return false
	}
	var row [rowLength]float32
	centre, scale := poolRow(row[:], outlook, horizon)
	p.predict(row[:], centre, scale, horizon, out)
	return true
}

func (p *Pool) predict(row []float32, centre, scale float64, horizon int, out *[LevelCount]float64) {
	for q := range out {
		out[q] = centre + scale*p.models[horizon][q].Predict(row)
	}
	ascending(out)
}

// ascending makes quantiles out of four separate forecasts: sorted (which never
// raises the sum of their losses) and not below zero.
func ascending(q *[LevelCount]float64) {
	for i := 1; i < LevelCount; i++ {
		for j := i; j > 0 && q[j] < q[j-1]; j-- {
			q[j], q[j-1] = q[j-1], q[j]
		}
	}
	for i := range q {
		q[i] = max(q[i], 0)
	}
}

// Layout of a row, the features of one outlook as one horizon's models see them:
// levels as distances from where the series stands, in units of how far it
// usually moves over that horizon. All series look alike then, and what the
// trees minimise is the loss against persistence.
const (
	rowLength = outlookTargets + outlookPerTarget + 7
)

// poolRow fills the row of one horizon and returns what its targets are counted
// from and in.
func poolRow(row, f []float32, horizon int) (centre, scale float64) {
	h := Horizons[horizon]
	at := f[outlookTargets+horizon*outlookPerTarget:][:outlookPerTarget]
	c := f[outlookLags]
	if h.Peak {
		c = f[outlookMaxima+1]
	}
	if h.Peak && h.Ticks > Steps {
		// The peak of a day has little to do with the last hour.
		if usual := f[outlookValues+h.valuesOf()*LevelCount]; usual == usual {
			c = usual
		}
	}
	deviation := float64(f[outlookSDs+len(outlookSDWindows)-1])
	top := float64(f[outlookMaxima+len(outlookMaxWindows)-1])
	s := float64(at[targetRough])
	if s != s {
		s = float64(f[outlookSDs+3])
	}
	s = 0.98*s + 0.02*deviation + 1e-3*top + 1e-6
	inverse := float32(1 / s)
	level := func(i int) { row[i] = (f[i] - c) * inverse }
	spread := func(i int) { row[i] = f[i] * inverse }
	for i := range outlookLags {
		row[i] = f[i]
	}
	for i := outlookLags; i < outlookSDs; i++ {
		level(i)
	}
	for i := outlookSDs; i < outlookEWMA; i++ {
		spread(i)
	}
	level(outlookEWMA)
	for i := outlookAbove; i < outlookSlopes; i++ {
		spread(i)
	}
	for i := outlookSlopes; i < outlookDays; i++ {
		row[i] = f[i]
	}
	for i := outlookDays; i < outlookTargets; i++ {
		level(i)
	}
	own := row[outlookTargets:]
	for i, v := range at {
		switch i {
		case targetSD:
			own[i] = v * inverse
		case targetMoves, targetMoves + 1, targetMoves + 2, targetMoves + 3:
			own[i] = v * inverse
		case targetRough:
			own[i] = v / float32(deviation+1e-9)
		default:
			own[i] = (v - c) * inverse
		}
	}
	more := own[outlookPerTarget:]
	more[0] = float32(math.Log(s))
	more[1] = float32(deviation / s)
	more[2] = c * inverse
	more[3] = float32(top / s)
	// The daily shape, carried from where the series stands.
	more[4] = (at[targetMean] - f[outlookLags] + f[outlookAbove]) * inverse
	more[5] = f[outlookLags]*inverse - c*inverse
	more[6] = float32(s / (math.Abs(float64(f[outlookMeans+6])) + 1e-9))
	return float64(c), s
}
