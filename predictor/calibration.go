package predictor

import "math"

// ExpertCount is how many forecasters compete for every series.
const ExpertCount = 4

// Experts that compete for a series: the pooled models and what stands guard
// over them.
const (
	expertPool = iota
	expertPersistence
	expertHistory
	expertSeasonal
)

// ExpertNames are what reports call them.
var ExpertNames = [ExpertCount]string{"pool", "persistence", "history", "seasonal"}

// Opinions are what the experts say of one horizon of one series.
type Opinions struct {
	// Of an expert, the quantiles at Levels in base units; NaN where it has none.
	Of [ExpertCount][LevelCount]float64
	// Scale is what the errors of this forecast are counted in, base units: about
	// how far the series usually moves over the horizon.
	Scale float64
}

// OpinionsOf asks every expert about one horizon (a place in Horizons) of a
// series. A nil pool, or one without models for the horizon, has no opinion.
// False when the outlook has another layout: nothing may be said from it.
func OpinionsOf(p *Pool, outlook []float32, horizon int) (Opinions, bool) {
	var o Opinions
	if len(outlook) != OutlookCount {
		return o, false
	}
	var row [rowLength]float32
	var centre float64
	centre, o.Scale = poolRow(row[:], outlook, horizon)
	if p.Ready(horizon) {
		p.predict(row[:], centre, o.Scale, horizon, &o.Of[expertPool])
	} else {
		for q := range LevelCount {
			o.Of[expertPool][q] = math.NaN()
		}
	}
	h := Horizons[horizon]
	at := outlook[outlookTargets+horizon*outlookPerTarget:][:outlookPerTarget]
	last := float64(outlook[outlookLags])
	if h.Peak {
		last = float64(outlook[outlookMaxima+1])
	}
	for q := range LevelCount {
		move := known(float64(at[targetMoves+q]), 0)
		o.Of[expertPersistence][q] = last + move
		o.Of[expertHistory][q] = known(float64(outlook[outlookValues+h.valuesOf()*LevelCount+q]), last)
		o.Of[expertSeasonal][q] = known(float64(at[targetMean]), last) + seasonalSpread[q]*known(float64(at[targetSD]), 0)
	}
	for e := expertPersistence; e < ExpertCount; e++ {
		ascending(&o.Of[e])
	}
	return o, true
}

// seasonalSpread is how many deviations of seven days the levels lie above their
// mean: a little less than a bell's, which seven values cannot tell.
var seasonalSpread = [LevelCount]float64{0, 1.1, 1.5, 2.4}

func known(v, otherwise float64) float64 {
	if v != v {
		return otherwise
	}
	return v
}

// Calibration is what one series has taught about the forecasts of one horizon:
// how well each expert did, and by how much the quantiles must be shifted to
// cover what they promise. It is small, follows the workload, and two of them
// can be merged.
type Calibration struct {
	// Weight of the targets seen, discounted.
	Weight float32
	// Loss per expert and level, discounted sums in units of the scale.
	Loss [ExpertCount][LevelCount]float32
	// Shift per level, in units of the scale.
	Shift [LevelCount]float32
	// Own is the discounted loss of the blend, Covered of how many targets each
	// of its levels covered.
	Own     float32
	Covered [LevelCount]float32
}

const (
	// calibrationDecay halves what was learned in 700 targets, about a week.
	calibrationDecay = 0.999
	// trustAfter is how many targets give half the say to what was learned.
	trustAfter = 150
)

// Blend gives the calibrated quantiles for the opinions. all, if not nil, is what
// the other series have taught.
func (c *Calibration) Blend(h Horizon, o *Opinions, all *Shared, out *[LevelCount]float64) {
	c.mix(h, o, out)
	for q := range out {
		out[q] += float64(c.Shift[q]) * o.Scale
		if all != nil {
			out[q] += float64(all.Shift[q]) * o.Scale
		}
	}
	// What crossed another level is lifted, not exchanged: each shift must be
	// judged by the quantile that it moves.
	for q := range out {
		out[q] = max(out[q], out[max(q-1, 0)], 0)
	}
}

// Shared is by how much the quantiles of one horizon must be shifted for all
// series alike: a single series has seven daily peaks a week, all of them
// together have enough to tell soon that this week is not like the last.
type Shared struct {
	// Shift per level, in units of each series' scale.
	Shift [LevelCount]float32
}

// Observe judges one forecast for a horizon of one of so many series. Where series
// shift alone it learns nothing.
func (s *Shared) Observe(h Horizon, given *[LevelCount]float64, truth float64, series int) {
	g := guardOf(h)
	for q, aim := range g.aims() {
		step := aim
		if truth <= given[q] {
			step = aim - 1
		}
		s.Shift[q] += float32(g.sharedRate[q] * step / float64(max(series, 1)))
	}
}

func (c *Calibration) mix(h Horizon, o *Opinions, out *[LevelCount]float64) {
	w := c.weights(guardOf(h), o)
	for q := range out {
		out[q] = 0
		for e := range o.Of {
			if w[e] > 0 {
				out[q] += w[e] * o.Of[e][q]
			}
		}
	}
}

func (c *Calibration) weights(g guard, o *Opinions) [ExpertCount]float64 {
	var w [ExpertCount]float64
	var loss [ExpertCount]float64
	best := math.Inf(1)
	for e := range loss {
		for q := range LevelCount {
			loss[e] += float64(c.Loss[e][q])
		}
		if o.Of[e][0] == o.Of[e][0] {
			best = min(best, loss[e])
		}
	}
	sum := 0.0
	for e := range w {
		if o.Of[e][0] != o.Of[e][0] {
			continue
		}
		excess := (loss[e] - best) / (best + 1e-3*float64(c.Weight) + 1e-9)
		trust := float64(c.Weight) / (float64(c.Weight) + trustAfter)
		w[e] = g.prior[e] * math.Exp(-g.firmness*excess*trust)
		sum += w[e]
	}
	for e := range w {
		w[e] /= sum
	}
	return w
}

// guard says how the experts of a horizon share their say: prior before anything
// was learned; at an excess loss of a tenth a weight falls to exp(-firmness/10).
type guard struct {
	prior    [ExpertCount]float64
	firmness float64
	// shiftRate is how far a quantile that was crossed moves up for the series
	// alone, in units of the scale; shiftDecay draws that back to what the models
	// say.
	shiftRate, shiftDecay float64
	// sharedRate is how far the shift of all series moves, per level and in units
	// of the scale, in the time of one target per series when all of them were
	// crossed; 0 = not at all.
	sharedRate [LevelCount]float64
	// aim, if not 0, is the share of targets that the level .95 is to cover on
	// past days, so that it covers .95 of those to come.
	aim float64
}

// shared says whether the shift of all series counts.
func (g guard) shared() bool { return g.sharedRate != [LevelCount]float64{} }

func (g guard) aims() [LevelCount]float64 {
	aims := Levels
	if g.aim > 0 {
		aims[2] = g.aim
	}
	return aims
}

// guardOf a horizon. A week holds seven targets of a day, too few for a series to
// tell alone that this week is not like the last: there all series shift
// together, and opinions are averaged rather than chosen. For shorter horizons the
// models see a change at once, and a shift of all only runs after it.
//
// Days differ more than chance alone would have it, so the .95 of daily peaks has to
// cover more than .95 of the past days; .965 cost no loss on the days it was
// chosen on, because .9 and .99 follow more slowly.
func guardOf(h Horizon) guard {
	switch {
	case h.Ticks < ticksPerDay:
		return guard{prior: [ExpertCount]float64{1, 0.02, 0.05, 0.02}, firmness: 20, shiftRate: 0.01, shiftDecay: 0.999}
	case h.Peak:
		return guard{prior: [ExpertCount]float64{1, 0.1, 1.5, 0.5}, firmness: 2, shiftDecay: 0.9998, sharedRate: [LevelCount]float64{0, 0.01, 0.05, 0.02}, aim: 0.965}
	}
	return guard{prior: [ExpertCount]float64{1, 0.02, 0.3, 0.1}, firmness: 10, shiftRate: 0.01, shiftDecay: 0.9998, sharedRate: [LevelCount]float64{0, 0.02, 0.02, 0.02}}
}

// Observe judges a forecast: the opinions given then, and what came (base units).
// all is as in Blend.
func (c *Calibration) Observe(h Horizon, o *Opinions, truth float64, all *Shared) {
	var given [LevelCount]float64
	c.Blend(h, o, all, &given)
	c.Weight = c.Weight*calibrationDecay + 1
	for e := range o.Of {
		for q, level := range Levels {
			l := pinball(truth-o.Of[e][q], level) / o.Scale
			if l != l {
				// Who says nothing must not look as if he were never wrong.
				l = pinball(truth-o.Of[expertPersistence][q], level) / o.Scale
			}
			c.Loss[e][q] = c.Loss[e][q]*calibrationDecay + float32(l)
		}
	}
	c.Own *= calibrationDecay
	for q, level := range Levels {
		c.Own += float32(pinball(truth-given[q], level) / o.Scale)
		c.Covered[q] *= calibrationDecay
		if truth <= given[q] {
			c.Covered[q]++
		}
	}
	// Targets that overlap say the same again and again: each counts for less.
	g := guardOf(h)
	decay, rate := float32(g.shiftDecay), g.shiftRate/math.Sqrt(float64(h.Ticks)/calibrateEvery)
	for q, level := range Levels {
		if level == 0.5 {
			continue // the centre is the experts' business
		}
		step := rate * level
		if truth <= given[q] {
			step = -rate * (1 - level)
		}
		c.Shift[q] = c.Shift[q]*decay + float32(step)
	}
}
