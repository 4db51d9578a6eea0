package boost

import (
	"encoding/hex"
	"flag"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// TestPredictAll: many rows at once are predicted as one by one, to the last bit.
func TestPredictAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loss := drawLoss(t)
		x, y := sample(rapid.Uint64().Draw(t, "data"), rapid.IntRange(1, 700).Draw(t, "rows"), 3, loss.Kind)
		m, err := Train(Bin(x, 0), y, nil, drawConfig(t, loss), nil)
		if err != nil {
			t.Fatal(err)
		}
		out := make([]float64, x.Rows)
		m.PredictAll(x, out, threads)
		for i, got := range out {
			if want := m.Predict(x.Row(i)); got != want {
				t.Fatalf("row %d: %v in a batch, %v alone", i, got, want)
			}
		}
	})
}

// TestContributions: the parts are the Shapley values by definition (over all
// subsets of features), and add up to the score.
func TestContributions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loss := drawLoss(t)
		x, y := sample(rapid.Uint64().Draw(t, "data"), 120, 4, loss.Kind)
		m, err := Train(Bin(x, 0), y, nil, drawConfig(t, loss), nil)
		if err != nil {
			t.Fatal(err)
		}
		row := x.Row(rapid.IntRange(0, x.Rows-1).Draw(t, "row"))
		base, parts := m.Contributions(row)
		sum := base
		for f, part := range parts {
			sum += part
			if want := m.shapley(row, f); math.Abs(part-want) > 1e-9*(1+math.Abs(want)) {
				t.Fatalf("feature %d contributes %v, by definition %v", f, part, want)
			}
		}
		if score := m.Score(row); math.Abs(sum-score) > 1e-9*(1+math.Abs(score)) {
			t.Fatalf("base and parts add up to %v, the score is %v", sum, score)
		}
		if parts[3] != 0 {
			t.Fatalf("a constant feature contributes %v", parts[3])
		}
	})
}

// shapley is the definition: the mean gain by feature f over all orders in which
// features become known.
func (m *Model) shapley(row []float32, f int) float64 {
	factorial := []float64{1, 1, 2, 6, 24, 120, 720}
	value := 0.0
	for set := range 1 << m.Cols {
		if set>>f&1 == 1 {
			continue
		}
		size := 0
		for g := range m.Cols {
			size += set >> g & 1
		}
		share := factorial[size] * factorial[m.Cols-size-1] / factorial[m.Cols]
		for i := range m.trees {
			value += share * (m.trees[i].expected(row, set|1<<f, 0) - m.trees[i].expected(row, set, 0))
		}
	}
	return value
}

func (t *tree) expected(row []float32, known, at int) float64 {
	n := &t.nodes[at]
	if n.leaf(at) {
		return float64(n.value)
	}
	if known>>n.feature&1 == 1 {
		return t.expected(row, known, int(n.step(row[n.feature])))
	}
	left, right := int(n.child), int(n.child)+1
	return (float64(t.cover[left])*t.expected(row, known, left) + float64(t.cover[right])*t.expected(row, known, right)) / float64(t.cover[at])
}

// TestRoundTrip: a model survives its bytes; one bit more or less does not pass.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loss := drawLoss(t)
		x, y := sample(rapid.Uint64().Draw(t, "data"), 150, 4, loss.Kind)
		m, err := Train(Bin(x, 0), y, nil, drawConfig(t, loss), nil)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := m.MarshalBinary()
		back, err := Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if back.Hash() != m.Hash() {
			t.Fatal("decoding changes the hash")
		}
		for i := range x.Rows {
			if back.Predict(x.Row(i)) != m.Predict(x.Row(i)) {
				t.Fatalf("row %d is predicted differently after decoding", i)
			}
		}
		base, parts := m.Contributions(x.Row(0))
		base2, parts2 := back.Contributions(x.Row(0))
		if base != base2 || parts[0] != parts2[0] {
			t.Fatal("contributions differ after decoding")
		}
		if _, err := Decode(data[:rapid.IntRange(0, len(data)-1).Draw(t, "cut")]); err == nil {
			t.Fatal("a cut model is accepted")
		}
		if _, err := Decode(append(data, 0)); err == nil {
			t.Fatal("a model with a byte too many is accepted")
		}
	})
}

// TestGolden pins the bytes of a small model: what is stored must stay readable,
// and the learner must not change unnoticed.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "model-v1.hex")
	if runtime.GOARCH != "amd64" {
		t.Skip("the golden bytes were made on amd64; other processors round a×b+c once")
	}
	x, y := sample(1, 200, 5, Squared)
	m := train(t, x, y, nil, Config{Trees: 3, Leaves: 4, Seed: 7, RowFraction: 0.8, ColFraction: 0.8}, nil)
	if *rewrite {
		if err := os.WriteFile(path, []byte(wrap(hex.EncodeToString([]byte(encoded(t, m))))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	if encoded(t, m) != string(want) {
		t.Errorf("the model has other bytes than %s", path)
	}
	if _, err := Decode(want); err != nil {
		t.Error(err)
	}
}

func wrap(text string) string {
	var out strings.Builder
	for len(text) > 96 {
		out.WriteString(text[:96] + "\n")
		text = text[96:]
	}
	return out.String() + text + "\n"
}

func TestDecodeRefusals(t *testing.T) {
	x, y := sample(1, 200, 5, Squared)
	good := encoded(t, train(t, x, y, nil, Config{Trees: 2, Leaves: 3}, nil))
	change := func(at int, to byte) string { return good[:at] + string([]byte{to}) + good[at+1:] }
	tree := modelHeader + 2 // cols and trees take a byte each
	for _, c := range []struct{ data, want string }{
		{"", "not the bytes of a model"},
		{change(0, 'B'), "not the bytes of a model"},
		{change(5, 2), "version 2 is unknown, this build reads 1"},
		{change(6, 9), "loss invalid(9) is unknown"},
		{change(6, 2), "quantile level 0 is outside (0,1)"},
		{good[:modelHeader-2] + "\xf8\x7f" + good[modelHeader:], "base NaN"},
		{change(modelHeader, 0), "0 features are outside 1..16384"},
		{change(modelHeader+1, 3), "tree 2: the bytes end too early"},
		{change(tree, 3), "tree 0: 3 nodes are announced, the splits have 5"},
		{change(tree, 0), "0 nodes are outside"},
		{change(tree+1, 7), "node 0 has the unknown mark 7"},
		{change(tree+2, 6), "6 feature are outside 0..5"},
		{good + "x", "1 bytes after the last tree"},
	} {
		_, err := Decode([]byte(c.data))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

// FuzzDecode: whatever is accepted has this one encoding and can be used.
func FuzzDecode(f *testing.F) {
	for _, loss := range losses {
		x, y := sample(1, 60, 5, loss.Kind)
		f.Add([]byte(encoded(f, train(f, x, y, nil, Config{Loss: loss, Trees: 2, Leaves: 4, MinLeaf: 5}, nil))))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			return
		}
		if encoded(t, m) != string(data) {
			t.Fatal("two encodings of one model")
		}
		rows := Matrix{Rows: 5, Cols: m.Cols, Data: make([]float32, 5*m.Cols)}
		for i := range rows.Data {
			rows.Data[i] = []float32{nan, -1e30, 0, 1, float32(math.Inf(1))}[i%5]
		}
		m.PredictAll(rows, make([]float64, 5), nil)
		if m.Trees() < 8 { // a chain of splits costs its depth squared
			m.Contributions(rows.Row(0))
		}
	})
}
