package daemon

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// warningLook is how often it is looked whether a load tick has passed.
const warningLook = time.Second

// judgeWarnings keeps the record of what this voter's forecasts say of contention.
func (d *Daemon) judgeWarnings(ctx context.Context) error {
	ticker := time.NewTicker(warningLook)
	defer ticker.Stop()
	last := int64(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		tick := fleet.TickOf(d.clock.At(time.Now()))
		if tick == last {
			continue
		}
		last = tick
		view := d.sight.view()
		d.foresights.Fill(&view)
		d.warnings.Observe(view, d.reports)
	}
}

// warningsOf is what a host's contention is said to be, and how such words have fared
// in the whole fleet; nil while nothing was said.
func warningsOf(w *controller.Warnings, host fleet.HostID) []api.ContentionAhead {
	said, ok := w.Newest(host)
	if !ok {
		return nil
	}
	var out []api.ContentionAhead
	for i, r := range w.Records() {
		a := api.ContentionAhead{LeadMinutes: predictor.WarningLeads[i] * int(fleet.Tick/time.Minute), Probability: said[i], Calibrated: r.Calibrated(said[i]), Judged: r.Judged}
		score, skill := r.Brier()
		a.Brier, a.BrierSkill = number(score), number(skill)
		a.Precision, a.Recall = number(r.Precision()), number(r.Recall())
		out = append(out, a)
	}
	return out
}

// number is nil for one that is not known yet.
func number(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// warningCollector shows Prometheus how this voter's warnings have fared.
type warningCollector struct {
	warnings *controller.Warnings
	descs    map[string]*prometheus.Desc
}

var warningHelp = []struct{ name, help string }{
	{"judged", "Probabilities of contention judged against what came, older ones count less."},
	{"brier", "Mean squared error of the probabilities of contention."},
	{"brier_skill", "1 minus the Brier score over that of always saying how often contention came."},
	{"precision", "Share of the warnings of an onset of contention that came true."},
	{"recall", "Share of the onsets of contention that were warned of."},
}

func newWarningCollector(w *controller.Warnings) *warningCollector {
	c := &warningCollector{warnings: w, descs: map[string]*prometheus.Desc{}}
	for _, h := range warningHelp {
		c.descs[h.name] = prometheus.NewDesc("placed_contention_"+h.name, h.help, []string{"lead"}, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *warningCollector) Describe(out chan<- *prometheus.Desc) {
	for _, h := range warningHelp {
		out <- c.descs[h.name]
	}
}

// Collect implements prometheus.Collector. What is not known yet is left out.
func (c *warningCollector) Collect(out chan<- prometheus.Metric) {
	for i, r := range c.warnings.Records() {
		lead := predictor.Horizon{Ticks: predictor.WarningLeads[i]}.String()
		score, skill := r.Brier()
		for k, v := range []float64{r.Judged, score, skill, r.Precision(), r.Recall()} {
			if number(v) != nil {
				out <- prometheus.MustNewConstMetric(c.descs[warningHelp[k].name], prometheus.GaugeValue, v, lead)
			}
		}
	}
}
