package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// serve carries the requests of one connection, one after the other, until it
// ends or a request has no answer.
func (p *Proxy) serve(ctx context.Context, conn net.Conn, in *lines, g *gate, from forward) {
	up := &upstream{workload: g.current().Workload, hops: from.hops}
	defer up.close()
	asked := admission{forwarded: from.hops > 0, epoch: from.epoch}
	for {
		request, err := in.next()
		if err != nil {
			if errors.Is(err, errLineTooLong) {
				p.count.tooLong.Add(1)
			}
			return
		}
		p.count.requests.Add(1)
		answer, err := p.exchange(ctx, g, up, asked, request)
		if err != nil {
			p.refused(up.workload, conn, err)
			return
		}
		p.count.answers.Add(1)
		if err := write(conn, answer, p.cfg.Limits.Write); err != nil {
			return
		}
	}
}

// exchange passes the gate, reaches the upstream and gets the answer. It sends
// the request once: until then it waits and dials again, afterwards a missing
// answer ends it.
func (p *Proxy) exchange(ctx context.Context, g *gate, up *upstream, asked admission, request []byte) ([]byte, error) {
	now := time.Now()
	patience := waits{held: now.Add(p.cfg.Limits.Held), owner: now.Add(p.cfg.Limits.Owner)}
	var retry backoff
	for {
		pass, err := g.enter(ctx, asked, patience)
		if err != nil {
			return nil, err
		}
		if !up.ready(pass.target) {
			// Outside the gate: a hold does not wait for a dial.
			g.leave(pass, false, time.Time{})
			news := g.news()
			if err := up.dial(ctx, pass.target, p.cfg.Limits.Dial); err != nil {
				p.count.dialFailures.Add(1)
				if err := retry.pause(ctx, news, p.cfg.Limits.Redial, err); err != nil {
					return nil, err
				}
			}
			continue
		}
		g.sent(time.Now())
		answer, err := up.exchange(request, p.cfg.Limits.Answer)
		g.leave(pass, err == nil, time.Now())
		switch {
		case err == nil:
			return answer, nil
		case errors.Is(err, errNotSent):
			continue
		}
		p.count.unknown.Add(1)
		return nil, fmt.Errorf("sent to %s, no answer: %w", pass.target.addr, err)
	}
}

// refused counts and logs why a client's connection is closed.
func (p *Proxy) refused(workload string, conn net.Conn, err error) {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, errRouteGone):
		return
	case errors.Is(err, errHeldTooLong), errors.Is(err, errNotOwner):
		p.count.heldTooLong.Add(1)
	case errors.Is(err, errTooManyHeld):
		p.count.tooManyHeld.Add(1)
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the upstream closed the connection")
	}
	p.logger.Warn("closing a client's connection", "workload", workload, "client", conn.RemoteAddr(), "error", err)
}

// backoff is the patience of one request with an upstream that does not answer
// the dial.
type backoff struct {
	since time.Time
	delay time.Duration
}

const (
	firstDelay = 10 * time.Millisecond
	maxDelay   = 500 * time.Millisecond
)

// pause waits before the next attempt, or until there is news of the route; it
// returns an error when limit is over.
func (b *backoff) pause(ctx context.Context, news <-chan struct{}, limit time.Duration, cause error) error {
	if errors.Is(cause, errTooManyHops) {
		return cause
	}
	now := time.Now()
	if b.since.IsZero() {
		b.since, b.delay = now, firstDelay
	}
	if now.Sub(b.since)+b.delay > limit {
		return fmt.Errorf("not sent, cannot reach the workload for %s: %w", limit, cause)
	}
	timer := time.NewTimer(b.delay)
	defer timer.Stop()
	b.delay = min(2*b.delay, maxDelay)
	select {
	case <-timer.C:
		return nil
	case <-news:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
