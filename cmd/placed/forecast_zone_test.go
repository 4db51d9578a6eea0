package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
)

// TestForecastZone: the command shows what the API says, one zone or all, and names
// a zone that is not there.
func TestForecastZone(t *testing.T) {
	days, early := 41.4, 29.0
	zones := []api.ZoneForecast{
		{Zone: "east", Resource: "cpu", Unit: "cores", Hosts: 3, Allocatable: 96, Now: 50, Peak: 71, Levels: []float64{.5, .9, .95, .99},
			Hour: []float64{50, 60, 65.25, 70}, Probability: 0.012, Growth: 0.6, DaysToFull: &days, DaysEarly: &early,
			Loss:    &api.ZoneLoss{Allocatable: 64, Demand: 70.5, Probability: 0.83},
			Coupled: []api.CoupledPair{{A: "web", B: "db", Correlation: 0.91, Declared: true}}},
		{Zone: "west", Resource: "memory", Unit: "bytes", Hosts: 2, Allocatable: 64 << 30, Now: 16 << 30, Peak: 16 << 30, GrowthKnown: true, HistoryNeeded: 5},
		{Zone: "west", Resource: "net", Unit: "bytes/s", Hosts: 2, Allocatable: 1000 << 20, Now: 100 << 20, Peak: 900 << 20, Levels: []float64{.5, .9, .95, .99},
			Hour: []float64{800 << 20, 900 << 20, 1100 << 20, 1200 << 20}, Probability: 0.07, Excess: 3 << 20, Breach: time.Date(2026, 3, 1, 10, 5, 0, 0, time.UTC), HistoryNeeded: 5},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/forecast/zones" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(zones); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	address := "--addr=" + strings.TrimPrefix(server.URL, "http://")
	out, _, err := runForecast("zone", address)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1000.00 MiB/s", "1100.00", "needs 5 days of history", "west is expected to be short of net from 10:05:00 on, by 3.000 MiB/s on average", "65.25", "1.2 %", "41 (29 to never)", "64.00 GiB", "not within a year",
		"without east the others would have to carry 70.50 of 64.00 cores (full with probability 83.0 %)",
		"web and db rise together (correlation 0.91, kept together by a rule)"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if out, _, err = runForecast("zone", "west", address); err != nil || strings.Contains(out, "east") {
		t.Errorf("one zone: %v\n%s", err, out)
	}
	if _, _, err = runForecast("zone", "north", address); err == nil || !strings.Contains(err.Error(), `no zone "north"`) {
		t.Errorf("a zone that is not there: %v", err)
	}
}

// TestGatesAreShown: category, changes, what is acted upon, and every gate.
func TestGatesAreShown(t *testing.T) {
	var out bytes.Buffer
	err := printGates(&out, &api.WorkloadCategory{Name: "bursty", Confidence: 0.5, Diurnal: true, Candidate: "steady", Days: 2, History: 30,
		Changes: []api.CategoryChange{{Day: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), From: "idle", To: "bursty"}}},
		[]api.WorkloadForecast{{Resource: "cpu", Unit: "cores", Model: "baseline", Reason: "pool version 3 is closed: why", Levels: []float64{.5},
			Horizons: []api.HorizonForecast{{Horizon: "15m", Quantiles: []float64{1.25}, Open: true, Judged: 170, Coverage: .95, Skill: .3},
				{Horizon: "1h", Quantiles: []float64{1.5}, Reason: "only 3 forecasts have been judged"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"category bursty, confidence 0.50, from 30 days of history, repeats every day; looked steady for 2 days",
		"2026-03-01  idle → bursty", "acted upon: baseline", "pool version 3 is closed: why", "0.950", "open", "only 3 forecasts"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

// TestDaysText: what is not known is not a number, what is full is said, and less than
// two days are hours.
func TestDaysText(t *testing.T) {
	day := func(d float64) *float64 { return &d }
	for _, c := range []struct {
		z    api.ZoneForecast
		want string
	}{
		{api.ZoneForecast{Allocatable: 10, Now: 4, Peak: 5, HistoryNeeded: 5}, "needs 5 days of history"},
		{api.ZoneForecast{Allocatable: 10, Now: 10, Peak: 10, HistoryNeeded: 5}, "full now"},
		{api.ZoneForecast{Allocatable: 10, Now: 4, Peak: 11, HistoryNeeded: 5, GrowthKnown: true, DaysToFull: day(0), DaysEarly: day(0), DaysLate: day(0)}, "full at the day's peak"},
		{api.ZoneForecast{Allocatable: 10, Now: 4, Peak: 5, HistoryNeeded: 5, GrowthKnown: true}, "not within a year"},
		{api.ZoneForecast{Allocatable: 10, Now: 4, Peak: 9, GrowthKnown: true, HistoryNeeded: 5, DaysToFull: day(0.6), DaysEarly: day(0.25), DaysLate: day(31)}, "14 h (6 h to 31)"},
		{api.ZoneForecast{Allocatable: 10, Now: 4, Peak: 9, DaysToFull: day(41.4), DaysEarly: day(29)}, "41 (29 to never)"}, // of an older agent
	} {
		if got := daysText(c.z); got != c.want {
			t.Errorf("%+v: %q, want %q", c.z, got, c.want)
		}
	}
}
