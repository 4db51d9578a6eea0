package boost

import (
	"cmp"
	"math"
	"slices"
)

// chunk is how many rows one call of par works on.
const chunk = 1 << 12

// curved tells whether the second derivative differs between rows. Where it
// does not (unweighted squared, absolute and quantile losses) it is the row
// count, and a histogram needs one word per bin instead of two.
func (l Loss) curved(weight []float32) bool { return weight != nil || l.Kind == Logistic }

// gradients writes the derivatives of the loss by the score for rows
// from ≤ row < to; second may be nil.
func (l Loss) gradients(target, weight []float32, score, first, second []float64, from, to int) {
	alpha, renewed := l.level()
	for row := from; row < to; row++ {
		g, h := 0.0, 1.0
		switch {
		case l.Kind == Logistic:
			p := sigmoid(score[row])
			g, h = p-float64(target[row]), p*(1-p)
		case renewed && float64(target[row]) > score[row]:
			g = -alpha
		case renewed:
			g = 1 - alpha
		default:
			g = score[row] - float64(target[row])
		}
		if weight != nil {
			w := float64(weight[row])
			g, h = g*w, h*w
		}
		first[row] = g
		if second != nil {
			second[row] = h
		}
	}
}

// base is the constant score with the least loss.
func (l Loss) base(target, weight []float32) float64 {
	if level, ok := l.level(); ok {
		values := make([]float64, len(target))
		for i, y := range target {
			values[i] = float64(y)
		}
		return quantileOf(values, weight, level)
	}
	mean := weightedMean(target, weight)
	if l.Kind == Logistic {
		// A target of one kind only has no finite answer.
		mean = min(max(mean, 1e-6), 1-1e-6)
		return math.Log(mean / (1 - mean))
	}
	return mean
}

// mean loss of scores, in the unit of the target (squared: its square).
func (l Loss) mean(target, weight []float32, score []float64) float64 {
	alpha, renewed := l.level()
	sum, total := 0.0, 0.0
	for i, y := range target {
		e, w := float64(y)-score[i], 1.0
		if weight != nil {
			w = float64(weight[i])
		}
		switch {
		case l.Kind == Logistic:
			// log(1+exp(s)) - y s, without overflow.
			e = max(score[i], 0) + math.Log1p(math.Exp(-math.Abs(score[i]))) - float64(y)*score[i]
		case renewed:
			e = max(alpha*e, (alpha-1)*e)
		default:
			e *= e
		}
		sum, total = sum+w*e, total+w
	}
	if total == 0 {
		return 0
	}
	return sum / total
}

func sigmoid(score float64) float64 { return 1 / (1 + math.Exp(-score)) }

// weightedMean adds in ascending order of values, so that the order of rows
// does not show in the last bit.
func weightedMean(target, weight []float32) float64 {
	pairs := make([]weighted, len(target))
	for i, y := range target {
		pairs[i] = weighted{float64(y), weightOf(weight, i)}
	}
	slices.SortFunc(pairs, weighted.compare)
	sum, total := 0.0, 0.0
	for _, p := range pairs {
		sum, total = sum+p.value*p.weight, total+p.weight
	}
	return sum / total
}

type weighted struct{ value, weight float64 }

func (a weighted) compare(b weighted) int {
	return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.weight, b.weight))
}

func weightOf(weight []float32, i int) float64 {
	if weight == nil {
		return 1
	}
	return float64(weight[i])
}

// quantileOf returns the quantile of values, which it reorders: interpolated
// between neighbours at level × (n-1) without weights; with weights the value at
// which the cumulated weight reaches level of the total. Of nothing it is 0.
func quantileOf(values []float64, weight []float32, level float64) float64 {
	if len(values) == 0 {
		return 0
	}
	if weight != nil {
		return weightedQuantile(values, weight, level)
	}
	place := level * float64(len(values)-1)
	k := int(place)
	low := Select(values, k)
	if k+1 == len(values) {
		return low
	}
	return low + (slices.Min(values[k+1:])-low)*(place-float64(k))
}

func weightedQuantile(values []float64, weight []float32, level float64) float64 {
	pairs := make([]weighted, len(values))
	total := 0.0
	for i, v := range values {
		pairs[i] = weighted{v, float64(weight[i])}
	}
	slices.SortFunc(pairs, weighted.compare)
	for _, p := range pairs {
		total += p.weight
	}
	sum := 0.0
	for _, p := range pairs {
		if sum += p.weight; sum >= level*total && p.weight > 0 {
			return p.value
		}
	}
	return pairs[len(pairs)-1].value
}
