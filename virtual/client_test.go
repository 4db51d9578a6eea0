package virtual

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// How long a client goes on under one idempotency id, waits for one voter, and
// pauses between two.
const (
	patience = 12 * time.Second
	attempt  = 2 * time.Second
	breath   = 40 * time.Millisecond
)

var usualLink = linkOf(time.Millisecond, 2*time.Millisecond, 0)

// client calls the voters over the network, one call at a time.
type client struct {
	name  string
	fleet *cluster
	dice  *rand.Rand
	hint  int // the voter that led when it last answered
}

func newClient(c *cluster, name string, seed uint64) *client {
	return &client{name: name, fleet: c, dice: rand.New(rand.NewPCG(seed, 0x636c69656e74))}
}

var errRefusedByNet = errors.New("the voter was not reached")

// call runs do at a voter, with a way there and a way back. sent says that the
// request arrived.
func (k *client) call(v *voter, do func(ctx context.Context, l *life) error) (sent bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), attempt)
	defer cancel()
	l := v.running()
	if k.fleet.net.Pass(ctx, k.name, v.id) != nil || l == nil || v.running() != l {
		time.Sleep(breath)
		return false, errRefusedByNet
	}
	done := make(chan error, 1)
	go func() { done <- do(ctx, l) }()
	select {
	case err = <-done:
	case <-l.dead:
		cancel()
		<-done // it writes what its caller reads next
	}
	if l.isDead() {
		return true, errDown
	}
	if lost := k.fleet.net.Pass(ctx, v.id, k.name); lost != nil {
		time.Sleep(attempt / 2) // until the client gives the answer up
		return true, lost
	}
	return true, err
}

// next is the voter to ask after an error.
func (k *client) next(err error) {
	k.hint = k.dice.IntN(len(k.fleet.voters))
	var elsewhere *consensus.ErrNotLeader
	if errors.As(err, &elsewhere) && elsewhere.Leader != "" && k.dice.IntN(4) > 0 {
		for i, v := range k.fleet.voters {
			if v.id == elsewhere.Leader {
				k.hint = i
			}
		}
	}
}

// propose goes on under one id until it is answered or patience ends.
func (k *client) propose(from fleet.HostID, ops ...fsm.Operation) (fsm.Result, outcome) {
	p := k.fleet.history.begin(k.name, from, ops)
	result, perhaps, err := k.push(p)
	p.end(result, perhaps, err)
	if err == nil && k.dice.IntN(20) == 0 {
		k.repeat(p, result)
	}
	return result, p.Outcome
}

func (k *client) push(p *proposal) (result fsm.Result, perhaps bool, err error) {
	until := time.Now().Add(patience)
	for {
		sent, failure := k.call(k.fleet.voters[k.hint], func(ctx context.Context, l *life) (err error) {
			result, _, err = l.propose(ctx, p.data)
			return err
		})
		if failure == nil {
			return result, false, nil
		}
		var not *consensus.ErrNotLeader
		certainly := !sent || errors.As(failure, &not) || errors.Is(failure, consensus.ErrBusy)
		perhaps = perhaps || !certainly
		if time.Now().After(until) {
			return fsm.Result{}, perhaps, failure
		}
		k.next(failure)
		time.Sleep(time.Duration(k.dice.Int64N(int64(breath))))
	}
}

// repeat sends an answered proposal once more, as a network does that lost the
// answer: it must be answered the same and change nothing.
func (k *client) repeat(p *proposal, before fsm.Result) {
	var again fsm.Result
	_, err := k.call(k.fleet.voters[k.hint], func(ctx context.Context, l *life) (err error) {
		again, _, err = l.propose(ctx, p.data)
		return err
	})
	if err != nil {
		return
	}
	before.Replayed = false
	if !again.Replayed || !sameResult(again, before) {
		k.fleet.judge.violated(oncePromise, "proposal %s was answered with index %d, and with index %d (replayed %t) when it came again",
			p.ID, before.Index, again.Index, again.Replayed)
	}
}

// read looks at the books, linearizably, until it succeeds or patience ends. at
// is given the state once and may only look.
func (k *client) read(at func(voter string, s *fsm.State)) bool {
	until := time.Now().Add(patience)
	for time.Now().Before(until) {
		_, err := k.call(k.fleet.voters[k.hint], func(ctx context.Context, l *life) error {
			if _, err := l.node.Linearizable(ctx); err != nil {
				return err
			}
			l.replica.Read(func(s *fsm.State) { at(l.voter.id, s) })
			return nil
		})
		if err == nil {
			return true
		}
		k.next(err)
		time.Sleep(time.Duration(k.dice.Int64N(int64(breath))))
	}
	return false
}

// look reads the books of one host into the history.
func (k *client) look(host fleet.HostID) {
	call := k.fleet.history.clock.Add(1)
	began := time.Since(k.fleet.start)
	var got read
	if k.read(func(voter string, s *fsm.State) {
		got = read{Client: k.name, Host: host, Call: call, At: began, Voter: voter, Index: s.Index(), Books: booksOf(s, host)}
	}) {
		got.Return = k.fleet.history.clock.Add(1)
		k.fleet.history.look(got)
	}
}

// stale reads the books of any voter, as they are there.
func (k *client) stale() {
	v := k.fleet.voters[k.dice.IntN(len(k.fleet.voters))]
	_, _ = k.call(v, func(_ context.Context, l *life) error {
		l.replica.Read(func(s *fsm.State) { k.fleet.judge.seen(v.id, s.Index(), digest(sums(s))) })
		return nil
	})
}

// lease reads a lease linearizably; false: it is not in the books any more, or
// nobody answers.
func (k *client) lease(id fleet.LeaseID) (found fleet.Lease, there, answered bool) {
	answered = k.read(func(_ string, s *fsm.State) { found, there = s.Lease(id) })
	return found, there, answered
}
