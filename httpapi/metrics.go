package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/placed-dev/placed/api"
)

// metrics counts requests and shows the agent's status to Prometheus.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	streams  prometheus.Gauge
	waiting  prometheus.Gauge
	page     http.Handler
}

func newMetrics(registry *prometheus.Registry, backend Backend, version string) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "placed_http_requests_total", Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "placed_http_request_seconds", Help: "Time to answer a request, streams and blocking queries included.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60},
		}, []string{"route"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "placed_http_streams", Help: "Open event streams.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "placed_http_waiting", Help: "Blocking queries that wait.",
		}),
		page: promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "placed_build_info", Help: "1, labelled with the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	collectors := []prometheus.Collector{m.requests, m.seconds, m.streams, m.waiting, build, newStatusCollector(backend)}
	if b, ok := backend.(LogBackend); ok {
		collectors = append(collectors, newLogCollector(b))
	}
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) serve(w http.ResponseWriter, r *http.Request) error {
	m.page.ServeHTTP(w, r)
	return nil
}

// observe counts one request; a status that was never written is 200.
func (m *metrics) observe(route, method string, w http.ResponseWriter, handle func(http.ResponseWriter)) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete:
	default:
		method = "other" // a client must not be able to make label values
	}
	recorder := &recorder{ResponseWriter: w, status: http.StatusOK}
	start := time.Now()
	handle(recorder)
	m.requests.WithLabelValues(route, method, strconv.Itoa(recorder.status)).Inc()
	m.seconds.WithLabelValues(route).Observe(time.Since(start).Seconds())
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// statusSample is one reading of the backend.
type statusSample struct {
	api.Status
	lastContact time.Duration
}

// statusCollector asks the backend at each scrape, so that metrics cannot
// disagree with the API.
type statusCollector struct {
	backend Backend
	gauges  []statusMetric
}

type statusMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(statusSample) float64
}

func newStatusCollector(backend Backend) *statusCollector {
	c := &statusCollector{backend: backend}
	add := func(kind prometheus.ValueType, name, help string, value func(statusSample) float64) {
		c.gauges = append(c.gauges, statusMetric{prometheus.NewDesc("placed_"+name, help, nil, nil), kind, value})
	}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	add(gauge, "hosts", "Hosts in the books.", func(s statusSample) float64 { return float64(s.Hosts) })
	add(gauge, "hosts_alive", "Hosts that are alive.", func(s statusSample) float64 { return float64(s.HostsAlive) })
	add(gauge, "voters", "Voters of the log.", func(s statusSample) float64 { return float64(s.Voters) })
	add(gauge, "voters_alive", "Voters that are alive.", func(s statusSample) float64 { return float64(s.VotersAlive) })
	add(gauge, "workloads", "Workloads in the books.", func(s statusSample) float64 { return float64(s.Workloads) })
	add(gauge, "contentions", "Contentions predicted now.", func(s statusSample) float64 { return float64(s.Contentions) })
	add(gauge, "migrations_active", "Migrations under way.", func(s statusSample) float64 { return float64(s.MigrationsActive) })
	add(gauge, "standbys_active", "Workloads kept copied at another host.", func(s statusSample) float64 { return float64(s.StandbysActive) })
	add(counter, "migrations_total", "Migrations committed since the cluster began.", func(s statusSample) float64 { return float64(s.MigrationsTotal) })
	add(counter, "migrations_failed_total", "Migrations ended without a commit.", func(s statusSample) float64 { return float64(s.MigrationsFailed) })
	add(gauge, "log_index", "Last applied index of the log.", func(s statusSample) float64 { return float64(s.Index) })
	add(gauge, "log_term", "Term of the log.", func(s statusSample) float64 { return float64(s.Term) })
	add(gauge, "is_leader", "1 on the leader.", func(s statusSample) float64 { return truth(s.Leader != nil && s.Leader.ID == s.Host.ID) })
	add(gauge, "leader_known", "1 while the agent knows a leader.", func(s statusSample) float64 { return truth(s.Leader != nil) })
	add(gauge, "leader_last_contact_seconds", "Time since the leader was last heard.", func(s statusSample) float64 { return s.lastContact.Seconds() })
	add(gauge, "automation_auto", "1 while passes may move workloads.", func(s statusSample) float64 { return truth(s.Automation == "auto" && !s.Paused) })
	add(gauge, "rules", "Rules in force.", func(s statusSample) float64 { return float64(s.Rules) })
	add(gauge, "rules_broken", "Hard rules that are broken as the books stand.", func(s statusSample) float64 { return float64(s.RulesBroken) })
	add(gauge, "calendar_holds", "Intervals of the calendar that hold now.", func(s statusSample) float64 { return float64(len(s.CalendarNow)) })
	add(gauge, "adjustments", "Adjustments of workloads in place that stand.", func(s statusSample) float64 { return float64(s.Adjustments) })
	add(gauge, "adjustments_failed", "Adjustments that a host could not make lately.", func(s statusSample) float64 { return float64(s.AdjustmentsFailed) })
	add(gauge, "drains_overdue", "Hosts that were to be empty by now and are not.", func(s statusSample) float64 { return float64(s.DrainsOverdue) })
	add(gauge, "hosts_overbooked", "Hosts on which reality exceeds the books.", func(s statusSample) float64 { return float64(s.HostsOverbooked) })
	add(gauge, "healthy", "1 while the agent sees no problem.", func(s statusSample) float64 { return truth(s.Healthy) })
	return c
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(out chan<- *prometheus.Desc) {
	for _, g := range c.gauges {
		out <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	status, err := c.backend.Status(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(c.gauges[0].desc, errors.Join(errors.New("status for metrics"), err))
		return
	}
	sample := statusSample{Status: status, lastContact: c.backend.Meta().LastContact}
	for _, g := range c.gauges {
		out <- prometheus.MustNewConstMetric(g.desc, g.kind, g.value(sample))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
