package gossip

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/placed-dev/placed/fleet"
)

const (
	rejoinMin = time.Second
	rejoinMax = 30 * time.Second
	// perRound bounds how many hosts one round waits for.
	perRound    = 3
	resolveTime = 2 * time.Second
)

// rejoin looks for hosts that should be members and are not: those of the join
// list, and those that died without leaving. memberlist itself joins once, and
// forgets a host for good when a partition lasts longer than GossipToTheDeadTime.
func (g *Gossip) rejoin(ctx context.Context, list *memberlist.Memberlist) {
	delay, first := rejoinMin, 0
	var before []string
	for {
		missing := g.missing(ctx)
		if !slices.Equal(missing, before) {
			delay, before = rejoinMin, missing // something happened: be quick
		}
		if len(missing) > 0 {
			joined := g.tryJoin(ctx, list, missing, first)
			first += perRound
			if !joined {
				delay = min(2*delay, rejoinMax)
			}
		}
		if !g.waitRejoin(ctx, delay) {
			return
		}
	}
}

// waitRejoin waits for the delay, or until a host has died meanwhile.
func (g *Gossip) waitRejoin(ctx context.Context, delay time.Duration) bool {
	before, _ := g.table.lost()
	// Jitter, or all hosts would call the one that came back at once.
	until := time.Now().Add(delay/2 + rand.N(delay))
	for time.Now().Before(until) {
		timer := time.NewTimer(min(time.Until(until), rejoinMin))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
		if now, _ := g.table.lost(); len(now) > len(before) {
			return true
		}
	}
	return ctx.Err() == nil
}

func (g *Gossip) tryJoin(ctx context.Context, list *memberlist.Memberlist, missing []string, first int) (joined bool) {
	for i := range min(perRound, len(missing)) {
		if ctx.Err() != nil {
			return joined
		}
		addr := missing[(first+i)%len(missing)]
		_, err := list.Join([]string{addr})
		if err == nil {
			joined = true
			continue
		}
		if skipped, say := g.throttle.Allow(time.Now(), "join "+addr); say && ctx.Err() == nil {
			g.logger.Warn("cannot join through a host; trying on: is it up, and have both the same cluster name and keyring?", "address", addr, "error", err, "repeated", skipped)
		}
	}
	return joined
}

// missing returns the addresses to try, sorted.
func (g *Gossip) missing(ctx context.Context) []string {
	here := map[string]bool{g.Addr(): true}
	for _, m := range g.table.list() {
		if m.State != fleet.Dead {
			here[m.Addr] = true
		}
	}
	listed, longGone := g.table.lost()
	missing := append(listed, longGone...)
	for _, seed := range g.config.Join {
		if !g.resolvesTo(ctx, seed, here) {
			missing = append(missing, seed)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// resolvesTo says whether a join address is one of those here.
func (g *Gossip) resolvesTo(ctx context.Context, seed string, here map[string]bool) bool {
	if here[seed] {
		return true
	}
	host, port, err := net.SplitHostPort(seed)
	if err != nil || net.ParseIP(host) != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return false // Join will say so
	}
	return slices.ContainsFunc(addrs, func(a string) bool { return here[net.JoinHostPort(a, port)] })
}
