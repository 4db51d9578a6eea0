package virtual

import (
	"context"
	"time"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// migration is one move under its lease. The agent speaks for both ends and keeps
// to the protocol: the destination takes memory before the first byte, the source
// freezes before its commit, and nothing runs on a guess.
type migration struct {
	*agent
	resident *resident
	lease    fleet.Lease
	renewed  time.Time // on the agent's clock: when the newest renewal was sent
	digest   string
	taken    bool // the destination holds memory
	frozen   bool // the source does not run it any more
}

func (m *migration) source() fleet.HostID      { return m.lease.Source }
func (m *migration) destination() fleet.HostID { return m.lease.Destination }

func (m *migration) run(ctx context.Context) {
	r := m.resident
	if m.dice.IntN(15) == 0 {
		m.meddle()
	}
	switch m.dice.IntN(14) {
	case 0: // the source never begins: the lease expires
		return
	case 1:
		m.must(m.source(), fsm.Release{Lease: m.lease.ID, Reason: "not now"})
		return
	}
	if len(r.tokens) > 0 && m.dice.IntN(6) == 0 {
		// A word under an old token: it must not count.
		m.must(m.source(), fsm.Begin{Lease: m.lease.ID, Token: r.tokens[m.dice.IntN(len(r.tokens))]})
	}
	if begun := m.must(m.source(), fsm.Begin{Lease: m.lease.ID, Token: m.lease.Token}); begun.Err != nil {
		return // expired meanwhile
	}
	m.world.take(m.destination(), r)
	m.taken = true
	if m.copy(ctx) && m.dice.IntN(10) > 0 {
		m.finish()
	}
	m.settle()
}

// meddle says what is not this host's to say.
func (m *migration) meddle() {
	switch m.dice.IntN(3) {
	case 0:
		m.propose(m.destination(), fsm.Begin{Lease: m.lease.ID})
	case 1:
		m.propose(m.anyHost(), fsm.Grant{Workload: m.resident.id, Destination: m.elsewhere(m.source()), Type: fleet.Requested})
	case 2:
		m.propose(m.destination(), fsm.Commit{Lease: m.lease.ID, Digest: "guess"})
	}
}

// copy takes its time, renews the lease, and says whether it is still held.
func (m *migration) copy(ctx context.Context) bool {
	length := time.Duration(m.dice.ExpFloat64() * float64(400*time.Millisecond))
	silent := m.dice.IntN(40) == 0
	if m.dice.IntN(25) == 0 || silent {
		length += 2 * leaseTTL
	}
	until := time.Now().Add(length)
	for ctx.Err() == nil && time.Now().Before(until) {
		time.Sleep(min(renewEvery, time.Until(until)))
		switch age := m.now().Sub(m.renewed); {
		case silent:
		case age > leaseTTL*99/100:
			return false // the holder stops by itself
		case age >= renewEvery:
			m.renew()
		}
	}
	return true
}

// renew tells the leader that the holder is alive.
func (m *migration) renew() {
	sent, began := m.now(), time.Now()
	_, err := m.call(m.fleet.voters[m.hint], func(_ context.Context, l *life) error { return l.control.Renew(m.lease.ID) })
	if err != nil {
		m.next(err)
		return
	}
	m.renewed = sent
	m.fleet.judge.renewedAt(m.lease.ID, began, leaseTTL)
}

// finish takes the workload over, as far as the books allow.
func (m *migration) finish() {
	m.digest = string(m.lease.ID) + "-digest"
	if prepared := m.must(m.destination(), fsm.ReportPrepared{Lease: m.lease.ID, Digest: m.digest, Token: m.lease.Token}); prepared.Err != nil {
		return
	}
	switch m.dice.IntN(16) {
	case 0: // the destination speaks for the source
		m.must(m.destination(), fsm.Commit{Lease: m.lease.ID, Digest: m.digest, Token: m.lease.Token})
	case 1: // frozen, and then nothing is heard: uncertain
		m.freeze()
		time.Sleep(2 * leaseTTL)
		return
	case 2:
		return
	}
	m.freeze()
	m.must(m.source(), fsm.Commit{Lease: m.lease.ID, Digest: m.digest, Token: m.lease.Token})
}

func (m *migration) freeze() {
	m.world.stop(m.source(), m.resident.id)
	m.frozen = true
}

// settle brings the move to its end by what the books say of it.
func (m *migration) settle() {
	for {
		l, there, heard := m.client.lease(m.lease.ID)
		switch {
		case !heard:
		case !there:
			m.fleet.judge.violated(durablePromise, "lease %s of workload %s is not in the books, and was not ended by its agents", m.lease.ID, m.resident.id)
			return
		case l.State == fleet.Transferring, l.State == fleet.Prepared:
			if m.frozen {
				// The commit may still be applied: only the books decide.
				m.think()
				break
			}
			m.must(m.source(), fsm.Abort{Lease: l.ID, Reason: "stopped"})
		case l.State == fleet.Committed, l.State == fleet.Activated:
			m.arrive()
			return
		case l.State == fleet.Aborted:
			m.stay(l)
			return
		case l.State == fleet.Uncertain:
			m.observe()
		case l.State == fleet.Released:
			m.arrived()
			return
		}
		m.think()
	}
}

// arrive runs it at the destination and proves the source released.
func (m *migration) arrive() {
	m.arrived()
	m.must(m.destination(), fsm.ReportActivated{Lease: m.lease.ID})
	m.think()
	m.world.free(m.source(), m.resident.id)
	m.must(m.source(), fsm.ReportReleased{Lease: m.lease.ID})
}

func (m *migration) arrived() {
	m.world.stop(m.source(), m.resident.id)
	m.world.start(m.destination(), m.resident.id)
	m.resident.at = m.destination()
}

// stay lets the source go on and clears the destination.
func (m *migration) stay(l fleet.Lease) {
	m.world.start(m.source(), m.resident.id)
	m.world.free(m.destination(), m.resident.id)
	if !l.Discarded {
		m.must(m.destination(), fsm.ReportDiscarded{Lease: l.ID})
	}
}

// observe reports what each end holds, in any order.
func (m *migration) observe() {
	source := fsm.ObserveOwner{Lease: m.lease.ID, Host: m.source(), Seen: fsm.SeenRunning}
	if m.frozen {
		source.Seen = fsm.SeenFrozen
	}
	destination := fsm.ObserveOwner{Lease: m.lease.ID, Host: m.destination(), Seen: fsm.SeenAbsent}
	if m.frozen {
		destination.Seen, destination.Digest = fsm.SeenPrepared, m.digest
	} else {
		m.world.free(m.destination(), m.resident.id)
	}
	ends := []fsm.ObserveOwner{source, destination}
	if m.dice.IntN(2) == 0 {
		ends[0], ends[1] = ends[1], ends[0]
	}
	m.must(ends[0].Host, ends[0])
	m.think()
	if m.dice.IntN(4) == 0 {
		time.Sleep(2 * leaseTTL) // one end is not heard for long
	}
	m.must(ends[1].Host, ends[1])
}

func reportOf(host string, seq uint64) controller.Report {
	return controller.Report{Host: fleet.HostID(host), Boot: "b", Seq: seq, At: time.Now()}
}
