package virtual

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/transport/memnet"
)

const raftPort = "7000"

// voter is a host that holds the log: its disk and its clock outlive the process.
type voter struct {
	id    string
	fleet *cluster
	disk  *disk
	rate  float64 // of its clock against true time

	mu   sync.Mutex // guards life and slow
	life *life
	slow time.Duration // mean time of applying one entry
	trap bool          // the next vote for another host ends the process
}

// life is one process of a voter. A life that was ended by a crash goes on as a
// ghost for a moment: nobody hears it, and what it writes is lost.
type life struct {
	voter   *voter
	node    *consensus.Node
	replica *replica
	control *controller.Controller
	reports *controller.Reports
	host    *memnet.Host
	mount   *mount
	dead    chan struct{}
	end     context.CancelFunc
}

// replica shows the judge every entry that is applied.
type replica struct {
	*fsm.Replica
	life *life
}

func (r *replica) Apply(l *raft.Log) any { return r.ApplyBatch([]*raft.Log{l})[0] }

func (r *replica) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	for i, l := range logs {
		r.life.voter.loiter()
		out[i] = r.Replica.ApplyBatch([]*raft.Log{l})[0]
		if l.Type != raft.LogCommand || r.life.isDead() {
			continue
		}
		r.Read(func(s *fsm.State) { r.life.voter.fleet.judge.applied(r.life.voter.id, l, out[i], s) })
	}
	return out
}

func (v *voter) loiter() {
	v.mu.Lock()
	slow := v.slow
	v.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow)
	}
}

// stream is the network as the node wants it.
type stream struct {
	net.Listener
	host *memnet.Host
}

func (s stream) Dial(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.host.Dial(ctx, address)
}

// now is the voter's monotonic clock.
func (v *voter) now() time.Time {
	true := time.Since(v.fleet.start)
	return v.fleet.start.Add(time.Duration(float64(true) * v.rate))
}

// boot starts a process on what the disk holds.
func (v *voter) boot() {
	l := &life{voter: v, dead: make(chan struct{}), mount: v.disk.open(), host: v.fleet.net.Boot(v.id), reports: controller.NewReports()}
	l.replica = &replica{life: l, Replica: fsm.NewReplica(func(err error) {
		v.fleet.judge.violated(byteEquality, "voter %s stops: %v", v.id, err)
	})}
	listener, err := l.host.Listen(raftPort)
	if err != nil {
		panic(err)
	}
	l.node, err = consensus.New(consensus.Config{
		ID: v.id, Cluster: "sim", Advertise: v.id + ":" + raftPort, Stream: stream{listener, l.host}, Replica: l.replica,
		Bundle: v.fleet.judge.bundle, Verify: fsm.Verify, Bootstrap: v.fleet.servers, Logger: v.fleet.logger(v.id),
		SnapshotThreshold: 600, SnapshotInterval: 20 * time.Second, TrailingLogs: 300,
		OnFatal: func(error) { v.fleet.background(func() { v.fleet.endOf(l, true) }) },
		Storage: openStorage(l.mount, func(e *raft.Log) {
			if !l.isDead() {
				v.fleet.judge.stored(v.id, e)
			}
		}, l.voted),
	})
	if err != nil {
		v.fleet.judge.violated(crashed, "voter %s refuses its store: %v", v.id, err)
		l.host.Kill()
		return
	}
	l.control = controller.New(controller.Config{
		Books: ledger{l}, Agents: v.fleet.agents, Reports: l.reports, Model: predictor.Baseline{}, Clock: fleet.LoadClock{Scale: 1},
		Liveness: v.fleet.liveness, Pass: 2 * time.Second, StaleAfter: time.Minute, LeaseTTL: leaseTTL, Now: v.now, Logger: hclog.NewNullLogger(),
	})
	v.mu.Lock()
	v.life = l
	v.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	l.end = cancel
	v.fleet.background(func() {
		err := l.node.Run(ctx)
		var store *consensus.StoreError
		if err != nil && !errors.As(err, &store) && !l.isDead() { // else a fault has ended it
			v.fleet.judge.violated(crashed, "voter %s stops by itself: %v", v.id, err)
		}
	})
	v.fleet.background(func() { _ = l.node.Leadership(ctx, l.lead) })
}

// lead is a leader's work in one term.
func (l *life) lead(ctx context.Context) error {
	var hashing sync.WaitGroup
	hashing.Go(func() { l.hash(ctx) })
	defer hashing.Wait()
	return l.control.Run(ctx)
}

// hash proposes the hash of the books for comparison, as the daemon does.
func (l *life) hash(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Second):
		}
		var hash fsm.StateHash
		var due bool
		l.replica.Read(func(s *fsm.State) { hash, due = s.NextHash() })
		if due {
			_, _ = ledger{l}.Propose(ctx, hash) // again in a moment
		}
	}
}

// voted springs the trap: the voter loses power when its vote has just left, and
// comes back without hearing from whoever got it. It must remember.
func (l *life) voted() {
	v := l.voter
	v.mu.Lock()
	sprung := v.trap
	v.trap = false
	v.mu.Unlock()
	if !sprung {
		return
	}
	v.fleet.background(func() {
		// Late enough for the answer to leave, early enough for nothing of the
		// new leader to arrive.
		time.Sleep(v.disk.moment(time.Millisecond/2, 6*time.Millisecond))
		if l.node.IsLeader() {
			return // it asked for votes itself
		}
		term := l.node.Term()
		v.fleet.endOf(l, true)
		v.fleet.sprung.Add(1)
		v.fleet.log.add("%s loses power just after a vote in term %d", v.id, term)
		for range 10 { // the answer is on its way for 3 ms at most
			time.Sleep(time.Millisecond)
			if leader := v.fleet.leader(); leader != nil {
				v.fleet.log.add("%s, who leads in term %d, is cut off from it", leader.voter.id, leader.node.Term())
				v.fleet.net.Cut(v.id, leader.voter.id)
				v.fleet.net.Cut(leader.voter.id, v.id)
				break
			}
		}
		v.fleet.restart(v)
	})
}

func (l *life) isDead() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

// running is the voter's process, nil while it is down.
func (v *voter) running() *life {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.life
}

// ledger is the controller's access to the books of its voter.
type ledger struct{ life *life }

func (b ledger) View() (view fleet.View) {
	b.life.replica.Read(func(s *fsm.State) { view = s.View() })
	return view
}

func (b ledger) Read(f func(*fsm.State)) { b.life.replica.Read(f) }

// Propose tries this voter alone: a controller that leads no more has nothing to
// say.
func (b ledger) Propose(ctx context.Context, ops ...fsm.Operation) (fsm.Result, error) {
	v := b.life.voter
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	p := v.fleet.history.begin("controller of "+v.id, fleet.HostID(v.id), ops)
	result, sent, err := b.life.propose(ctx, p.data)
	p.end(result, sent, err)
	return result, err
}

// propose hands an entry to this life's node. sent says that it may have been
// applied when there is an error.
func (l *life) propose(ctx context.Context, data []byte) (result fsm.Result, sent bool, err error) {
	type answer struct {
		result any
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		r, _, err := l.node.Propose(ctx, data)
		done <- answer{r, err}
	}()
	var a answer
	select {
	case a = <-done:
	case <-l.dead:
	}
	if l.isDead() {
		return fsm.Result{}, true, errDown
	}
	if a.err == nil {
		r, ok := a.result.(fsm.Result)
		if !ok || r.Fatal != nil {
			return fsm.Result{}, true, fmt.Errorf("the books answered %v", a.result)
		}
		return r, true, nil
	}
	var unknown *consensus.ErrUnknownOutcome
	return fsm.Result{}, errors.As(a.err, &unknown), a.err
}

var errDown = errors.New("the voter went down")
