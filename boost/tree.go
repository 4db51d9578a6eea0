package boost

import "math"

// leaf is a part of the rows that may still be divided.
type leaf struct {
	stats
	node       int // in grown.nodes
	begin, end int // in trainer.rows
	sums       *histogram
	score      float64 // G²/(H+λ), or with clipped values
	in         bounded
	limited    bool
	best       split
}

// branch is a node while the tree grows, with bins instead of values.
type branch struct {
	feature, bin int
	missingLeft  bool
	left, right  int // nodes; 0 = a leaf
	value        float64
	rows         int
	leaf         *leaf
}

type grown struct{ nodes []branch }

// grow makes one tree of the rows in trainer.rows, always dividing the leaf
// that gains most (the older one on a tie).
func (t *trainer) grow() *grown {
	tree := &grown{}
	root := &leaf{begin: 0, end: len(t.rows), in: bounded{math.Inf(-1), math.Inf(1)}}
	root.stats = t.total()
	tree.add(root)
	leaves := []*leaf{root}
	if t.divisible(root) && t.cfg.Leaves > 1 {
		t.evaluate(root, nil)
	}
	for len(leaves) < t.cfg.Leaves {
		best := 0
		for i, l := range leaves {
			if l.best.gain > leaves[best].best.gain {
				best = i
			}
		}
		parent := leaves[best]
		if parent.best.gain <= 0 {
			break
		}
		left, right := t.divide(tree, parent)
		leaves[best] = left
		leaves = append(leaves, right)
		t.settle(parent, left, right, len(leaves) < t.cfg.Leaves)
	}
	for _, l := range leaves {
		t.release(l)
		tree.nodes[l.node].value = t.leafValue(l)
	}
	return tree
}

func (g *grown) add(l *leaf) {
	l.node = len(g.nodes)
	g.nodes = append(g.nodes, branch{leaf: l, rows: l.rows})
}

// total sums up all rows as the histograms would.
func (t *trainer) total() stats {
	first, second := int64(0), int64(0)
	for _, row := range t.rows {
		first += t.words.first[row]
	}
	for _, row := range t.rows {
		if t.words.second != nil {
			second += t.words.second[row]
		}
	}
	s := stats{rows: len(t.rows), first: float64(first>>countBits) * t.words.unit, second: float64(len(t.rows))}
	if t.words.second != nil {
		s.second = float64(second) * t.words.curve
	}
	return s
}

func (t *trainer) divisible(l *leaf) bool { return l.rows >= 2*t.cfg.MinLeaf && l.rows > 1 }

// divide splits the leaf's rows and its node in two.
func (t *trainer) divide(tree *grown, parent *leaf) (left, right *leaf) {
	b := parent.best
	middle := parent.begin + t.partition(parent, b)
	left = &leaf{stats: b.left, begin: parent.begin, end: middle, in: parent.in, limited: parent.limited}
	right = &leaf{begin: middle, end: parent.end, in: parent.in, limited: parent.limited}
	right.stats = stats{rows: parent.rows - b.left.rows, first: parent.first - b.left.first, second: parent.second - b.left.second}
	t.limit(b.feature, left, right)
	tree.add(left)
	tree.add(right)
	n := &tree.nodes[parent.node]
	if b.unseen {
		b.missingLeft = left.rows > right.rows
	}
	n.feature, n.bin, n.missingLeft, n.left, n.right, n.leaf = b.feature, b.bin, b.missingLeft, left.node, right.node, nil
	return left, right
}

// limit keeps the two sides of a constrained split apart for good: what grows
// below them may not cross the middle of their values.
func (t *trainer) limit(feature int, left, right *leaf) {
	if t.cfg.Monotone == nil || t.cfg.Monotone[feature] == 0 {
		return
	}
	left.limited, right.limited = true, true
	middle := left.in.clip((t.leafValue(left) + t.leafValue(right)) / 2)
	if t.cfg.Monotone[feature] > 0 {
		left.in.high, right.in.low = middle, middle
	} else {
		left.in.low, right.in.high = middle, middle
	}
}

// leafValue is what the leaf answers, before the rate.
func (t *trainer) leafValue(l *leaf) float64 {
	level, ok := t.cfg.Loss.level()
	if !ok {
		return l.value(t.cfg.L2, l.in)
	}
	// The gradients of these losses are mere signs; the quantile of what is
	// left to explain is the exact answer (Friedman 2001, LAD_TreeBoost).
	rows := t.rows[l.begin:l.end]
	t.residuals = t.residuals[:0]
	var weight []float32
	for _, row := range rows {
		t.residuals = append(t.residuals, float64(t.target[row])-t.score[row])
		if t.weight != nil {
			weight = append(weight, t.weight[row])
		}
	}
	return l.in.clip(quantileOf(t.residuals, weight, level))
}

// partition moves the rows that go left to the front, keeping their order, and
// returns how many they are.
func (t *trainer) partition(l *leaf, b split) int {
	rows, right := t.rows[l.begin:l.end], t.spare
	words, shift := t.binned.words[b.feature/lanes], 8*(b.feature%lanes)
	highest, none := uint32(b.bin), uint32(t.binned.values(b.feature))
	if b.missingLeft {
		nl, nr := 0, 0
		for _, row := range rows {
			bin := words[row] >> shift & 0xff
			rows[nl], right[nr] = row, row
			if bin <= highest || bin == none {
				nl++
			} else {
				nr++
			}
		}
		copy(rows[nl:], right[:nr])
		return nl
	}
	nl, nr := 0, 0
	for _, row := range rows {
		rows[nl], right[nr] = row, row
		// Both are written and one counts: no branch to mispredict.
		isRight := int((highest - words[row]>>shift&0xff) >> 31)
		nl, nr = nl+1-isRight, nr+isRight
	}
	copy(rows[nl:], right[:nr])
	return nl
}
