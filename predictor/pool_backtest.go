package predictor

import (
	"fmt"
	"math"
	"slices"

	"github.com/placed-dev/placed/boost"
)

// TrialConfig says how a pooled backtest is held. Times are counted in ticks.
type TrialConfig struct {
	// Test is how much of the end is forecast and never trained on.
	Test     int
	Horizons []Horizon
	Pool     PoolConfig
	// Every is the distance between test origins (default 37, which is prime to
	// the day and so meets every hour of it).
	Every int
}

// Score judges one method on one series and horizon.
type Score struct {
	Series, Horizon int // places in the names and in TrialConfig.Horizons
	Method          string
	Origins         int
	Pinball         [LevelCount]float64 // mean loss per level
	Coverage        [LevelCount]float64 // share of targets at or below
	// MASE is the mean absolute error of the median against how far the series
	// moves in a day.
	MASE float64
}

// Mean is the mean pinball loss over the levels.
func (s Score) Mean() float64 {
	sum := 0.0
	for _, v := range s.Pinball {
		sum += v
	}
	return sum / LevelCount
}

const (
	// learnFrom is the first origin that teaches: nine days, so that every
	// feature and the same for the day before exist.
	learnFrom = ticksPerWeek + ticksPerDay
	// calibrateEvery is the distance between origins that calibrate.
	calibrateEvery = 3
	// Ours is what reports call the calibrated blend, Persistence what every
	// method is held against.
	Ours        = "ours"
	Persistence = "persistence"
)

// Trial forecasts the last Test ticks of every series from rolling origins with
// models trained on what lies before them, through outlook, pool and
// calibration as a leader does, and holds every baseline against the same
// targets. Values are per tick; NaN is missing. par runs series side by side.
func Trial(values [][]float64, cfg TrialConfig, par boost.Par) ([]Score, error) {
	if cfg.Every <= 0 {
		cfg.Every = 37
	}
	t := trial{values: values, cfg: cfg, par: par}
	if par == nil {
		t.par = func(n int, do func(int)) {
			for i := range n {
				do(i)
			}
		}
	}
	if err := t.split(); err != nil {
		return nil, fmt.Errorf("backtest: %w", err)
	}
	t.collect()
	if err := t.train(); err != nil {
		return nil, fmt.Errorf("backtest: %w", err)
	}
	var scores []Score
	for place := range t.indices {
		scores = append(scores, t.judge(place)...)
	}
	slices.SortStableFunc(scores, func(a, b Score) int { return a.Series - b.Series })
	return scores, nil
}

type trial struct {
	values      [][]float64
	cfg         TrialConfig
	par         boost.Par
	indices     []int // of cfg.Horizons in Horizons
	length      int   // of the longest series
	end         int   // first test tick
	half        int   // first origin that the early models have not seen
	farthest    int
	origins     [][]origin // per series, ascending
	early, late *Pool
}

// origin is a moment of one series that teaches, calibrates or is judged.
type origin struct {
	tick    int
	outlook []float32
	judged  bool
}

func (t *trial) split() error {
	for _, v := range t.values {
		t.length = max(t.length, len(v))
	}
	for _, h := range t.cfg.Horizons {
		i := h.Index()
		if i < 0 {
			return fmt.Errorf("no features exist for the horizon %s", h)
		}
		t.indices = append(t.indices, i)
		t.farthest = max(t.farthest, h.Ticks)
	}
	t.end = t.length - t.cfg.Test
	if len(t.indices) == 0 || t.end < learnFrom+2*ticksPerDay {
		return fmt.Errorf("%d ticks before the test are too few: want at least %d (%d days) and one horizon",
			t.end, learnFrom+2*ticksPerDay, (learnFrom+2*ticksPerDay)/ticksPerDay)
	}
	t.half = learnFrom + (t.end-learnFrom)*55/100
	return nil
}

// collect computes the outlooks of all origins.
func (t *trial) collect() {
	t.origins = make([][]origin, len(t.values))
	t.par(len(t.values), func(i int) {
		s := NewSeries()
		for tick, v := range t.values[i] {
			s.record(int64(tick), v)
			judged := tick >= t.end-1 && (tick-t.end+1)%t.cfg.Every == 0 && tick < t.length-t.farthest-1
			teaches := tick >= learnFrom && (tick-learnFrom)%calibrateEvery == 0
			if (judged || teaches) && s.started && s.tick == int64(tick) {
				t.origins[i] = append(t.origins[i], origin{tick, s.Outlook(), judged})
			}
		}
	})
}

// examples of all series whose origins lie in [from, to) and whose targets are
// known before to.
func (t *trial) examples(from, to int) []Example {
	count := 0
	for i := range t.origins {
		for _, o := range t.origins[i] {
			if o.tick >= from && o.tick < to {
				count++
			}
		}
	}
	thin := (count + MaxExamples - 1) / MaxExamples
	var out []Example
	for i := range t.origins {
		k := i // so that series do not all teach the same moments
		for _, o := range t.origins[i] {
			if o.tick < from || o.tick >= to {
				continue
			}
			if k++; thin > 1 && k%thin != 0 {
				continue
			}
			e := Example{Outlook: o.outlook}
			for h := range Horizons {
				e.Targets[h] = float32(math.NaN())
				if o.tick+Horizons[h].Ticks < to {
					e.Targets[h] = float32(Horizons[h].target(t.values[i], o.tick))
				}
			}
			out = append(out, e)
		}
	}
	return out
}

// train makes the models that the test is judged on, and earlier ones that have
// not seen the second half: what calibrates must not have been trained on.
func (t *trial) train() error {
	cfg := t.cfg.Pool
	cfg.Only = t.cfg.Horizons
	var err error
	if t.early, err = TrainPool(t.examples(learnFrom, t.half), cfg, t.par); err != nil {
		return err
	}
	if t.late, err = TrainPool(t.examples(learnFrom, t.end), cfg, t.par); err != nil {
		return err
	}
	return nil
}

// given is what the experts said of one series at one origin, and what came.
type given struct {
	series, tick int
	judged       bool
	opinions     Opinions
	truth        float64
}

// opinions asks the experts at every origin of the second half, ascending in
// time.
func (t *trial) opinions(h int) []given {
	all := make([][]given, len(t.values))
	t.par(len(t.values), func(i int) {
		for _, o := range t.origins[i] {
			truth := Horizons[h].target(t.values[i], o.tick)
			if o.tick < t.half || truth != truth {
				continue
			}
			p := t.early
			if o.tick >= t.end-1 {
				p = t.late
			}
			if opinions, ok := OpinionsOf(p, o.outlook, h); ok {
				all[i] = append(all[i], given{i, o.tick, o.judged, opinions, truth})
			}
		}
	})
	out := slices.Concat(all...)
	slices.SortStableFunc(out, func(a, b given) int { return a.tick - b.tick })
	return out
}

// judge goes through time with all series side by side, as a leader does: what
// has come due teaches the calibration, then the forecasts are made.
func (t *trial) judge(place int) []Score {
	h := t.indices[place]
	said := t.opinions(h)
	calibrations := make([]Calibration, len(t.values))
	var shared Shared
	ours := make([]tally, len(t.values))
	experts := make([][ExpertCount]tally, len(t.values))
	due := 0
	for i := range said {
		now := &said[i]
		for ; said[due].tick+Horizons[h].Ticks <= now.tick; due++ {
			past := &said[due]
			if (past.tick-learnFrom)%calibrateEvery != 0 {
				continue
			}
			c := &calibrations[past.series]
			var q [LevelCount]float64
			c.Blend(Horizons[h], &past.opinions, &shared, &q)
			c.Observe(Horizons[h], &past.opinions, past.truth, &shared)
			shared.Observe(Horizons[h], &q, past.truth, len(t.values))
		}
		if now.judged {
			var q [LevelCount]float64
			calibrations[now.series].Blend(Horizons[h], &now.opinions, &shared, &q)
			ours[now.series].add(now.truth, q)
			for e := range ExpertCount {
				experts[now.series][e].add(now.truth, now.opinions.Of[e])
			}
		}
	}
	var scores []Score
	for i, values := range t.values {
		unit := t.dailyMove(values)
		scores = append(scores, ours[i].score(i, place, Ours, unit))
		for e, name := range ExpertNames {
			scores = append(scores, experts[i][e].score(i, place, "expert "+name, unit))
		}
		scores = append(scores, t.baselines(i, place, h, unit)...)
	}
	return scores
}

// dailyMove is how far a series is from itself a day before, on average.
func (t *trial) dailyMove(values []float64) float64 {
	sum, n := 0.0, 0.0
	for i := 2 * ticksPerDay; i < min(t.end, len(values)); i++ {
		if d := math.Abs(values[i] - values[i-ticksPerDay]); d == d {
			sum, n = sum+d, n+1
		}
	}
	return max(sum/max(n, 1), 0.05)
}

// tally sums up the forecasts of one method.
type tally struct {
	n, absolute   float64
	loss, covered [LevelCount]float64
}

func (t *tally) add(truth float64, q [LevelCount]float64) {
	t.n++
	t.absolute += math.Abs(truth - q[0])
	for i, level := range Levels {
		t.loss[i] += pinball(truth-q[i], level)
		if truth <= q[i]+1e-9 {
			t.covered[i]++
		}
	}
}

func (t *tally) score(series, horizon int, method string, unit float64) Score {
	s := Score{Series: series, Horizon: horizon, Method: method, Origins: int(t.n)}
	if t.n == 0 {
		return s
	}
	s.MASE = t.absolute / t.n / unit
	for i := range t.loss {
		s.Pinball[i], s.Coverage[i] = t.loss[i]/t.n, t.covered[i]/t.n
	}
	return s
}
