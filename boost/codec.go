package boost

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The bytes of a model, little endian, each model having exactly one encoding:
//
//	"boost" version(1) loss(1) alpha(8) base(8) cols(uvarint) trees(uvarint)
//	per tree: nodes(uvarint), then each node breadth first:
//	  0 value(4) cover(uvarint)                    a leaf
//	  1|2 feature(uvarint) threshold(4)            a split; 2 = missing values go right
//
// The children of the k-th split of a tree (from 0) are its nodes 2k+1 and
// 2k+2, so no index is written and none can lead astray.
const (
	modelMagic   = "boost"
	modelVersion = 1
	modelHeader  = len(modelMagic) + 1 + 1 + 8 + 8

	markLeaf, markMissingLeft, markMissingRight = 0, 1, 2
)

// MarshalBinary encodes the model; it never fails.
func (m *Model) MarshalBinary() ([]byte, error) {
	out := append([]byte(modelMagic), modelVersion, byte(m.Loss.Kind))
	out = binary.LittleEndian.AppendUint64(out, math.Float64bits(m.Loss.Alpha))
	out = binary.LittleEndian.AppendUint64(out, math.Float64bits(m.Base))
	out = binary.AppendUvarint(out, uint64(m.Cols))
	out = binary.AppendUvarint(out, uint64(len(m.trees)))
	for _, t := range m.trees {
		out = binary.AppendUvarint(out, uint64(len(t.nodes)))
		for i := range t.nodes {
			n := &t.nodes[i]
			if n.leaf(i) {
				out = binary.LittleEndian.AppendUint32(append(out, markLeaf), math.Float32bits(n.value))
				out = binary.AppendUvarint(out, uint64(t.cover[i]))
				continue
			}
			out = binary.AppendUvarint(append(out, markMissingLeft+byte(n.right)), uint64(n.feature))
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(n.threshold))
		}
	}
	return out, nil
}

// Decode reads what MarshalBinary wrote. It refuses everything else, and never
// allocates more than a small multiple of the bytes it was given.
func Decode(data []byte) (*Model, error) {
	r := reader{rest: data}
	m, err := r.model()
	if err == nil && len(r.rest) > 0 {
		err = fmt.Errorf("%d bytes after the last tree", len(r.rest))
	}
	if err != nil {
		return nil, fmt.Errorf("decode a model of boosted trees: %w", err)
	}
	return m, nil
}

type reader struct {
	rest []byte
	err  error
}

var errShort = errors.New("the bytes end too early")

func (r *reader) take(n int) []byte {
	if r.err == nil && len(r.rest) < n {
		r.err = errShort
	}
	if r.err != nil {
		return make([]byte, n)
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) float64() float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(r.take(8)))
}
func (r *reader) float32() float32 {
	return math.Float32frombits(binary.LittleEndian.Uint32(r.take(4)))
}

// count reads a number within low..high.
func (r *reader) count(what string, low, high int) int {
	v, n := binary.Uvarint(r.rest)
	switch {
	case r.err != nil:
		return low
	case n <= 0:
		r.err = errShort
	case n > 1 && r.rest[n-1] == 0:
		r.err = fmt.Errorf("%s are written in more bytes than they need", what)
	case v < uint64(low) || v > uint64(high):
		r.err = fmt.Errorf("%d %s are outside %d..%d", v, what, low, high)
	}
	if r.err != nil {
		return low
	}
	r.rest = r.rest[n:]
	return int(v)
}

func (r *reader) model() (*Model, error) {
	if !bytes.HasPrefix(r.rest, []byte(modelMagic)) || len(r.rest) < modelHeader {
		return nil, errors.New("these are not the bytes of a model")
	}
	r.take(len(modelMagic))
	if version := r.take(1)[0]; version != modelVersion {
		return nil, fmt.Errorf("version %d is unknown, this build reads %d", version, modelVersion)
	}
	m := &Model{Loss: Loss{Kind: LossKind(r.take(1)[0])}}
	m.Loss.Alpha, m.Base = r.float64(), r.float64()
	if err := m.Loss.validate(); err != nil {
		return nil, err
	}
	if math.IsNaN(m.Base) || math.IsInf(m.Base, 0) || math.Float64bits(m.Loss.Alpha) == 1<<63 {
		return nil, fmt.Errorf("base %v or alpha %v is not a number of a model", m.Base, m.Loss.Alpha)
	}
	m.Cols = r.count("features", 1, MaxCols)
	trees := r.count("trees", 0, MaxTrees)
	for i := 0; i < trees && r.err == nil; i++ {
		t := r.tree(m.Cols)
		if r.err != nil {
			return nil, fmt.Errorf("tree %d: %w", i, r.err)
		}
		m.trees = append(m.trees, t)
	}
	return m, r.err
}

func (r *reader) tree(cols int) tree {
	size := r.count("nodes", 1, 2*MaxLeaves-1)
	if r.err == nil && len(r.rest) < 6*size { // a node takes at least six bytes
		r.err = errShort
	}
	if r.err != nil {
		return tree{}
	}
	t := tree{nodes: make([]node, size), cover: make([]uint32, size)}
	next := 1
	for i := range t.nodes {
		if i >= next {
			r.fail("node %d belongs to no split", i)
			return t
		}
		mark := r.take(1)[0]
		switch mark {
		case markLeaf:
			t.nodes[i] = leafNode(i, r.finite("value"))
			t.cover[i] = uint32(r.count("rows", 1, MaxRows))
		case markMissingLeft, markMissingRight:
			n := node{feature: uint16(r.count("feature", 0, cols-1)), right: uint16(mark - markMissingLeft), child: int32(next)}
			n.threshold = r.float32()
			if n.threshold != n.threshold {
				r.fail("the threshold of node %d is not a number", i)
			}
			t.nodes[i] = n
			next += 2
		default:
			r.fail("node %d has the unknown mark %d", i, mark)
		}
		if r.err != nil {
			return t
		}
	}
	if next != size {
		r.fail("%d nodes are announced, the splits have %d", size, next)
		return t
	}
	for i := size - 1; i >= 0; i-- {
		if n := &t.nodes[i]; !n.leaf(i) {
			t.cover[i] = t.cover[n.child] + t.cover[n.child+1]
			if t.cover[i] > MaxRows {
				r.fail("node %d covers %d rows", i, t.cover[i])
			}
		}
	}
	return t
}

func (r *reader) finite(what string) float32 {
	v := r.float32()
	if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
		r.fail("a %s is %v", what, v)
	}
	return v
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}
