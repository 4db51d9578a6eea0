package simulator

import (
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// ledger is the replicated state, driven as a log of one member would drive it.
// A refusal of the books is an answer; anything else is a mistake of the
// simulation.
type ledger struct {
	state *fsm.State
	index uint64
	voter fleet.HostID
}

const cluster = "simulation"

func newLedger(c Config) (*ledger, error) {
	l := &ledger{state: fsm.New(), voter: c.Hosts[0].ID}
	if err := l.must(c.Start, l.voter, fsm.InitCluster{Cluster: cluster}); err != nil {
		return nil, err
	}
	for i, h := range c.Hosts {
		h.Voter = i == 0
		if err := l.must(c.Start, h.ID, fsm.RegisterHost{Host: h}); err != nil {
			return nil, err
		}
	}
	owned := map[fleet.HostID][]fleet.Workload{}
	for _, w := range c.Workloads {
		owned[w.Owner] = append(owned[w.Owner], w.Workload)
	}
	for _, h := range c.Hosts {
		if err := l.must(c.Start, h.ID, fsm.RegisterWorkloads{Host: h.ID, Workloads: owned[h.ID]}); err != nil {
			return nil, err
		}
	}
	return l, l.must(c.Start, l.voter, fsm.SetPolicy{Policy: c.Policy, By: "scenario"})
}

// propose applies operations in one entry at a load time.
func (l *ledger) propose(at time.Time, from fleet.HostID, ops ...fsm.Operation) (fsm.Result, error) {
	l.index++
	data, err := fsm.Encode(fsm.Header{ID: fmt.Sprintf("s%d", l.index), Proposer: from, At: at, LoadAt: at}, ops...)
	if err != nil {
		return fsm.Result{}, err
	}
	result := l.state.Apply(l.index, data)
	return result, result.Fatal
}

// must applies operations that the books may not refuse.
func (l *ledger) must(at time.Time, from fleet.HostID, ops ...fsm.Operation) error {
	result, err := l.propose(at, from, ops...)
	if err == nil {
		err = result.Refused()
	}
	if err != nil {
		return fmt.Errorf("simulator: the books: %w", err)
	}
	return nil
}

// grant asks for a lease; the second result says why it was refused.
func (l *ledger) grant(at time.Time, op fsm.Grant) (fleet.Lease, string, error) {
	result, err := l.propose(at, l.voter, op)
	if err != nil {
		return fleet.Lease{}, "", err
	}
	if refusal := result.Ops[0].Err; refusal != nil {
		return fleet.Lease{}, refusal.Error(), nil
	}
	return *result.Ops[0].Lease, "", nil
}

// begin, finish and cancel take a lease through its states, each word given by
// the host whose word it is.
func (l *ledger) begin(at time.Time, lease fleet.Lease) error {
	return l.must(at, lease.Source, fsm.Begin{Lease: lease.ID, Token: lease.Token})
}

func (l *ledger) finish(at time.Time, lease fleet.Lease) error {
	digest := fmt.Sprintf("%064x", lease.Token.Index)
	if err := l.must(at, lease.Destination, fsm.ReportPrepared{Lease: lease.ID, Digest: digest, Token: lease.Token}); err != nil {
		return err
	}
	if err := l.must(at, lease.Source, fsm.Commit{Lease: lease.ID, Digest: digest, Token: lease.Token}); err != nil {
		return err
	}
	if err := l.must(at, lease.Destination, fsm.ReportActivated{Lease: lease.ID}); err != nil {
		return err
	}
	return l.must(at, lease.Source, fsm.ReportReleased{Lease: lease.ID})
}

func (l *ledger) cancel(at time.Time, lease fleet.Lease, begun bool, reason string) error {
	if !begun {
		return l.must(at, lease.Source, fsm.Release{Lease: lease.ID, Reason: reason})
	}
	if err := l.must(at, lease.Source, fsm.Abort{Lease: lease.ID, Reason: reason}); err != nil {
		return err
	}
	return l.must(at, lease.Destination, fsm.ReportDiscarded{Lease: lease.ID})
}
