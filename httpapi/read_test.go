package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServer(t *testing.T, c Config) *Server {
	t.Helper()
	server, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// answer sends one request through every check of the server.
func answer(s *Server, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:7480"
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func refusalOf(t *testing.T, w *httptest.ResponseRecorder) *api.Error {
	t.Helper()
	var body api.ErrorBody
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error == nil {
		t.Fatalf("status %d without an error body: %s", w.Code, w.Body)
	}
	return body.Error
}

func TestReads(t *testing.T) {
	backend := newDemo(3)
	server := newServer(t, Config{Backend: backend})
	h2 := backend.hosts[1].id
	for _, c := range []struct {
		target string
		status int
		has    string // in the body
	}{
		{"/v1/status", 200, `"cluster":"demo"`},
		{"/v1/status?pretty", 200, "\n  \"cluster\": \"demo\""},
		{"/v1/hosts", 200, `"name":"h3"`},
		{"/v1/hosts", 200, `"disk":null`}, // unknown is not zero
		{"/v1/host/h2", 200, h2},
		{"/v1/host/" + h2, 200, `"name":"h2"`},
		{"/v1/host/h9", 404, "GET /v1/hosts lists the hosts"},
		{"/v1/workloads", 200, "vm-12/batch"},
		{"/v1/workload/vm-1/cache", 200, `"id":"vm-1/cache"`},
		{"/v1/workload/vm-1", 404, "not_found"},
		{"/v1/leases", 200, "[]\n"},
		{"/v1/migrations", 200, "[]\n"},
		{"/v1/migrations?limit=0", 400, "from 1 to 1000"},
		{"/v1/decisions?limit=many", 400, "limit="},
		{"/v1/decisions?workload=vm-1/cache", 200, "[]\n"},
		{"/v1/forecasts", 200, `"levels":[0.05`},
		{"/v1/forecast/host/h1", 200, `"unit":"cores"`},
		{"/v1/forecast/host/h9", 404, "h9"},
		{"/v1/why?workload=vm-1/cache", 200, `"summary"`},
		{"/v1/why", 400, "?workload="},
		{"/v1/why?workload=nobody", 404, "nobody"},
		{"/v1/why-not?workload=vm-1/cache&host=h2", 200, h2},
		{"/v1/why-not?workload=vm-1/cache", 400, "?host="},
		{"/v1/policy", 200, `"quantile":0.9`},
		{"/v1/fleet", 200, `"instances":[{"id":"vm-1/cache"`},
		{"/v1/agent/health", 200, `"alive":true`},
		{"/v1/agent/ready", 200, `"ready":true`},
		{"/v1/openapi.json", 200, `"openapi": "3.1.0"`},
		{"/v1/hosts?stale=perhaps", 400, "?stale"},
		{"/v1/hosts?index=-1", 400, "X-Placed-Index"},
		{"/v1/hosts?index=1&wait=61s", 400, "at most 1m0s"},
		{"/v1/hosts?index=1&wait=-1s", 400, "wait="},
		{"/v1/nothing", 404, "openapi.json"},
		{"/v1/event/stream?topic=wether", 400, "topics are host"},
		{"/v1/event/stream?index=x", 400, "index of the last event"},
		{"/v1/event/stream?index=1&seq=-1", 400, "seq"},
		{"/ui/", 200, "<title>placed</title>"},
		{"/ui/app.js", 200, "import"},
		{"/ui/none.js", 404, "/ui/"},
		{"/ui/../server.go", 307, ""},
		{"/", 302, ""},
		{"/ui", 302, ""},
	} {
		w := answer(server, "GET", c.target, "")
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("GET %s: status %d, want %d with %q in %.300s", c.target, w.Code, c.status, c.has, w.Body)
		}
		if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'self'") {
			t.Errorf("GET %s: content policy %q", c.target, policy)
		}
	}
	if w := answer(server, "HEAD", "/v1/status", ""); w.Code != 200 {
		t.Errorf("HEAD: status %d", w.Code)
	}
	w := answer(server, "DELETE", "/v1/policy", "")
	if w.Code != 405 || w.Header().Get("Allow") != "GET, PUT" {
		t.Errorf("DELETE /v1/policy: status %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

// Every error of the backend has its status and tells what to do.
func TestErrorsOfTheBackend(t *testing.T) {
	backend := newDemo(3)
	server := newServer(t, Config{Backend: backend})
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{ErrNoLeader, 503, api.CodeNoLeader}, {ErrDenied, 403, api.CodeDenied}, {ErrConflict, 409, api.CodeConflict},
		{ErrInvalid, 400, api.CodeInvalid}, {ErrNotFound, 404, api.CodeNotFound}, {io.ErrUnexpectedEOF, 500, api.CodeInternal},
		{context.DeadlineExceeded, 504, api.CodeNoLeader},
	} {
		backend.failSync = errors.Join(c.err, errors.New("in detail"))
		w := answer(server, "GET", "/v1/hosts", "")
		if got := refusalOf(t, w); w.Code != c.status || got.Code != c.code || !strings.Contains(got.Message, "in detail") {
			t.Errorf("%v: status %d, %+v", c.err, w.Code, got)
		}
	}
	backend.failSync = WithHint(ErrDenied, "ask the operator")
	if got := refusalOf(t, answer(server, "GET", "/v1/hosts", "")); got.Hint != "ask the operator" {
		t.Errorf("hint %q", got.Hint)
	}
}

// Without a leader only stale reads are answered, and they say so.
func TestReadsWithoutLeader(t *testing.T) {
	backend := newDemo(3)
	backend.leader = -1
	server := newServer(t, Config{Backend: backend})
	fresh := answer(server, "GET", "/v1/hosts", "")
	stale := answer(server, "GET", "/v1/hosts?stale", "")
	if fresh.Code != 503 || stale.Code != 200 {
		t.Fatalf("fresh %d, stale %d", fresh.Code, stale.Code)
	}
	for _, w := range []*httptest.ResponseRecorder{fresh, stale} {
		meta, err := api.ParseMeta(w.Header())
		if err != nil || meta.KnownLeader || meta.Index != backend.index || meta.LastContact != 12*time.Millisecond {
			t.Errorf("meta %+v, %v", meta, err)
		}
	}
	if w := answer(server, "GET", "/v1/agent/ready", ""); w.Code != 503 {
		t.Errorf("ready without leader: %d", w.Code)
	}
	if w := answer(server, "GET", "/v1/agent/health", ""); w.Code != 200 {
		t.Errorf("health without leader: %d", w.Code)
	}
}

// A blocking query returns at the change, or unchanged when the wait is over.
func TestBlockingQuery(t *testing.T) {
	backend := newDemo(3)
	base := serve(t, Config{Backend: backend})
	before := backend.Meta().Index
	query := func(wait string) (int, uint64, error) {
		r, err := http.Get(base + "/v1/hosts?wait=" + wait + "&index=" + strconv.FormatUint(before, 10))
		if err != nil {
			return 0, 0, err
		}
		defer r.Body.Close()
		meta, err := api.ParseMeta(r.Header)
		return r.StatusCode, meta.Index, err
	}
	if status, index, err := query("50ms"); err != nil || status != 200 || index != before {
		t.Fatalf("after the wait: status %d, index %d, %v", status, index, err)
	}
	type result struct {
		status int
		index  uint64
		err    error
	}
	got := make(chan result, 1)
	go func() {
		status, index, err := query("20s")
		got <- result{status, index, err}
	}()
	eventually(t, "the query waits", func() bool {
		_, page := get(t, base+"/v1/metrics")
		return strings.Contains(page, "placed_http_waiting 1")
	})
	backend.say(fleet.TopicHost, "something changed")
	select {
	case r := <-got:
		if r.err != nil || r.status != 200 || r.index != before+1 {
			t.Fatalf("%+v", r)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("the change did not wake the query")
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestBlockingQueriesAreBounded(t *testing.T) {
	backend := newDemo(3)
	server := newServer(t, Config{Backend: backend, MaxWaiting: 1})
	if !server.waiting.take() {
		t.Fatal("no slot")
	}
	w := answer(server, "GET", "/v1/hosts?wait=1s&index=99999", "")
	if got := refusalOf(t, w); w.Code != 429 || got.Code != api.CodeTooBusy {
		t.Errorf("status %d, %+v", w.Code, got)
	}
	server.waiting.give()
	if w := answer(server, "GET", "/v1/hosts?wait=10ms&index=99999", ""); w.Code != 200 {
		t.Errorf("with a free slot: status %d", w.Code)
	}
}

func TestMetrics(t *testing.T) {
	backend := newDemo(3)
	server := newServer(t, Config{Backend: backend, Version: "1.2.3"})
	answer(server, "GET", "/v1/hosts", "")
	answer(server, "GET", "/v1/host/h1", "")
	answer(server, "BREW", "/v1/hosts", "")
	page := answer(server, "GET", "/v1/metrics", "").Body.String()
	for _, want := range []string{
		`placed_http_requests_total{code="200",method="GET",route="/v1/host/{id}"} 1`,
		`placed_http_requests_total{code="405",method="other",route="/v1/hosts"} 1`,
		`placed_http_request_seconds_count{route="/v1/hosts"} 2`,
		`placed_build_info{version="1.2.3"} 1`,
		"placed_hosts 3", "placed_workloads 12", "placed_migrations_total 0", "placed_is_leader 1", "placed_log_index 413",
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("metrics lack %q", want)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("New without a backend succeeds")
	}
	if _, err := New(Config{Backend: backend, Registry: server.config.Registry}); err == nil {
		t.Error("the same registry twice succeeds")
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// eventually polls with a deadline.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within 60 s: %s", what)
		case <-tick.C:
		}
	}
}
