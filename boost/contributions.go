package boost

// Contributions divides a prediction among the features: base is the mean score
// over the training rows, and base + Σ parts is the score of the row (for
// Logistic in log-odds) up to rounding.
//
// The parts are Shapley values of the game in which a feature that is not known
// sends a row down both sides, by the share of training rows on each: the exact
// polynomial algorithm of Lundberg, Erion and Lee, "Consistent Individualized
// Feature Attribution for Tree Ensembles" (2018), algorithm 2.
func (m *Model) Contributions(row []float32) (base float64, parts []float64) {
	parts = make([]float64, m.Cols)
	base = m.Base
	for i := range m.trees {
		t := &m.trees[i]
		base += t.mean(0)
		e := explainer{tree: t, row: row, parts: parts}
		e.walk(0, nil, element{feature: nobody, zero: 1, one: 1})
	}
	return base, parts
}

// mean answer over the training rows below a node.
func (t *tree) mean(at int) float64 {
	n := &t.nodes[at]
	if n.leaf(at) {
		return float64(n.value)
	}
	left, right := int(n.child), int(n.child)+1
	return (t.mean(left)*float64(t.cover[left]) + t.mean(right)*float64(t.cover[right])) / float64(t.cover[at])
}

const nobody = -1

// element is a feature met on the way from the root. zero is the share of rows
// that go on along the way when the feature is not known, one whether the row
// does (1) or not (0) when it is. weight sums, over all sets of so many known
// features as its place on the path, the share of rows that reach the end.
type element struct {
	feature           int
	zero, one, weight float64
}

type explainer struct {
	tree  *tree
	row   []float32
	parts []float64
}

// walk visits the nodes below `at`; before is the path without step, the
// element that leads here.
func (e *explainer) walk(at int, before []element, step element) {
	path := extend(before, step)
	n := &e.tree.nodes[at]
	if n.leaf(at) {
		for i := 1; i < len(path); i++ {
			p := path[i]
			e.parts[p.feature] += unwoundSum(path, i) * (p.one - p.zero) * float64(n.value)
		}
		return
	}
	hot := int(n.step(e.row[n.feature]))
	cold := 2*int(n.child) + 1 - hot
	zero, one := 1.0, 1.0
	for i := 1; i < len(path); i++ {
		if path[i].feature == int(n.feature) {
			// The feature has been met before: both meetings are one.
			zero, one = path[i].zero, path[i].one
			path = unwind(path, i)
			break
		}
	}
	rows := float64(e.tree.cover[at])
	e.walk(hot, path, element{feature: int(n.feature), zero: zero * float64(e.tree.cover[hot]) / rows, one: one})
	e.walk(cold, path, element{feature: int(n.feature), zero: zero * float64(e.tree.cover[cold]) / rows})
}

// extend returns a longer copy of the path.
func extend(path []element, step element) []element {
	n := len(path)
	out := append(make([]element, 0, n+1), path...)
	step.weight = 0
	if n == 0 {
		step.weight = 1
	}
	out = append(out, step)
	for i := n - 1; i >= 0; i-- {
		out[i+1].weight += step.one * out[i].weight * float64(i+1) / float64(n+1)
		out[i].weight = step.zero * out[i].weight * float64(n-i) / float64(n+1)
	}
	return out
}

// unwind returns a copy of the path as if element i had never been met.
func unwind(path []element, i int) []element {
	out := append([]element(nil), path...)
	last := len(out) - 1
	zero, one := out[i].zero, out[i].one
	next := out[last].weight
	for j := last - 1; j >= 0; j-- {
		if one != 0 {
			weight := out[j].weight
			out[j].weight = next * float64(last+1) / (float64(j+1) * one)
			next = weight - out[j].weight*zero*float64(last-j)/float64(last+1)
		} else {
			out[j].weight = out[j].weight * float64(last+1) / (zero * float64(last-j))
		}
	}
	for j := i; j < last; j++ {
		out[j].feature, out[j].zero, out[j].one = out[j+1].feature, out[j+1].zero, out[j+1].one
	}
	return out[:last]
}

// unwoundSum is the sum of the weights of unwind(path, i).
func unwoundSum(path []element, i int) float64 {
	last := len(path) - 1
	zero, one := path[i].zero, path[i].one
	next, total := path[last].weight, 0.0
	for j := last - 1; j >= 0; j-- {
		if one != 0 {
			weight := next * float64(last+1) / (float64(j+1) * one)
			total += weight
			next = path[j].weight - weight*zero*float64(last-j)/float64(last+1)
		} else {
			total += path[j].weight * float64(last+1) / (zero * float64(last-j))
		}
	}
	return total
}
