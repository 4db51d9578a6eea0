package httpapi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// LogBackend is a Backend whose agent holds the replicated log.
type LogBackend interface {
	// LogFigures of this agent; false where it holds no log. It never blocks.
	LogFigures() (LogFigures, bool)
}

// LogFigures are what the proposer and, on the leader, the autopilot say.
type LogFigures struct {
	// Since the agent started: entries that were put into the log, proposals
	// and bytes in them. Waiting proposals have not been taken yet, entries in
	// flight wait for an answer.
	Entries, Proposals, Bytes uint64
	Waiting, InFlight         int
	// Took counts the answered entries cumulatively by the time until the
	// answer; Answered and Total are all of them.
	Took     map[time.Duration]uint64
	Answered uint64
	Total    time.Duration

	// Judged: this agent leads and has looked at the servers.
	Judged           bool
	Healthy          bool
	FailureTolerance int
	ClockOffset      time.Duration // of this leader to the voters' median
	Servers          []LogServer
}

// LogServer is one server as the autopilot sees it.
type LogServer struct {
	Host        string // its name, else its id
	Healthy     bool
	LastContact time.Duration
	Behind      uint64 // entries behind the leader
}

// logCollector asks the backend at each scrape.
type logCollector struct {
	backend LogBackend

	entries, proposals, bytes, waiting, inFlight, seconds *prometheus.Desc
	healthy, tolerance, offset, server, contact, behind   *prometheus.Desc
}

func newLogCollector(backend LogBackend) *logCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("placed_"+name, help, labels, nil)
	}
	return &logCollector{
		backend:   backend,
		entries:   desc("log_entries_total", "Entries that this agent put into the log as leader."),
		proposals: desc("log_proposals_total", "Proposals in these entries; by entries it is how many callers share an fsync."),
		bytes:     desc("log_entry_bytes_total", "Bytes of these entries."),
		waiting:   desc("log_proposals_waiting", "Proposals that wait for a place in an entry."),
		inFlight:  desc("log_entries_in_flight", "Entries that wait for the voters' answer; 256 is the limit."),
		seconds:   desc("log_entry_seconds", "Time from handing an entry to the log to its answer: replication, fsync and apply."),
		healthy:   desc("autopilot_healthy", "1 while every server of the log is well. On the leader only."),
		tolerance: desc("autopilot_failure_tolerance", "Healthy voters that may be lost without losing the quorum. On the leader only."),
		offset:    desc("autopilot_clock_offset_seconds", "How far the leader's clock is ahead of the voters' median. On the leader only."),
		server:    desc("autopilot_server_healthy", "1 while the server of the log is well. On the leader only.", "host"),
		contact:   desc("autopilot_server_last_contact_seconds", "Time since the server last heard of the leader. On the leader only.", "host"),
		behind:    desc("autopilot_server_behind_entries", "Entries that the server's log is behind the leader's. On the leader only.", "host"),
	}
}

// Describe implements prometheus.Collector.
func (c *logCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.entries, c.proposals, c.bytes, c.waiting, c.inFlight, c.seconds,
		c.healthy, c.tolerance, c.offset, c.server, c.contact, c.behind} {
		out <- d
	}
}

// Collect implements prometheus.Collector. A host without the log shows nothing:
// a zero would look like a figure.
func (c *logCollector) Collect(out chan<- prometheus.Metric) {
	f, holds := c.backend.LogFigures()
	if !holds {
		return
	}
	send := func(kind prometheus.ValueType, d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	send(counter, c.entries, float64(f.Entries))
	send(counter, c.proposals, float64(f.Proposals))
	send(counter, c.bytes, float64(f.Bytes))
	send(gauge, c.waiting, float64(f.Waiting))
	send(gauge, c.inFlight, float64(f.InFlight))
	buckets := make(map[float64]uint64, len(f.Took))
	for bound, n := range f.Took {
		buckets[bound.Seconds()] = n
	}
	out <- prometheus.MustNewConstHistogram(c.seconds, f.Answered, f.Total.Seconds(), buckets)
	if !f.Judged {
		return
	}
	send(gauge, c.healthy, truth(f.Healthy))
	send(gauge, c.tolerance, float64(f.FailureTolerance))
	send(gauge, c.offset, f.ClockOffset.Seconds())
	for _, s := range f.Servers {
		send(gauge, c.server, truth(s.Healthy), s.Host)
		send(gauge, c.contact, s.LastContact.Seconds(), s.Host)
		send(gauge, c.behind, float64(s.Behind), s.Host)
	}
}
