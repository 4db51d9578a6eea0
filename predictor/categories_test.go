package predictor

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// load makes days of load in percent: kind 0 idles with rare work, 1 follows the
// day, 2 stays at a high level.
func load(kind, days int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 3))
	out := make([]float32, days*ticksPerDay)
	level := 5 + 5*r.Float64()
	for i := range out {
		v := r.Float64()
		switch kind {
		case 0:
			if v = 0.2 * v; r.IntN(60) == 0 {
				v += level * 6
			}
		case 1:
			v += level * (1.2 - math.Cos(2*math.Pi*float64(i)/ticksPerDay))
		case 2:
			v += 60 + 2*level + 5*r.NormFloat64()
		}
		out[i] = float32(max(v, 0))
	}
	return out
}

func mixed(t testing.TB, n int, seed uint64) []Traits {
	t.Helper()
	out := make([]Traits, n)
	for i := range out {
		var ok bool
		if out[i], ok = TraitsOf(load(i%3, 14, seed+uint64(i)), 100); !ok {
			t.Fatal("no traits of two full weeks")
		}
	}
	return out
}

// TestGrouping finds three kinds of load, names them as an operator would, and
// is the same on any number of threads.
func TestGrouping(t *testing.T) {
	traits := mixed(t, 60, 1)
	g, err := NewGrouping(traits, nil, GroupConfig{Seed: 4})
	if err != nil {
		t.Fatal(err)
	}
	want := []Category{CategoryIdle, CategoryDiurnal, CategoryCPU}
	if len(g.Groups) != 3 || g.Stability < 0.99 {
		t.Fatalf("%d groups with stability %.3f, want 3 clear ones", len(g.Groups), g.Stability)
	}
	for i, tr := range traits {
		a := g.Assign(tr)
		if a.Category != want[i%3] || a.Confidence < 0.3 || a.Why == "" {
			t.Errorf("workload %d: %+v, want %s", i, a, want[i%3])
		}
	}
	threaded, err := NewGrouping(traits, nil, GroupConfig{Seed: 4, Par: onThreads})
	if err != nil {
		t.Fatal(err)
	}
	one, _ := json.Marshal(g)
	many, _ := json.Marshal(threaded)
	if string(one) != string(many) {
		t.Error("the grouping depends on the number of threads")
	}
}

// TestNamesStay: a later grouping of other histories, in another order, calls
// the same groups by the same names, even where fresh rules would choose others.
func TestNamesStay(t *testing.T) {
	first, err := NewGrouping(mixed(t, 60, 1), nil, GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	first.Groups[0].Category, first.Groups[2].Category = CategoryLight, CategoryBursty
	later := mixed(t, 60, 1000)
	slices.Reverse(later)
	second, err := NewGrouping(later, first, GroupConfig{Seed: 9})
	if err != nil {
		t.Fatal(err)
	}
	for i := range first.Groups {
		if second.Groups[i].Category != first.Groups[i].Category {
			t.Errorf("group %d was %s and is called %s", i, first.Groups[i].Category, second.Groups[i].Category)
		}
	}
	// What has no counterpart takes a name that is free.
	first.Groups = first.Groups[:2]
	third, err := NewGrouping(later, first, GroupConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if got := third.Groups[2].Category; got != CategoryCPU {
		t.Errorf("the new group is called %s", got)
	}
}

func TestGroupingRefusals(t *testing.T) {
	alike := make([]Traits, 20)
	bad := mixed(t, 12, 1)
	bad[3][traitCV] = math.NaN()
	for _, c := range []struct {
		traits []Traits
		want   string
	}{
		{nil, "0 are too few, want 12 or more with 3 days of history"},
		{alike, "they are all alike"},
		{bad, "of the 3th is not a number"},
	} {
		if _, err := NewGrouping(c.traits, nil, GroupConfig{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

// TestTraitsFinite: whatever the history, traits are numbers or refused.
func TestTraitsFinite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := make([]float32, rapid.IntRange(0, 5*ticksPerDay).Draw(t, "ticks"))
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		scale := math.Pow(10, float64(rapid.IntRange(-6, 6).Draw(t, "scale")))
		missing := rapid.SampledFrom([]int{0, 1, 30, 70, 100}).Draw(t, "missing")
		constant := rapid.Bool().Draw(t, "constant")
		for i := range values {
			values[i] = float32(scale)
			if !constant {
				values[i] = float32(scale * r.ExpFloat64())
			}
			if r.IntN(100) < missing {
				values[i] = float32(math.NaN())
			}
		}
		traits, ok := TraitsOf(values, 100)
		if ok && len(values) < minTraitDays*ticksPerDay {
			t.Fatalf("traits of %d ticks", len(values))
		}
		if ok && missing > 60 {
			t.Fatal("traits of a history that is mostly missing")
		}
		for i, v := range traits {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Fatalf("trait %d is %v", i, v)
			}
		}
		if constant && Diurnal(values) {
			t.Fatal("constant load is diurnal")
		}
	})
}

func TestDiurnal(t *testing.T) {
	shape := func(days int, at func(tick int) float64) []float32 {
		r := rand.New(rand.NewPCG(1, 1))
		out := make([]float32, days*ticksPerDay)
		for i := range out {
			out[i] = float32(at(i) + r.Float64())
		}
		return out
	}
	wave := func(hours float64) func(int) float64 {
		return func(i int) float64 { return 3 + 3*math.Sin(2*math.Pi*float64(i)/(12*hours)) }
	}
	night := func(i int) float64 { return 20 * boolean(i%ticksPerDay < Steps) }
	for name, c := range map[string]struct {
		values []float32
		want   bool
	}{
		"a smooth day":         {shape(14, wave(24)), true},
		"three days of it":     {shape(3, wave(24)), true},
		"two days are no sign": {shape(2, wave(24)), false},
		"a nightly job":        {shape(14, night), true},
		"every eight hours":    {shape(12, wave(8)), false},
		"every 20 hours":       {shape(15, wave(20)), false},
		"weekly":               {shape(14, wave(168)), false},
		"noise":                {shape(14, func(int) float64 { return 0 }), false},
	} {
		if got := Diurnal(c.values); got != c.want {
			t.Errorf("%s: diurnal %v, want %v", name, got, c.want)
		}
	}
}

// TestMembership: a category changes on the third day in a row, and only then.
func TestMembership(t *testing.T) {
	idle, cpu, bursty := Assignment{CategoryIdle, 0.9, "idles"}, Assignment{CategoryCPU, 0.8, "works"}, Assignment{CategoryBursty, 0.7, "jumps"}
	var m Membership
	for i, c := range []struct {
		day     int64
		a       Assignment
		want    Category
		changes int
	}{
		{10, idle, CategoryIdle, 0},
		{11, cpu, CategoryIdle, 0},
		{12, cpu, CategoryIdle, 0},
		{12, cpu, CategoryIdle, 0}, // the same day again
		{11, cpu, CategoryIdle, 0}, // an earlier day
		{13, idle, CategoryIdle, 0},
		{14, cpu, CategoryIdle, 0},
		{15, bursty, CategoryIdle, 0}, // another candidate
		{16, cpu, CategoryIdle, 0},
		{17, cpu, CategoryIdle, 0},
		{19, cpu, CategoryIdle, 0}, // a day is missing
		{20, cpu, CategoryIdle, 0},
		{21, cpu, CategoryCPU, 1},
		{22, idle, CategoryCPU, 1},
	} {
		before := m
		var changed bool
		m, changed = m.Observe(c.day, c.a, true)
		if m.Category != c.want || len(m.Changes) != c.changes {
			t.Fatalf("step %d, day %d: %s with %d changes, want %s with %d", i, c.day, m.Category, len(m.Changes), c.want, c.changes)
		}
		if want := m.Category != before.Category; changed != want {
			t.Errorf("step %d: changed %v, want %v", i, changed, want)
		}
	}
	if got, want := m.Changes[0].String(), "day 21: idle to cpu-bound (works)"; got != want {
		t.Errorf("history %q, want %q", got, want)
	}
	if m.Confidence >= cpu.Confidence || m.Candidate != CategoryIdle {
		t.Errorf("a doubted category has confidence %v and candidate %q", m.Confidence, m.Candidate)
	}
	for day := int64(100); day < 200; day++ {
		a := idle
		if day/5%2 == 0 {
			a = cpu
		}
		m, _ = m.Observe(day, a, false)
	}
	if len(m.Changes) != maxCategoryChanges || m.Changes[0].Day < 150 {
		t.Errorf("%d changes are kept, the oldest of day %d", len(m.Changes), m.Changes[0].Day)
	}
}

func TestDominant(t *testing.T) {
	a := Assignment{Category: CategoryDiurnal, Why: "as ever"}
	for _, c := range []struct {
		shares Shares
		want   Category
	}{
		{Shares{}, CategoryDiurnal},
		{Shares{CPU: 0.1, Memory: 0.15}, CategoryDiurnal},
		{Shares{CPU: 0.1, Memory: 0.2}, CategoryMemory},
		{Shares{CPU: 0.001, Memory: 0.01}, CategoryDiurnal},
		{Shares{CPU: 0.05, Net: 0.3, Disk: 0.1}, CategoryNet},
		{Shares{Disk: 0.02}, CategoryIO},
		{Shares{CPU: 0.5, Memory: 0.1}, CategoryDiurnal},
	} {
		got := a.With(c.shares)
		if got.Category != c.want || (got.Why == a.Why) != (c.want == CategoryDiurnal) {
			t.Errorf("%+v: %+v, want %s", c.shares, got, c.want)
		}
	}
}

// TestCategoriesInProfiles: every category survives the replicated profile.
func TestCategoriesInProfiles(t *testing.T) {
	for _, c := range []Category{CategoryUnknown, CategoryIdle, CategoryCPU, CategoryDiurnal, CategoryBursty, CategorySteady, CategoryMemory, CategoryIO, CategoryNet, CategoryLight} {
		data, err := Profile{Membership: Membership{Category: c}}.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back Profile
		if err := back.UnmarshalBinary(data); err != nil || back.Category != c {
			t.Errorf("%s came back as %s (%v)", c, back.Category, err)
		}
	}
}

// TestMatchLeast holds the pairing against a search of all of them.
func TestMatchLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, columns := rapid.IntRange(1, 5).Draw(t, "rows"), rapid.IntRange(0, 5).Draw(t, "columns")
		cost := make([][]float64, rows)
		for i := range cost {
			for range columns {
				cost[i] = append(cost[i], float64(rapid.IntRange(0, 20).Draw(t, "cost")))
			}
		}
		got := matchLeast(cost)
		sum, used := 0.0, map[int]bool{}
		for i, c := range got {
			if c >= 0 {
				if used[c] {
					t.Fatalf("column %d is used twice", c)
				}
				used[c], sum = true, sum+cost[i][c]
			}
		}
		if len(got) != rows || len(used) != min(rows, columns) {
			t.Fatalf("%v pairs %d of %d rows with %d columns", got, len(used), rows, columns)
		}
		if want := leastCost(cost, 0, 0, columns, max(rows-columns, 0)); sum != want {
			t.Fatalf("cost %v, the least is %v", sum, want)
		}
	})
}

func leastCost(cost [][]float64, row, taken, columns, skips int) float64 {
	if row == len(cost) {
		return 0
	}
	best := math.Inf(1)
	for c := range columns {
		if taken>>c&1 == 0 {
			best = min(best, cost[row][c]+leastCost(cost, row+1, taken|1<<c, columns, skips))
		}
	}
	if skips > 0 {
		best = min(best, leastCost(cost, row+1, taken, columns, skips-1))
	}
	return best
}

// TestAdjustedRand: names do not matter, chance gives nothing.
func TestAdjustedRand(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	a, same, other := make([]int, 3000), make([]int, 3000), make([]int, 3000)
	for i := range a {
		a[i], other[i] = r.IntN(4), r.IntN(3)
		same[i] = 7 - a[i]
	}
	if got := adjustedRand(a, same); got != 1 {
		t.Errorf("renamed: %v", got)
	}
	if got := adjustedRand(a, other); math.Abs(got) > 0.01 {
		t.Errorf("unrelated: %v", got)
	}
	if got := adjustedRand([]int{0, 0, 1, 1}, []int{0, 0, 1, 2}); math.Abs(got-4.0/7) > 1e-12 {
		t.Errorf("half agreed: %v, want 4/7", got)
	}
}
