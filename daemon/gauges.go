package daemon

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// gateCollector shows Prometheus how the forecasts of this host's workloads have
// fared. Every host shows its own, so that no agent has the series of a whole fleet.
type gateCollector struct {
	series *seriesSet
	judged *prometheus.Desc
	covers *prometheus.Desc
	skill  *prometheus.Desc
	open   *prometheus.Desc
}

func newGateCollector(s *seriesSet) *gateCollector {
	labels := []string{"workload", "resource", "horizon"}
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("placed_forecast_"+name, help, labels, nil)
	}
	return &gateCollector{series: s,
		judged: desc("judged", "Forecasts judged against what came, older ones count less."),
		covers: desc("coverage", "Share of values at or below the quantile 0.95 that was forecast."),
		skill:  desc("skill", "1 minus the pinball loss over that of repeating the newest value."),
		open:   desc("gate_open", "1 while the forecast may be acted upon."),
	}
}

// Describe implements prometheus.Collector.
func (c *gateCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.judged, c.covers, c.skill, c.open} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *gateCollector) Collect(out chan<- prometheus.Metric) {
	for _, g := range c.series.gates() {
		for h, horizon := range predictor.Horizons {
			gate := g.gates[h]
			open := 0.0
			if gate.Open {
				open = 1
			}
			for _, m := range []struct {
				desc  *prometheus.Desc
				value float64
			}{{c.judged, gate.Judged}, {c.covers, gate.Coverage}, {c.skill, gate.Skill}, {c.open, open}} {
				out <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, m.value, string(g.workload), string(g.resource), horizon.String())
			}
		}
	}
}

// judged is how the forecasts of one series have fared.
type judged struct {
	workload fleet.WorkloadID
	resource fleet.Resource
	gates    [predictor.HorizonCount]predictor.Gate
}

// gates of the workloads that run here.
func (s *seriesSet) gates() []judged {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []judged
	for _, id := range slices.Sorted(maps.Keys(s.loads)) {
		o := s.loads[id]
		if !o.left.IsZero() {
			continue
		}
		for _, r := range forecastResources {
			track := o.tracks[r]
			if track == nil {
				continue
			}
			j := judged{workload: id, resource: r}
			for h := range j.gates {
				j.gates[h] = track.Learned()[h].Gate()
			}
			out = append(out, j)
		}
	}
	return out
}
