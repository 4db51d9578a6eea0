package predictor

// PeakExceeds returns the probability that demand is above limit at any step
// from first to last (1..Steps), as opposed to one given step. Scenario a of the
// paths lets every member err, step by step, as it did after one past tick, so
// what lasts and what follows from each other stays together; the sum of the
// steps' probabilities would call a single spike that may come at any of them
// far likelier, the largest of them far less likely than it is.
//
// Like Exceeds it never rises with the limit and never falls with more load, and
// it leaves a probability to what no path has shown.
func (d Demand) PeakExceeds(first, last int, limit float64) float64 {
	first, last = min(max(first, 1), Steps), min(max(last, 1), Steps)
	if d.scenarios == nil || last < first {
		return boolean(limit < 0)
	}
	// Row k holds, at place i, the error for the tick that lies i ticks back;
	// a path that began at one tick therefore runs down one diagonal.
	var peaks [Window]int64
	paths := Window - last + first
	for a := range paths {
		for k := first; k <= last; k++ {
			peaks[a] = max(peaks[a], d.scenarios[k-1][a+last-k])
		}
	}
	return exceedsOf(peaks[:paths], limit)
}

// Excess returns by how much demand is expected to be above limit at a step
// (1..Steps), in base units: the mean over all scenarios, most of which add nothing.
func (d Demand) Excess(step int, limit float64) float64 {
	if d.scenarios == nil {
		return max(-limit, 0)
	}
	line := int64(min(max(limit, 0)*fraction, float64(maxAmount)))
	sum := 0.0
	for _, v := range &d.scenarios[index(step)] {
		sum += float64(max(v-line, 0))
	}
	return sum / Window / fraction
}

// Shortfall returns, summed over the steps from first to last (1..Steps), the
// mean share of demand that is above limit: 0.5 means that half of the demand of
// one step, or a quarter of two, is expected to go unserved. With sign 1 the
// block counts on top of the demand, with −1 it is taken away, with 0 it is not
// looked at.
func (d Demand) Shortfall(first, last int, limit float64, b Block, sign int64) float64 {
	first, last = min(max(first, 1), Steps), min(max(last, 1), Steps)
	if d.scenarios == nil && (sign <= 0 || b.amounts == nil) {
		return 0
	}
	line := int64(min(max(limit, 0)*fraction, float64(maxAmount)))
	lag := int(max(min(d.tick-b.tick, Window), -Window))
	if !d.dated {
		lag = 0
	}
	sum := 0.0
	for k := first - 1; k < last; k++ {
		switch from := min(max(k+lag, 0), Steps-1); {
		case d.scenarios == nil:
			sum = shortfall(sum, nil, b, from, line, sign, lag)
		case b.amounts == nil || sign == 0:
			for _, v := range &d.scenarios[k] {
				if v > line {
					sum += float64(v-line) / float64(v)
				}
			}
		default:
			sum = shortfall(sum, &d.scenarios[k], b, from, line, sign, lag)
		}
	}
	return sum / Window
}

// shortfall adds to a sum the shares above the line of one step with a step of a
// block added or taken away.
func shortfall(sum float64, row *[Window]int64, b Block, from int, line, sign int64, lag int) float64 {
	member := &b.amounts[from]
	if row == nil {
		row = new([Window]int64)
	}
	if lag == 0 {
		for i, v := range row {
			if sign > 0 {
				v = addBounded(v, int64(member[i])<<b.shift)
			} else {
				v -= int64(member[i]) << b.shift
			}
			if v > line {
				sum += float64(v-line) / float64(v)
			}
		}
		return sum
	}
	for i, v := range row {
		if v = addBounded(v, sign*(int64(member[min(max(i-lag, 0), Window-1)])<<b.shift)); v > line {
			sum += float64(v-line) / float64(v)
		}
	}
	return sum
}
