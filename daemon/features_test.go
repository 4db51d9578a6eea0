package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/httpapi"
)

// TestFeaturesAndDeadlines: a feature registered at one agent and measured at another
// shows what was measured to all, as its host reports it; a host that is not empty at
// its deadline is a problem that names what is left, and nothing is forced.
func TestFeaturesAndDeadlines(t *testing.T) {
	s := newSite(t, 49)
	s.guests()
	var agents [3]*Daemon
	for i := range agents {
		agents[i], _ = s.start(i)
	}
	ctx := t.Context()
	write := func(what string, do func(httpapi.Write) (api.Accepted, error)) {
		t.Helper()
		until(t, what, func() error {
			_, err := do(httpapi.Write{ID: what, By: "test"})
			return err
		})
	}
	until(t, "the workload is in the books", func() error {
		known := false
		agents[1].books.Read(func(s *fsm.State) {
			_, first := s.Workload("w1")
			_, second := s.Workload("w2")
			known = first && second
		})
		if !known {
			return fmt.Errorf("w1 and w2 are not booked")
		}
		return nil
	})
	limits := &fleet.WorkloadThresholds{Workload: "w1", Thresholds: []fleet.FeatureThreshold{{Metric: "latency_ms", Limit: 20_000, Clear: 900, Hold: time.Minute}}}
	write("feature", func(w httpapi.Write) (api.Accepted, error) {
		return backend{agents[1]}.PutFeature(ctx, w, "w1", "vm-1", limits)
	})
	until(t, "what was measured is reported by its host", func() error {
		if _, err := (backend{agents[2]}).Measure(ctx, "w1", fleet.Vector{}.With("latency_ms", 35_000)); err != nil {
			return err
		}
		list, err := backend{agents[1]}.Features(ctx)
		if err != nil || len(list) != 1 || list[0].Instance != "vm-1" || len(list[0].Thresholds) != 1 {
			return fmt.Errorf("%+v, %w", list, err)
		}
		if c := list[0].Thresholds[0]; c.Value == nil || *c.Value != 35 || !c.Crossed {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	if _, err := (backend{agents[2]}).Measure(ctx, "w9", fleet.Vector{}.With("x", 1)); err == nil {
		t.Error("a metric of a workload that is not in the books was taken")
	}
	write("drain", func(w httpapi.Write) (api.Accepted, error) {
		return backend{agents[2]}.Drain(ctx, w, s.hosts[0], api.DrainRequest{Drain: true, DeadlineS: 0.5})
	})
	until(t, "the deadline is missed and said", func() error {
		status, err := backend{agents[1]}.Status(ctx)
		if err != nil || !slices.ContainsFunc(status.Problems, func(p api.Problem) bool {
			return p.Code == "drain_overdue" && strings.Contains(p.Message, "2 workloads")
		}) {
			return fmt.Errorf("%+v, %w", status.Problems, err)
		}
		decisions, err := backend{agents[1]}.Decisions(ctx, "", 0)
		if err != nil || !slices.ContainsFunc(decisions, func(d api.Decision) bool {
			return strings.Contains(d.Reason, "2 workloads are left") && strings.Contains(d.Reason, "w1 must stay: pinned")
		}) {
			return fmt.Errorf("%d decisions, none of what is left, %w", len(decisions), err)
		}
		hosts, err := backend{agents[1]}.Hosts(ctx)
		if err != nil || !hosts[0].DrainOverdue || hosts[0].DrainBy.IsZero() {
			return fmt.Errorf("%+v, %w", hosts, err)
		}
		return nil
	})
	write("undrain", func(w httpapi.Write) (api.Accepted, error) {
		return backend{agents[2]}.Drain(ctx, w, s.hosts[0], api.DrainRequest{})
	})
	write("no feature", func(w httpapi.Write) (api.Accepted, error) { return backend{agents[0]}.DropFeature(ctx, w, "w1") })
	until(t, "nothing is left of it", func() error {
		list, err := backend{agents[1]}.Features(ctx)
		status, _ := backend{agents[1]}.Status(ctx)
		if err != nil || len(list) != 0 || slices.ContainsFunc(status.Problems, func(p api.Problem) bool { return p.Code == "drain_overdue" }) {
			return fmt.Errorf("%+v, %+v, %w", list, status.Problems, err)
		}
		return nil
	})
}

// What was pushed counts for a while, and a workload has so many metrics.
func TestMeasuredIsForgotten(t *testing.T) {
	m := newMeasured()
	now := time.Now()
	for i := range maxMeasured {
		if err := m.put("w1", fleet.Vector{}.With(fleet.Resource(fmt.Sprint("m", i)), 1), now); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.put("w1", fleet.Vector{}.With("more", 1), now); err == nil {
		t.Error("a workload has more metrics than allowed")
	}
	if got := m.add("w1", fleet.Vector{CPU: 5}, now.Add(measuredFor)); got.CPU != 5 || len(got.Named) != maxMeasured {
		t.Errorf("usage %v", got)
	}
	if got := m.add("w1", fleet.Vector{CPU: 5}, now.Add(measuredFor+1)); len(got.Named) != 0 || len(m.values) != 0 {
		t.Errorf("after its time: %v, %d workloads are remembered", got, len(m.values))
	}
}
