package httpapi

import (
	"strings"
	"testing"
	"time"
)

// logDemo is a demo whose agent holds the log.
type logDemo struct {
	*demo
	figures LogFigures
	holds   bool
}

func (d *logDemo) LogFigures() (LogFigures, bool) { return d.figures, d.holds }

// The proposer's figures and the autopilot's judgement are on the page, each with a
// help text; a follower shows no judgement, a host without the log nothing.
func TestLogMetrics(t *testing.T) {
	backend := &logDemo{demo: newDemo(3), holds: true, figures: LogFigures{
		Entries: 10, Proposals: 25, Bytes: 900, Waiting: 2, InFlight: 1, Answered: 9, Total: 90 * time.Millisecond,
		Took:   map[time.Duration]uint64{5 * time.Millisecond: 3, 20 * time.Millisecond: 9},
		Judged: true, Healthy: false, FailureTolerance: 1, ClockOffset: -250 * time.Millisecond,
		Servers: []LogServer{{Host: "hv-01", Healthy: true}, {Host: "hv-02", LastContact: 1500 * time.Millisecond, Behind: 2048}},
	}}
	server := newServer(t, Config{Backend: backend})
	page := func() string { return answer(server, "GET", "/v1/metrics", "").Body.String() }
	got := page()
	for _, want := range []string{
		"placed_log_entries_total 10\n", "placed_log_proposals_total 25\n", "placed_log_entry_bytes_total 900\n",
		"placed_log_proposals_waiting 2\n", "placed_log_entries_in_flight 1\n",
		`placed_log_entry_seconds_bucket{le="0.005"} 3`, `placed_log_entry_seconds_bucket{le="+Inf"} 9`, "placed_log_entry_seconds_sum 0.09\n",
		"placed_autopilot_healthy 0\n", "placed_autopilot_failure_tolerance 1\n", "placed_autopilot_clock_offset_seconds -0.25\n",
		`placed_autopilot_server_healthy{host="hv-02"} 0`, `placed_autopilot_server_last_contact_seconds{host="hv-02"} 1.5`,
		`placed_autopilot_server_behind_entries{host="hv-02"} 2048`,
		"# HELP placed_autopilot_healthy 1 while every server", "placed_rules 0\n", "placed_hosts_overbooked 0\n", "placed_calendar_holds 0\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	for _, line := range strings.Split(got, "\n") {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " ")
		if strings.HasPrefix(line, "# TYPE placed_") && !strings.Contains(got, "# HELP "+name+" ") {
			t.Errorf("%s has no help", name)
		}
	}
	backend.figures.Judged = false
	if got := page(); strings.Contains(got, "placed_autopilot") || !strings.Contains(got, "placed_log_entries_total") {
		t.Error("a follower shows a judgement, or not its own figures")
	}
	backend.holds = false
	if strings.Contains(page(), "placed_log_entries_total") {
		t.Error("a host without the log shows figures of it")
	}
}
