package predictor

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// TestRankedScores by hand: hits at ranks 1, 3 and 4 of 5.
func TestRankedScores(t *testing.T) {
	cases := []ranked{{0.1, false}, {0.9, true}, {0.3, true}, {0.8, false}, {0.5, true}}
	ap, auc, _ := rankedScores(cases)
	if want := (1.0 + 2.0/3 + 3.0/4) / 3; math.Abs(ap-want) > 1e-12 {
		t.Errorf("average precision %v, want %v", ap, want)
	}
	if want := 4.0 / 6; math.Abs(auc-want) > 1e-12 {
		t.Errorf("area %v, want %v", auc, want)
	}
	// Ties count as one threshold, half right.
	ap, auc, _ = rankedScores([]ranked{{1, true}, {1, false}, {1, false}, {1, false}})
	if ap != 0.25 || auc != 0.5 {
		t.Errorf("all tied: %v, %v", ap, auc)
	}
	var many []ranked
	for i := range 100 {
		many = append(many, ranked{float64(-i), i < 30 || i%2 == 0})
	}
	_, _, recall := rankedScores(many)
	// All 65 hits have been found at a precision of .65; the first 43 contain
	// 37 (.86), up to 49 ranks .8 is held.
	if recall[1] != 1 || recall[2] != 1 || recall[0] < 0.55 || recall[0] > 0.65 {
		t.Errorf("recalls %v", recall)
	}
}

// TestOnsetTrial: hosts whose load jumps at the same hour of every day are foreseen;
// their probabilities say how often; made-up hosts are drawn without repetition.
func TestOnsetTrial(t *testing.T) {
	const days = 17
	var values [][]float64
	for i := range 8 {
		rng := sequenceRandom(i)
		v := make([]float64, days*ticksPerDay)
		for tick := range v {
			v[tick] = 20 + float64(rng.below(100))/20
			if at := tick % ticksPerDay; at >= 120 && at < 126 {
				v[tick] += 30
			}
		}
		values = append(values, v)
	}
	hosts := []HostGroup{
		{Name: "a", Members: []int{0, 1, 2}, Weights: []float64{1, 2, 1}},
		{Name: "b", Members: []int{3, 4, 5}, Weights: []float64{1, 1, 4}},
	}
	cfg := OnsetTrialConfig{Test: 2 * ticksPerDay, Leads: []int{3}, Full: 0.985, More: 2, Seed: 1, MemberTrees: 4}
	scores, err := OnsetTrial(values, hosts, cfg, twoThreads)
	if err != nil {
		t.Fatal(err)
	}
	ours := scores[0]
	if ours.Method != Ours || ours.OnsetPrecision < 0.5 || ours.AUC < 0.95 {
		t.Errorf("a daily jump is foreseen with %+v", ours)
	}
	if !(ours.Skill > 0.3) {
		t.Errorf("its probabilities have the skill %v", ours.Skill)
	}
	for _, s := range scores[1:] {
		if !math.IsNaN(s.Skill) {
			t.Errorf("%s gives no probability, yet has a skill", s.Method)
		}
	}
	for _, g := range moreHosts(hosts, 3, OnsetTrialConfig{More: 20}) {
		if m := slices.Sorted(slices.Values(g.Members)); !slices.Equal(m, []int{0, 1, 2}) {
			t.Errorf("members %v", g.Members)
		}
	}
	if _, err := OnsetTrial(values, hosts, OnsetTrialConfig{Test: 9 * ticksPerDay, Leads: []int{3}, Full: 0.985}, nil); err == nil || !strings.Contains(err.Error(), "before the test") {
		t.Errorf("too little history: %v", err)
	}
}
