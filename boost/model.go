package boost

import (
	"crypto/sha256"
	"math"
)

// Model is a base score and trees whose answers are added to it. It is
// read-only and may be used by many threads.
type Model struct {
	Loss Loss
	// Cols is the number of features that a row must have.
	Cols int
	// Base is the score before the first tree.
	Base  float64
	trees []tree
}

// Trees returns how many trees the model has.
func (m *Model) Trees() int { return len(m.trees) }

// tree is stored breadth first: the two children of a node are neighbours, so
// one index names both, and every child comes after its parent.
type tree struct {
	nodes []node
	// cover[i] is how many training rows reached node i.
	cover []uint32
}

// node is 16 bytes, four to a cache line. A leaf is a node that leads back to
// itself: its threshold is +Inf, so that no value goes right, and child is its
// own index.
type node struct {
	threshold float32 // value ≤ threshold goes to child, else to child+1
	feature   uint16
	right     uint16 // 1 = a missing value goes to child+1
	child     int32
	value     float32 // of a leaf
}

func (n *node) leaf(at int) bool { return int(n.child) == at }

// freeze turns a grown tree into its final form.
func (t *trainer) freeze(g *grown) tree {
	order := []int{0}
	out := tree{nodes: make([]node, 0, len(g.nodes)), cover: make([]uint32, 0, len(g.nodes))}
	for at := 0; at < len(order); at++ {
		n := g.nodes[order[at]]
		out.cover = append(out.cover, uint32(n.rows))
		if n.left == 0 {
			out.nodes = append(out.nodes, leafNode(at, t.shrink(n.value)))
			continue
		}
		final := node{threshold: t.binned.threshold(n.feature, n.bin), feature: uint16(n.feature), child: int32(len(order))}
		if !n.missingLeft {
			final.right = 1
		}
		out.nodes = append(out.nodes, final)
		order = append(order, n.left, n.right)
	}
	return out
}

func leafNode(at int, value float32) node {
	return node{threshold: float32(math.Inf(1)), child: int32(at), value: value}
}

// threshold is the largest value of a bin; of the last bin, infinity.
func (b *Binned) threshold(feature, bin int) float32 {
	if bin < len(b.upper[feature]) {
		return b.upper[feature][bin]
	}
	return float32(math.Inf(1))
}

// step returns the node after nd for a value, without a branch: which way a
// value goes is what a processor cannot foresee.
func (n *node) step(value float32) int32 {
	greater, missing := uint32(0), uint32(0)
	if value > n.threshold {
		greater = 1
	}
	if value != value {
		missing = 1
	}
	return n.child + int32(greater|missing&uint32(n.right))
}

// Score adds up the trees for one row of Cols features: the prediction, for
// Logistic its log-odds.
func (m *Model) Score(row []float32) float64 {
	score := m.Base
	row = row[:m.Cols]
	for i := range m.trees {
		nodes, at := m.trees[i].nodes, int32(0)
		for {
			n := &nodes[at]
			next := n.step(row[n.feature])
			if next == at {
				score += float64(n.value)
				break
			}
			at = next
		}
	}
	return score
}

// Predict returns the prediction for one row of Cols features, in the unit of
// the target; for Logistic a probability.
func (m *Model) Predict(row []float32) float64 { return m.answer(m.Score(row)) }

func (m *Model) answer(score float64) float64 {
	if m.Loss.Kind == Logistic {
		return sigmoid(score)
	}
	return score
}

// Hash is the SHA-256 of the model's bytes: equal models have equal hashes.
func (m *Model) Hash() [32]byte {
	bytes, _ := m.MarshalBinary() // a model in memory can always be encoded
	return sha256.Sum256(bytes)
}
