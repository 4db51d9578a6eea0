package virtual

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/transport/memnet"
)

// Terms of the leases here: shorter than in production, so that ten minutes see
// many expiries.
const (
	leaseTTL   = 15 * time.Second
	renewEvery = 5 * time.Second
)

// cluster is the voters, their network and whoever watches them.
type cluster struct {
	start   time.Time
	net     *memnet.Network
	dice    *rand.Rand // of the faults; one goroutine
	judge   *judge
	history *history
	agents  *sources
	servers []consensus.Server
	voters  []*voter
	log     *schedule

	sprung  atomic.Int64 // power cuts just after a vote
	boots   sync.Mutex   // one start at a time
	pending sync.WaitGroup
}

func newCluster(seed uint64, size int, stop func()) *cluster {
	c := &cluster{
		start: time.Now(), net: memnet.New(seed, usualLink), dice: rand.New(rand.NewPCG(seed, 0x6661756c74)),
		judge: newJudge(stop), log: &schedule{start: time.Now()},
	}
	c.history = newHistory(c.judge)
	c.agents = newSources()
	for i := range size {
		id := fmt.Sprintf("h%d", i+1)
		c.servers = append(c.servers, consensus.Server{ID: id, Address: id + ":" + raftPort})
		c.voters = append(c.voters, &voter{id: id, fleet: c, disk: newDisk(seed<<8 + uint64(i)), rate: 0.99 + 0.02*c.dice.Float64()})
	}
	return c
}

func (c *cluster) background(f func()) { c.pending.Go(f) }

func (c *cluster) logger(string) hclog.Logger { return hclog.NewNullLogger() }

func (c *cluster) liveness() map[fleet.HostID]fleet.Liveness {
	out := map[fleet.HostID]fleet.Liveness{}
	for _, v := range c.voters {
		out[fleet.HostID(v.id)] = fleet.Alive
	}
	return out
}

// ghostly is how long a crashed process goes on unheard: long enough to answer
// what it has taken, which raft forgets to do when it is shut down at once.
const ghostly = 3 * time.Second

// crash ends a voter's process. With power, its disk loses what was not synced
// and its peers are not told.
func (c *cluster) crash(v *voter, power bool) {
	if l := v.running(); l != nil {
		c.endOf(l, power)
	}
}

func (c *cluster) endOf(l *life, power bool) {
	v := l.voter
	v.mu.Lock()
	if v.life != l {
		v.mu.Unlock()
		return
	}
	v.life = nil
	close(l.dead)
	v.mu.Unlock()
	if power {
		l.host.PowerOff()
	} else {
		l.host.Kill()
	}
	v.disk.cut()
	c.background(func() {
		time.Sleep(ghostly)
		l.end()
	})
}

// leader is a life that believes it leads, nil if there is none.
func (c *cluster) leader() *life {
	var found *life
	for _, v := range c.voters {
		if l := v.running(); l != nil && l.node.IsLeader() && (found == nil || l.node.Term() > found.node.Term()) {
			found = l
		}
	}
	return found
}

// steadyLeader waits for a leader that proves it.
func (c *cluster) steadyLeader(within time.Duration) (*life, time.Duration) {
	began := time.Now()
	for time.Since(began) < within {
		if l := c.leader(); l != nil {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			_, err := l.node.Linearizable(ctx)
			cancel()
			if err == nil {
				return l, time.Since(began)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, time.Since(began)
}

// shutDown ends every process and waits for all that ran.
func (c *cluster) shutDown() {
	for _, v := range c.voters {
		c.crash(v, false)
	}
	c.pending.Wait()
}

// found lets the hosts join, with a few workloads on each.
func (c *cluster) found(workloads []resident) error {
	l, _ := c.steadyLeader(20 * time.Second)
	if l == nil {
		return fmt.Errorf("no first leader within 20 s")
	}
	policy := fleet.DefaultPolicy()
	policy.MovesInFlight, policy.MovesPerPass = 64, 8
	propose := func(from string, ops ...fsm.Operation) error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		p := c.history.encode(fleet.HostID(from), ops)
		result, _, err := l.propose(ctx, p)
		if err == nil {
			err = result.Refused()
		}
		return err
	}
	if err := propose(c.voters[0].id, fsm.InitCluster{Cluster: "sim"}, fsm.SetPolicy{Policy: policy, By: "test"}); err != nil {
		return err
	}
	for _, v := range c.voters {
		host := fleet.Host{ID: fleet.HostID(v.id), Name: v.id, Zone: "z", Voter: true, Address: v.id + ":" + raftPort,
			Capacity: fleet.Vector{CPU: 1 << 30, Memory: roomPerHost, Net: fleet.Unknown, Disk: fleet.Unknown}}
		register := fsm.RegisterWorkloads{Host: host.ID}
		for _, w := range workloads {
			if w.at == host.ID {
				register.Workloads = append(register.Workloads, w.workload())
			}
		}
		if err := propose(v.id, fsm.RegisterHost{Host: host}, register); err != nil {
			return err
		}
	}
	return nil
}
