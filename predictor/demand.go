package predictor

import (
	"math"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// Demand is the joint distribution of a sum of series over the coming steps:
// one scenario per tick of the last day, in which every member errs as it did
// at that tick. Loads that rise together thus rise together in the sum, which a
// sum of quantiles would exaggerate and independent draws would miss.
//
// A Demand is a value: Add and Remove return a new one. No scenario of a member
// is negative, so adding a member never lowers a quantile.
type Demand struct {
	tick      int64
	dated     bool // a member has given the tick
	centres   [Steps]int64
	scenarios *scenarios // never changed once shared; nil = nothing
}

// Joint forecasts the sum of the series plus foreign, a load in base units that
// belongs to no workload and is taken as constant.
func Joint(series []fleet.Series, foreign float64, model Model) Demand {
	blocks := make([]Block, len(series))
	for i, s := range series {
		blocks[i] = NewBlock(s, model)
	}
	return Sum(foreign, blocks)
}

// Sum adds blocks up. Its tick is the newest of theirs; a member that reported
// last some ticks before is read that much further ahead.
func Sum(foreign float64, blocks []Block) Demand {
	d := Demand{scenarios: new(scenarios)}
	for _, b := range blocks {
		if !d.dated || b.tick > d.tick {
			d.tick, d.dated = b.tick, true
		}
	}
	constant := quantise(foreign)
	for k := range Steps {
		d.centres[k] = constant
		for i := range Window {
			d.scenarios[k][i] = constant
		}
	}
	for _, b := range blocks {
		d.accumulate(b, 1)
	}
	return d
}

// Add returns the demand with one more member. The tick stays; a demand without
// members takes the new one's.
func (d Demand) Add(b Block) Demand { return d.with(b, 1) }

// Remove returns the demand without a member that had been added.
func (d Demand) Remove(b Block) Demand { return d.with(b, -1) }

func (d Demand) with(b Block, sign int64) Demand {
	out := d
	out.scenarios = new(scenarios)
	if d.scenarios != nil {
		*out.scenarios = *d.scenarios
	}
	if !out.dated {
		out.tick, out.dated = b.tick, true
	}
	out.accumulate(b, sign)
	return out
}

// accumulate adds a block where its ticks meet those of the demand: scenario i
// of the demand is the errors of tick d.tick-i, step k its tick d.tick+k+1.
func (d *Demand) accumulate(b Block, sign int64) {
	if b.amounts == nil {
		return
	}
	lag := lagOf(d.tick, b)
	if sign > 0 {
		d.gather(b, lag)
		return
	}
	for k := range Steps {
		from := leading(k, lag)
		d.centres[k] = addBounded(d.centres[k], sign*b.centres[from])
		row, member := &d.scenarios[k], &b.amounts[from]
		for i := range Window {
			// A member's newest error stands in where the demand is newer,
			// its oldest where it is older: errors change slowly.
			age := min(max(i-lag, 0), Window-1)
			row[i] = addBounded(row[i], sign*(int64(member[age])<<b.shift))
		}
	}
}

// lagOf is how many ticks a block is behind.
func lagOf(tick int64, b Block) int { return int(max(min(tick-b.tick, Window), -Window)) }

// gather is accumulate of a member that is added. Most have the same tick, so
// that the rows are added as they lie, or one that is a few ticks older.
func (d *Demand) gather(b Block, lag int) {
	for k := range Steps {
		d.centres[k] = addBounded(d.centres[k], b.centres[leading(k, lag)])
		b.addTo(&d.scenarios[k], k, lag)
	}
}

// leading is the step of a block that lags behind which stands for step k.
func leading(k, lag int) int { return min(max(k+lag, 0), Steps-1) }

// addTo adds the block's scenarios for step k to those of a demand, row.
func (b Block) addTo(row *[Window]int64, k, lag int) {
	member := &b.amounts[leading(k, lag)]
	newer, older := max(lag, 0), max(-lag, 0)
	addConstant(row[:newer], int64(member[0])<<b.shift)
	addRow(row[newer:Window-older], member[older:Window-newer], b.shift)
	addConstant(row[Window-older:], int64(member[Window-1])<<b.shift)
}

// addRow adds amounts that are not negative, so that a negative sum has wrapped
// round.
func addRow(row []int64, amounts []uint32, shift uint8) {
	amounts = amounts[:len(row)]
	for i, amount := range amounts {
		if row[i] += int64(amount) << (shift & 63); row[i] < 0 {
			row[i] = math.MaxInt64
		}
	}
}

func addConstant(row []int64, amount int64) {
	for i := range row {
		row[i] = addBounded(row[i], amount)
	}
}

// addBounded keeps sums within 0..MaxInt64: what a host reports may be nonsense,
// but it must not look small.
func addBounded(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return max(a+b, 0)
}

// Tick returns the last observed tick: step k is for Tick+k.
func (d Demand) Tick() int64 { return d.tick }

// Centre returns the sum of the members' centres at a step (1..Steps).
func (d Demand) Centre(step int) float64 { return float64(d.centres[index(step)]) / fraction }

// Quantile returns the demand that is not exceeded with probability level at a
// step (1..Steps). The i-th smallest of n scenarios stands for the level
// i/(n+1), as in split conformal prediction, so short histories widen it; above
// n/(n+1) it goes on as a tail that falls with the fourth power.
func (d Demand) Quantile(step int, level float64) float64 {
	if d.scenarios == nil {
		return 0
	}
	amounts := d.scenarios[index(step)]
	return quantileOf(arranged(amounts[:], level), level)
}

// Exceeds returns the probability that demand is above limit at a step
// (1..Steps). It is the inverse of Quantile, so it never rises with the limit
// and never falls when load is added.
func (d Demand) Exceeds(step int, limit float64) float64 {
	if d.scenarios == nil {
		return boolean(limit < 0)
	}
	return exceedsOf(d.scenarios[index(step)][:], limit)
}

// Forecast returns the distribution as a fleet value, at ascending levels.
func (d Demand) Forecast(of string, r fleet.Resource, levels []float64, model string) fleet.Forecast {
	f := fleet.Forecast{
		Of: of, Resource: r, Tick: d.tick, Model: model,
		Quantiles: slices.Sorted(slices.Values(levels)),
		Steps:     make([][]float64, Steps),
	}
	for k := range Steps {
		sorted := d.sorted(k + 1)
		row := make([]float64, len(f.Quantiles))
		for i, level := range f.Quantiles {
			row[i] = quantileOf(sorted, level)
		}
		f.Steps[k] = row
	}
	return f
}

func (d Demand) sorted(step int) []int64 {
	if d.scenarios == nil {
		return nil
	}
	row := d.scenarios[index(step)]
	slices.Sort(row[:])
	return row[:]
}

// sorted amounts of a block on its own, at a step (1..Steps).
func (b Block) sorted(step int) []int64 {
	if b.amounts == nil {
		return nil
	}
	row := b.row(index(step))
	slices.Sort(row[:])
	return row[:]
}

func index(step int) int { return min(max(step, 1), Steps) - 1 }

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
