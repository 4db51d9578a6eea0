package daemon

import (
	"io"

	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/fsm"
)

// RecoverQuorum makes the log of this host, whose agent must be stopped, one of
// the servers that peers.json in its raft directory names, in a new generation
// of the books. With dry it only looks.
func RecoverQuorum(cfg Config, dry bool) (consensus.Recovered, error) {
	lock, err := lockDataDir(cfg.DataDir)
	if err != nil {
		return consensus.Recovered{}, err
	}
	defer lock.Close()
	var fatal error
	recovered, err := consensus.Recover(consensus.RecoverConfig{
		ID: string(cfg.Host.ID), Cluster: cfg.Cluster, Dir: cfg.raftDir(), Logger: cfg.Logger.Named("consensus"),
		Replica: fsm.NewReplica(func(err error) { fatal = err }), Verify: fsm.Verify,
		Restate: func(left io.Reader, index uint64, out io.Writer) (uint64, error) {
			if fatal != nil {
				return 0, fatal // an entry could not be applied
			}
			return nextGeneration(left, index, out)
		},
	}, dry)
	return recovered, err
}

// nextGeneration begins a new generation in a state that a lost quorum left, at
// an index behind everything that was in the log. It is the same on every server
// that holds the same log.
func nextGeneration(left io.Reader, index uint64, out io.Writer) (uint64, error) {
	state, err := fsm.Restore(left)
	if err != nil {
		return 0, err
	}
	if err := fsm.BeginGeneration(state, 0, "", "an operator recovered the servers of the log"); err != nil {
		return 0, err
	}
	_, err = state.Capture().WriteTo(out)
	return max(state.Index(), index+1), err
}
