package daemon

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/peer"
)

// mirror keeps the replica of a host without the log current: it asks the voters
// in turn for a snapshot newer than its own. What it shows may be old, never
// wrong; writes and linearizable reads go to the leader.
type mirror struct {
	replica *fsm.Replica
	peers   *peer.Client
	voters  func() []peer.Address
	log     hclog.Logger

	mu     sync.Mutex // guards what the last answer said
	leader string
	term   uint64
	heard  time.Time
}

// mirrorWait is how long a voter holds a request back when there is nothing new.
const mirrorWait = 5 * time.Second

// maxSnapshot bounds the books of one cell: 2,000 hosts × 40 workloads.
const maxSnapshot = 256 << 20

// Run follows the voters until ctx ends.
func (m *mirror) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		progressed := false
		for _, voter := range m.voters() {
			if err := m.pull(ctx, voter); err != nil {
				if ctx.Err() == nil {
					m.log.Debug("voter gives no state", "host", voter.ID, "error", err)
				}
				continue
			}
			progressed = true
			break
		}
		if !progressed {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
	return nil
}

func (m *mirror) pull(ctx context.Context, voter peer.Address) error {
	ctx, cancel := context.WithTimeout(ctx, 2*mirrorWait)
	defer cancel()
	answer, err := peer.Call[stateRequest, stateAnswer](ctx, m.peers, voter, callState,
		stateRequest{Index: m.replica.Applied()}, peer.MaxAnswer(maxSnapshot))
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.leader, m.term, m.heard = answer.Leader, answer.Term, time.Now()
	m.mu.Unlock()
	if len(answer.Snapshot) == 0 {
		return nil
	}
	return m.replica.Restore(io.NopCloser(bytes.NewReader(answer.Snapshot)))
}

// known returns the leader and term a voter last named and how long ago.
func (m *mirror) known() (leader string, term uint64, age time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.heard.IsZero() {
		return "", 0, 0
	}
	return m.leader, m.term, time.Since(m.heard)
}
