package gossip

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fleet"
)

// crowd is a cluster in virtual time, with the settings of production.
type crowd struct {
	t       *testing.T
	air     *air
	members []*Gossip
	stops   []func()
}

func addressOf(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n / 250), byte(n%250 + 1)}), 7700)
}

// gather starts n members, a hundred a second. All but the first join through it.
func gather(t *testing.T, n int) *crowd {
	t.Helper()
	c := &crowd{t: t, air: newAir(300 * time.Microsecond)}
	for i := range n {
		config := Config{
			ID: fleet.HostID(fmt.Sprintf("host-%d", i)), Name: fmt.Sprintf("name-%d", i), Cluster: "prod", BindAddr: addressOf(i).Addr().String(),
			Keyring: [][]byte{bytes.Repeat([]byte{1}, 32)}, Logger: hclog.NewNullLogger(),
			Meta: Meta{ProtocolMin: 1, ProtocolMax: 1, Role: RoleHost, RPC: addressOf(i).String(), Capability: 7},
		}
		if i > 0 {
			config.Join = []string{addressOf(0).String()}
		}
		c.add(config, i)
		time.Sleep(10 * time.Millisecond) // virtual
	}
	t.Cleanup(func() {
		var all sync.WaitGroup
		for _, stop := range c.stops {
			all.Go(stop)
		}
		all.Wait()
		// A probe that was under way ends with its interval, which memberlist
		// stretches up to eightfold while it doubts itself.
		time.Sleep(10 * time.Second) // virtual
	})
	c.await(2*time.Minute, "everybody knows everybody", c.whole)
	return c
}

func (c *crowd) add(config Config, i int) {
	c.t.Helper()
	must(c.t, config.validate())
	settings, err := config.settings()
	must(c.t, err)
	meta, err := encodeMeta(config.Name, config.Meta)
	must(c.t, err)
	g := newOn(c.air.open(addressOf(i)), config, settings, meta)
	g.SetLoad(Load{CPU: uint16(i % 1000), Workloads: 40})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	c.members = append(c.members, g)
	c.stops = append(c.stops, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("Run of %s: %v", config.ID, err)
		}
	}))
}

// await polls in virtual time and returns how long it took.
func (c *crowd) await(limit time.Duration, what string, ok func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			c.t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(100 * time.Millisecond) // virtual
	}
	return time.Since(began)
}

func (c *crowd) whole() bool {
	for _, g := range c.members {
		if g.table.aliveCount() != len(c.members) {
			return false
		}
	}
	return true
}

// state is what a member holds of another.
func (g *Gossip) state(of fleet.HostID) fleet.Liveness {
	g.table.mu.Lock()
	defer g.table.mu.Unlock()
	if m := g.table.members[of]; m != nil {
		return m.State
	}
	return fleet.Dead
}

// kill silences a member at once and returns how long each other one takes to
// know; then the process is gone.
func (c *crowd) kill(victim int) (known []time.Duration) {
	c.t.Helper()
	c.air.put(addressOf(victim).String(), 1+victim)
	id := c.members[victim].config.ID
	began := time.Now()
	knows := make([]bool, len(c.members))
	knows[victim] = true
	c.await(2*time.Minute, "everybody knows of the failure", func() bool {
		for i, g := range c.members {
			if !knows[i] && g.state(id) == fleet.Dead {
				knows[i], known = true, append(known, time.Since(began))
			}
		}
		return len(known) == len(c.members)-1
	})
	c.stops[victim]()
	c.members = slices.Delete(c.members, victim, victim+1)
	c.stops = slices.Delete(c.stops, victim, victim+1)
	return known
}

func (c *crowd) failures(kills int, limit time.Duration) {
	c.t.Helper()
	n := len(c.members)
	var known []time.Duration
	for k := range kills {
		known = append(known, c.kill(n-2-k*n/(kills+1))...)
	}
	slices.Sort(known)
	p99 := known[len(known)*99/100]
	c.t.Logf("FIGURE gossip: %d members, %d killed: known after %s (median), %s (p99), %s (all); want p99 below %s; %d packets",
		n, kills, known[len(known)/2], p99, known[len(known)-1], limit, c.air.packets())
	if p99 >= limit {
		c.t.Errorf("a failure is known after %s (p99), want below %s", p99, limit)
	}
}

// TestVirtualFailureIsKnown: killed members are known to everybody in time.
func TestVirtualFailureIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, kills, limit := 100, 4, 15*time.Second
		if testing.Short() {
			n, kills = 20, 2
		}
		if os.Getenv("PLACED_SOAK") != "" {
			n, kills, limit = 1000, 5, 21*time.Second
		}
		gather(t, n).failures(kills, limit)
	})
}

// TestVirtualLongPartition: a partition outlasts what memberlist and the list of
// members remember of the dead. The side without the seed finds it; and when the
// seed has left for good, both sides find each other by what they remember.
func TestVirtualLongPartition(t *testing.T) {
	for _, seedLeaves := range []bool{false, true} {
		t.Run(fmt.Sprintf("seedLeaves=%t", seedLeaves), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 20
				if testing.Short() {
					n = 6
				}
				if os.Getenv("PLACED_SOAK") != "" {
					n = 200
				}
				c := gather(t, n)
				if seedLeaves {
					c.stops[0]()
					c.members, c.stops = c.members[1:], c.stops[1:]
					c.await(time.Minute, "the seed has left", c.whole)
				}
				for i := range n / 3 {
					c.air.put(addressOf(n-1-i).String(), 1)
				}
				time.Sleep(deadTime + 8*time.Minute) // virtual
				for _, g := range c.members {
					if alive := g.table.aliveCount(); alive > n-n/3 || len(g.Members()) != alive {
						t.Fatalf("%s lists %d members, %d alive: the partition is not forgotten", g.config.ID, len(g.Members()), alive)
					}
				}
				for i := range n {
					c.air.put(addressOf(i).String(), 0)
				}
				took := c.await(time.Minute, "whole again", c.whole)
				t.Logf("FIGURE gossip: %d members whole again %s after a partition of %s (seed left: %t)", len(c.members), took, deadTime+8*time.Minute, seedLeaves)
			})
		})
	}
}

// TestVirtualLoadsSpread: a changed load is known everywhere soon, one that did not
// change is sent again in time, and probes have measured the way.
func TestVirtualLoadsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := gather(t, 30)
		time.Sleep(time.Minute) // virtual: what joining queued is sent
		c.members[5].SetLoad(Load{CPU: 999, Workloads: 3})
		took := c.await(15*time.Second, "the load is known", func() bool {
			for _, g := range c.members {
				g.table.mu.Lock()
				load := g.table.loads["host-5"].load
				g.table.mu.Unlock()
				if load.CPU != 999 {
					return false
				}
			}
			return true
		})
		t.Logf("FIGURE gossip: a changed load is known to 30 members after %s", took)
		time.Sleep(2 * time.Minute) // virtual
		oldest, measured := time.Duration(0), 0
		for _, g := range c.members {
			g.table.mu.Lock()
			for id, h := range g.table.loads {
				if id != g.config.ID {
					oldest = max(oldest, time.Since(h.at))
				}
			}
			for _, m := range g.table.members {
				if m.RTT == 2*c.air.delay && m.MinRTT == m.RTT {
					measured++
				}
			}
			g.table.mu.Unlock()
		}
		if oldest > 2*loadInterval {
			t.Errorf("the oldest load is %s old, it is sent every %s", oldest, loadInterval)
		}
		if measured < len(c.members)*len(c.members)/2 {
			t.Errorf("%d round-trip times are measured right", measured)
		}
		t.Logf("FIGURE gossip: the oldest load known to any of 30 members is %s old", oldest)
	})
}
