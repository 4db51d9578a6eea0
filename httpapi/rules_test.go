package httpapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

func (d *demo) Rules(context.Context) ([]api.Rule, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []api.Rule
	for _, r := range d.rules {
		out = append(out, RuleOf(r, nil))
	}
	return out, nil
}

func (d *demo) PutRule(_ context.Context, w Write, rule fleet.Rule) (api.Accepted, error) {
	return d.once(w, func() (api.Accepted, error) {
		d.rules = slices.DeleteFunc(d.rules, func(r fleet.Rule) bool { return r.ID == rule.ID })
		d.rules = append(d.rules, rule)
		return api.Accepted{Index: d.index, Message: rule.String() + " is in force"}, nil
	})
}

func (d *demo) DropRule(_ context.Context, w Write, id string) (api.Accepted, error) {
	return d.once(w, func() (api.Accepted, error) {
		n := len(d.rules)
		d.rules = slices.DeleteFunc(d.rules, func(r fleet.Rule) bool { return r.ID == id })
		if len(d.rules) == n {
			return api.Accepted{}, fmt.Errorf("rule %s: %w", id, ErrNotFound)
		}
		return api.Accepted{Index: d.index, Message: "dropped"}, nil
	})
}

func (d *demo) Pin(_ context.Context, w Write, workload string, pinned bool) (api.Accepted, error) {
	if workload != "vm-1/cache" {
		return api.Accepted{}, fmt.Errorf("workload %s: %w", workload, ErrNotFound)
	}
	return d.operator(w, "%s pinned %t", workload, pinned)
}

func (d *demo) Calendar(context.Context) ([]api.CalendarSource, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []api.CalendarSource
	now := d.now()
	for _, s := range d.calendar {
		hour := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }
		out = append(out, CalendarSourceOf(s, []fleet.CalendarEntry{{From: hour(-3), Until: hour(-2)}, {From: hour(-1), Until: hour(1)}, {From: hour(23), Until: hour(25)}}, now))
	}
	return out, nil
}

func (d *demo) PutCalendar(_ context.Context, w Write, source fleet.CalendarSource) (api.Accepted, error) {
	return d.once(w, func() (api.Accepted, error) {
		d.calendar = append(d.calendar, source)
		return api.Accepted{Index: d.index, Message: fmt.Sprintf("written: %s change %v", source.Entry, source.Entry.Change)}, nil
	})
}

func (d *demo) DropCalendar(_ context.Context, w Write, id string) (api.Accepted, error) {
	return d.once(w, func() (api.Accepted, error) {
		d.calendar = nil
		return api.Accepted{Index: d.index, Message: "no longer written: " + id}, nil
	})
}

func (d *demo) Upgrade(context.Context) (api.Upgrade, error) {
	return api.Upgrade{Level: 2, Newest: 3, Ready: true, Members: []api.UpgradeHost{}, Obstacles: []string{}}, nil
}

func (d *demo) FinalizeUpgrade(_ context.Context, w Write) (api.Accepted, error) {
	return d.operator(w, "level 3")
}

// Rules and calendar: what is misspelt or malformed is named and not written.
func TestRulesAndCalendarWrites(t *testing.T) {
	backend := newDemo(3)
	server := newServer(t, Config{Backend: backend})
	for _, c := range []struct {
		method, target, body string
		status               int
		has                  string
	}{
		{"GET", "/v1/rules", "", 200, "[]"},
		{"PUT", "/v1/rules/web/apart", `{"kind":"anti-affinity","hard":true,"workloads":["vm-1/cache"],"groups":["web"]}`, 200, "anti-affinity rule web/apart is in force"},
		{"GET", "/v1/rules", "", 200, `"groups":["web"],"hosts":[],"broken":[]`},
		{"GET", "/v1/rules/web/apart", "", 200, `"hard":true`},
		{"GET", "/v1/rules/other", "", 404, "other"},
		{"PUT", "/v1/rules/web/apart", `{"kind":"anti-affinity","workloads":["vm-1/cache"],"groups":["web"]}`, 200, "in force"},
		{"GET", "/v1/rules/web/apart", "", 200, `"hard":true`},
		{"PUT", "/v1/rules/web/apart", `{"kind":"anti-affinity","hard":false,"workloads":["vm-1/cache"],"groups":["web"]}`, 200, "in force"},
		{"GET", "/v1/rules/web/apart", "", 200, `"hard":false`},
		{"PUT", "/v1/rules/r", `{"kind":"host-affinity","workloads":["vm-1/cache"],"hosts":["` + backend.hosts[1].name + `"]}`, 200, "in force"},
		{"PUT", "/v1/rules/r", `{"kind":"host-affinity","workloads":["vm-9","vm-1/cache"],"hosts":["h9","h1"]}`, 404, "host h9, workload vm-9"},
		{"PUT", "/v1/rules/r", `{"kind":"closeness","workloads":["vm-1/cache"]}`, 400, "closeness"},
		{"PUT", "/v1/rules/r", `{"kind":"host-affinity","workloads":["vm-1/cache"]}`, 400, "names no host"},
		{"PUT", "/v1/rules/a%20b", `{"kind":"affinity","groups":["web"]}`, 400, "letters, digits"},
		{"PUT", "/v1/rules/", `{"kind":"affinity","groups":["web"]}`, 400, "rule id is empty"},
		{"PUT", "/v1/rules/r", `{"kind":"affinity","groups":["web"],"strict":true}`, 400, "strict"},
		{"DELETE", "/v1/rules/r", "", 200, "dropped"},
		{"DELETE", "/v1/rules/r", "", 404, "r: not found"},
		{"POST", "/v1/rules/r", "{}", 405, "GET or PUT or DELETE"},

		{"POST", "/v1/pin", `{"workload":"vm-1/cache","pinned":true}`, 200, "vm-1/cache pinned true"},
		{"POST", "/v1/pin", `{"workload":"vm-1/cache","pinned":false}`, 200, "pinned false"},
		{"POST", "/v1/pin", `{"workload":"vm-1/cache"}`, 400, "pinned is missing"},
		{"POST", "/v1/pin", `{"pinned":true}`, 400, "workload is missing"},
		{"POST", "/v1/pin", `{"workload":"vm-9","pinned":true}`, 404, "vm-9"},

		{"GET", "/v1/calendar", "", 200, "[]"},
		{"PUT", "/v1/calendar/sale", `{"kind":"load-changes","factor":{"cpu":1.5},"groups":["web"],"start":"2026-11-27T00:00","duration_s":86400}`, 200, "load-changes sale change cpu 0.5"},
		{"PUT", "/v1/calendar/off", `{"kind":"load-changes","factor":{"cpu":-1},"start":"2026-11-27T00:00","duration_s":1}`, 400, "outside 0 to 101"},
		{"PUT", "/v1/calendar/off", `{"kind":"load-changes","start":"2026-11-27T00:00","duration_s":1}`, 400, "how many thousandths"},
		{"PUT", "/v1/calendar/off", `{"kind":"capacity-falls","factor":{"cpu":1.2},"start":"2026-11-27T00:00","duration_s":1}`, 400, "-1000 to 0"},
		{"PUT", "/v1/calendar/off", `{"kind":"no-moves","hosts":["h9"],"start":"2026-11-27T00:00","duration_s":1}`, 404, "host h9"},
		{"PUT", "/v1/calendar/off", `{"kind":"no-moves"}`, 400, "start and a positive duration"},
		{"PUT", "/v1/calendar/off", `{"kind":"no-moves","duration_s":1e300,"start":"2026-11-27T00:00","ics":"BEGIN:VCALENDAR"}`, 400, "keep one"},
		{"PUT", "/v1/calendar/big", `{"kind":"no-moves","ics":"` + strings.Repeat("x", fleet.MaxICS+1) + `"}`, 400, "split it"},
		{"PUT", "/v1/calendar/big", `{"kind":"no-moves","ics":"` + strings.Repeat("x", maxCalendarBody) + `"}`, 413, "more than"},
		{"GET", "/v1/calendar", "", 200, `"ahead":2`},
		{"DELETE", "/v1/calendar/sale", "", 200, "no longer written: sale"},
		{"GET", "/v1/calendar/sale", "", 404, "sale"},

		{"GET", "/v1/operator/upgrade", "", 200, `"ready":true`},
		{"POST", "/v1/operator/upgrade/finalize", `{}`, 200, "level 3"},
		{"POST", "/v1/operator/upgrade/finalize", `{"level":9}`, 400, "level"},
	} {
		headers := jsonBody
		if c.method == "DELETE" {
			headers = nil
		}
		w := answer(server, c.method, c.target, c.body, headers...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s %s %.90s: status %d, want %d with %q in %.300s", c.method, c.target, c.body, w.Code, c.status, c.has, w.Body)
		}
	}
	if got := backend.rules[0]; len(got.Workloads) != 1 || got.ID != "web/apart" {
		t.Errorf("%+v", backend.rules)
	}
	// A DELETE that another site's page sends is refused like any write.
	if w := answer(server, "DELETE", "/v1/rules/web/apart", "", "Origin", "https://evil.example"); w.Code != 403 || len(backend.rules) != 1 {
		t.Errorf("status %d, rules %+v", w.Code, backend.rules)
	}
}

// The client writes and reads what the server keeps, ids with slashes included.
func TestClientOfRulesAndCalendar(t *testing.T) {
	client := newClient(t, serve(t, Config{Backend: newDemo(3)}))
	ctx := t.Context()
	if _, err := client.PutRule(ctx, "a/b", api.RuleRequest{Kind: "affinity", Groups: []string{"web"}}); err != nil {
		t.Fatal(err)
	}
	rules, _, err := client.Rules(ctx, api.QueryOptions{})
	if err != nil || len(rules) != 1 || rules[0].ID != "a/b" {
		t.Fatalf("%+v, %v", rules, err)
	}
	if _, err := client.DropRule(ctx, "a/b"); err != nil {
		t.Fatal(err)
	}
	request := api.CalendarRequest{Kind: "capacity-falls", Factor: map[string]float64{"cpu": 0.5}, Start: "2026-11-27T00:00", DurationS: 60}
	if _, err := client.PutCalendar(ctx, "night/1", request); err != nil {
		t.Fatal(err)
	}
	sources, _, err := client.Calendar(ctx, api.QueryOptions{})
	if err != nil || len(sources) != 1 || sources[0].Factor["cpu"] != 0.5 || len(sources[0].Intervals) != 1 {
		t.Fatalf("%+v, %v", sources, err)
	}
	one, _, err := client.CalendarSource(ctx, "night/1", api.QueryOptions{})
	if err != nil || len(one.Intervals) != 2 || one.DurationS != 60 {
		t.Fatalf("%+v, %v", one, err)
	}
	if _, err := client.DropCalendar(ctx, "night/1"); err != nil {
		t.Fatal(err)
	}
	if state, err := client.Upgrade(ctx); err != nil || !state.Ready {
		t.Errorf("%+v, %v", state, err)
	}
	if done, err := client.FinalizeUpgrade(ctx); err != nil || done.Message != "level 3" {
		t.Errorf("%+v, %v", done, err)
	}
}
