package predictor

import (
	"fmt"
	"math"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// Foresight is what a leader makes of one reported series: the calibrated
// quantiles of every horizon and whether each may be acted upon.
type Foresight struct {
	Quantiles [HorizonCount][LevelCount]float64 // base units, at Levels
	Gates     [HorizonCount]Gate
	Plain     [len(plainSteps)]Gate
	Bands     fleet.Bands
}

// bandHorizons are the horizons, in the order of plainSteps, whose calibrated
// quantiles bend the plain forecast of the coming hour.
var bandHorizons = [...]int{0, 1}

// Foresee forecasts a series from what its host reported: its outlook and what
// its past forecasts have taught. pool may be nil, and model names it. False when
// the host has sent neither, or in a layout that is not known here; the plain
// forecast then stands.
//
// The best forecast whose gate is open is acted upon: the calibrated one, else
// the plain one, else none, and the series counts with what it uses now.
func Foresee(s fleet.Series, pool *Pool, model string) (Foresight, bool) {
	var f Foresight
	outlook, err := DecodeOutlook(s.Outlook)
	if err != nil {
		return f, false
	}
	record, err := DecodeRecord(s.Record)
	if err != nil {
		return f, false
	}
	for h := range Horizons {
		o, ok := OpinionsOf(pool, outlook, h)
		if !ok || !finiteOpinions(&o) {
			f.Gates[h] = Gate{Reason: "its history is too short for a forecast"}
			repeat(&f.Quantiles[h], float64(outlook[outlookLags]))
			continue
		}
		f.Gates[h] = record.Learned[h].Gate()
		record.Learned[h].Blend(Horizons[h], &o, nil, &f.Quantiles[h])
	}
	for i := range plainSteps {
		f.Plain[i] = record.Plain[i].Gate()
	}
	f.Bands = f.bands(s, model)
	return f, true
}

func repeat(q *[LevelCount]float64, v float64) {
	for i := range q {
		q[i] = v
	}
}

// bands chooses what may be acted upon.
func (f *Foresight) bands(s fleet.Series, model string) fleet.Bands {
	calibrated := shut(f.Gates[bandHorizons[0]], f.Gates[bandHorizons[1]])
	if calibrated == "" {
		from, to := f.bend(NewBlock(withoutBands(s), Baseline{}))
		return fleet.Bands{Model: model, From: from, To: to}
	}
	plain := shut(f.Plain[0], f.Plain[1])
	if plain == "" {
		return fleet.Bands{Model: Baseline{}.Name(), Reason: fmt.Sprintf("%s is closed: %s", model, calibrated)}
	}
	return fleet.Bands{Model: "reactive", Reactive: true,
		Reason: fmt.Sprintf("no forecast has earned trust: %s: %s; %s: %s", model, calibrated, Baseline{}.Name(), plain)}
}

func withoutBands(s fleet.Series) fleet.Series {
	s.Bands = nil
	return s
}

// shut is why one of two gates is closed, empty when both are open.
func shut(at15m, at1h Gate) string {
	switch {
	case !at15m.Open:
		return "15 min ahead " + at15m.Reason
	case !at1h.Open:
		return "1 h ahead " + at1h.Reason
	}
	return ""
}

// bend tells, for every step of the coming hour, which amounts are meant where
// the plain forecast says others. At 15 min and at 1 h its quantiles become the
// calibrated ones; between, the differences are interpolated, and before 15 min
// they fade to nothing, because the newest value is known.
func (f *Foresight) bend(plain Block) (from, to [][]float64) {
	var off [len(plainSteps)][LevelCount]float64
	var own [Steps][LevelCount]float64
	for k := range Steps {
		sorted := plain.sorted(k + 1)
		for q, level := range Levels {
			own[k][q] = quantileOf(sorted, level)
		}
	}
	for i, h := range bandHorizons {
		for q := range LevelCount {
			off[i][q] = f.Quantiles[h][q] - own[plainSteps[i]-1][q]
		}
	}
	for k := range Steps {
		var meant [LevelCount]float64
		for q := range LevelCount {
			meant[q] = own[k][q] + between(k+1, off[0][q], off[1][q])
		}
		ascending(&meant)
		from, to = append(from, slices.Clone(own[k][:])), append(to, slices.Clone(meant[:]))
	}
	return from, to
}

// between interpolates over the steps: nothing at 0, a at 15 min, b at 1 h.
func between(step int, a, b float64) float64 {
	near, far := plainSteps[0], plainSteps[1]
	if step <= near {
		return a * float64(step) / float64(near)
	}
	return a + (b-a)*float64(step-near)/float64(far-near)
}

// bent applies what the leader made of a series to one scenario amount (base
// units) of one step (0 = the next tick). Amounts keep their order, so what rises
// together in the plain scenarios does so in the bent ones.
func bent(b *fleet.Bands, step int, amount float64) float64 {
	if step >= len(b.From) || step >= len(b.To) || len(b.From[step]) == 0 || len(b.From[step]) != len(b.To[step]) {
		return amount
	}
	from, to := b.From[step], b.To[step]
	last := len(from) - 1
	switch {
	case amount <= from[0]:
		return max(amount+to[0]-from[0], 0)
	case amount >= from[last]:
		return max(amount+to[last]-from[last], 0)
	}
	for i := 1; i <= last; i++ {
		if amount <= from[i] {
			if from[i] == from[i-1] {
				return to[i]
			}
			return to[i-1] + (to[i]-to[i-1])*(amount-from[i-1])/(from[i]-from[i-1])
		}
	}
	return amount
}

// reactive is a block that repeats the newest value in every scenario: nothing is
// foreseen, so only what is full now can be acted upon.
func reactive(s fleet.Series) Block {
	b := Block{tick: s.Tick}
	var all scenarios
	now := 0.0
	if Readable(s) {
		now = sane(float64(s.Features[FeatureLags]))
	}
	amount := quantise(min(now, math.MaxFloat32))
	for k := range Steps {
		b.centres[k] = amount
		for i := range Window {
			all[k][i] = amount
		}
	}
	b.keep(&all)
	return b
}
