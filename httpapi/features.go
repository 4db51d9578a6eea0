package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

// FeatureBackend keeps features with their thresholds, and shows what is changed of
// workloads in place.
type FeatureBackend interface {
	Adjustments(ctx context.Context) ([]api.Adjustment, error)
	// Features by workload, with the newest values of their metrics.
	Features(ctx context.Context) ([]api.Feature, error)
	// PutFeature makes a feature of a workload (an empty instance: it is one
	// already) and sets its thresholds (nil: they stay).
	PutFeature(ctx context.Context, w Write, workload fleet.WorkloadID, instance fleet.WorkloadID, thresholds *fleet.WorkloadThresholds) (api.Accepted, error)
	DropFeature(ctx context.Context, w Write, workload fleet.WorkloadID) (api.Accepted, error)
	// Measure takes what was measured of a workload, in thousandths.
	Measure(ctx context.Context, workload fleet.WorkloadID, values fleet.Vector) (api.Accepted, error)
}

func (s *Server) adjustments(ctx context.Context, _ *http.Request) (any, error) {
	all, err := s.backend.Adjustments(ctx)
	return list(all), err
}

func (s *Server) features(ctx context.Context, _ *http.Request) (any, error) {
	all, err := s.backend.Features(ctx)
	return list(all), err
}

func (s *Server) putFeature(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, decode func(any) error) (api.Accepted, error) {
		var request api.FeatureRequest
		if err := decode(&request); err != nil {
			return api.Accepted{}, err
		}
		workload := fleet.WorkloadID(r.PathValue("id"))
		if request.Instance == "" && request.Thresholds == nil {
			return api.Accepted{}, invalid(`send "instance", "thresholds" or both`, "feature %s: nothing is asked for", workload)
		}
		if _, err := s.known(ctx, "feature "+string(workload), nil, []string{string(workload)}); err != nil {
			return api.Accepted{}, err
		}
		thresholds, err := FleetThresholds(workload, request.Thresholds)
		if err != nil {
			return api.Accepted{}, err
		}
		return s.backend.PutFeature(ctx, id, workload, fleet.WorkloadID(request.Instance), thresholds)
	})
}

func (s *Server) dropFeature(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, _ func(any) error) (api.Accepted, error) {
		return s.backend.DropFeature(ctx, id, fleet.WorkloadID(r.PathValue("id")))
	})
}

// maxMeasured bounds the metrics of one workload.
const maxMeasured = 16

func (s *Server) measure(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, _ Write, decode func(any) error) (api.Accepted, error) {
		var request api.MeasureRequest
		if err := decode(&request); err != nil {
			return api.Accepted{}, err
		}
		if len(request.Values) == 0 || len(request.Values) > maxMeasured {
			return api.Accepted{}, invalid(fmt.Sprintf("send 1 to %d", maxMeasured), "workload %s: %d values were measured", request.Workload, len(request.Values))
		}
		var values fleet.Vector
		for name, value := range request.Values {
			if slices.Contains(builtIn[:], fleet.Resource(name)) {
				return api.Accepted{}, invalid("push what placed does not measure itself", "workload %s: %s is measured by its host", request.Workload, name)
			}
			if math.IsNaN(value) || value < 0 || value > 1e12 {
				return api.Accepted{}, invalid("send 0 to 1e12", "workload %s: %s is %g", request.Workload, name, value)
			}
			// A zero is news too; a vector does not keep it.
			values = values.With(fleet.Resource(name), max(1, int64(math.Round(1000*value))))
		}
		if err := values.Validate(); err != nil {
			return api.Accepted{}, fmt.Errorf("workload %s: %w: %w", request.Workload, ErrInvalid, err)
		}
		return s.backend.Measure(ctx, fleet.WorkloadID(request.Workload), values)
	})
}

var builtIn = fleet.Resources()

// unitOf is how many base units of a metric make one as people write it.
func unitOf(metric fleet.Resource) float64 {
	switch metric {
	case fleet.Memory, fleet.Net, fleet.Disk:
		return 1
	}
	return 1000 // millicores, thousandths
}

// FleetThresholds reads thresholds from the wire and validates them; nil stays nil.
// Errors wrap ErrInvalid.
func FleetThresholds(workload fleet.WorkloadID, from *[]api.FeatureThreshold) (*fleet.WorkloadThresholds, error) {
	if from == nil {
		return nil, nil
	}
	out := fleet.WorkloadThresholds{Workload: workload}
	for _, t := range *from {
		metric := fleet.Resource(t.Metric)
		clear, hold := t.Clear, t.HoldS
		if clear == 0 {
			clear = fleet.DefaultClear / 1000.0
		}
		if hold == 0 {
			hold = fleet.DefaultHold.Seconds()
		}
		out.Thresholds = append(out.Thresholds, fleet.FeatureThreshold{
			Metric: metric, Limit: int64(math.Round(max(-1, min(t.Limit, 1e15)) * unitOf(metric))),
			Clear: int64(math.Round(max(-1, min(clear, 1e6)) * 1000)), Hold: time.Duration(max(-1, min(hold, 1e9)) * float64(time.Second)),
		})
	}
	slices.SortFunc(out.Thresholds, func(a, b fleet.FeatureThreshold) int { return cmp.Compare(a.Metric, b.Metric) })
	if err := out.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return &out, nil
}

// FeatureOf shows a feature with the newest values of its metrics.
func FeatureOf(w fleet.WorkloadView, thresholds []fleet.FeatureThreshold) api.Feature {
	out := api.Feature{Workload: string(w.ID), Instance: string(w.Instance), Host: string(w.Owner), Thresholds: []api.FeatureThreshold{}}
	for _, t := range thresholds {
		shown := api.FeatureThreshold{Metric: string(t.Metric), Limit: float64(t.Limit) / unitOf(t.Metric), Clear: float64(t.Clear) / 1000, HoldS: t.Hold.Seconds()}
		if n := w.Usage.Get(t.Metric); n != 0 && n != fleet.Unknown {
			value := float64(n) / unitOf(t.Metric)
			shown.Value, shown.Crossed = &value, n > t.Limit
		}
		out.Thresholds = append(out.Thresholds, shown)
	}
	return out
}

// AdjustmentOf shows an adjustment.
func AdjustmentOf(a fleet.Adjustment) api.Adjustment {
	unit := 1.0
	if a.Kind == fleet.CPUQuota {
		unit = 1000
	}
	return api.Adjustment{Workload: string(a.Workload), Host: string(a.Host), Kind: a.Kind.String(), State: a.State.String(),
		Before: float64(a.Before) / unit, Want: float64(a.Want) / unit, Text: a.Kind.Amount(a.Want) + " instead of " + a.Kind.Amount(a.Before),
		Since: a.Since, Decision: a.Decision, Reason: a.Reason}
}
