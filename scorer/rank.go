package scorer

import (
	"cmp"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Weights of the parts of a score. A part is its weight times a share between
// 0 and 1, so a score lies between −0.35 and 0.65.
const (
	// weightFree: room at the quantile is what protects from the next breach.
	weightFree = 0.5
	// weightBooks keeps reservations even, so that the next workload fits.
	weightBooks = 0.15
	// weightRisk separates hosts with the same room and different spread.
	weightRisk = 0.25
	// weightTransfer prefers the faster link between hosts that are as good.
	weightTransfer = 0.1
	// weightDay: what comes within the hour counts more than the usual day.
	weightDay = 0.2
	// halfTransfer is the duration at which the transfer part is half its
	// weight.
	halfTransfer = time.Minute
)

// Rank filters and orders the candidates for one workload: best first, equal
// totals by host id. Every candidate is either ranked or excluded with a reason;
// exclusions come by host id. More load on a host never raises its score.
func Rank(w fleet.WorkloadView, candidates []Candidate, terms Terms) (ranked []fleet.Score, excluded []fleet.Exclusion) {
	for _, c := range candidates {
		ok, reason := Admits(w.Workload, c, terms)
		if ok {
			var over bool
			reason, over = overloads(c, terms)
			ok = !over || terms.Advisory
		}
		if !ok {
			excluded = append(excluded, fleet.Exclusion{Host: c.Host.ID, Workload: w.ID, Reason: reason})
			continue
		}
		ranked = append(ranked, score(w, c, terms))
	}
	slices.SortFunc(ranked, func(a, b fleet.Score) int {
		if c := cmp.Compare(b.Total, a.Total); c != 0 {
			return c
		}
		return cmp.Compare(a.Host, b.Host)
	})
	slices.SortFunc(excluded, func(a, b fleet.Exclusion) int { return cmp.Compare(a.Host, b.Host) })
	return ranked, excluded
}

func score(w fleet.WorkloadView, c Candidate, terms Terms) fleet.Score {
	weight := weightsOf(w.Category)
	s := fleet.Score{Host: c.Host.ID, Parts: []fleet.ScorePart{
		{Name: "free cpu at the quantile", Value: weight.cpu * freeShare(c, terms)},
		{Name: "free in the books", Value: weight.books * bookedFree(c, w.Reservation)},
		{Name: "risk of contention", Value: -weightRisk * clamp(c.Risk)},
		{Name: "transfer", Value: -weightTransfer * transferShare(c.Transfer)},
	}}
	s.Parts = append(s.Parts, deviceParts(w, c, weight)...)
	if part, known := dayPart(w, c); known {
		s.Parts = append(s.Parts, part)
	}
	s.Parts = append(s.Parts, affinityParts(w, c, terms)...)
	for _, p := range s.Parts {
		s.Total += p.Value
	}
	return s
}

// freeShare is the part of allocatable cpu that stays free at the worst step.
func freeShare(c Candidate, terms Terms) float64 {
	allocatable := c.Host.Allocatable().CPU
	if allocatable == fleet.Unknown || allocatable <= 0 {
		return 0 // an undeclared capacity recommends nothing
	}
	_, demand := worst(c.After, terms.Quantile)
	return clamp(1 - demand/float64(allocatable))
}

// bookedFree is the smallest share of any declared resource that no reservation
// holds after the move.
func bookedFree(c Candidate, want fleet.Vector) float64 {
	allocatable := c.Host.Allocatable()
	free := c.Host.Free().Sub(c.Incoming).Sub(want)
	least, declared := 1.0, false
	allocatable.Each(func(r fleet.Resource, amount int64) {
		if left := free.Get(r); amount > 0 && left != fleet.Unknown {
			least, declared = min(least, float64(left)/float64(amount)), true
		}
	})
	if !declared {
		return 0
	}
	return clamp(least)
}

func transferShare(d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(d) / (float64(d) + float64(halfTransfer))
}

func clamp(x float64) float64 { return max(0, min(1, x)) }
