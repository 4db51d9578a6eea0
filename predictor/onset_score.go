package predictor

import (
	"cmp"
	"math"
	"slices"
)

// OnsetScore judges one method at one lead over all hosts.
type OnsetScore struct {
	Lead   int
	Method string
	// Moments judged, and how many of them are followed by contention; Onset
	// counts those at which the host is not contended yet.
	Moments, Contended, OnsetMoments, Onset int
	// AveragePrecision over all moments and over the onset ones; RecallAt the
	// recall of onsets at a precision of .8, .5 and .25.
	AveragePrecision, OnsetPrecision, AUC float64
	RecallAt                              [3]float64
	// Brier is the mean squared error, Skill 1 − Brier / that of always saying
	// the base rate; only of probabilities, else NaN.
	Brier, Skill float64
}

// RecallPrecisions are the precisions of OnsetScore.RecallAt.
var RecallPrecisions = [...]float64{0.8, 0.5, 0.25}

// onsetCase is one judged moment: what came, whether the host was not contended
// yet, and what was said of it.
type onsetCase struct {
	above, onset bool
	probability  float64
	rules        []float64
}

func brier(cases []onsetCase) (score, skill float64) {
	rate := 0.0
	for i := range cases {
		rate += boolean(cases[i].above) / float64(len(cases))
	}
	for i := range cases {
		d := cases[i].probability - boolean(cases[i].above)
		score += d * d / float64(len(cases))
	}
	return score, 1 - score/(rate*(1-rate))
}

func scoreOnset(lead int, method string, cases []onsetCase, of func(*onsetCase) float64) OnsetScore {
	s := OnsetScore{Lead: lead, Method: method, Brier: math.NaN(), Skill: math.NaN()}
	var all, onset []ranked
	for i := range cases {
		r := ranked{of(&cases[i]), cases[i].above}
		all = append(all, r)
		s.Contended += int(boolean(r.hit))
		if cases[i].onset {
			onset = append(onset, r)
			s.Onset += int(boolean(r.hit))
		}
	}
	s.Moments, s.OnsetMoments = len(all), len(onset)
	s.AveragePrecision, _, _ = rankedScores(all)
	s.OnsetPrecision, s.AUC, s.RecallAt = rankedScores(onset)
	return s
}

type ranked struct {
	score float64
	hit   bool
}

// rankedScores returns the average precision (the sum over thresholds of the
// recall gained times the precision there, ties together), the area under the
// ROC curve, and the largest recall at each of RecallPrecisions.
func rankedScores(cases []ranked) (ap, auc float64, recall [len(RecallPrecisions)]float64) {
	slices.SortStableFunc(cases, func(a, b ranked) int { return cmp.Compare(b.score, a.score) })
	total := 0.0
	for _, c := range cases {
		total += boolean(c.hit)
	}
	hits, seen := 0.0, 0.0
	for i := 0; i < len(cases); {
		end, gained := i, 0.0
		for end < len(cases) && cases[end].score == cases[i].score {
			gained += boolean(cases[end].hit)
			end++
		}
		misses := float64(end-i) - gained
		auc += misses * (total - hits - gained/2)
		hits, seen = hits+gained, float64(end)
		precision := hits / seen
		ap += gained / max(total, 1) * precision
		if end > 20 { // the first few say little of a precision
			for k, p := range RecallPrecisions {
				if precision >= p {
					recall[k] = hits / max(total, 1)
				}
			}
		}
		i = end
	}
	// auc counted pairs in which the miss ranks above the hit.
	auc = 1 - auc/max(total*(float64(len(cases))-total), 1)
	return ap, auc, recall
}
