package fleet

import (
	"fmt"
	"time"
)

// FeatureThreshold is what an operator allows a feature to use, or to suffer, where it is.
// Above it the feature moves, without its instance, to a host that gives it more.
type FeatureThreshold struct {
	// Metric is cpu, memory, net, disk, or a metric that the feature or its
	// operator pushes, such as latency_ms.
	Metric Resource `json:"metric"`
	// Limit in base units (thousandths for a pushed metric).
	Limit int64 `json:"limit"`
	// Clear, in thousandths of the limit: what was crossed stays crossed until
	// the metric is below it.
	Clear int64 `json:"clear"`
	// Hold (load time): for so long it must be crossed before anything moves.
	Hold time.Duration `json:"hold_ns"`
}

// Defaults of a FeatureThreshold.
const (
	DefaultClear = 900
	DefaultHold  = 2 * Tick
)

// MaxThresholds bounds what one workload may have.
const MaxThresholds = 8

// Passes is the hold in passes of one tick each, at least one.
func (t FeatureThreshold) Passes() int64 { return max(1, int64((t.Hold+Tick-1)/Tick)) }

// Line is where the metric must get below again.
func (t FeatureThreshold) Line() int64 { return int64(float64(t.Limit) * float64(t.Clear) / 1000) }

// Validate checks a threshold that comes from outside.
func (t FeatureThreshold) Validate() error {
	if err := validateName("metric", string(t.Metric)); err != nil {
		return err
	}
	switch {
	case t.Limit <= 0:
		return fmt.Errorf("threshold of %s: a limit above 0 is needed", t.Metric)
	case t.Clear < 1 || t.Clear > 1000:
		return fmt.Errorf("threshold of %s: clear is %d: 1 to 1000 thousandths of the limit are allowed", t.Metric, t.Clear)
	case t.Hold < 0 || t.Hold > 24*time.Hour:
		return fmt.Errorf("threshold of %s: hold is %s: 0 to 24h are allowed", t.Metric, t.Hold)
	}
	return nil
}

// WorkloadThresholds are those of one workload, by metric.
type WorkloadThresholds struct {
	Workload   WorkloadID         `json:"workload"`
	Thresholds []FeatureThreshold `json:"thresholds"`
}

// Validate checks thresholds that come from outside.
func (w WorkloadThresholds) Validate() error {
	if err := w.Workload.Validate(); err != nil {
		return err
	}
	if len(w.Thresholds) > MaxThresholds {
		return fmt.Errorf("workload %s: %d thresholds: at most %d are allowed", w.Workload, len(w.Thresholds), MaxThresholds)
	}
	for i, t := range w.Thresholds {
		if err := t.Validate(); err != nil {
			return fmt.Errorf("workload %s: %w", w.Workload, err)
		}
		if i > 0 && w.Thresholds[i-1].Metric >= t.Metric {
			return fmt.Errorf("workload %s: thresholds must be in the order of their metrics, one for each", w.Workload)
		}
	}
	return nil
}
