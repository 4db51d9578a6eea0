package predictor

import (
	"math"
	"math/rand/v2"
)

// partitioned is one division of points into clusters.
type partitioned struct {
	centres []Traits
	labels  []int
	inertia float64 // sum of squared distances to the own centre
}

// kmeans divides the points by Lloyd's algorithm, restarted `starts` times from
// centres drawn by k-means++ (Arthur and Vassilvitskii 2007) and once from warm,
// if given; the least inertia wins, the earlier on a tie.
func kmeans(points []Traits, k, starts int, warm []Traits, random *rand.Rand) partitioned {
	best := partitioned{inertia: math.Inf(1)}
	if len(warm) == k {
		best = lloyd(points, warm)
	}
	for range starts {
		if p := lloyd(points, plusPlus(points, k, random)); p.inertia < best.inertia {
			best = p
		}
	}
	return best
}

// plusPlus draws each further centre with a probability proportional to the
// squared distance from the nearest one; of several draws the best is kept.
func plusPlus(points []Traits, k int, random *rand.Rand) []Traits {
	centres := []Traits{points[random.IntN(len(points))]}
	nearest := make([]float64, len(points))
	for i := range nearest {
		nearest[i] = math.Inf(1)
	}
	trial := make([]float64, len(points))
	for {
		sum := 0.0
		for i, p := range points {
			nearest[i] = min(nearest[i], squaredDistance(p, centres[len(centres)-1]))
			sum += nearest[i]
		}
		if len(centres) == k {
			return centres
		}
		bestSum, bestAt := math.Inf(1), 0
		for range 2 + int(math.Log(float64(k))) {
			at, left := 0, random.Float64()*sum
			for ; at < len(points)-1 && left >= nearest[at]; at++ {
				left -= nearest[at]
			}
			after := 0.0
			for i, p := range points {
				trial[i] = min(nearest[i], squaredDistance(p, points[at]))
				after += trial[i]
			}
			if after < bestSum {
				bestSum, bestAt = after, at
			}
		}
		centres = append(centres, points[bestAt])
	}
}

// lloyd moves centres to the means of their points until none changes sides. A
// centre that loses all its points stays where it is.
func lloyd(points, start []Traits) partitioned {
	const rounds = 300
	p := partitioned{centres: append([]Traits(nil), start...), labels: make([]int, len(points))}
	for round := range rounds {
		moved := round == 0
		p.inertia = 0
		for i, x := range points {
			label, _, d := nearestTwo(x, p.centres)
			moved = moved || label != p.labels[i]
			p.labels[i], p.inertia = label, p.inertia+d
		}
		if !moved {
			break
		}
		var sums = make([]Traits, len(start))
		counts := make([]float64, len(start))
		for i, x := range points {
			counts[p.labels[i]]++
			for j := range x {
				sums[p.labels[i]][j] += x[j]
			}
		}
		for c := range sums {
			for j := range sums[c] {
				if counts[c] > 0 {
					p.centres[c][j] = sums[c][j] / counts[c]
				}
			}
		}
	}
	return p
}

// nearestTwo returns the nearest centre, the second nearest (-1 if there is
// none) and the squared distance to the nearest.
func nearestTwo(x Traits, centres []Traits) (first, second int, distance float64) {
	first, second, distance = 0, -1, math.Inf(1)
	further := math.Inf(1)
	for c := range centres {
		switch d := squaredDistance(x, centres[c]); {
		case d < distance:
			first, second, distance, further = c, first, d, distance
			if c == 0 {
				second = -1
			}
		case d < further:
			second, further = c, d
		}
	}
	return first, second, distance
}

func squaredDistance(a, b Traits) float64 {
	sum := 0.0
	for i := range a {
		sum += (a[i] - b[i]) * (a[i] - b[i])
	}
	return sum
}

// silhouette is the mean over points of (b-a)/max(a,b), with a the mean distance
// to its own cluster and b that to the nearest other one (Rousseeuw 1987): 1 =
// well apart, 0 = it might as well be in the other. With one cluster it is 0.
func silhouette(points []Traits, labels []int, k int) float64 {
	counts := make([]float64, k)
	for _, l := range labels {
		counts[l]++
	}
	sum := 0.0
	distances := make([]float64, k)
	for i, x := range points {
		clear(distances)
		for j, y := range points {
			distances[labels[j]] += math.Sqrt(squaredDistance(x, y))
		}
		own := labels[i]
		if counts[own] < 2 {
			continue // alone: 0 by definition
		}
		a, b := distances[own]/(counts[own]-1), math.Inf(1)
		for c := range distances {
			if c != own && counts[c] > 0 {
				b = min(b, distances[c]/counts[c])
			}
		}
		if largest := max(a, b); !math.IsInf(b, 1) && largest > 0 {
			sum += (b - a) / largest
		}
	}
	return sum / float64(len(points))
}

// adjustedRand compares two divisions of the same points: 1 = the same, 0 = what
// chance would give (Hubert and Arabie 1985).
func adjustedRand(a, b []int) float64 {
	pairs := func(n float64) float64 { return n * (n - 1) / 2 }
	cells, rows, columns := map[[2]int]float64{}, map[int]float64{}, map[int]float64{}
	for i := range a {
		cells[[2]int{a[i], b[i]}]++
		rows[a[i]]++
		columns[b[i]]++
	}
	var both, left, right float64 // whole numbers: the order of a map does not show
	for _, n := range cells {
		both += pairs(n)
	}
	for _, n := range rows {
		left += pairs(n)
	}
	for _, n := range columns {
		right += pairs(n)
	}
	expected := left * right / pairs(float64(len(a)))
	if most := (left + right) / 2; most != expected {
		return (both - expected) / (most - expected)
	}
	return 1
}

// matchLeast pairs every row with a column of its own so that the sum of costs is
// least; -1 where columns run out. With at most a handful of columns, going
// through their subsets is the Hungarian method's result in fewer lines.
func matchLeast(cost [][]float64) []int {
	columns := 0
	if len(cost) > 0 {
		columns = len(cost[0])
	}
	type plan struct {
		cost  float64
		taken []int
	}
	plans := map[int]plan{0: {}}
	for row := range cost {
		next := map[int]plan{}
		offer := func(set int, p plan) {
			if old, ok := next[set]; !ok || p.cost < old.cost {
				next[set] = p
			}
		}
		for set := range 1 << columns {
			p, ok := plans[set]
			if !ok {
				continue
			}
			for c := range columns {
				if set>>c&1 == 0 {
					offer(set|1<<c, plan{p.cost + cost[row][c], append(append([]int(nil), p.taken...), c)})
				}
			}
			if spare := len(cost) - columns; spare > 0 {
				skipped := 0
				for _, c := range p.taken {
					if c < 0 {
						skipped++
					}
				}
				if skipped < spare {
					offer(set, plan{p.cost, append(append([]int(nil), p.taken...), -1)})
				}
			}
		}
		plans = next
	}
	best := plan{cost: math.Inf(1)}
	for set := range 1 << columns {
		if p, ok := plans[set]; ok && p.cost < best.cost {
			best = p
		}
	}
	return best.taken
}
