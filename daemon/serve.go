package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/migrator"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/transport"
)

// register puts every agent-to-agent call on the server. Who may make which call
// is said here and nowhere else: operators have the HTTP API, not these.
func (d *Daemon) register(s *peer.Server) {
	agents := peer.Roles(transport.RoleVoter, transport.RoleHost)
	voters := peer.Roles(transport.RoleVoter)
	peer.Serve(s, callPropose, d.servePropose, agents, peer.MaxBody(1<<20))
	peer.Serve(s, callReadIndex, d.serveReadIndex, agents)
	peer.Serve(s, callReport, d.serveReport, agents, peer.MaxBody(16<<20))
	peer.Serve(s, callRenew, d.serveRenew, agents)
	peer.Serve(s, callPlace, d.servePlace, agents)
	peer.Serve(s, callState, d.serveState, agents, peer.MaxTime(2*mirrorWait))
	peer.Serve(s, callPlan, d.servePlan, agents)
	peer.Serve(s, callMove, d.serveMove, agents)
	peer.Serve(s, callWhyNot, d.serveWhyNot, agents)
	peer.Serve(s, callFits, d.serveFits, agents)
	peer.Serve(s, callMigrate, d.serveMigrate, voters)
	peer.Serve(s, callAsk, d.serveAsk, agents)
	peer.Serve(s, callHistory, d.serveHistory, agents, peer.MaxBody(8<<20))
	peer.Serve(s, callTimeline, d.serveTimeline, agents)
	peer.Serve(s, callExamples, d.serveExamples, voters, peer.MaxBody(8<<20))
	peer.Serve(s, callBlob, d.serveBlob, agents, peer.MaxBody(2*maxBlob))
	peer.Serve(s, callKeepBlob, d.serveKeepBlob, voters, peer.MaxBody(2*maxBlob))
	peer.Serve(s, callForesight, d.serveForesight, agents)
	peer.Serve(s, callServerStats, d.serveServerStats, voters)
	peer.Serve(s, callServers, d.serveServers, agents)
	peer.Serve(s, callBuild, d.serveBuild, agents)
	// A host's certificate must not suffice to change who votes.
	peer.Serve(s, callQuorum, d.serveQuorum, voters, peer.MaxBody(maxStateBody), peer.MaxTime(time.Minute))
	peer.Serve(s, callMeasure, d.takeMeasurement, agents)
	peer.Serve(s, callLeases, d.serveLeases, agents, peer.MaxBody(1<<20))
}

// asCall gives consensus errors the code by which callers branch.
func asCall(err error) error {
	var elsewhere *consensus.ErrNotLeader
	if errors.As(err, &elsewhere) {
		return notLeader{Leader: elsewhere.Leader}
	}
	if errors.Is(err, controller.ErrNotLeader) {
		return notLeader{}
	}
	return err
}

// servePropose takes an entry for the log. The proposer in its header must be the
// caller, unless a voter passes on what it was given itself.
func (d *Daemon) servePropose(ctx context.Context, from transport.Identity, p proposal) (fsm.Result, error) {
	header, _, err := fsm.Decode(p.Data)
	if err != nil {
		return fsm.Result{}, &peer.Error{Code: peer.CodeBadRequest, Message: err.Error()}
	}
	if header.Proposer != from.ID && from.Role != transport.RoleVoter {
		return fsm.Result{}, &peer.Error{Code: peer.CodeForbidden,
			Message: fmt.Sprintf("host %s proposes in the name of host %s", from.ID, header.Proposer)}
	}
	if d.node == nil {
		return fsm.Result{}, notLeader{}
	}
	result, err := d.books.proposeHere(ctx, p.Data)
	var elsewhere *consensus.ErrNotLeader
	if errors.As(err, &elsewhere) && from.Role != transport.RoleVoter && elsewhere.Address != "" {
		// A host without the log knows voters, not the leader: pass it on, once.
		to := peer.Address{ID: fleet.HostID(elsewhere.Leader), Addr: elsewhere.Address}
		return peer.Call[proposal, fsm.Result](ctx, d.peers, to, callPropose, p)
	}
	return result, asCall(err)
}

func (d *Daemon) serveReadIndex(ctx context.Context, from transport.Identity, _ empty) (readIndex, error) {
	if d.node == nil {
		return readIndex{}, notLeader{}
	}
	index, err := d.node.Linearizable(ctx)
	var elsewhere *consensus.ErrNotLeader
	if errors.As(err, &elsewhere) && from.Role != transport.RoleVoter && elsewhere.Address != "" {
		to := peer.Address{ID: fleet.HostID(elsewhere.Leader), Addr: elsewhere.Address}
		return peer.Call[empty, readIndex](ctx, d.peers, to, callReadIndex, empty{})
	}
	return readIndex{Index: index}, asCall(err)
}

func (d *Daemon) serveReport(_ context.Context, from transport.Identity, r controller.Report) (controller.Ack, error) {
	if r.Host != from.ID {
		return controller.Ack{}, &peer.Error{Code: peer.CodeForbidden, Message: fmt.Sprintf("host %s reports in the name of host %s", from.ID, r.Host)}
	}
	ack := d.reports.Add(r, time.Now())
	ack.Members = d.answer(r)
	return ack, nil
}

// onLeader passes a call of a host without the log on to the leader, once.
func onLeader[Req, Resp any](ctx context.Context, d *Daemon, from transport.Identity, name string, request Req, here func() (Resp, error)) (Resp, error) {
	answer, err := here()
	if err == nil || !errors.Is(err, controller.ErrNotLeader) {
		return answer, asCall(err)
	}
	to, known := d.books.leader()
	if !known || to.ID == d.self || from.Role == transport.RoleVoter {
		return answer, notLeader{Leader: string(to.ID)}
	}
	return peer.Call[Req, Resp](ctx, d.peers, to, name, request)
}

func (d *Daemon) serveRenew(ctx context.Context, from transport.Identity, r renewal) (empty, error) {
	return onLeader(ctx, d, from, callRenew, r, func() (empty, error) {
		return empty{}, d.controller.Renew(r.Lease)
	})
}

func (d *Daemon) servePlace(ctx context.Context, from transport.Identity, p placement) (leaseAnswer, error) {
	return onLeader(ctx, d, from, callPlace, p, func() (leaseAnswer, error) {
		lease, err := d.controller.Place(ctx, p.Workload)
		return leaseAnswer{Lease: lease}, err
	})
}

// serveState gives a host without the log a newer copy of the books.
func (d *Daemon) serveState(ctx context.Context, _ transport.Identity, r stateRequest) (stateAnswer, error) {
	if d.node == nil {
		return stateAnswer{}, notLeader{}
	}
	wait, cancel := context.WithTimeout(ctx, mirrorWait)
	defer cancel()
	// Nothing newer in time is an answer too.
	if err := d.replica.WaitApplied(wait, r.Index+1); err != nil && ctx.Err() != nil {
		return stateAnswer{}, ctx.Err()
	}
	leader, _ := d.node.Leader()
	answer := stateAnswer{Index: d.replica.Applied(), Leader: leader, Term: d.node.Term()}
	if answer.Index <= r.Index {
		return answer, nil
	}
	var snapshot fsm.Snapshot
	d.replica.Read(func(s *fsm.State) { snapshot = s.Capture() })
	var out bytes.Buffer
	if _, err := snapshot.WriteTo(&out); err != nil {
		return stateAnswer{}, fmt.Errorf("snapshot for host without the log: %w", err)
	}
	answer.Snapshot = out.Bytes()
	return answer, nil
}

func (d *Daemon) servePlan(ctx context.Context, from transport.Identity, q planQuestion) (planAnswer, error) {
	return onLeader(ctx, d, from, callPlan, q, func() (planAnswer, error) {
		if plan, ok := d.controller.Latest(); ok && plan.Pass == q.Have {
			return planAnswer{Same: true}, nil
		}
		return d.planHere()
	})
}

func (d *Daemon) serveMove(ctx context.Context, from transport.Identity, r fleet.Request) (moveAnswer, error) {
	return onLeader(ctx, d, from, callMove, r, func() (moveAnswer, error) {
		decision, lease, err := d.controller.Move(ctx, r)
		return moveAnswer{Decision: decision, Lease: lease}, err
	})
}

func (d *Daemon) serveWhyNot(ctx context.Context, from transport.Identity, r whyNotRequest) (fleet.Decision, error) {
	return onLeader(ctx, d, from, callWhyNot, r, func() (fleet.Decision, error) {
		return d.controller.WhyNot(r.Workload, r.Host)
	})
}

// serveMigrate takes on a migration: it returns once the move is under way, and
// the migrator goes on with it.
func (d *Daemon) serveMigrate(_ context.Context, _ transport.Identity, a leaseAnswer) (empty, error) {
	if a.Lease.Source != d.self {
		return empty{}, &peer.Error{Code: peer.CodeBadRequest, Message: fmt.Sprintf("lease %s has its source on host %s, not here", a.Lease.ID, a.Lease.Source)}
	}
	return empty{}, d.moves.start(a.Lease)
}

func (d *Daemon) serveAsk(ctx context.Context, from transport.Identity, q migrator.Question) (migrator.Answer, error) {
	return d.migrator.Answer(ctx, from.ID, q)
}

func (d *Daemon) serveHistory(_ context.Context, _ transport.Identity, r historyRequest) (historyAnswer, error) {
	out, err := d.series.export(r.Workload)
	return historyAnswer{out}, err
}
