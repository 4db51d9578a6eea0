package scorer

import (
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Candidate is one host that might take the workload, with what the caller
// worked out for it.
type Candidate struct {
	Host fleet.HostView
	// Incoming is what this pass has already promised to others on the host
	// and the books do not hold yet.
	Incoming fleet.Vector
	// After is the forecast of the host's cpu demand with the workload on it,
	// millicores; its steps cover the stay that is judged.
	After fleet.Forecast
	// Risk is the probability that demand exceeds what is allocatable at the
	// worst step of After.
	Risk float64
	// Barred, if not empty, is why the workload may not go there, as far as the
	// caller knows more than the host's own state: a rule, a requirement, a way
	// that is barred, the calendar.
	Barred string
	// Way is what is known of the way there, SoftRules how many soft rules the
	// workload would break, Experience how its category has fared there.
	Way fleet.Link
	// Hours is the usual cpu demand of the host per hour of the day, millicores;
	// nil when the days of its workloads are not known.
	Hours      []int64
	SoftRules  int
	Experience fleet.Experience
	// Transfer is the predicted duration of the move, machine time.
	Transfer time.Duration
}

// Terms are what one choice is made under.
type Terms struct {
	// Source is where the workload runs now.
	Source fleet.HostID
	// Host and Zone, if not empty, are what an operator asked for.
	Host fleet.HostID
	Zone string
	// Advisory: an operator has named the host, so a forecast that speaks
	// against it is a warning (see Warning), not a refusal. What the books
	// forbid stays forbidden.
	Advisory bool
	// Now is load time.
	Now time.Time
	// Quantile of demand and Headroom that must stay free at it, thousandths
	// (fleet.Policy).
	Quantile int64
	Headroom int64
}

// Limit is the cpu demand in millicores that may not be exceeded after a move:
// allocatable × (1 − headroom). False when nobody declared the capacity.
func (t Terms) Limit(h fleet.Host) (float64, bool) {
	allocatable := h.Allocatable().CPU
	if allocatable == fleet.Unknown {
		return 0, false
	}
	return float64(allocatable) * float64(1000-t.Headroom) / 1000, true
}

// Admits says whether the host may take the workload as far as the books, its
// state and its reports go, and if not, why. It is cheap: ask it before making
// the forecast that Rank needs.
func Admits(w fleet.Workload, c Candidate, terms Terms) (bool, string) {
	h := c.Host
	switch {
	case h.ID == terms.Source:
		return false, "the workload runs there already"
	case terms.Host != "" && h.ID != terms.Host:
		return false, fmt.Sprintf("the request names host %s", terms.Host)
	case terms.Zone != "" && h.Zone != terms.Zone:
		return false, fmt.Sprintf("it is in zone %s and the request names zone %s", h.Zone, terms.Zone)
	}
	if ok, why := Takes(h); !ok {
		return false, why
	}
	if c.Barred != "" {
		return false, c.Barred
	}
	free := h.Free().Sub(c.Incoming)
	if r, lacking := free.Lacks(w.Reservation); lacking {
		return false, fmt.Sprintf("the reservation of %s %s does not fit: %s are free of %s", fleet.FormatAmount(r, w.Reservation.Get(r)), r,
			fleet.FormatAmount(r, max(free.Get(r), 0)), fleet.FormatAmount(r, h.Allocatable().Get(r)))
	}
	return true, ""
}

func livenessReason(l fleet.Liveness) string {
	switch l {
	case fleet.Suspect:
		return "it is suspect: gossip has lost contact and may find it again"
	case fleet.Stale:
		return "it is stale: its reports have stopped"
	}
	return "it is dead as far as gossip knows"
}

// overloads says whether the demand with the workload on the host crosses the
// limit at the quantile at any step of the stay.
func overloads(c Candidate, terms Terms) (string, bool) {
	if len(c.After.Steps) == 0 {
		return "there is no forecast of its demand yet", true
	}
	limit, known := terms.Limit(c.Host.Host)
	if !known {
		return "", false
	}
	step, demand := worst(c.After, terms.Quantile)
	if demand <= limit {
		return "", false
	}
	return fmt.Sprintf("cpu demand with it would reach %s in %s (%s quantile); %s keep %s headroom", fleet.FormatAmount(fleet.CPU, int64(demand)),
		stepText(step), Percent(terms.Quantile), fleet.FormatAmount(fleet.CPU, int64(limit)), Percent(terms.Headroom)), true
}

// Warning is what the forecast says against a host that an operator has named,
// or "".
func Warning(c Candidate, terms Terms) string {
	reason, _ := overloads(c, terms)
	return reason
}

// worst returns the first step with the highest demand at the quantile.
func worst(f fleet.Forecast, quantile int64) (step int, demand float64) {
	for k := range f.Steps {
		if d := f.At(k, float64(quantile)/1000); k == 0 || d > demand {
			step, demand = k, d
		}
	}
	return step, demand
}

func stepText(step int) string {
	minutes := (step + 1) * int(fleet.Tick/time.Minute)
	return fmt.Sprintf("%d min", minutes)
}

// Percent prints thousandths as a percentage: 950 as "95 %", 999 as "99.9 %".
func Percent(thousandths int64) string {
	if thousandths%10 == 0 {
		return fmt.Sprintf("%d %%", thousandths/10)
	}
	return fmt.Sprintf("%.1f %%", float64(thousandths)/10)
}
