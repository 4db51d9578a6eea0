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

// Shortfall returns, summed over the steps from first to last (1..Steps), the
// mean share of demand that is above limit: 0.5 means that half of the demand of
// one step, or a quarter of two, is expected to go unserved. With sign 1 the
// block counts on top of the demand, with −1 it is taken away, with 0 it is not
// looked at.
func (d Demand) Shortfall(first, last int, limit float64, b Block, sign int64) float64 {
	first, last = min(max(first, 1), Steps), min(max(last, 1), Steps)
	if d.scenarios == nil && (sign <= 0 || b.scenarios == nil) {
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
			sum = shortfall(sum, nil, &b.scenarios[from], line, sign, lag)
		case b.scenarios == nil || sign == 0:
			for _, v := range &d.scenarios[k] {
				if v > line {
					sum += float64(v-line) / float64(v)
				}
			}
		default:
			sum = shortfall(sum, &d.scenarios[k], &b.scenarios[from], line, sign, lag)
		}
	}
	return sum / Window
}

// shortfall adds to a sum the shares above the line of one step with a member
// added or taken away.
func shortfall(sum float64, row, member *[Window]int64, line, sign int64, lag int) float64 {
	if row == nil {
		row = new([Window]int64)
	}
	if lag == 0 {
		for i, v := range row {
			if sign > 0 {
				v = addBounded(v, member[i])
			} else {
				v -= member[i]
			}
			if v > line {
				sum += float64(v-line) / float64(v)
			}
		}
		return sum
	}
	for i, v := range row {
		if v = addBounded(v, sign*member[min(max(i-lag, 0), Window-1)]); v > line {
			sum += float64(v-line) / float64(v)
		}
	}
	return sum
}
