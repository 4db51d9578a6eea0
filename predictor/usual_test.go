package predictor

import (
	"math"
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// office is the profile of a workload that uses a fifth of its reservation by night
// and three fifths from 8 to 18 h UTC, with a .95 a half above.
func office(reservation float64) Profile {
	p := Profile{Days: 20, Resources: []ResourceProfile{{Resource: fleet.CPU}}}
	for h := range 24 {
		share := 0.2
		if h >= 8 && h < 18 {
			share = 0.6
		}
		p.Resources[0].Q50[h], p.Resources[0].Q95[h] = share*reservation, 1.5*share*reservation
	}
	return p
}

// TestBorrow: a newcomer rises at eight because its kind does, scaled to its own
// reservation; the longer its own history, the less its kind counts; after two days
// it stands alone.
func TestBorrow(t *testing.T) {
	u := &Usual{Kind: "category diurnal"}
	for _, r := range []float64{1000, 3000} {
		p := office(r)
		if !u.Add(&p, fleet.CPU, int64(r)) {
			t.Fatal("a profile of twenty days says nothing")
		}
	}
	young := office(1)
	young.Days = 2
	if u.Add(&young, fleet.CPU, 1) || u.Add(&Profile{Days: 9}, fleet.CPU, 1) || u.Add(&young, fleet.CPU, 0) || u.Members != 2 {
		t.Errorf("profiles that say nothing count: %d members", u.Members)
	}
	seven := int64(20_000*ticksPerDay + 7*Steps + 5) // 7:25
	s := UsageSeries("new", fleet.CPU, seven, 400)
	bands, ok := Borrow(s, u, 2000)
	if !ok || !strings.Contains(bands.Reason, "the 2 workloads of its kind") {
		t.Fatalf("%+v", bands)
	}
	s.Bands = &bands
	d := Sum(0, []Block{NewBlock(s, Baseline{})})
	for _, c := range []struct {
		step          int
		level, wanted float64
	}{{3, 0.5, 400}, {3, 0.95, 600}, {12, 0.5, 1200}, {12, 0.95, 1800}} {
		if got := d.Quantile(c.step, c.level); math.Abs(got-c.wanted) > 0.03*c.wanted {
			t.Errorf("step %d at %v: %.0f, want %.0f", c.step, c.level, got, c.wanted)
		}
	}
	middle := func(ticks float32) float64 {
		s := UsageSeries("new", fleet.CPU, seven, 400)
		s.Features[FeatureHistory] = ticks
		b, ok := Borrow(s, u, 2000)
		if !ok {
			return 0
		}
		return b.To[11][0]
	}
	if half := middle(borrowTicks / 2); math.Abs(half-800) > 30 {
		t.Errorf("after a day its kind's 1200 and its own 400 give %.0f", half)
	}
	if middle(borrowTicks) != 0 {
		t.Error("after two days it still borrows")
	}
	shown := BorrowQuantiles(seven, u, 2000)
	if math.Round(shown[0][0]) != 400 || math.Round(shown[1][0]) != 1200 || math.Round(shown[5][2]) != 1800 {
		t.Errorf("shown: %v", shown)
	}
}

// TestDeclaredDependency: of two workloads without a record of errors, those that
// depend on each other need more together than strangers do, and never more than
// the sum of what each needs alone. Where both have a record, it speaks.
func TestDeclaredDependency(t *testing.T) {
	series := func(id fleet.WorkloadID, together string) fleet.Series {
		s := UsageSeries(id, fleet.CPU, 1000, 1000)
		s.Together = together
		return s
	}
	joint := func(a, b fleet.Series) float64 {
		return Sum(0, []Block{NewBlock(a, Baseline{}), NewBlock(b, Baseline{})}).Quantile(12, 0.95)
	}
	alone := Sum(0, []Block{NewBlock(series("a", ""), Baseline{})}).Quantile(12, 0.95)
	strangers, kept := joint(series("a", ""), series("b", "")), joint(series("a", "a"), series("b", "a"))
	if kept < strangers+100 || math.Abs(kept-2*alone) > 1 {
		t.Errorf("strangers need %.0f, dependents %.0f, twice one alone %.0f", strangers, kept, 2*alone)
	}
	all := &SharedShifts{}
	var known [2]fleet.Series
	for i := range known {
		s, track := tracked(i+2, 11, nil, all)
		known[i] = reported(s, track, all)
	}
	before := joint(known[0], known[1])
	known[0].Together, known[1].Together = "a", "a"
	if after := joint(known[0], known[1]); after != before {
		t.Errorf("with a day of errors each, the word of a rule changes %.0f to %.0f", before, after)
	}
}
