package scorer

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

var reported = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// flat is a forecast of the same demand at every step, twice as much at the
// highest level as at the lowest.
func flat(millicores float64) fleet.Forecast {
	f := fleet.Forecast{Resource: fleet.CPU, Quantiles: []float64{0.5, 0.95}}
	for range 12 {
		f.Steps = append(f.Steps, []float64{millicores / 2, millicores})
	}
	return f
}

func candidate(id string) Candidate {
	return Candidate{
		Host: fleet.HostView{Host: fleet.Host{
			ID: fleet.HostID(id), Name: id, Zone: "z1",
			Capacity: fleet.Vector{CPU: 10000, Memory: 10 << 30, Net: fleet.Unknown, Disk: fleet.Unknown},
		}, Reported: reported},
		After: flat(4000),
	}
}

func workload() fleet.WorkloadView {
	return fleet.WorkloadView{Workload: fleet.Workload{ID: "w", Owner: "source", Reservation: fleet.Vector{Memory: 2 << 30}}}
}

var terms = Terms{Source: "source", Quantile: 950, Headroom: 50}

func TestExclusions(t *testing.T) {
	tests := map[string]struct {
		change func(c *Candidate, t *Terms)
		want   string // empty: admitted
	}{
		"fits":             {func(c *Candidate, t *Terms) {}, ""},
		"source":           {func(c *Candidate, t *Terms) { t.Source = c.Host.ID }, "runs there already"},
		"draining":         {func(c *Candidate, t *Terms) { c.Host.State = fleet.HostDraining }, "its state is draining"},
		"maintenance":      {func(c *Candidate, t *Terms) { c.Host.State = fleet.HostMaintenance }, "its state is maintenance"},
		"left":             {func(c *Candidate, t *Terms) { c.Host.State = fleet.HostLeft }, "its state is left"},
		"suspect":          {func(c *Candidate, t *Terms) { c.Host.Liveness = fleet.Suspect }, "it is suspect"},
		"stale":            {func(c *Candidate, t *Terms) { c.Host.Liveness = fleet.Stale }, "its reports have stopped"},
		"dead":             {func(c *Candidate, t *Terms) { c.Host.Liveness = fleet.Dead }, "it is dead"},
		"never reported":   {func(c *Candidate, t *Terms) { c.Host.Reported = time.Time{} }, "has not reported"},
		"overbooked":       {func(c *Candidate, t *Terms) { c.Host.Overbooked = true }, "overbooked"},
		"other host asked": {func(c *Candidate, t *Terms) { t.Host = "h9" }, "names host h9"},
		"other zone asked": {func(c *Candidate, t *Terms) { t.Zone = "z9" }, "zone z1 and the request names zone z9"},
		"no memory": {func(c *Candidate, t *Terms) { c.Host.Held.Memory = 9 << 30 },
			"the reservation of 2 GiB memory does not fit: 1 GiB are free of 10 GiB"},
		"memory promised by this pass": {func(c *Candidate, t *Terms) { c.Incoming.Memory = 9 << 30 }, "1 GiB are free"},
		"memory never negative":        {func(c *Candidate, t *Terms) { c.Host.Held.Memory = 12 << 30 }, "0 B are free"},
		"no forecast":                  {func(c *Candidate, t *Terms) { c.After = fleet.Forecast{} }, "no forecast"},
		"at the limit":                 {func(c *Candidate, t *Terms) { c.After = flat(9500) }, ""},
		"above the limit": {func(c *Candidate, t *Terms) { c.After.Steps[4][1] = 9501 },
			"cpu demand with it would reach 9.501 cores in 25 min (95 % quantile); 9.5 cores keep 5 % headroom"},
		"a lower quantile is asked": {func(c *Candidate, t *Terms) { c.After, t.Quantile = flat(12000), 500 }, ""},
		"undeclared cpu": {func(c *Candidate, t *Terms) {
			c.Host.Capacity.CPU = fleet.Unknown
			c.After = flat(1e9)
		}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, terms := candidate("h1"), terms
			test.change(&c, &terms)
			ranked, excluded := Rank(workload(), []Candidate{c}, terms)
			if len(ranked)+len(excluded) != 1 {
				t.Fatalf("ranked %v, excluded %v", ranked, excluded)
			}
			switch {
			case test.want == "" && len(excluded) > 0:
				t.Errorf("refused: %s", excluded[0].Reason)
			case test.want != "" && (len(excluded) == 0 || !strings.Contains(excluded[0].Reason, test.want)):
				t.Errorf("got %v, want %q", excluded, test.want)
			}
		})
	}
}

func drawCandidate(t *rapid.T, id string) Candidate {
	c := candidate(id)
	c.Host.Held.Memory = rapid.Int64Range(0, 9<<30).Draw(t, "held")
	c.Incoming.Memory = rapid.Int64Range(0, 2<<30).Draw(t, "incoming")
	c.After = flat(rapid.Float64Range(0, 11000).Draw(t, "demand"))
	c.Risk = rapid.Float64Range(0, 1).Draw(t, "risk")
	c.Transfer = time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "transfer"))
	return c
}

// Every candidate is ranked or excluded; parts sum to totals, totals fall, ties
// go by id; and the order of the input does not matter.
func TestRankIsCompleteAndDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var candidates []Candidate
		for i := range rapid.IntRange(0, 8).Draw(t, "n") {
			c := drawCandidate(t, string(rune('a'+i)))
			candidates = append(candidates, c)
			if rapid.Bool().Draw(t, "twin") {
				c.Host.ID += "-twin"
				candidates = append(candidates, c)
			}
		}
		ranked, excluded := Rank(workload(), candidates, terms)
		if len(ranked)+len(excluded) != len(candidates) {
			t.Fatalf("%d candidates, %d ranked, %d excluded", len(candidates), len(ranked), len(excluded))
		}
		for i, s := range ranked {
			sum := 0.0
			for _, p := range s.Parts {
				sum += p.Value
			}
			if sum != s.Total {
				t.Fatalf("parts of %s sum to %g, total %g", s.Host, sum, s.Total)
			}
			if i > 0 && (ranked[i-1].Total < s.Total || ranked[i-1].Total == s.Total && ranked[i-1].Host >= s.Host) {
				t.Fatalf("order: %+v before %+v", ranked[i-1], s)
			}
		}
		slices.Reverse(candidates)
		again, excludedAgain := Rank(workload(), candidates, terms)
		if !slices.EqualFunc(ranked, again, func(a, b fleet.Score) bool { return a.Host == b.Host && a.Total == b.Total }) ||
			!slices.Equal(excluded, excludedAgain) {
			t.Fatal("the order of the candidates changes the result")
		}
	})
}

// More demand, more booked, more risk or a longer transfer never raises a score
// and never turns an exclusion into an offer.
func TestMoreLoadNeverLooksIdler(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := drawCandidate(t, "h1")
		after := before
		after.Host.Held.Memory += rapid.Int64Range(0, 1<<30).Draw(t, "more held")
		after.Incoming.Memory += rapid.Int64Range(0, 1<<30).Draw(t, "more incoming")
		after.Risk = min(1, before.Risk+rapid.Float64Range(0, 1).Draw(t, "more risk"))
		after.Transfer += time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "longer"))
		after.After = fleet.Forecast{Quantiles: before.After.Quantiles}
		for _, step := range before.After.Steps {
			more := rapid.Float64Range(0, 5000).Draw(t, "more demand")
			after.After.Steps = append(after.After.Steps, []float64{step[0] + more, step[1] + more})
		}
		was, _ := Rank(workload(), []Candidate{before}, terms)
		is, _ := Rank(workload(), []Candidate{after}, terms)
		if len(is) > len(was) || len(is) == 1 && is[0].Total > was[0].Total {
			t.Fatalf("more load looks better:\n%+v\n%+v", was, is)
		}
	})
}

func TestPercent(t *testing.T) {
	for thousandths, want := range map[int64]string{950: "95 %", 975: "97.5 %", 50: "5 %", 0: "0 %", 999: "99.9 %"} {
		if got := Percent(thousandths); got != want {
			t.Errorf("Percent(%d) = %q, want %q", thousandths, got, want)
		}
	}
}
