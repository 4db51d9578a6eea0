package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/peer"
)

// books is this agent's way to the replicated state: reads from its own replica
// (on a host without the log: from its mirror), proposals through the leader,
// wherever that is.
type books struct {
	self    fleet.HostID
	replica *fsm.Replica
	node    *consensus.Node // nil on a host without the log
	peers   *peer.Client
	// voters names the voters when the replica does not know them yet.
	voters func() []peer.Address
	clock  fleet.LoadClock
	log    hclog.Logger
}

// Bounds of one proposal.
const (
	proposeAttempt = 3 * time.Second
	// A change of leader takes some 10 ms when it is planned: the first
	// attempts follow each other quickly, later ones do not add to a burden.
	proposePause    = 5 * time.Millisecond
	maxProposePause = 50 * time.Millisecond
	// appliedWait bounds how long a proposer waits until it sees its own write.
	appliedWait = 2 * time.Second
)

// errOutcomeUnknown: every attempt until the deadline ended without a certain
// answer. The entry may still be applied.
var errOutcomeUnknown = errors.New("outcome unknown: no leader confirmed the entry in time")

// View returns the books as this host has applied them.
func (b *books) View() (view fleet.View) {
	b.replica.Read(func(s *fsm.State) { view = s.View() })
	return view
}

// Read gives the state for queries; it must not be kept.
func (b *books) Read(f func(*fsm.State)) { b.replica.Read(f) }

// Propose commits operations in one entry and returns their results once this
// host has applied them too. It goes on under one idempotency id until the
// context ends, through elections and broken connections.
func (b *books) Propose(ctx context.Context, ops ...fsm.Operation) (fsm.Result, error) {
	return b.ProposeAs(ctx, rand.Text(), ops...)
}

// ProposeAs is Propose under an idempotency id of the caller's: what was applied
// under it before is answered with its first results.
func (b *books) ProposeAs(ctx context.Context, id string, ops ...fsm.Operation) (fsm.Result, error) {
	var tooNew error // for a member of an older version, in whose log it would be
	b.replica.Read(func(s *fsm.State) { tooNew = s.Allows(ops...) })
	if tooNew != nil {
		return fsm.Result{}, tooNew
	}
	now := time.Now()
	header := fsm.Header{ID: id, Proposer: b.self, At: now, LoadAt: b.clock.At(now)}
	data, err := fsm.Encode(header, ops...)
	if err != nil {
		return fsm.Result{}, err
	}
	result, err := b.propose(ctx, data)
	if err != nil {
		return fsm.Result{}, err
	}
	waited, cancel := context.WithTimeout(ctx, appliedWait)
	defer cancel()
	if err := b.replica.WaitApplied(waited, result.Index); err != nil {
		b.log.Debug("own write is committed but not yet seen here", "index", result.Index)
	}
	return result, nil
}

func (b *books) propose(ctx context.Context, data []byte) (fsm.Result, error) {
	unknown := false
	for pause := proposePause; ; pause = min(2*pause, maxProposePause) {
		result, err := b.proposeOnce(ctx, data)
		if err == nil {
			return result, nil
		}
		unknown = unknown || !certainlyNotApplied(err)
		select {
		case <-ctx.Done():
			if unknown {
				return fsm.Result{}, fmt.Errorf("%w: %w", errOutcomeUnknown, err)
			}
			return fsm.Result{}, fmt.Errorf("not applied: %w", err)
		case <-time.After(pause):
		}
	}
}

// proposeOnce tries this host and then the leader it knows.
func (b *books) proposeOnce(ctx context.Context, data []byte) (fsm.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeAttempt)
	defer cancel()
	if b.node != nil {
		result, err := b.proposeHere(ctx, data)
		var elsewhere *consensus.ErrNotLeader
		if !errors.As(err, &elsewhere) {
			return result, err
		}
		if elsewhere.Address == "" {
			return fsm.Result{}, err
		}
		to := peer.Address{ID: fleet.HostID(elsewhere.Leader), Addr: elsewhere.Address}
		return peer.Call[proposal, fsm.Result](ctx, b.peers, to, callPropose, proposal{Data: data})
	}
	var last error
	for _, voter := range b.voters() {
		result, err := peer.Call[proposal, fsm.Result](ctx, b.peers, voter, callPropose, proposal{Data: data})
		if err == nil {
			return result, nil
		}
		last = err
		if !certainlyNotApplied(err) {
			return fsm.Result{}, err
		}
	}
	if last == nil {
		last = errors.New("no voter is known yet")
	}
	return fsm.Result{}, last
}

// proposeHere succeeds on the leader only.
func (b *books) proposeHere(ctx context.Context, data []byte) (fsm.Result, error) {
	answer, _, err := b.node.Propose(ctx, data)
	if err != nil {
		return fsm.Result{}, err
	}
	result, ok := answer.(fsm.Result)
	if !ok {
		return fsm.Result{}, fmt.Errorf("the replicated state answered %T: this is a defect, report it", answer)
	}
	return result, nil
}

// certainlyNotApplied tells apart what may be tried elsewhere at once from what
// must be repeated under the same id.
func certainlyNotApplied(err error) bool {
	var notLeader *consensus.ErrNotLeader
	var coded *peer.Error
	switch {
	case errors.As(err, &notLeader), errors.Is(err, consensus.ErrBusy), errors.Is(err, consensus.ErrTooLarge), errors.Is(err, peer.ErrUnreachable):
		return true
	case errors.As(err, &coded):
		return coded.Code == codeNotLeader || coded.Code == peer.CodeForbidden || coded.Code == peer.CodeBadRequest
	}
	return false
}

// leader names the leader as this host knows it.
func (b *books) leader() (peer.Address, bool) {
	if b.node == nil {
		return peer.Address{}, false
	}
	id, address := b.node.Leader()
	return peer.Address{ID: fleet.HostID(id), Addr: address}, id != ""
}

// callLeader calls the leader, or any voter, which passes it on.
func callLeader[Req, Resp any](ctx context.Context, b *books, name string, request Req, options ...peer.CallOption) (Resp, error) {
	if to, ok := b.leader(); ok {
		return peer.Call[Req, Resp](ctx, b.peers, to, name, request, options...)
	}
	var none Resp
	last := errors.New("no leader is known")
	if b.node != nil {
		return none, &consensus.ErrNotLeader{}
	}
	for _, voter := range b.voters() {
		answer, err := peer.Call[Req, Resp](ctx, b.peers, voter, name, request, options...)
		if err == nil {
			return answer, nil
		}
		last = err
	}
	return none, last
}

// linearizable returns once this host's replica reflects every write that was
// acknowledged before the call.
func (b *books) linearizable(ctx context.Context) error {
	if b.node != nil {
		_, err := b.node.Linearizable(ctx)
		var elsewhere *consensus.ErrNotLeader
		if !errors.As(err, &elsewhere) {
			return err
		}
	}
	barrier, err := callLeader[struct{}, readIndex](ctx, b, callReadIndex, struct{}{})
	if err != nil {
		return err
	}
	return b.replica.WaitApplied(ctx, barrier.Index)
}

// host returns a registered host.
func (b *books) host(id fleet.HostID) (h fleet.Host, ok bool) {
	b.replica.Read(func(s *fsm.State) { h, ok = s.Host(id) })
	return h, ok
}

// addressOf is where to call a host.
func addressOf(h fleet.Host) peer.Address { return peer.Address{ID: h.ID, Addr: h.Address} }
