package traffic

// Status is what the proxy is doing; a new agent starts from it.
type Status struct {
	Identity Identity      `json:"identity"`
	Routes   []RouteStatus `json:"routes"` // sorted by workload
	Conns    int           `json:"conns"`  // all kinds
	Waiting  int           `json:"waiting"`
	Counters Counters      `json:"counters"`
}

// RouteStatus is one row of the table in force.
type RouteStatus struct {
	Route
	Held bool `json:"held"`
	// Listening: clients can connect here; Problem says why not.
	Listening bool   `json:"listening"`
	Problem   string `json:"problem,omitempty"`
	Conns     int    `json:"conns"`
	InFlight  int    `json:"in_flight"`
	Waiting   int    `json:"waiting"`
}

// Counters count since the proxy started.
type Counters struct {
	Requests     uint64 `json:"requests"`
	Answers      uint64 `json:"answers"`
	Forwarded    uint64 `json:"forwarded"`      // connections from other proxies
	Unknown      uint64 `json:"unknown"`        // sent, no answer: client closed
	HeldTooLong  uint64 `json:"held_too_long"`  // waited in vain: client closed
	TooManyHeld  uint64 `json:"too_many_held"`  // no place to wait: client closed
	DialFailures uint64 `json:"dial_failures"`  // attempts
	TooLong      uint64 `json:"too_long"`       // request over MaxLine: client closed
	TooManyConns uint64 `json:"too_many_conns"` // closed at once
	StaleRoutes  uint64 `json:"stale_routes"`   // older epoch than the one in force
}

func (p *Proxy) status() *Status {
	s := &Status{Identity: p.self, Routes: []RouteStatus{}, Counters: p.count.read()}
	names := p.workloads()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Conns = len(p.conns)
	conns := map[*gate]int{}
	for _, g := range p.conns {
		conns[g]++
	}
	for _, name := range names {
		e := p.routes[name]
		if e == nil {
			continue // removed since
		}
		r := e.gate.status()
		r.Listening, r.Problem, r.Conns = e.listener != nil, e.problem, conns[e.gate]
		s.Waiting += r.Waiting
		s.Routes = append(s.Routes, r)
	}
	return s
}

func (g *gate) status() RouteStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	return RouteStatus{Route: g.route, Held: g.held, InFlight: g.inflight, Waiting: g.waiting}
}

func (c *counters) read() Counters {
	return Counters{
		Requests: c.requests.Load(), Answers: c.answers.Load(), Forwarded: c.forwarded.Load(),
		Unknown: c.unknown.Load(), HeldTooLong: c.heldTooLong.Load(), TooManyHeld: c.tooManyHeld.Load(),
		DialFailures: c.dialFailures.Load(), TooLong: c.tooLong.Load(),
		TooManyConns: c.tooManyConns.Load(), StaleRoutes: c.staleRoutes.Load(),
	}
}
