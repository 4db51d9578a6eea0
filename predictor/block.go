package predictor

import (
	"hash/fnv"
	"math"
	"math/bits"

	"github.com/placed-dev/placed/fleet"
)

// Scenario amounts are integers in 1/256 of the base unit, so that sums are
// exact in any order and Remove undoes Add to the last bit.
const (
	fraction  = 256
	maxAmount = int64(1) << 54 // 2^46 base units: 64 TiB
)

// minResiduals is the number of own errors below which a series has its spread
// taken from its features as well: an hour of errors has seen too little.
const minResiduals = 3 * Steps

// Block is the demand of one series in every scenario: what it would use at each
// step if its errors of one past tick came again. It is computed once per pass
// and then added to or removed from any number of hypothetical hosts.
//
// A pass over ten thousand workloads holds as many blocks, so their amounts take
// four bytes: scenario i of step k is amounts[k][i] << shift. Amounts of cpu are
// never shifted, larger ones are right to the 31st bit.
type Block struct {
	tick    int64
	centres [Steps]int64
	amounts *[Steps][Window]uint32 // nil = nothing
	shift   uint8
}

// scenarios are amounts that are still being worked out.
type scenarios [Steps][Window]int64

// keep packs the scenarios into the block.
func (b *Block) keep(s *scenarios) {
	most := int64(0)
	for k := range s {
		for _, v := range s[k] {
			most = max(most, v)
		}
	}
	b.shift = uint8(max(bits.Len64(uint64(most))-32, 0))
	b.amounts = new([Steps][Window]uint32)
	for k := range s {
		for i, v := range s[k] {
			b.amounts[k][i] = uint32(v >> b.shift)
		}
	}
}

// row are the amounts of one step (0 = the next tick).
func (b *Block) row(k int) (out [Window]int64) {
	for i, v := range b.amounts[k] {
		out[i] = int64(v) << b.shift
	}
	return out
}

// NewBlock forecasts one series with the model. The scenario of age a uses the
// errors of the tick that lies a ticks before the newest one of the series.
//
// Where the series lacks errors (gaps), its known ones, freed of their mean, are
// repeated in order. With fewer than three hours of errors the spread comes from
// the features instead: a bell of at least a quarter of the level, in an order
// that differs between workloads so that strangers do not rise together.
//
// Bands that the leader added bend the scenarios, or say that none may be acted
// upon.
func NewBlock(s fleet.Series, model Model) Block {
	if s.Bands != nil && s.Bands.Reactive {
		return reactive(s)
	}
	b := Block{tick: s.Tick}
	var all scenarios
	var centres [Steps]float64
	for k := range Steps {
		if Readable(s) {
			if centres[k] = model.Centre(s.Features, k+1); math.IsNaN(centres[k]) || centres[k] < 0 {
				centres[k] = sane(float64(s.Features[FeatureLags]))
			}
		}
		b.centres[k] = quantise(centres[k])
	}
	if !all.spread(&centres, s) {
		errors := alignedErrors(s)
		for k := range Steps {
			for age := range Window {
				all[k][age] = quantise(centres[k] + errors[age][k])
			}
		}
	}
	if s.Bands != nil && len(s.Bands.From) > 0 {
		for k := range Steps {
			b.centres[k] = quantise(bent(s.Bands, k, float64(b.centres[k])/fraction))
			for i, amount := range all[k] {
				all[k][i] = quantise(bent(s.Bands, k, float64(amount)/fraction))
			}
		}
	}
	b.keep(&all)
	return b
}

// spread fills the scenarios of a series that has an error of every tick of its
// last day, in order: nearly all have, and a fleet has ten thousand blocks of
// 3,456 amounts each. False when it has not; alignedErrors then sorts it out.
func (all *scenarios) spread(centres *[Steps]float64, s fleet.Series) bool {
	if residualCount(s) != Window {
		return false
	}
	var buffer [Steps]float32
	for i := range Window {
		tick, errors := residualAt(s, i, &buffer)
		if tick != s.Tick-int64(Window-1-i) || errors == nil {
			return false
		}
		age := Window - 1 - i
		for k, e := range errors {
			v := (centres[k]+float64(e))*fraction + 0.5
			if v >= 1 && v < float64(maxAmount) {
				all[k][age] = int64(v)
				continue
			}
			all[k][age] = quantise(centres[k] + saneError(float64(e)))
		}
	}
	return true
}

// Readable says whether the features of a series have the layout of this build.
// A series without history, or of a host of another version, has not: its
// forecast would be zero, so the caller takes UsageBlock instead.
func Readable(s fleet.Series) bool {
	return s.FeatureVersion == FeatureVersion && len(s.Features) == FeatureCount
}

// UsageBlock stands for a workload of which only the present usage is known (in
// base units, measured in the given tick): it stays at its level, within the
// wide band of a series without history.
func UsageBlock(of fleet.WorkloadID, r fleet.Resource, tick int64, usage float64) Block {
	return NewBlock(UsageSeries(of, r, tick, usage), Baseline{})
}

// Tick returns the newest observed tick of the series.
func (b Block) Tick() int64 { return b.tick }

// alignedErrors places the residuals by age and fills the holes.
func alignedErrors(s fleet.Series) *[Window][Steps]float64 {
	out := new([Window][Steps]float64)
	var known [Window]bool
	var own []*[Steps]float64
	var buffer [Steps]float32
	for i := range residualCount(s) {
		tick, errors := residualAt(s, i, &buffer)
		age := s.Tick - tick
		if age < 0 || age >= Window || errors == nil || known[age] {
			continue
		}
		known[age] = true
		for k, e := range errors {
			out[age][k] = saneError(float64(e))
		}
		own = append(own, &out[age])
	}
	if len(own) == Window {
		return out
	}
	if len(own) < minResiduals {
		fillFromFeatures(out, &known, s)
		return out
	}
	fillFromOwn(out, &known, own)
	return out
}

func fillFromOwn(out *[Window][Steps]float64, known *[Window]bool, own []*[Steps]float64) {
	var mean [Steps]float64
	for _, row := range own {
		for k := range Steps {
			mean[k] += row[k] / float64(len(own))
		}
	}
	next := 0
	for age := range Window {
		if known[age] {
			continue
		}
		row := own[next%len(own)]
		for k := range Steps {
			out[age][k] = row[k] - mean[k]
		}
		next++
	}
}

// fillFromFeatures spreads by what little is known: the deviation of the last
// day, and at least a quarter of the level, growing with the root of the step
// from a half of it (15 min) to the whole (1 h).
func fillFromFeatures(out *[Window][Steps]float64, known *[Window]bool, s fleet.Series) {
	spread := 0.0
	if Readable(s) {
		level := max(float64(s.Features[FeatureLags]), float64(s.Features[FeatureEWMA]))
		spread = max(float64(s.Features[FeatureSDs+2]), level/4)
	}
	spread = saneError(spread)
	start, stride := scramble(s)
	for age := range Window {
		if known[age] {
			continue
		}
		rank := (start + age*stride) % Window
		z := math.Sqrt2 * math.Erfinv(2*(float64(rank)+0.5)/Window-1)
		for k := range Steps {
			out[age][k] = z * spread * math.Sqrt(float64(k+1)/Steps)
		}
	}
}

// scramble chooses a walk through the ranks 0..Window-1 from the name of the
// series, or from the one that it shares with those it depends on: these then rise
// together. The stride is coprime to Window = 288 (odd, no multiple of 3).
func scramble(s fleet.Series) (start, stride int) {
	name := string(s.Workload)
	if s.Together != "" {
		name = s.Together
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	h.Write([]byte{0})
	h.Write([]byte(s.Resource))
	sum := h.Sum64()
	return int(sum % Window), 6*int(sum/Window%(Window/6)) + 1
}

func sane(v float64) float64 {
	if math.IsNaN(v) || v < 0 {
		return 0
	}
	return v
}

func saneError(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

// quantise turns a demand into a scenario amount; demand is never negative.
func quantise(v float64) int64 {
	scaled := v*fraction + 0.5
	switch {
	case !(scaled >= 1):
		return 0
	case scaled >= float64(maxAmount):
		return maxAmount
	}
	return int64(scaled)
}
