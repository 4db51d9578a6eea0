package httpapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

var jsonBody = []string{"Content-Type", "application/json; charset=utf-8"}

func TestWrites(t *testing.T) {
	backend := newDemo(3)
	server := newServer(t, Config{Backend: backend})
	for _, c := range []struct {
		method, target, body string
		status               int
		has                  string
	}{
		{"PUT", "/v1/policy", `{"automation":"observe"}`, 200, `"index":414`},
		{"PUT", "/v1/policy", `{"automation":"sometimes"}`, 400, "sometimes"},
		{"PUT", "/v1/policy", `{"quantile":2}`, 400, "quantile 2000"},
		{"PUT", "/v1/policy", `{"horizon_s":1e300}`, 400, "horizon"},
		{"PUT", "/v1/policy", `{"horizn_s":3600}`, 400, "horizn_s"},
		{"PUT", "/v1/policy", `{"automation":"auto"} {}`, 400, "more than one"},
		{"PUT", "/v1/policy", `{`, 400, "not what is expected"},
		{"PUT", "/v1/policy", `{"automation":"` + strings.Repeat("x", maxBody) + `"}`, 413, "65536"},
		{"POST", "/v1/move", `{"workload":"vm-1/cache","destination_host":"h2"}`, 200, "next pass"},
		{"POST", "/v1/move", `{"workload":"vm-1/cache","destination_host":"h1"}`, 409, "already there"},
		{"POST", "/v1/move", `{"workload":"vm-1/cache","destination_host":"h9"}`, 404, "h9"},
		{"POST", "/v1/move", `{"workload":"nobody"}`, 404, "nobody"},
		{"POST", "/v1/move", `{}`, 400, "workload is missing"},
		{"POST", "/v1/move", `{"workload":"vm-1/cache","destination_host":"h2","destination_zone":"b1"}`, 400, "exclude"},
		{"POST", "/v1/lease/resolve", `{"lease":"L41","commit":true,"reason":"seen on h2"}`, 200, "commit true"},
		{"POST", "/v1/lease/resolve", `{"lease":"L9","commit":false,"reason":"seen on h1"}`, 404, "L9"},
		{"POST", "/v1/lease/resolve", `{"lease":"L41","commit":true}`, 400, "reason is missing"},
		{"POST", "/v1/lease/resolve", `{"lease":"L41","reason":"r"}`, 400, "commit is missing"},
		{"POST", "/v1/host/h2/drain", `{"drain":true}`, 200, "draining"},
		{"POST", "/v1/host/h2/drain", `{"drain":false}`, 200, "active"},
		{"POST", "/v1/host/h2/drain", `{}`, 400, "drain is missing"},
		{"POST", "/v1/host/h9/drain", `{"drain":true}`, 404, "h9"},
	} {
		w := answer(server, c.method, c.target, c.body, jsonBody...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s %s %.60s: status %d, want %d with %q in %.300s", c.method, c.target, c.body, w.Code, c.status, c.has, w.Body)
		}
	}
	// A write that names one field leaves the others.
	if backend.policy.Automation != "observe" || backend.policy.HorizonS != 3600 {
		t.Errorf("policy %+v", backend.policy)
	}
}

// What a foreign page can make a browser send is refused, and nothing happens.
func TestForeignPagesAreRefused(t *testing.T) {
	backend := newDemo(3)
	server := newServer(t, Config{Backend: backend, AllowedHosts: []string{"placed.example"}})
	put := func(headers ...string) int {
		return answer(server, "PUT", "/v1/policy", `{"automation":"observe"}`, append([]string{"Content-Type", "application/json"}, headers...)...).Code
	}
	for _, c := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"rebound name", []string{"Host", "evil.example:7480"}, 403},
		{"rebound name that ends like ours", []string{"Host", "evil-placed.example"}, 403},
		{"origin of another site", []string{"Origin", "https://evil.example"}, 403},
		{"another port of this host", []string{"Origin", "http://127.0.0.1:9999"}, 403},
		{"no origin", []string{"Origin", "null"}, 403},
		{"fetch metadata", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"form", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"text", []string{"Content-Type", "text/plain"}, 415},
		{"nothing said", []string{"Content-Type", ""}, 415},
		{"id too long", []string{"Idempotency-Key", strings.Repeat("x", 65)}, 400},
	} {
		if got := put(c.headers...); got != c.status {
			t.Errorf("%s: status %d, want %d", c.name, got, c.status)
		}
	}
	if backend.policy.Automation != "auto" {
		t.Error("a refused write changed the policy")
	}
	for _, host := range []string{"127.0.0.1:7480", "localhost:7480", "LOCALHOST", "[::1]:7480", "192.0.2.7", "placed.example:443", "h1.localhost", ""} {
		if w := answer(server, "GET", "/v1/status", "", "Host", host); w.Code != 200 {
			t.Errorf("host %q: status %d", host, w.Code)
		}
	}
	if w := answer(server, "GET", "/ui/", "", "Host", "evil.example"); w.Code != 403 {
		t.Errorf("page under a rebound name: status %d", w.Code)
	}
	if got := put("Origin", "http://127.0.0.1:7480"); got != 200 {
		t.Errorf("the page itself: status %d", got)
	}
}

// The same id happens once; without an id each write is its own.
func TestWritesCarryAnID(t *testing.T) {
	backend := newDemo(3)
	server := newServer(t, Config{Backend: backend})
	body := `{"workload":"vm-1/cache"}`
	for range 3 {
		answer(server, "POST", "/v1/move", body, append([]string{api.HeaderIdempotency, "one"}, jsonBody...)...)
	}
	if len(backend.writes) != 1 {
		t.Errorf("one id made %d writes", len(backend.writes))
	}
	for range 2 {
		answer(server, "POST", "/v1/move", body, jsonBody...)
	}
	if len(backend.writes) != 3 || backend.by[0] != "operator at 192.0.2.1" {
		t.Errorf("%d writes by %q", len(backend.writes), backend.by)
	}
}

// A policy survives the way to the wire and back.
func TestPolicyRoundTrip(t *testing.T) {
	want := fleet.DefaultPolicy()
	want.Automation, want.Paused, want.Margin = fleet.Recommend, true, 90e9
	got, err := FleetPolicy(PolicyOf(want))
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestVectorOf(t *testing.T) {
	v := fleet.Vector{CPU: 2500, Memory: fleet.Unknown, Net: 10}.With("hugepages-2m", 4000)
	got := VectorOf(v)
	cpu, known := got.Get("cpu")
	_, knownMemory := got.Get("memory")
	pages, _ := got.Get("hugepages-2m")
	if text := fmt.Sprint(cpu, known, knownMemory, pages); text != "2.5 true false 4" {
		t.Error(text)
	}
}
