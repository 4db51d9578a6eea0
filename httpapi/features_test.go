package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

func (d *demo) Adjustments(context.Context) ([]api.Adjustment, error) {
	return []api.Adjustment{AdjustmentOf(fleet.Adjustment{Workload: "vm-1/cache", Kind: fleet.CPUQuota, Host: "h1", State: fleet.AdjustmentApplied,
		Before: 1500, Want: 3000, Since: d.now(), Decision: "p1.1", Reason: "its own limit held it back"})}, nil
}

func (d *demo) Features(context.Context) ([]api.Feature, error) {
	w := fleet.WorkloadView{Workload: fleet.Workload{ID: "vm-1/cache", Kind: fleet.Feature, Instance: "vm-1", Owner: "h1"}, Usage: fleet.Vector{CPU: 2500}.With("latency_ms", 12_500)}
	return []api.Feature{FeatureOf(w, []fleet.FeatureThreshold{{Metric: "cpu", Limit: 2000, Clear: 900, Hold: time.Minute}, {Metric: "latency_ms", Limit: 20_000, Clear: 800, Hold: time.Hour}})}, nil
}

func (d *demo) PutFeature(_ context.Context, w Write, workload, instance fleet.WorkloadID, t *fleet.WorkloadThresholds) (api.Accepted, error) {
	n := -1
	if t != nil {
		n = len(t.Thresholds)
	}
	return d.operator(w, "%s of %s with %d", workload, instance, n)
}

func (d *demo) DropFeature(_ context.Context, w Write, workload fleet.WorkloadID) (api.Accepted, error) {
	return d.operator(w, "%s dropped", workload)
}

func (d *demo) Measure(_ context.Context, workload fleet.WorkloadID, values fleet.Vector) (api.Accepted, error) {
	if workload != "vm-1/cache" {
		return api.Accepted{}, fmt.Errorf("workload %s: %w", workload, ErrNotFound)
	}
	return api.Accepted{Message: values.String()}, nil
}

func TestFeatures(t *testing.T) {
	client := newClient(t, serve(t, Config{Backend: newDemo(3)}))
	ctx := t.Context()
	list, _, err := client.Features(ctx, api.QueryOptions{})
	if err != nil || len(list) != 1 || len(list[0].Thresholds) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	if c := list[0].Thresholds[0]; c.Limit != 2 || *c.Value != 2.5 || !c.Crossed || c.HoldS != 60 {
		t.Errorf("cpu: %+v", c)
	}
	if l := list[0].Thresholds[1]; l.Limit != 20 || *l.Value != 12.5 || l.Crossed || l.Clear != 0.8 {
		t.Errorf("latency: %+v", l)
	}
	thresholds := func(t ...api.FeatureThreshold) *[]api.FeatureThreshold { return &t }
	for _, c := range []struct {
		request api.FeatureRequest
		want    string
	}{
		{api.FeatureRequest{}, "nothing is asked for"},
		{api.FeatureRequest{Thresholds: thresholds(api.FeatureThreshold{Metric: "cpu"})}, "limit above 0"},
		{api.FeatureRequest{Thresholds: thresholds(api.FeatureThreshold{Metric: "cpu", Limit: 1, Clear: 2})}, "clear is 2000"},
		{api.FeatureRequest{Thresholds: thresholds(api.FeatureThreshold{Metric: "cpu", Limit: 1, HoldS: -1})}, "hold is -1s"},
		{api.FeatureRequest{Thresholds: thresholds(api.FeatureThreshold{Metric: "cpu", Limit: 1}, api.FeatureThreshold{Metric: "cpu", Limit: 2})}, "one for each"},
		{api.FeatureRequest{Thresholds: thresholds(api.FeatureThreshold{Metric: "a b", Limit: 1})}, "contains ' '"},
	} {
		_, err := client.PutFeature(ctx, "vm-1/cache", c.request)
		if statusOf(err) != http.StatusBadRequest || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.request, err, c.want)
		}
	}
	if _, err := client.PutFeature(ctx, "vm-9", api.FeatureRequest{Instance: "vm-1"}); statusOf(err) != http.StatusNotFound {
		t.Errorf("a workload that is not in the books: %v", err)
	}
	if _, err := client.PutFeature(ctx, "vm-1/cache", api.FeatureRequest{Instance: "vm-1", Thresholds: thresholds()}); err != nil {
		t.Error(err)
	}
	if _, err := client.DropFeature(ctx, "vm-1/cache"); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		values map[string]float64
		want   string
	}{{nil, "0 values"}, {map[string]float64{"cpu": 1}, "measured by its host"}, {map[string]float64{"x": -1}, "x is -1"}, {map[string]float64{"a b": 1}, "contains ' '"}} {
		_, err := client.Measure(ctx, api.MeasureRequest{Workload: "vm-1/cache", Values: c.values})
		if statusOf(err) != http.StatusBadRequest || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.values, err, c.want)
		}
	}
	if a, err := client.Measure(ctx, api.MeasureRequest{Workload: "vm-1/cache", Values: map[string]float64{"latency_ms": 12.5}}); err != nil || !strings.Contains(a.Message, "latency_ms 12.5") {
		t.Errorf("%+v, %v", a, err)
	}
	adjusted, _, err := client.Adjustments(ctx, api.QueryOptions{})
	if err != nil || len(adjusted) != 1 || adjusted[0].Want != 3 || adjusted[0].Text != "3 cores instead of 1.5 cores" {
		t.Errorf("%+v, %v", adjusted, err)
	}
	if _, err := client.DrainWithin(ctx, "h1", false, "", -time.Minute); statusOf(err) != http.StatusBadRequest {
		t.Errorf("a deadline in the past: %v", err)
	}
}

func statusOf(err error) int {
	var answer *api.Error
	if errors.As(err, &answer) {
		return answer.Status
	}
	return 0
}
