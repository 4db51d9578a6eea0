package boost

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// parallelWork is how many histogram additions are worth waking threads for.
const parallelWork = 1 << 16

// Train grows a model on the rows of b. target has one finite value per row
// (within 0..1 for Logistic), weight one finite value of at least 0, or is nil.
// The same arguments give the same model, whatever par does.
func Train(b *Binned, target, weight []float32, cfg Config, par Par) (*Model, error) {
	t, err := newTrainer(b, target, weight, cfg, par)
	if err != nil {
		return nil, fmt.Errorf("train boosted trees: %w", err)
	}
	m := t.run()
	if m == nil {
		return nil, ErrStopped
	}
	return m, nil
}

// ErrStopped says that Config.Stop has ended a training.
var ErrStopped = errors.New("train boosted trees: stopped before the end")

func newTrainer(b *Binned, target, weight []float32, cfg Config, par Par) (*trainer, error) {
	if b.err != nil {
		return nil, b.err
	}
	cfg, err := cfg.withDefaults(b)
	if err != nil {
		return nil, err
	}
	if err := checkRows(b.Rows, target, weight, cfg.Loss.Kind); err != nil {
		return nil, err
	}
	train := b.Rows - cfg.Validation
	_, renewed := cfg.Loss.level()
	t := &trainer{
		binned: b, cfg: cfg, target: target, weight: weight, par: par, train: train, renewed: renewed,
		score: make([]float64, b.Rows), first: make([]float64, train),
		rows: make([]int32, 0, train), spare: make([]int32, train),
		ordered:    make([]int64, train),
		found:      make([][2]split, b.Cols),
		leastCurve: leastCurve,
		random:     rand.New(rand.NewPCG(cfg.Seed, 0x706c61636564)),
	}
	t.words.first = make([]int64, train)
	if cfg.Loss.curved(weight) {
		t.second, t.words.second, t.orderedSecond = make([]float64, train), make([]int64, train), make([]int64, train)
	}
	if weight != nil {
		t.held = weight[train:]
		total := 0.0
		for _, w := range weight[:train] {
			total += float64(w)
		}
		if total == 0 {
			return nil, fmt.Errorf("all %d weights are 0", train)
		}
		t.leastCurve *= total / float64(train)
	}
	return t, nil
}

func checkRows(rows int, target, weight []float32, kind LossKind) error {
	if len(target) != rows {
		return fmt.Errorf("%d targets for %d rows", len(target), rows)
	}
	if weight != nil && len(weight) != rows {
		return fmt.Errorf("%d weights for %d rows", len(weight), rows)
	}
	for i, y := range target {
		if f := float64(y); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("target of row %d is %v: leave out rows whose answer is not known", i, y)
		}
		if kind == Logistic && (y < 0 || y > 1) {
			return fmt.Errorf("target of row %d is %v: the logistic loss wants 0..1", i, y)
		}
	}
	for i, w := range weight {
		if f := float64(w); !(f >= 0) || math.IsInf(f, 0) {
			return fmt.Errorf("weight of row %d is %v: want a finite number of at least 0", i, w)
		}
	}
	return nil
}

// trainer is the state of one training. Rows from train on are the validation
// part.
type trainer struct {
	binned         *Binned
	cfg            Config
	target, weight []float32
	held           []float32 // weights of the validation part
	par            Par
	train          int
	renewed        bool
	leastCurve     float64
	random         *rand.Rand

	score         []float64 // of every row, by the trees so far
	first, second []float64
	words         quantised

	rows, spare            []int32 // rows of the tree, leaf by leaf
	ordered, orderedSecond []int64 // words of a leaf in the order of its rows
	residuals              []float64
	used                   []bool // features of the tree
	found                  [][2]split
	pool                   []*histogram
}

// run grows the trees; nil when it was stopped.
func (t *trainer) run() *Model {
	m := &Model{Loss: t.cfg.Loss, Cols: t.binned.Cols}
	m.Base = t.cfg.Loss.base(t.target[:t.train], head(t.weight, t.train))
	for i := range t.score {
		t.score[i] = m.Base
	}
	least, kept := math.Inf(1), 0
	if t.cfg.EarlyStop > 0 {
		least = t.judge()
	}
	for len(m.trees) < t.cfg.Trees {
		if t.cfg.Stop != nil && t.cfg.Stop() {
			return nil
		}
		t.draw()
		t.differentiate()
		grown := t.grow()
		if len(grown.nodes) == 1 && t.cfg.RowFraction == 1 && t.cfg.ColFraction == 1 {
			break // nothing left to divide: every further tree would be the same
		}
		m.trees = append(m.trees, t.freeze(grown))
		t.advance(grown)
		if t.cfg.EarlyStop == 0 {
			continue
		}
		if loss := t.judge(); loss < least {
			least, kept = loss, len(m.trees)
		} else if len(m.trees)-kept >= t.cfg.EarlyStop {
			break
		}
	}
	if t.cfg.EarlyStop > 0 {
		m.trees = m.trees[:kept:kept]
	}
	return m
}

func head(weight []float32, n int) []float32 {
	if weight == nil {
		return nil
	}
	return weight[:n]
}

// judge returns the loss on the validation part.
func (t *trainer) judge() float64 {
	return t.cfg.Loss.mean(t.target[t.train:], t.held, t.score[t.train:])
}

// draw chooses the rows and features of the next tree.
func (t *trainer) draw() {
	t.rows = t.rows[:0]
	want := max(int(math.Round(t.cfg.RowFraction*float64(t.train))), 1)
	for row, left := 0, want; left > 0; row++ {
		// Selection sampling (Knuth, TAOCP 2, algorithm S).
		if rest := t.train - row; rest == left || t.random.IntN(rest) < left {
			t.rows, left = append(t.rows, int32(row)), left-1
		}
	}
	if t.used == nil {
		t.used = make([]bool, t.binned.Cols)
		for f := range t.used {
			t.used[f] = true
		}
	}
	if t.cfg.ColFraction < 1 {
		clear(t.used)
		wanted := max(int(math.Round(t.cfg.ColFraction*float64(len(t.used)))), 1)
		for _, f := range t.random.Perm(len(t.used))[:wanted] {
			t.used[f] = true
		}
	}
}

func (t *trainer) differentiate() {
	each(t.par, chunks(t.train), func(i int) {
		t.cfg.Loss.gradients(t.target, t.weight, t.score, t.first, t.second, i*chunk, min((i+1)*chunk, t.train))
	})
	t.words.quantise(t.first, t.second, t.rows, t.par)
}

// advance adds the new tree to the scores: by its leaves for the rows it was
// grown from, by walking it for the others.
func (t *trainer) advance(g *grown) {
	walked := 0
	if len(t.rows) == t.train {
		walked = t.train
		for i := range g.nodes {
			if l := g.nodes[i].leaf; l != nil {
				for _, row := range t.rows[l.begin:l.end] {
					t.score[row] += float64(t.shrink(g.nodes[i].value))
				}
			}
		}
	}
	rest := t.binned.Rows - walked
	each(t.par, chunks(rest), func(i int) {
		for row := walked + i*chunk; row < walked+min((i+1)*chunk, rest); row++ {
			t.score[row] += float64(t.shrink(g.answer(t.binned, int32(row))))
		}
	})
}

// shrink is what the model stores for a leaf; training goes on from the stored
// value, so that a prediction is what training saw.
func (t *trainer) shrink(value float64) float32 {
	return float32(min(max(value*t.cfg.Rate, -math.MaxFloat32), math.MaxFloat32))
}

// answer walks the tree by bins.
func (g *grown) answer(b *Binned, row int32) float64 {
	n := &g.nodes[0]
	for n.left != 0 {
		bin := b.at(row, n.feature)
		if bin <= n.bin || n.missingLeft && bin == b.values(n.feature) {
			n = &g.nodes[n.left]
		} else {
			n = &g.nodes[n.right]
		}
	}
	return n.value
}

// settle evaluates the two halves of a leaf; the larger one inherits the
// parent's histogram less that of the smaller.
func (t *trainer) settle(parent, left, right *leaf, more bool) {
	if !more || !t.divisible(left) && !t.divisible(right) {
		t.release(parent)
		return
	}
	small, large := left, right
	if right.rows < left.rows {
		small, large = right, left
	}
	large.sums, parent.sums = parent.sums, nil
	t.evaluate(small, large)
}

// evaluate builds the histogram of the small leaf, subtracts it from that of its
// sibling (nil at the root) and finds the best split of both.
func (t *trainer) evaluate(small, large *leaf) {
	rows := t.rows[small.begin:small.end]
	small.sums = t.acquire()
	for i, row := range rows {
		t.ordered[i] = t.words.first[row]
	}
	if t.words.second != nil {
		for i, row := range rows {
			t.orderedSecond[i] = t.words.second[row]
		}
	}
	small.score = t.scoreOf(small)
	if large != nil {
		large.score = t.scoreOf(large)
	}
	par := t.par
	if (len(rows)+2*slots)*t.binned.Cols < parallelWork {
		par = nil
	}
	each(par, len(t.binned.words), func(g int) { t.evaluateGroup(small, large, rows, g) })
	small.best = t.bestOf(0)
	if large != nil {
		large.best = t.bestOf(1)
	}
	for _, l := range []*leaf{small, large} {
		if l != nil && !(l.best.gain > 0) {
			t.release(l)
		}
	}
}

// evaluateGroup does that for one group of features.
func (t *trainer) evaluateGroup(small, large *leaf, rows []int32, g int) {
	used := min(t.binned.Cols-g*lanes, lanes)
	if !slices.Contains(t.used[g*lanes:g*lanes+used], true) {
		return
	}
	small.sums.first[g].add(used, t.binned.words[g], rows, t.ordered)
	if t.words.second != nil {
		small.sums.second[g].add(used, t.binned.words[g], rows, t.orderedSecond)
	}
	for f := g * lanes; f < g*lanes+used; f++ {
		t.found[f] = [2]split{}
		if !t.used[f] {
			continue
		}
		if lane, bins := f%lanes, t.binned.values(f)+1; large != nil {
			subtract(&large.sums.first[g][lane], &small.sums.first[g][lane], bins)
			if t.words.second != nil {
				subtract(&large.sums.second[g][lane], &small.sums.second[g][lane], bins)
			}
		}
		if t.divisible(small) {
			t.found[f][0] = t.scan(small, f)
		}
		if large != nil && t.divisible(large) {
			t.found[f][1] = t.scan(large, f)
		}
	}
}

func (t *trainer) bestOf(which int) split {
	var best split
	for f := range t.found {
		if t.used[f] && t.found[f][which].gain > best.gain {
			best = t.found[f][which]
		}
	}
	return best
}

// scoreOf is what an undivided leaf already gains, a shade more so that the
// rounding of a sum is no reason to divide.
func (t *trainer) scoreOf(l *leaf) float64 {
	if l.second+t.cfg.L2 == 0 {
		return 0
	}
	if !l.limited || t.renewed {
		return l.first * l.first / (l.second + t.cfg.L2) * (1 + 1e-12)
	}
	v := l.value(t.cfg.L2, l.in)
	return -(2*l.first*v + (l.second+t.cfg.L2)*v*v) * (1 + 1e-12)
}

func (t *trainer) acquire() *histogram {
	if n := len(t.pool); n > 0 {
		h := t.pool[n-1]
		t.pool = t.pool[:n-1]
		return h
	}
	return newHistogram(len(t.binned.words), t.words.second != nil)
}

func (t *trainer) release(l *leaf) {
	if l.sums != nil {
		t.pool, l.sums = append(t.pool, l.sums), nil
	}
}
