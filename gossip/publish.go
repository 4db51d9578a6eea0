package gossip

import (
	"context"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// loadInterval is how often a load is sent, changed or not.
	loadInterval = 15 * time.Second
	// perHost stretches intervals in large clusters, so that all loads together
	// stay within what gossip can carry (about 21 kB/s per host).
	perHost = 15 * time.Millisecond
	// loadGap is the least time between two loads.
	loadGap = time.Second
	// upkeepInterval is how often the table is looked through.
	upkeepInterval = time.Second
	// metaTime bounds the wait until a new description was sent.
	metaTime = 2 * time.Second
)

// publish sends this host's load, on change and regularly, and keeps the table.
func (g *Gossip) publish(ctx context.Context, list *memberlist.Memberlist) {
	sentAt := time.Now()
	g.send()
	timer := time.NewTimer(upkeepInterval)
	defer timer.Stop()
	due := false // a change waits for the gap to pass
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.kick:
			due = true
		case <-g.table.overtaken:
			due = true
		case <-g.remeta:
			if err := list.UpdateNode(metaTime); err != nil {
				g.logger.Warn("the new description of this host may spread slowly", "error", err)
			}
		case <-timer.C:
			n := g.table.aliveCount()
			g.table.expire(maxSuspicion(g.settings, n))
		}
		stretched := time.Duration(g.table.aliveCount()) * perHost
		age := time.Since(sentAt)
		gap := max(loadGap, stretched)
		if due && age >= gap || age >= max(loadInterval, stretched) {
			g.send()
			sentAt, age, due = time.Now(), 0, false
		}
		next := upkeepInterval
		if due {
			next = min(next, gap-age)
		}
		timer.Reset(next)
	}
}

func (g *Gossip) send() {
	h := g.table.own(false)
	g.mu.Lock()
	g.lastSent = h.load
	g.mu.Unlock()
	g.delegate.queue.QueueBroadcast(loadBroadcast{host: h.host, message: encodeLoadMessage(h)})
}
