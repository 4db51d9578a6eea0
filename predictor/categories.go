package predictor

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Bounds of a grouping: what the number of categories is chosen from, and how
// stable a division must be.
const (
	minCategories, maxCategories = 2, 6
	stableEnough                 = 0.9
	// maxGrouped points are divided and judged; of more, every n-th.
	maxGrouped = 2000
	traitLimit = 4 // scaled traits are clipped to ±4, so that no outlier makes a category
)

// GroupConfig says how to divide.
type GroupConfig struct {
	Seed uint64
	// Par may run the divisions on several threads; the result is the same.
	Par func(n int, do func(i int))
}

// Grouping divides workloads by the shape of their cpu load into categories
// that were found in the fleet itself.
type Grouping struct {
	// Centre and Scale turn traits into comparable units: the median and the
	// distance between the quartiles.
	Centre Traits  `json:"centre"`
	Scale  Traits  `json:"scale"`
	Groups []Group `json:"groups"`
	// Silhouette of the division and its Stability: how well divisions of
	// random samples agree with it (mean adjusted Rand index, 1 = always).
	Silhouette float64 `json:"silhouette"`
	Stability  float64 `json:"stability"`
}

// Group is one category: its name and its middle in scaled traits.
type Group struct {
	Category Category `json:"category"`
	Middle   Traits   `json:"middle"`
	Members  int      `json:"members"`
	// Why says in an operator's words what the group has in common.
	Why string `json:"why"`
}

// NewGrouping divides workloads by their traits. The number of groups, 2 to 6, is
// the one with the largest silhouette among those whose bootstrap stability is
// at least .9; if none is, the most stable. previous, if not nil, gives a starting
// point, and a group that has a counterpart there keeps its name.
func NewGrouping(traits []Traits, previous *Grouping, cfg GroupConfig) (*Grouping, error) {
	if len(traits) < 2*maxCategories {
		return nil, fmt.Errorf("group workloads: %d are too few, want %d or more with %d days of history", len(traits), 2*maxCategories, minTraitDays)
	}
	for i, t := range traits {
		for _, v := range t {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, fmt.Errorf("group workloads: trait %v of the %dth is not a number", t, i)
			}
		}
	}
	traits = atMostGrouped(traits)
	g := &Grouping{}
	g.Centre, g.Scale = robustScale(traits)
	points := make([]Traits, len(traits))
	for i, t := range traits {
		points[i] = g.scaled(t)
	}
	divisions := make([]division, maxCategories-minCategories+1)
	each := cfg.Par
	if each == nil {
		each = oneByOne
	}
	each(len(divisions), func(i int) {
		divisions[i] = divideInto(points, minCategories+i, g.warm(previous), cfg.Seed)
	})
	best := slices.MaxFunc(divisions, division.compare)
	if best.silhouette <= 0 {
		return nil, errors.New("group workloads: they are all alike, there is nothing to divide")
	}
	g.Silhouette, g.Stability = best.silhouette, best.stability
	g.fill(points, best.partitioned)
	g.name(previous)
	return g, nil
}

func oneByOne(n int, do func(i int)) {
	for i := range n {
		do(i)
	}
}

func atMostGrouped(traits []Traits) []Traits {
	every := (len(traits) + maxGrouped - 1) / maxGrouped
	var out []Traits
	for i := 0; i < len(traits); i += every {
		out = append(out, traits[i])
	}
	return out
}

// robustScale returns median and interquartile range per trait; a trait that
// does not vary has scale 1.
func robustScale(traits []Traits) (centre, scale Traits) {
	column := make([]float64, len(traits))
	for j := range traitCount {
		for i := range traits {
			column[i] = traits[i][j]
		}
		slices.Sort(column)
		centre[j] = linearQuantile(column, 0.5)
		scale[j] = linearQuantile(column, 0.75) - linearQuantile(column, 0.25)
		if scale[j] < 1e-9 {
			scale[j] = 1
		}
	}
	return centre, scale
}

func (g *Grouping) scaled(t Traits) Traits {
	for j := range t {
		t[j] = min(max((t[j]-g.Centre[j])/g.Scale[j], -traitLimit), traitLimit)
	}
	return t
}

func (g *Grouping) unscaled(t Traits) Traits {
	for j := range t {
		t[j] = t[j]*g.Scale[j] + g.Centre[j]
	}
	return t
}

// warm returns the middles of an earlier grouping in the units of this one.
func (g *Grouping) warm(previous *Grouping) []Traits {
	if previous == nil {
		return nil
	}
	var out []Traits
	for _, group := range previous.Groups {
		out = append(out, g.scaled(previous.unscaled(group.Middle)))
	}
	return out
}

// division is one into a certain number of groups, judged.
type division struct {
	partitioned
	silhouette, stability float64
}

// compare orders by what NewGrouping prefers.
func (c division) compare(d division) int {
	if a, b := c.stability >= stableEnough, d.stability >= stableEnough; a != b {
		return cmp.Compare(boolean(a), boolean(b))
	} else if a {
		return cmp.Compare(c.silhouette, d.silhouette)
	}
	return cmp.Compare(c.stability, d.stability)
}

// divideInto divides into k groups and then random samples of the same points: how
// well they agree is the stability.
func divideInto(points []Traits, k int, warm []Traits, seed uint64) division {
	const starts, samples, sampleStarts = 10, 10, 5
	random := rand.New(rand.NewPCG(seed, uint64(k)))
	c := division{partitioned: kmeans(points, k, starts, warm, random)}
	c.silhouette = silhouette(points, c.labels, k)
	sample, labels := make([]Traits, len(points)), make([]int, len(points))
	for range samples {
		for i := range sample {
			sample[i] = points[random.IntN(len(points))]
		}
		other := kmeans(sample, k, sampleStarts, nil, random)
		for i, p := range points {
			labels[i], _, _ = nearestTwo(p, other.centres)
		}
		c.stability += adjustedRand(c.labels, labels) / samples
	}
	return c
}

// fill orders the groups by mean load, so that the order means something.
func (g *Grouping) fill(points []Traits, p partitioned) {
	counts := make([]int, len(p.centres))
	for _, l := range p.labels {
		counts[l]++
	}
	for c, middle := range p.centres {
		if counts[c] > 0 {
			g.Groups = append(g.Groups, Group{Middle: middle, Members: counts[c]})
		}
	}
	slices.SortStableFunc(g.Groups, func(a, b Group) int { return cmp.Compare(a.Middle[traitMean], b.Middle[traitMean]) })
}

type shape struct {
	category Category
	fits     func(t Traits) float64
}

// shapes are the names that a group can have, with how well a name fits raw
// traits: 0 and above = it may be called so. An operator can check each by hand.
var shapes = []shape{
	{CategoryIdle, func(t Traits) float64 { return 2*t[traitIdle] - 1 - percentOf(t)/10 }},
	{CategoryCPU, func(t Traits) float64 { return percentOf(t)/40 - 1 }},
	{CategoryDiurnal, func(t Traits) float64 { return 3*t[traitPower24] + t[traitDay] - 1 }},
	{CategoryBursty, func(t Traits) float64 { return math.Exp(t[traitPeak])/4 - 1 }},
	{CategorySteady, func(t Traits) float64 { return 1 - math.Exp(t[traitPeak])/4 }},
	{CategoryLight, func(t Traits) float64 { return 0.25 - percentOf(t)/20 }},
}

// surest bounds how well a name can fit: a peak of fifty times the mean says no
// more than one of eight.
const surest = 0.85

// percentOf is the mean load in percent of what the workload may use.
func percentOf(t Traits) float64 { return math.Exp(t[traitMean]) - 0.1 }

// name gives every group another name: the one that it had, if its counterpart
// in the previous grouping is near, else the best that is left, so that the sum
// over groups of how well the names fit is the largest.
func (g *Grouping) name(previous *Grouping) {
	taken := map[Category]bool{}
	if previous != nil {
		before := g.warm(previous)
		distances := make([][]float64, len(g.Groups))
		for i, group := range g.Groups {
			for _, b := range before {
				distances[i] = append(distances[i], squaredDistance(group.Middle, b))
			}
		}
		for i, c := range matchLeast(distances) {
			if c >= 0 && g.near(i, distances[i][c]) {
				g.Groups[i].Category = previous.Groups[c].Category
				taken[previous.Groups[c].Category] = true
			}
		}
	}
	var unnamed []int
	var costs [][]float64
	for i := range g.Groups {
		raw := g.unscaled(g.Groups[i].Middle)
		g.Groups[i].Why = reasonOf(raw)
		if g.Groups[i].Category != "" {
			continue
		}
		row := make([]float64, len(shapes))
		for s, shape := range shapes {
			row[s] = -min(max(shape.fits(raw), -surest), surest)
			if taken[shape.category] {
				row[s] = 1e6
			}
		}
		unnamed, costs = append(unnamed, i), append(costs, row)
	}
	for n, s := range matchLeast(costs) {
		g.Groups[unnamed[n]].Category = shapes[s].category
	}
}

// near: a group is the one it was before when it has moved less than halfway to
// the nearest other group.
func (g *Grouping) near(i int, moved float64) bool {
	for j := range g.Groups {
		if j != i && 4*moved >= squaredDistance(g.Groups[i].Middle, g.Groups[j].Middle) {
			return false
		}
	}
	return true
}

func reasonOf(t Traits) string {
	return fmt.Sprintf("mean %.0f %%, q.99 %.1f times the mean, idle %.0f %% of the time, %.0f %% of its variation daily",
		percentOf(t), math.Exp(t[traitPeak]), 100*min(max(t[traitIdle], 0), 1), 100*min(max(t[traitPower24]+t[traitPower12], 0), 1))
}

// Assignment is where one day's look at a workload puts it.
type Assignment struct {
	Category Category `json:"category"`
	// Confidence is 1 in the middle of the group and 0 halfway to the next.
	Confidence float64 `json:"confidence"`
	Why        string  `json:"why"`
}

// Assign finds the category of a workload by the shape of its cpu load.
func (g *Grouping) Assign(t Traits) Assignment {
	centres := make([]Traits, len(g.Groups))
	for i := range g.Groups {
		centres[i] = g.Groups[i].Middle
	}
	x := g.scaled(t)
	first, second, near := nearestTwo(x, centres)
	a := Assignment{Category: g.Groups[first].Category, Confidence: 1, Why: reasonOf(t)}
	if second >= 0 {
		a.Confidence = 1 - math.Sqrt(near/squaredDistance(x, centres[second]))
	}
	return a
}

// AssignByShape names a workload of a fleet that is too small to be divided: by
// the name that fits it best on its own.
func AssignByShape(t Traits) Assignment {
	best := slices.MaxFunc(shapes, func(a, b shape) int { return cmp.Compare(a.fits(t), b.fits(t)) })
	return Assignment{Category: best.category, Confidence: min(max(best.fits(t), 0), surest), Why: reasonOf(t)}
}

// With returns the assignment in view of what the workload takes of a host: one
// that weighs on a resource other than cpu is named after that.
func (a Assignment) With(s Shares) Assignment {
	if c, ok := s.Dominant(); ok {
		a.Category = c
		a.Why = fmt.Sprintf("takes %.0f %% of a host's cpu, %.0f %% of its memory, %.0f %% of its network, %.0f %% of its disk; %s",
			100*s.CPU, 100*s.Memory, 100*s.Net, 100*s.Disk, a.Why)
	}
	return a
}

// Shares are how much of an average host a workload uses of each resource at its
// quantile .95, 1 = all of it.
type Shares struct{ CPU, Memory, Net, Disk float64 }

// Dominant returns the category of a workload that weighs on one resource other
// than cpu: at least a fiftieth of a host, and twice what it takes of any other.
// Where to place it follows from that resource, whatever its cpu does.
func (s Shares) Dominant() (Category, bool) {
	all := []struct {
		category Category
		share    float64
	}{{CategoryCPU, s.CPU}, {CategoryMemory, s.Memory}, {CategoryNet, s.Net}, {CategoryIO, s.Disk}}
	slices.SortStableFunc(all, func(a, b struct {
		category Category
		share    float64
	}) int {
		return cmp.Compare(b.share, a.share)
	})
	if top := all[0]; top.category != CategoryCPU && top.share >= 0.02 && top.share >= 2*all[1].share {
		return top.category, true
	}
	return CategoryUnknown, false
}
