package boost

import (
	"math"
	"math/bits"
)

// Histograms are sums of integers. A gradient becomes a multiple of a power of
// two that is chosen so that no sum of them leaves 40 bits; the lower 24 bits of
// the same word count rows. Three things follow. One addition per row and
// feature does the work of two or three. Sums are exact, so neither threads nor
// the order of rows can change a model, and parent minus child is the sibling to
// the last bit. And nothing is lost: with n rows the mean gradient has 38-log2(n)
// bits, 21 of them at 100,000 rows, next to the 24 of a float32.
const (
	countBits = 24
	countMask = 1<<countBits - 1
	sumBits   = 38 // of gradients: room for rounding and the sign below 40
	curveBits = 52 // of second derivatives: exact as float64
)

// quantised holds the derivatives of all rows as histogram words.
type quantised struct {
	first  []int64 // gradient << countBits | 1
	second []int64 // nil when every row's is 1
	// A gradient is its integer × unit, a second derivative × curve.
	unit, curve float64
}

// quantise converts the derivatives of the rows.
func (q *quantised) quantise(first, second []float64, rows []int32, par Par) {
	var scale float64
	scale, q.unit = scaleOf(first, rows, sumBits)
	each(par, chunks(len(rows)), func(i int) {
		for _, row := range rows[i*chunk : min((i+1)*chunk, len(rows))] {
			q.first[row] = int64(math.RoundToEven(first[row]*scale))<<countBits | 1
		}
	})
	q.curve = 1
	if second == nil {
		return
	}
	var curveScale float64
	curveScale, q.curve = scaleOf(second, rows, curveBits)
	each(par, chunks(len(rows)), func(i int) {
		for _, row := range rows[i*chunk : min((i+1)*chunk, len(rows))] {
			q.second[row] = int64(math.RoundToEven(second[row] * curveScale))
		}
	})
}

// scaleOf returns the power of two by which the values may be multiplied so
// that the sum of their magnitudes stays within 2^most, and its inverse. It does
// not depend on the order of rows.
func scaleOf(values []float64, rows []int32, most int) (scale, inverse float64) {
	largest := 0.0
	for _, row := range rows {
		largest = max(largest, math.Abs(values[row]))
	}
	if largest == 0 {
		return 1, 1
	}
	_, exponent := math.Frexp(largest) // largest < 2^exponent
	exponent = max(exponent, -800)     // less than that is nothing, and its inverse has no float
	// Each magnitude below 2^38, so up to 2^24 of them stay below 2^62.
	fine := sumBits - exponent
	multiple, sum := math.Ldexp(1, fine), uint64(len(rows))
	for _, row := range rows {
		sum += uint64(math.Abs(values[row]) * multiple)
	}
	shift := most - bits.Len64(sum) + fine
	return math.Ldexp(1, shift), math.Ldexp(1, -shift)
}

func chunks(rows int) int { return (rows + chunk - 1) / chunk }
