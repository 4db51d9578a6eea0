package boost

// split is the best way to divide a leaf.
type split struct {
	feature, bin int // rows in bins 0 … bin go left
	missingLeft  bool
	unseen       bool    // no row of the leaf misses the feature: those to come follow the larger side
	gain         float64 // of the loss, times two; 0 = none
	left         stats
}

// stats are the sums of a leaf or one side of it.
type stats struct {
	rows          int
	first, second float64
}

// value that lowers the loss most (Newton's step), within the leaf's bounds.
func (s stats) value(l2 float64, in bounded) float64 {
	if s.second+l2 == 0 {
		return in.clip(0)
	}
	return in.clip(-s.first / (s.second + l2))
}

// bounded are the limits that monotone constraints further up have set.
type bounded struct{ low, high float64 }

func (b bounded) clip(v float64) float64 { return min(max(v, b.low), b.high) }

// scan finds the best split of one feature. Its gain is
// GL²/(HL+λ) + GR²/(HR+λ) − G²/(H+λ) (Friedman 2001; Chen and Guestrin 2016,
// equation 7), or, under a constraint, the same with the clipped values.
func (t *trainer) scan(leaf *leaf, feature int) split {
	group, lane := feature/lanes, feature%lanes
	first := &leaf.sums.first[group][lane]
	var second *[slots]int64
	if leaf.sums.second != nil {
		second = &leaf.sums.second[group][lane]
	}
	values := t.binned.values(feature)
	none := stats{}
	if t.binned.missing[feature] {
		none = t.statsOf(first, second, values)
	}
	s := scanner{t: t, leaf: leaf, feature: feature, best: split{feature: feature}}
	if t.cfg.Monotone != nil {
		s.sign = t.cfg.Monotone[feature]
	}
	s.run(first, second, values, stats{}, false)
	if none.rows > 0 {
		s.run(first, second, values, none, true)
	}
	s.best.unseen = none.rows == 0
	return s.best
}

// statsOf one bin.
func (t *trainer) statsOf(first, second *[slots]int64, bin int) stats {
	s := stats{rows: int(first[bin&(slots-1)] & countMask)}
	s.first, s.second = float64(first[bin&(slots-1)]>>countBits)*t.words.unit, float64(s.rows)
	if second != nil {
		s.second = float64(second[bin&(slots-1)]) * t.words.curve
	}
	return s
}

type scanner struct {
	t       *trainer
	leaf    *leaf
	feature int
	sign    int8
	best    split
}

// run tries every bound between bins, with the missing rows (if any) on the
// left as `start` or, when start is empty, on the right.
func (s *scanner) run(first, second *[slots]int64, values int, start stats, missingLeft bool) {
	t, all := s.t, s.leaf.stats
	l2, least, unit, curve := t.cfg.L2, t.cfg.MinLeaf, t.words.unit, t.words.curve
	parent := s.leaf.score
	threshold := s.best.gain + parent
	sum, sumSecond := int64(0), int64(0)
	last := values - 1
	if !missingLeft && t.binned.missing[s.feature] {
		last = values // all values left, the missing right
	}
	constrained := s.sign != 0 || s.leaf.limited
	for bin := 0; bin < last; bin++ {
		word := first[bin&(slots-1)]
		if word == 0 && bin > 0 {
			continue // no row here: the same division as before
		}
		sum += word
		if second != nil {
			sumSecond += second[bin&(slots-1)]
		}
		rows := start.rows + int(sum&countMask)
		if rows < least {
			continue
		}
		if all.rows-rows < least {
			return
		}
		left := stats{rows: rows, first: start.first + float64(sum>>countBits)*unit}
		if second != nil {
			left.second = start.second + float64(sumSecond)*curve
		} else {
			left.second = float64(rows)
		}
		gl, hl := left.first, left.second+l2
		gr, hr := all.first-gl, all.second-left.second+l2
		if second != nil && (hl < t.leastCurve || hr < t.leastCurve) {
			continue
		}
		// One division instead of two.
		gain := (gl*gl*hr + gr*gr*hl) / (hl * hr)
		if gain <= threshold {
			continue
		}
		if constrained {
			if gain = s.constrained(left, gain); gain <= threshold {
				continue
			}
		}
		threshold = gain
		s.best = split{feature: s.feature, bin: bin, missingLeft: missingLeft, gain: gain - parent, left: left}
	}
}

// leastCurve refuses leaves whose rows the model is already sure of: their Newton
// step would be a division by almost nothing. It is per unit of mean weight.
const leastCurve = 1e-3

// constrained returns the gain with the values that the constraints allow, 0
// when the split breaks one.
func (s *scanner) constrained(left stats, free float64) float64 {
	all, l2 := s.leaf.stats, s.t.cfg.L2
	right := stats{rows: all.rows - left.rows, first: all.first - left.first, second: all.second - left.second}
	if s.t.renewed {
		// Leaf values come from the rows, not from the gradients, whose unit
		// is another; only their order can be judged here.
		vl, vr := -left.first/(left.second+l2), -right.first/(right.second+l2)
		if float64(s.sign)*(vr-vl) < 0 {
			return 0
		}
		return free
	}
	vl, vr := left.value(l2, s.leaf.in), right.value(l2, s.leaf.in)
	if float64(s.sign)*(vr-vl) < 0 {
		return 0
	}
	gain := func(side stats, v float64) float64 { return -(2*side.first*v + (side.second+l2)*v*v) }
	return gain(left, vl) + gain(right, vr)
}
