package httpapi

import (
	"fmt"
	"net/http"
	"strings"
)

// handler answers a request or says what is wrong; the error becomes the answer.
type handler func(w http.ResponseWriter, r *http.Request) error

// route is one line of the API. Pattern is in the notation of http.ServeMux;
// openapi.json describes each of them, and a test compares the two.
type route struct {
	method  string
	pattern string
	handle  handler
}

// routes is the whole /v1 API.
func (s *Server) routes() []route {
	return []route{
		{http.MethodGet, "/v1/status", s.read(s.status)},
		{http.MethodGet, "/v1/hosts", s.read(s.hosts)},
		{http.MethodGet, "/v1/host/{id}", s.read(s.host)},
		{http.MethodPost, "/v1/host/{id}/drain", s.drain},
		{http.MethodGet, "/v1/workloads", s.read(s.workloads)},
		{http.MethodGet, "/v1/workload/{id...}", s.read(s.workload)},
		{http.MethodGet, "/v1/leases", s.read(s.leases)},
		{http.MethodPost, "/v1/leases", s.leaseOperation},
		{http.MethodPost, "/v1/leases:batch", s.leaseBatch},
		{http.MethodPost, "/v1/lease/resolve", s.resolve},
		{http.MethodGet, "/v1/migrations", s.read(s.migrations)},
		{http.MethodGet, "/v1/decisions", s.read(s.decisions)},
		{http.MethodGet, "/v1/forecasts", s.read(s.forecasts)},
		{http.MethodGet, "/v1/forecast/zones", s.read(s.zoneForecasts)},
		{http.MethodGet, "/v1/forecast/host/{id}", s.read(s.hostForecasts)},
		{http.MethodGet, "/v1/why", s.read(s.why)},
		{http.MethodGet, "/v1/why-not", s.read(s.whyNot)},
		{http.MethodGet, "/v1/policy", s.read(s.policy)},
		{http.MethodPut, "/v1/policy", s.setPolicy},
		{http.MethodGet, "/v1/rules", s.read(s.rules)},
		{http.MethodGet, "/v1/rules/{id...}", s.read(s.rule)},
		{http.MethodPut, "/v1/rules/{id...}", s.putRule},
		{http.MethodDelete, "/v1/rules/{id...}", s.dropRule},
		{http.MethodGet, "/v1/calendar", s.read(s.calendar)},
		{http.MethodGet, "/v1/calendar/{id...}", s.read(s.calendarSource)},
		{http.MethodPut, "/v1/calendar/{id...}", s.putCalendar},
		{http.MethodDelete, "/v1/calendar/{id...}", s.dropCalendar},
		{http.MethodGet, "/v1/adjustments", s.read(s.adjustments)},
		{http.MethodGet, "/v1/features", s.read(s.features)},
		{http.MethodPut, "/v1/features/{id...}", s.putFeature},
		{http.MethodDelete, "/v1/features/{id...}", s.dropFeature},
		{http.MethodPost, "/v1/measure", s.measure},
		{http.MethodPost, "/v1/move", s.move},
		{http.MethodPost, "/v1/pin", s.pin},
		{http.MethodGet, "/v1/fleet", s.read(s.fleet)},
		{http.MethodGet, "/v1/operator/raft", s.raftServers},
		{http.MethodPost, "/v1/operator/raft/add-peer", s.raftWrite(true, s.raftAdd)},
		{http.MethodPost, "/v1/operator/raft/remove-peer", s.raftWrite(true, s.raftRemove)},
		{http.MethodPost, "/v1/operator/raft/transfer-leadership", s.raftWrite(false, s.raftTransfer)},
		{http.MethodPost, "/v1/operator/raft/snapshot", s.raftWrite(false, s.raftSnapshot)},
		{http.MethodGet, "/v1/operator/snapshot", s.saveSnapshot},
		{http.MethodPut, "/v1/operator/snapshot", s.restoreSnapshot},
		{http.MethodGet, "/v1/operator/upgrade", s.upgrade},
		{http.MethodPost, "/v1/operator/upgrade/finalize", s.finalizeUpgrade},
		{http.MethodGet, "/v1/event/stream", s.stream},
		{http.MethodGet, "/v1/agent/health", s.health},
		{http.MethodGet, "/v1/agent/ready", s.ready},
		{http.MethodGet, "/v1/metrics", s.metrics.serve},
		{http.MethodGet, "/v1/openapi.json", serveOpenAPI},
	}
}

// build makes the handler of everything the server answers.
func (s *Server) build() (http.Handler, error) {
	mux := http.NewServeMux()
	methods := map[string]map[string]handler{}
	for _, r := range s.routes() {
		if methods[r.pattern] == nil {
			methods[r.pattern] = map[string]handler{}
			mux.HandleFunc(r.pattern, s.dispatch(r.pattern, methods[r.pattern]))
		}
		methods[r.pattern][r.method] = r.handle
	}
	ui, err := newUI(uiFiles)
	if err != nil {
		return nil, err
	}
	mux.HandleFunc("/ui/", s.dispatch("/ui/", map[string]handler{http.MethodGet: ui.serve}))
	mux.HandleFunc("/ui", s.dispatch("/ui/", map[string]handler{http.MethodGet: redirectToUI}))
	mux.HandleFunc("/{$}", s.dispatch("/", map[string]handler{http.MethodGet: redirectToUI}))
	mux.HandleFunc("/", s.dispatch("other", nil))
	return s.guard(mux), nil
}

// dispatch picks the handler of the method, counts, and writes errors.
func (s *Server) dispatch(pattern string, methods map[string]handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.metrics.observe(pattern, r.Method, w, func(w http.ResponseWriter) {
			if err := pick(methods, w, r)(w, r); err != nil {
				s.refuse(w, r, err)
			}
		})
	}
}

func pick(methods map[string]handler, w http.ResponseWriter, r *http.Request) handler {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http drops the body
	}
	if h, ok := methods[method]; ok {
		return h
	}
	if len(methods) == 0 {
		return func(http.ResponseWriter, *http.Request) error {
			return WithHint(fmt.Errorf("path %s: %w", r.URL.Path, ErrNotFound), "GET /v1/openapi.json lists the API")
		}
	}
	allowed := make([]string, 0, len(methods))
	for _, m := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete} {
		if methods[m] != nil {
			allowed = append(allowed, m)
		}
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return func(http.ResponseWriter, *http.Request) error {
		return refusal(http.StatusMethodNotAllowed, "%s is not possible on %s", r.Method, r.URL.Path).
			withHint("use " + strings.Join(allowed, " or "))
	}
}

func serveOpenAPI(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(openAPI)
	return ignoreGone(r, err)
}

func redirectToUI(w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, "/ui/", http.StatusFound)
	return nil
}
