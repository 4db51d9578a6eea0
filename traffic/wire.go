package traffic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// maxControlLine bounds one request on the control socket: 4 MiB hold the
// routes of some 20,000 workloads.
const maxControlLine = 4 << 20

// request and response are one JSON line each on the control socket.
type request struct {
	Op       string  `json:"op"`
	Workload string  `json:"workload,omitempty"`
	Route    *Route  `json:"route,omitempty"`
	Routes   []Route `json:"routes,omitempty"`
	// TimeoutMS is the caller's remaining patience.
	TimeoutMS int64 `json:"timeout_ms"`
}

// Operations of the control socket.
const (
	opHello  = "hello"
	opRoutes = "routes"
	opHold   = "hold"
	opResume = "resume"
	opSwitch = "switch"
	opStatus = "status"
	opStop   = "stop"
)

type response struct {
	Error    string        `json:"error,omitempty"`
	Identity Identity      `json:"identity"`
	Problems []Problem     `json:"problems,omitempty"`
	Switch   *SwitchResult `json:"switch,omitempty"`
	Status   *Status       `json:"status,omitempty"`
}

// serveControl answers the requests of one agent connection. When the agent is
// lost in the middle of a hold, the hold stays: the workload may be moving.
func (p *Proxy) serveControl(ctx context.Context, c net.Conn, stop func()) {
	in := newLines(c, maxControlLine)
	for {
		line, err := in.next()
		if err != nil {
			return
		}
		var q request
		var a response
		if err := json.Unmarshal(line, &q); err != nil {
			a.Error = fmt.Sprintf("request is not JSON: %v", err)
		} else {
			a = p.control(ctx, q)
		}
		a.Identity = p.self
		out, err := json.Marshal(a)
		if err != nil {
			return
		}
		if err := write(c, append(out, '\n'), p.cfg.Limits.Write); err != nil {
			return
		}
		if q.Op == opStop && a.Error == "" {
			p.logger.Info("stopping as asked on the control socket")
			stop()
			return
		}
	}
}

func (p *Proxy) control(run context.Context, q request) (a response) {
	ctx, cancel := context.WithTimeout(run, controlTimeout(q.TimeoutMS))
	defer cancel()
	var err error
	switch q.Op {
	case opHello, opStop:
	case opRoutes:
		a.Problems = p.setRoutes(run, q.Routes)
	case opHold, opResume:
		err = p.holdOrResume(ctx, q)
	case opSwitch:
		if q.Route == nil {
			err = errors.New("switch without a route")
			break
		}
		var result SwitchResult
		result, err = p.switchRoute(run, ctx, *q.Route)
		a.Switch = &result
	case opStatus:
		a.Status = p.status()
	default:
		err = fmt.Errorf("unknown operation %q: this proxy speaks protocol %d", q.Op, protocolVersion)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func (p *Proxy) holdOrResume(ctx context.Context, q request) error {
	g, err := p.known(q.Workload)
	if err != nil {
		return err
	}
	if q.Op == opResume {
		g.resume()
		return nil
	}
	return g.hold(ctx, time.Now())
}

const (
	defaultControlTimeout = 10 * time.Second
	maxControlTimeout     = time.Minute
)

func controlTimeout(ms int64) time.Duration {
	d := time.Duration(ms) * time.Millisecond
	if d <= 0 {
		return defaultControlTimeout
	}
	return min(d, maxControlTimeout)
}
