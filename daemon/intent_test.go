package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// booked puts workloads into the books that nothing runs: plans are made of the
// books and the reports.
func booked(t *testing.T, d *Daemon, ids ...fleet.WorkloadID) {
	t.Helper()
	var workloads []fleet.Workload
	for _, id := range ids {
		workloads = append(workloads, fleet.Workload{ID: id, Driver: "region", Reservation: fleet.Vector{CPU: 1000, Memory: 64 << 20}, Tolerance: 500})
	}
	within(t, 60*time.Second, "workloads are booked", func() error {
		return d.propose(t.Context(), fsm.RegisterWorkloads{Host: d.self, Workloads: workloads})
	})
}

func status(err error) int {
	var refused *api.Error
	if errors.As(err, &refused) {
		return refused.Status
	}
	return 0
}

// Rules written at any agent reach the leader's passes: they bend a plan, name who
// breaks them, and are gone when they are dropped.
func TestRulesOverTheAPI(t *testing.T) {
	s := newSite(t, 41)
	agents, stops, leader := s.three()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	ctx := t.Context()
	booked(t, agents[0], "web-1")
	booked(t, agents[1], "web-2")
	client := s.client((leader + 1) % 3)
	apart := api.RuleRequest{Kind: "anti-affinity", Workloads: []string{"web-1", "web-2"}}
	if _, err := client.PutRule(ctx, "apart", api.RuleRequest{Kind: "anti-affinity", Workloads: []string{"web-1", "web-9"}}); status(err) != http.StatusNotFound || !strings.Contains(err.Error(), "web-9") {
		t.Errorf("a workload nobody knows: %v", err)
	}
	first, err := client.PutRule(ctx, "apart", apart)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := client.PutRule(ctx, "apart", apart); err != nil || !strings.Contains(again.Message, "already") {
		t.Errorf("put again: %+v after %+v, %v", again, first, err)
	}
	here, err := client.PutRule(ctx, "here", api.RuleRequest{Kind: "host-affinity", Workloads: []string{"web-2"}, Hosts: []string{"h3"}})
	if err != nil || !strings.Contains(here.Message, "broken now by web-2 on host h2") {
		t.Errorf("%+v, %v", here, err)
	}
	st, _, err := client.Status(ctx, api.QueryOptions{})
	if err != nil || st.Rules != 2 || st.RulesBroken != 1 || !slices.ContainsFunc(st.Problems, func(p api.Problem) bool { return p.Code == "rule_broken" }) {
		t.Errorf("status %+v, %v", st, err)
	}
	within(t, 60*time.Second, "the leader's metrics show its proposer, its autopilot and the broken rule", func() error {
		response, err := http.Get("http://" + s.ips[leader] + ":4102/v1/metrics")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		page, err := io.ReadAll(response.Body)
		for _, want := range []string{"placed_autopilot_healthy 1\n", "placed_autopilot_failure_tolerance 1\n", `placed_autopilot_server_healthy{host="h1"} 1`, "placed_rules_broken 1\n", `placed_log_entry_seconds_bucket{le="+Inf"}`} {
			if err == nil && !bytes.Contains(page, []byte(want)) {
				return fmt.Errorf("%q is not among them", want)
			}
		}
		return err
	})
	if _, err := client.DropRule(ctx, "here"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DropRule(ctx, "here"); status(err) != http.StatusNotFound {
		t.Errorf("dropped twice: %v", err)
	}
	file, _, err := client.Fleet(ctx, api.QueryOptions{})
	if err != nil || len(file.Rules) != 1 || file.Rules[0].ID != "apart" {
		t.Errorf("fleet file: %+v, %v", file.Rules, err)
	}
	// The pass of whoever leads knows the rule.
	within(t, 60*time.Second, "the leader refuses the host of web-2 because of the rule", func() error {
		_, err := client.Move(ctx, api.MoveRequest{Workload: "web-1", DestinationHost: "h2"})
		if status(err) != http.StatusConflict || !strings.Contains(err.Error(), "anti-affinity rule apart") {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	if _, err := client.Pin(ctx, "web-9", true); status(err) != http.StatusNotFound {
		t.Errorf("pinning a workload nobody knows: %v", err)
	}
	if _, err := client.Pin(ctx, "web-1", true); err != nil {
		t.Fatal(err)
	}
	within(t, 60*time.Second, "a pinned workload stays", func() error {
		if _, err := client.Move(ctx, api.MoveRequest{Workload: "web-1"}); status(err) != http.StatusConflict || !strings.Contains(err.Error(), "pinned by an operator") {
			return fmt.Errorf("not yet: %w", err)
		}
		return nil
	})
	if _, err := client.Pin(ctx, "web-1", false); err != nil {
		t.Fatal(err)
	}
	accepted, err := client.Move(ctx, api.MoveRequest{Workload: "web-1"})
	if err != nil || !strings.Contains(accepted.Message, "moves to h3") {
		t.Errorf("without a destination: %+v, %v", accepted, err)
	}
}

// A calendar written at any agent becomes intervals in the books, which change the
// forecast and the capacity that every agent shows; dropped, the forecast is as
// before.
func TestCalendarOverTheAPI(t *testing.T) {
	s := newSite(t, 42)
	agents, stops, leader := s.three()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	ctx := t.Context()
	booked(t, agents[0], "shop")
	client := s.client((leader + 1) % 3)
	forecast := func(want string, ok func(api.HostForecast) bool) {
		t.Helper()
		within(t, 60*time.Second, want, func() error {
			all, _, err := client.Forecasts(ctx, "h1", api.QueryOptions{})
			if err != nil || len(all) != 1 || !ok(all[0]) {
				return fmt.Errorf("%+v, %w", all, err)
			}
			return nil
		})
	}
	median := func(f api.HostForecast, step int) float64 {
		return f.Steps[step].Quantiles[slices.Index(f.Levels, 0.5)]
	}
	flat := func(f api.HostForecast) bool {
		return len(f.Steps) == 12 && median(f, 11) == median(f, 0) && median(f, 0) > 0.9 && len(f.Effects) == 0 && f.Contention == nil
	}
	forecast("a flat forecast without a calendar", flat)
	now := time.Now().UTC()
	start := now.Add(25 * time.Minute).Format("2006-01-02T15:04")
	sale := api.CalendarRequest{Kind: "load-changes", Label: "sale", Factor: map[string]float64{"cpu": 3}, Workloads: []string{"shop"}, Start: start, DurationS: 7200}
	accepted, err := client.PutCalendar(ctx, "sale", sale)
	if err != nil || !strings.Contains(accepted.Message, "within two weeks: 1, next from") {
		t.Fatalf("%+v, %v", accepted, err)
	}
	if again, err := client.PutCalendar(ctx, "sale", sale); err != nil || again.Message != accepted.Message {
		t.Errorf("put again: %+v, %v", again, err)
	}
	forecast("three times the load once the event has begun", func(f api.HostForecast) bool {
		return median(f, 0) < 1.1 && median(f, 11) > 2.7 && len(f.Effects) == 1 && f.Effects[0].Of == "load" && f.Effects[0].Factor == 3 && slices.Equal(f.Effects[0].Workloads, []string{"shop"})
	})
	if _, err := client.PutCalendar(ctx, "dimm", api.CalendarRequest{Kind: "capacity-falls", Factor: map[string]float64{"cpu": 0.2}, Hosts: []string{"h1"}, Start: start, DurationS: 7200}); err != nil {
		t.Fatal(err)
	}
	forecast("contention during the maintenance", func(f api.HostForecast) bool {
		return len(f.Effects) == 2 && f.Contention != nil && f.Contention.Breach.After(now.Add(15*time.Minute))
	})
	if _, err := client.PutCalendar(ctx, "freeze", api.CalendarRequest{Kind: "no-moves", ICS: "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:f\r\nSUMMARY:release\r\nDTSTART:" +
		now.Add(-time.Hour).Format("20060102T150405Z") + "\r\nDTEND:" + now.Add(3*time.Hour).Format("20060102T150405Z") + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"}); err != nil {
		t.Fatal(err)
	}
	within(t, 60*time.Second, "the window holds now", func() error {
		st, _, err := client.Status(ctx, api.QueryOptions{})
		if err != nil || st.CalendarSources != 3 || len(st.CalendarNow) != 1 || !strings.Contains(st.CalendarNow[0], "no-moves release") {
			return fmt.Errorf("%d %v, %w", st.CalendarSources, st.CalendarNow, err)
		}
		return nil
	})
	one, _, err := client.CalendarSource(ctx, "dimm", api.QueryOptions{})
	if err != nil || one.Ahead != 1 || one.Factor["cpu"] != 0.2 || one.Hosts[0] != s.hosts[0] {
		t.Errorf("%+v, %v", one, err)
	}
	for want, bad := range map[string]api.CalendarRequest{
		"Atlantis": {Kind: "no-moves", TimeZone: "Atlantis/Center", Start: start, DurationS: 60},
		"FREQ=SO":  {Kind: "no-moves", Recurrence: "FREQ=SO", Start: start, DurationS: 60},
		"bad:1":    {Kind: "no-moves", ICS: "nothing"},
	} {
		if _, err := client.PutCalendar(ctx, "bad", bad); status(err) != http.StatusBadRequest || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
	if _, err := client.PutCalendar(ctx, "grows", api.CalendarRequest{Kind: "load-grows", Label: "season", Factor: map[string]float64{"cpu": 2}, Workloads: []string{"shop"},
		Start: now.Add(-24 * time.Hour).Format("2006-01-02T15:04"), DurationS: 365 * 24 * 3600}); err != nil {
		t.Fatal(err)
	}
	within(t, 60*time.Second, "growth that nobody has seen yet in the zone's forecast", func() error {
		zones, _, err := client.ZoneForecasts(ctx, api.QueryOptions{})
		if err != nil {
			return err
		}
		for _, z := range zones {
			if z.Resource == "cpu" && z.Declared > 1.99 && z.Declared < 2.01 {
				return nil
			}
		}
		return fmt.Errorf("%+v", zones)
	})
	forecast("the growth among the effects", func(f api.HostForecast) bool {
		return slices.ContainsFunc(f.Effects, func(e api.ForecastEffect) bool {
			return strings.Contains(e.Why, "load-grows season by 100.0 % a month") && e.Factor > 1.0009 && e.Factor < 1.002
		})
	})
	for _, id := range []string{"sale", "dimm", "freeze", "grows"} {
		if _, err := client.DropCalendar(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	forecast("a flat forecast again", flat)
}

// A cluster of the level before goes on, refuses what is new with the way out, and
// is raised only when the last host runs the newer version.
func TestUpgrade(t *testing.T) {
	s := newSite(t, 43)
	s.prepare = func(i int, d *Daemon) {
		if i == 2 {
			d.knows = fsm.FeatureLevel - 1
		}
	}
	agents, stops, leader := s.three()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	ctx := t.Context()
	client := s.client((leader + 1) % 3)
	if _, err := client.RestoreSnapshot(ctx, olderBooks(t, agents)); err != nil {
		t.Fatal(err)
	}
	within(t, 60*time.Second, "every host has registered in the restored books", func() (err error) {
		for i, d := range agents {
			d.replica.Read(func(state *fsm.State) {
				for _, id := range s.hosts {
					if state.FeatureLevel() != fsm.FeatureLevel-1 || !state.Verified(fleet.HostID(id)) {
						err = fmt.Errorf("agent %d: level %d, host %s verified: %t", i+1, state.FeatureLevel(), id, state.Verified(fleet.HostID(id)))
					}
				}
			})
		}
		return err
	})
	policy, _, err := client.Policy(ctx, api.QueryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	policy.Standbys = 1 // of the newest level
	if _, err := client.SetPolicy(ctx, policy); status(err) != http.StatusConflict || !strings.Contains(err.Error(), "placed operator upgrade finalize") {
		t.Fatalf("written at the level before: %v", err)
	}
	state, err := client.Upgrade(ctx)
	if err != nil || state.Ready || len(state.Members) != 3 || len(state.Obstacles) != 1 || !strings.Contains(state.Obstacles[0], "voter h3 is too old") {
		t.Fatalf("%+v, %v", state, err)
	}
	if _, err := client.FinalizeUpgrade(ctx); status(err) != http.StatusConflict || !strings.Contains(err.Error(), "voter h3 is too old") {
		t.Fatalf("finalized with an old voter: %v", err)
	}
	stops[2]() // the newer version is installed there
	s.prepare = nil
	agents[2], stops[2] = s.start(2)
	if leader == 1 { // the agent that was asked is the one that was replaced
		client = s.client(0)
	}
	within(t, 60*time.Second, "the level is raised", func() error {
		accepted, err := client.FinalizeUpgrade(ctx)
		if err != nil || !strings.Contains(accepted.Message, fmt.Sprint(fsm.FeatureLevel)) {
			return fmt.Errorf("%+v, %w", accepted, err)
		}
		return nil
	})
	if accepted, err := client.FinalizeUpgrade(ctx); err != nil || !strings.Contains(accepted.Message, "nothing to do") {
		t.Errorf("finalized twice: %+v, %v", accepted, err)
	}
	if _, err := client.SetPolicy(ctx, policy); err != nil {
		t.Errorf("after the upgrade: %v", err)
	}
}

// olderBooks are the books of these agents at the feature level before the newest.
func olderBooks(t *testing.T, agents []*Daemon) []byte {
	t.Helper()
	state := fsm.New()
	index := uint64(0)
	apply := func(proposer fleet.HostID, op fsm.Operation) {
		t.Helper()
		index++
		data, err := fsm.Encode(fsm.Header{ID: fmt.Sprint("old", index), Proposer: proposer, At: time.Now(), LoadAt: time.Now()}, op)
		if err != nil {
			t.Fatal(err)
		}
		if err := state.Apply(index, data).Refused(); err != nil {
			t.Fatal(err)
		}
	}
	apply(agents[0].self, fsm.InitCluster{Cluster: cluster, Level: fsm.FeatureLevel - 1})
	for _, d := range agents {
		apply(d.self, fsm.RegisterHost{Host: d.cfg.Host})
	}
	var out bytes.Buffer
	if _, err := state.Capture().WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Who must know the next level, who must answer, and who need not.
func TestJudgeUpgrade(t *testing.T) {
	member := func(name string, voter bool, knows uint64) api.UpgradeHost {
		return api.UpgradeHost{ID: name, Name: name, Voter: voter, Knows: knows, Answered: true, Version: "v" + name}
	}
	silent := func(name string, voter bool) api.UpgradeHost {
		return api.UpgradeHost{ID: name, Name: name, Voter: voter, Error: "timeout"}
	}
	ancient := api.UpgradeHost{ID: "a", Name: "a", Answered: true, Error: "its agent is older than this question"}
	for name, c := range map[string]struct {
		members []api.UpgradeHost
		ready   bool
		newest  uint64
		says    string
	}{
		"all know it":                {[]api.UpgradeHost{member("1", true, 3), member("2", false, 3)}, true, 3, ""},
		"nobody knows more":          {[]api.UpgradeHost{member("1", true, 2), silent("2", true)}, false, 2, ""},
		"a voter is too old":         {[]api.UpgradeHost{member("1", true, 3), member("2", true, 2)}, false, 2, "voter 2 is too old, version v2 knows feature level 2, others know 3"},
		"a host is too old":          {[]api.UpgradeHost{member("1", true, 3), member("2", false, 2)}, false, 2, "2 is too old"},
		"a host is older than this":  {[]api.UpgradeHost{member("1", true, 3), ancient}, false, 2, "a is too old"},
		"a voter does not answer":    {[]api.UpgradeHost{member("1", true, 3), silent("dead", true)}, false, 2, "voter dead does not answer"},
		"a dead host may stay so":    {[]api.UpgradeHost{member("1", true, 3), silent("dead", false)}, true, 3, ""},
		"a living host must say it":  {[]api.UpgradeHost{member("1", true, 3), silent("2", false)}, false, 2, "2 does not answer although it is alive"},
		"one step is left for later": {[]api.UpgradeHost{member("1", true, 4), member("2", true, 3)}, false, 3, "2 is too old"},
	} {
		got := judgeUpgrade(2, c.members, func(id string) bool { return id == "dead" })
		if got.Ready != c.ready || got.Newest != c.newest || !strings.Contains(strings.Join(got.Obstacles, "; "), c.says) || c.says == "" && len(got.Obstacles) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
