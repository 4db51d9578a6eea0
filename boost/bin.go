package boost

import (
	"fmt"
	"math"
)

// lanes is how many features share a word: one load brings the bins of all of
// them, which is what the time of training is spent on.
const lanes = 4

// Binned is a matrix whose features are reduced to at most MaxBins bins each.
// It is read-only: several models may be trained on it at the same time.
type Binned struct {
	Rows, Cols int
	bins       int
	// words[g][row] holds the bins of the features 4g … 4g+3, lowest first.
	words [][]uint32
	// upper[f] are the largest values of the bins but the last, ascending:
	// a value is in bin i when i bounds lie below it.
	upper [][]float32
	// missing[f] tells whether any value is; its bin is the one after the last.
	missing []bool
	err     error
}

// Bin reduces every feature to bins of about equally many rows; a value that
// alone fills a bin has one of its own. bins is clamped to 2..MaxBins, 0 means
// MaxBins. A matrix that cannot be used is refused by Train.
func Bin(m Matrix, bins int) *Binned {
	if bins == 0 {
		bins = MaxBins
	}
	b := &Binned{Rows: m.Rows, Cols: m.Cols, bins: min(max(bins, 2), MaxBins)}
	switch {
	case m.Rows < 1 || m.Rows > MaxRows:
		b.err = fmt.Errorf("%d rows are outside 1..%d", m.Rows, MaxRows)
	case m.Cols < 1 || m.Cols > MaxCols:
		b.err = fmt.Errorf("%d features are outside 1..%d", m.Cols, MaxCols)
	case len(m.Data) != m.Rows*m.Cols:
		b.err = fmt.Errorf("%d values for %d rows of %d features", len(m.Data), m.Rows, m.Cols)
	}
	if b.err != nil {
		return b
	}
	groups := (m.Cols + lanes - 1) / lanes
	b.words = make([][]uint32, groups)
	for g := range b.words {
		b.words[g] = make([]uint32, m.Rows)
	}
	b.upper, b.missing = make([][]float32, m.Cols), make([]bool, m.Cols)
	s := sorter{keys: make([]uint32, 0, m.Rows), spare: make([]uint32, m.Rows)}
	// Columns are copied out as many at a time as a cache line of a row holds.
	const together = 16
	columns := make([]float32, min(together, m.Cols)*m.Rows)
	for first := 0; first < m.Cols; first += together {
		last := min(first+together, m.Cols)
		for row := range m.Rows {
			for i, v := range m.Data[row*m.Cols+first : row*m.Cols+last] {
				columns[i*m.Rows+row] = v
			}
		}
		for f := first; f < last; f++ {
			b.bin(f, columns[(f-first)*m.Rows:(f-first+1)*m.Rows], &s)
		}
	}
	return b
}

// bin fills in one feature from its column.
func (b *Binned) bin(f int, column []float32, s *sorter) {
	s.keys = s.keys[:0]
	for _, v := range column {
		if v == v {
			s.keys = append(s.keys, orderedBits(v))
		}
	}
	b.missing[f] = len(s.keys) < len(column)
	s.sort()
	upper := bounds(s.keys, b.bins)
	b.upper[f] = upper

	// The padded copy makes the search eight steps without a branch.
	var padded [MaxBins + 1]float32
	for i := range padded {
		padded[i] = float32(math.Inf(1))
	}
	copy(padded[:], upper)
	none, shift, words := uint32(len(upper)+1), 8*(f%lanes), b.words[f/lanes]
	for row, v := range column {
		if v != v {
			words[row] |= none << shift
			continue
		}
		i := 0
		for step := 128; step > 0; step /= 2 {
			if padded[(i+step-1)&MaxBins] < v {
				i += step
			}
		}
		words[row] |= uint32(i) << shift
	}
}

// bin of one row and feature.
func (b *Binned) at(row int32, f int) int {
	return int(uint8(b.words[f/lanes][row] >> (8 * (f % lanes))))
}

// values is the number of bins of a feature without the missing one.
func (b *Binned) values(f int) int { return len(b.upper[f]) + 1 }

// bounds chooses the bounds between bins from ascending keys.
func bounds(keys []uint32, bins int) []float32 {
	var upper []float32
	distinct := 0
	for i := range keys {
		if i == 0 || keys[i] != keys[i-1] {
			distinct++
		}
	}
	restRows, restBins, inBin := len(keys), bins, 0
	for at := 0; at < len(keys); {
		end := runEnd(keys, at)
		inBin += end - at
		if end == len(keys) {
			break
		}
		fair := float64(restRows) / float64(restBins)
		full := float64(inBin) >= fair || float64(runEnd(keys, end)-end) >= fair
		if distinct <= bins || full && restBins > 1 {
			upper = append(upper, between(floatOf(keys[at]), floatOf(keys[end])))
			restRows, restBins, inBin = restRows-inBin, restBins-1, 0
		}
		at = end
	}
	return upper
}

// runEnd is where the run of equal keys that begins at `at` ends.
func runEnd(keys []uint32, at int) int {
	end := at + 1
	for end < len(keys) && keys[end] == keys[at] {
		end++
	}
	return end
}

// between returns a bound t with low <= t < high.
func between(low, high float32) float32 {
	t := low/2 + high/2
	if !(t >= low && t < high) { // neighbours, or an infinity
		return low
	}
	return t
}

// sorter sorts keys by three passes of counting.
type sorter struct{ keys, spare []uint32 }

func (s *sorter) sort() {
	const digit = 11
	var counts [3][1 << digit]int
	for _, k := range s.keys {
		counts[0][k&(1<<digit-1)]++
		counts[1][k>>digit&(1<<digit-1)]++
		counts[2][k>>(2*digit)]++
	}
	for pass := range counts {
		sum := 0
		for d, n := range counts[pass] {
			counts[pass][d], sum = sum, sum+n
		}
		to := s.spare[:len(s.keys)]
		for _, k := range s.keys {
			d := k >> (pass * digit) & (1<<digit - 1)
			to[counts[pass][d]] = k
			counts[pass][d]++
		}
		s.keys, s.spare = to, s.keys[:cap(s.keys)]
	}
}

// orderedBits maps floats to integers of the same order; -0 counts as 0.
func orderedBits(v float32) uint32 {
	bits := math.Float32bits(v + 0)
	if bits>>31 == 1 {
		return ^bits
	}
	return bits | 1<<31
}

func floatOf(ordered uint32) float32 {
	if ordered>>31 == 1 {
		return math.Float32frombits(ordered &^ (1 << 31))
	}
	return math.Float32frombits(^ordered)
}
