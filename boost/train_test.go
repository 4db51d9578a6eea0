package boost

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestThreadsDoNotShow: any number of threads gives the same bytes, with so many
// rows that gradients and histograms are handed to par.
func TestThreadsDoNotShow(t *testing.T) {
	for i, loss := range losses {
		x, y := sample(uint64(i), 16000, 5, loss.Kind)
		weight := make([]float32, x.Rows)
		for i := range weight {
			weight[i] = float32(i%7) / 3
		}
		if i%2 == 0 {
			weight = nil
		}
		b := Bin(x, 0)
		cfg := Config{Loss: loss, Trees: 6, RowFraction: 0.9, ColFraction: 0.8, Seed: 3}
		var models [2]string
		for i, par := range []Par{nil, threads} {
			m, err := Train(b, y, weight, cfg, par)
			if err != nil {
				t.Fatal(err)
			}
			models[i] = encoded(t, m)
		}
		if models[0] != models[1] {
			t.Errorf("loss %v: the model depends on the number of threads", loss)
		}
	}
}

// TestOrderOfRowsDoesNotShow: a permutation of the rows gives the same bytes.
func TestOrderOfRowsDoesNotShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loss := drawLoss(t)
		x, y := sample(rapid.Uint64().Draw(t, "data"), 300, 4, loss.Kind)
		weight := drawWeight(t, x.Rows)
		cfg := drawConfig(t, loss)
		want, err := Train(Bin(x, 40), y, weight, cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		order := rand.New(rand.NewPCG(cfg.Seed, 2)).Perm(x.Rows)
		moved, target := Matrix{Rows: x.Rows, Cols: x.Cols}, make([]float32, 0, x.Rows)
		var moving []float32
		for _, i := range order {
			moved.Data, target = append(moved.Data, x.Row(i)...), append(target, y[i])
			if weight != nil {
				moving = append(moving, weight[i])
			}
		}
		got, err := Train(Bin(moved, 40), target, moving, cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.Hash() != want.Hash() {
			t.Fatal("the model depends on the order of rows")
		}
	})
}

// TestBestSplit holds the first split against a search of all of them.
func TestBestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := sample(rapid.Uint64().Draw(t, "data"), rapid.IntRange(2, 80).Draw(t, "rows"), rapid.IntRange(0, 4).Draw(t, "missing"), Squared)
		weight := drawWeight(t, x.Rows)
		cfg := drawConfig(t, Loss{})
		b := Bin(x, rapid.IntRange(2, 255).Draw(t, "bins"))
		tr, err := newTrainer(b, y, weight, cfg, nil)
		if err != nil {
			t.Skip(err)
		}
		tr.draw()
		tr.differentiate()
		g := tr.grow()
		want := bestGain(tr)
		got := 0.0
		if g.nodes[0].left != 0 {
			got = tr.gainOf(func(row int32) bool {
				n := g.nodes[0]
				bin := b.at(row, n.feature)
				return bin <= n.bin || n.missingLeft && bin == b.values(n.feature)
			})
		}
		if math.Abs(got-want) > 1e-6*(1+want) {
			t.Fatalf("the first split gains %g, the best possible %g", got, want)
		}
	})
}

// bestGain tries every feature, bound and side of the missing rows.
func bestGain(tr *trainer) float64 {
	best := 0.0
	for f := range tr.binned.Cols {
		none := tr.binned.values(f)
		for bin := 0; bin < none; bin++ {
			for _, missingLeft := range []bool{false, true} {
				best = max(best, tr.gainOf(func(row int32) bool {
					at := tr.binned.at(row, f)
					return at <= bin || missingLeft && at == none
				}))
			}
		}
	}
	if best < 1e-9 {
		return 0
	}
	return best
}

// gainOf a division of all rows, from the gradients themselves.
func (t *trainer) gainOf(left func(row int32) bool) float64 {
	var n, g, h [2]float64
	for _, row := range t.rows {
		side, curve := 1, 1.0
		if left(row) {
			side = 0
		}
		if t.second != nil {
			curve = t.second[row]
		}
		n[side], g[side], h[side] = n[side]+1, g[side]+t.first[row], h[side]+curve
	}
	if least := float64(t.cfg.MinLeaf); n[0] < least || n[1] < least || min(h[0], h[1]) < t.leastCurve {
		return 0
	}
	score := func(g, h float64) float64 { return g * g / (h + t.cfg.L2) }
	return score(g[0], h[0]) + score(g[1], h[1]) - score(g[0]+g[1], h[0]+h[1])
}

// TestMonotone: a constraint holds for every row and every pair of values, for
// every loss, below other constraints too.
func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loss := drawLoss(t)
		x, y := sample(rapid.Uint64().Draw(t, "data"), 200, 7, loss.Kind)
		cfg := drawConfig(t, loss)
		for range x.Cols {
			cfg.Monotone = append(cfg.Monotone, int8(rapid.IntRange(-1, 1).Draw(t, "sign")))
		}
		m, err := Train(Bin(x, 0), y, drawWeight(t, x.Rows), cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < x.Rows; i += 7 {
			row := slices.Clone(x.Row(i))
			for f, sign := range cfg.Monotone {
				kept := row[f]
				before := math.Inf(-1)
				for step := -12; sign != 0 && step <= 12; step++ {
					row[f] = float32(sign) * float32(step) / 4
					if now := m.Predict(row); now < before {
						t.Fatalf("feature %d (sign %d) at %g: the prediction falls from %g to %g", f, sign, row[f], before, now)
					} else {
						before = now
					}
				}
				row[f] = kept
			}
		}
	})
}

// TestMonotoneStillLearns: the constraint costs nothing where it is true.
func TestMonotoneStillLearns(t *testing.T) {
	for _, loss := range []Loss{{}, {Quantile, 0.9}} {
		x, _ := sample(3, 4000, 0, Squared)
		y := make([]float32, x.Rows)
		r := rand.New(rand.NewPCG(1, 1))
		for i := range y {
			y[i] = float32(math.Exp(float64(x.Row(i)[0])) + 3*r.NormFloat64())
		}
		score := func(cfg Config) float64 {
			m := train(t, Matrix{3000, x.Cols, x.Data[:3000*x.Cols]}, y[:3000], nil, cfg, nil)
			scores := make([]float64, 1000)
			m.PredictAll(Matrix{1000, x.Cols, x.Data[3000*x.Cols:]}, scores, nil)
			return loss.mean(y[3000:], nil, scores)
		}
		free := score(Config{Loss: loss})
		bound := score(Config{Loss: loss, Monotone: []int8{1, 0, 0, 0, 0, 0}})
		if bound > free*1.02 {
			t.Errorf("loss %v: %g with a true constraint, %g without", loss, bound, free)
		}
	}
}

// TestMissing: being missing is information, and both sides are tried.
func TestMissing(t *testing.T) {
	for _, sign := range []float32{-1, 1} {
		x := Matrix{Rows: 200, Cols: 1}
		var y []float32
		for i := range x.Rows {
			v, target := float32(i), float32(0)
			if i%4 == 0 {
				v, target = nan, sign*10
			} else if i > 100 {
				target = sign
			}
			x.Data, y = append(x.Data, v), append(y, target)
		}
		m := train(t, x, y, nil, Config{Trees: 60, Rate: 0.3}, nil)
		for _, c := range []struct{ at, want float32 }{{nan, 10 * sign}, {5, 0}, {150, sign}} {
			if got := m.Predict([]float32{c.at}); math.Abs(got-float64(c.want)) > 0.1 {
				t.Errorf("sign %v: prediction at %v is %.3f, want %v", sign, c.at, got, c.want)
			}
		}
	}
}

// TestMissingNeverSeen: a value that was never missing in training goes where
// most rows went.
func TestMissingNeverSeen(t *testing.T) {
	x, y := Matrix{Rows: 100, Cols: 1}, make([]float32, 100)
	for i := range 100 {
		x.Data = append(x.Data, float32(i))
		if i >= 70 {
			y[i] = 1
		}
	}
	m := train(t, x, y, nil, Config{Leaves: 2}, nil)
	if got, want := m.Predict([]float32{nan}), m.Predict([]float32{3}); got != want {
		t.Errorf("a missing value is predicted as %v, the larger side is %v", got, want)
	}
}

// TestDegenerate: data without anything to learn gives the base.
func TestDegenerate(t *testing.T) {
	for name, c := range map[string]struct {
		x    Matrix
		y    []float32
		want float64
	}{
		"one row":           {Matrix{1, 2, []float32{1, nan}}, []float32{5}, 5},
		"constant features": {Matrix{4, 1, []float32{3, 3, 3, 3}}, []float32{1, 1, 1, 5}, 2},
		"all missing":       {Matrix{4, 1, []float32{nan, nan, nan, nan}}, []float32{1, 1, 1, 5}, 2},
		"constant target":   {Matrix{4, 1, []float32{1, 2, 3, 4}}, []float32{2, 2, 2, 2}, 2},
		"infinite features": {Matrix{4, 1, []float32{float32(math.Inf(-1)), 0, 1, float32(math.Inf(1))}}, []float32{2, 2, 2, 2}, 2},
	} {
		m := train(t, c.x, c.y, nil, Config{MinLeaf: 1}, nil)
		if got := m.Predict(c.x.Row(0)); got != c.want {
			t.Errorf("%s: predicts %v, want %v", name, got, c.want)
		}
		if m.Trees() != 0 {
			t.Errorf("%s: %d trees for nothing to learn", name, m.Trees())
		}
	}
}

// TestInfinite: infinities are values like others and can be told apart.
func TestInfinite(t *testing.T) {
	low, high := float32(math.Inf(-1)), float32(math.Inf(1))
	x := Matrix{6, 1, []float32{low, low, 0, 0, high, high}}
	m := train(t, x, []float32{1, 1, 2, 2, 3, 3}, nil, Config{MinLeaf: 1, Trees: 100, Rate: 0.5}, nil)
	for i, want := range []float64{1, 2, 3} {
		if got := m.Predict(x.Row(2 * i)); math.Abs(got-want) > 1e-3 {
			t.Errorf("at %v: %v, want %v", x.Data[2*i], got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	x := Matrix{3, 1, []float32{1, 2, 3}}
	y := []float32{0, 1, 1}
	for _, c := range []struct {
		x         Matrix
		y, weight []float32
		cfg       Config
		want      string
	}{
		{Matrix{}, nil, nil, Config{}, "0 rows are outside 1.."},
		{Matrix{3, 0, nil}, y, nil, Config{}, "0 features are outside 1.."},
		{Matrix{3, 2, x.Data}, y, nil, Config{}, "3 values for 3 rows of 2 features"},
		{x, y[:2], nil, Config{}, "2 targets for 3 rows"},
		{x, y, y[:1], Config{}, "1 weights for 3 rows"},
		{x, []float32{0, nan, 1}, nil, Config{}, "target of row 1 is NaN: leave out rows whose answer is not known"},
		{x, []float32{0, 1, float32(math.Inf(1))}, nil, Config{}, "target of row 2 is +Inf"},
		{x, []float32{0, 1, 2}, nil, Config{Loss: Loss{Kind: Logistic}}, "target of row 2 is 2: the logistic loss wants 0..1"},
		{x, y, []float32{1, -1, 1}, Config{}, "weight of row 1 is -1"},
		{x, y, []float32{0, 0, 0}, Config{}, "all 3 weights are 0"},
		{x, y, nil, Config{Loss: Loss{Kind: Quantile}}, "quantile level 0 is outside (0,1)"},
		{x, y, nil, Config{Loss: Loss{Kind: Squared, Alpha: 0.5}}, "loss squared takes no alpha"},
		{x, y, nil, Config{Loss: Loss{Kind: 9}}, "loss invalid(9) is unknown"},
		{x, y, nil, Config{Trees: -1}, "trees -1 is outside 1.."},
		{x, y, nil, Config{Bins: 7}, "7 bins are configured, the rows were binned with 255"},
		{x, y, nil, Config{Rate: 2}, "rate 2 is outside (0,1]"},
		{x, y, nil, Config{L2: -1}, "l2 -1 is not a penalty"},
		{x, y, nil, Config{Monotone: []int8{1, 1}}, "2 monotone constraints for 1 features"},
		{x, y, nil, Config{Monotone: []int8{3}}, "monotone constraint 3 of feature 0"},
		{x, y, nil, Config{Validation: 1}, "1 validation rows without early stop"},
		{x, y, nil, Config{EarlyStop: 1}, "0 of 3 rows cannot be the validation part"},
		{x, y, nil, Config{EarlyStop: 1, Validation: 3}, "3 of 3 rows cannot be the validation part"},
	} {
		_, err := Train(Bin(c.x, 0), c.y, c.weight, c.cfg, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

// TestEarlyStop: the validation part decides how many trees stay and nothing
// else, and what stays is the best of them.
func TestEarlyStop(t *testing.T) {
	x, y := sample(5, 1200, 6, Squared)
	cfg := Config{Trees: 400, Rate: 0.3, EarlyStop: 10, Validation: 300}
	stopped := train(t, x, y, nil, cfg, nil)
	if n := stopped.Trees(); n < 5 || n > 200 {
		t.Fatalf("%d of 400 trees are kept", n)
	}
	garbled := slices.Clone(y)
	for i := 900; i < 1200; i++ {
		garbled[i] *= -1
	}
	cfg.EarlyStop = cfg.Trees
	other := train(t, x, garbled, nil, cfg, nil)
	if other.Trees() >= stopped.Trees() {
		t.Errorf("%d trees for a validation part that contradicts, %d for one that agrees", other.Trees(), stopped.Trees())
	}
	whole := train(t, x, y, nil, cfg, nil)
	for i, tree := range stopped.trees {
		if !slices.Equal(tree.nodes, whole.trees[i].nodes) {
			t.Fatalf("tree %d depends on when training stops", i)
		}
	}
	for i, tree := range other.trees {
		if !slices.Equal(tree.nodes, whole.trees[i].nodes) {
			t.Fatalf("tree %d depends on the validation part", i)
		}
	}
}

// TestWeights: a row of weight 2 counts like two rows.
func TestWeights(t *testing.T) {
	for _, kind := range []LossKind{Squared, Logistic} {
		x, y := sample(9, 200, 5, kind)
		weight, twice, target := make([]float32, x.Rows), Matrix{Cols: x.Cols}, []float32(nil)
		for i := range x.Rows {
			row := x.Row(i)
			for f := range row { // few values, so that bins do not depend on how often they occur
				row[f] = float32(math.Round(float64(row[f])))
			}
			weight[i] = float32(1 + i%2)
			for range 1 + i%2 {
				twice.Data, twice.Rows, target = append(twice.Data, row...), twice.Rows+1, append(target, y[i])
			}
		}
		cfg := Config{Loss: Loss{Kind: kind}, Trees: 10, MinLeaf: 1, Leaves: 6, L2: 1}
		a, b := train(t, x, y, weight, cfg, nil), train(t, twice, target, nil, cfg, nil)
		for i := range x.Rows {
			if p, q := a.Predict(x.Row(i)), b.Predict(x.Row(i)); math.Abs(p-q) > 1e-5 {
				t.Fatalf("%v: row %d is %v with weights, %v with copies", kind, i, p, q)
			}
		}
	}
}

// TestQuantilesCover: a quantile model has the share of training rows below it
// that its level promises, and several are returned in order.
func TestQuantilesCover(t *testing.T) {
	x, y := sample(11, 3000, 5, Squared)
	levels := []float64{0.05, 0.5, 0.9, 0.99}
	b := Bin(x, 0)
	q, err := TrainQuantiles(b, y, nil, levels, Config{Trees: 40}, threads)
	if err != nil {
		t.Fatal(err)
	}
	all, one := make([]float64, x.Rows*len(levels)), make([]float64, len(levels))
	q.PredictAll(x, all, threads)
	for i, level := range levels {
		below := 0.0
		for r := range x.Rows {
			if float64(y[r]) <= all[r*len(levels)+i] {
				below += 1 / float64(x.Rows)
			}
		}
		if math.Abs(below-level) > 0.03 {
			t.Errorf("quantile %v: %.3f of the rows lie below", level, below)
		}
	}
	for r := range 50 {
		q.Predict(x.Row(r), one)
		if !slices.Equal(one, all[r*len(levels):(r+1)*len(levels)]) || !slices.IsSorted(one) {
			t.Fatalf("row %d: %v alone, %v together", r, one, all[r*len(levels):(r+1)*len(levels)])
		}
	}
	for _, bad := range [][]float64{nil, {0.9, 0.5}, {0.5, 1}} {
		if _, err := TrainQuantiles(b, y, nil, bad, Config{}, nil); err == nil {
			t.Errorf("levels %v are accepted", bad)
		}
	}
}
