package consensus

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/placed-dev/placed/durable"
)

// PeersFile is where an operator writes the servers of a cluster that has lost
// its quorum for good, in the raft directory of each server that is left:
//
//	[{"id": "<host id>", "address": "<ip:port of its mTLS port>", "non_voter": false}, …]
//
// A node refuses to start while the file is there; Recover uses it up.
const PeersFile = "peers.json"

// ErrRecoveryPending: PeersFile lies in the directory and has not been used.
var ErrRecoveryPending = errors.New("a recovery has been prepared")

// refusePending keeps a node from running with a configuration that an operator
// has declared lost.
func refusePending(dir string) error {
	path := filepath.Join(dir, PeersFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return &StoreError{Kind: ErrRecoveryPending, Path: path,
		Hint: "run `placed operator raft recover` here before placed is started again, or remove the file"}
}

// RecoverConfig says what is recovered.
type RecoverConfig struct {
	ID, Cluster, Dir string
	// Replica is a new, empty one; it is filled and of no use afterwards.
	Replica Replica
	Verify  func(data []byte) error
	// Restate reads the state as it was left, and writes the one to go on with
	// and its index, which must be greater. It must do the same on every server.
	Restate func(left io.Reader, index uint64, out io.Writer) (newIndex uint64, err error)
	Logger  hclog.Logger
}

// Recovered is what a recovery started from and what it made.
type Recovered struct {
	// LastIndex and LastTerm are of the newest entry that was found here. Some
	// of the last entries may never have been committed; they count now.
	LastIndex uint64   `json:"last_index"`
	LastTerm  uint64   `json:"last_term"`
	Index     uint64   `json:"index"` // of the new snapshot, 0 in a dry run
	Servers   []Server `json:"servers"`
	UsedFile  string   `json:"used_file,omitempty"` // what PeersFile is called now
}

// ReadPeers reads and checks PeersFile.
func ReadPeers(dir, self string) ([]Server, error) {
	path := filepath.Join(dir, PeersFile)
	c, err := raft.ReadConfigJSON(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf(`%w: write the servers that are left into it: [{"id": "<host id>", "address": "<ip:port>", "non_voter": false}, …]`, err)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var servers []Server
	found := false
	for _, s := range c.Servers {
		servers = append(servers, Server{ID: string(s.ID), Address: string(s.Address), Nonvoter: s.Suffrage != raft.Voter})
		found = found || string(s.ID) == self && s.Suffrage == raft.Voter
	}
	if !found {
		return nil, fmt.Errorf("%s: this host, %s, is not among its voters", path, self)
	}
	return servers, nil
}

// Recover gives the log in cfg.Dir the servers of its PeersFile. It rewrites the
// state as a snapshot through Restate, drops the log behind it, and renames the
// file. No node may run on the directory. A crash leaves the file in place, and
// Recover can be run again. With dry it only looks.
func Recover(cfg RecoverConfig, dry bool) (out Recovered, err error) {
	if out.Servers, err = ReadPeers(cfg.Dir, cfg.ID); err != nil {
		return out, err
	}
	full := Config{ID: cfg.ID, Cluster: cfg.Cluster, Dir: cfg.Dir, Replica: cfg.Replica, Verify: cfg.Verify, Logger: cfg.Logger}.filled()
	store, err := openStorage(full, dry)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	n := &Node{cfg: full, logger: full.Logger, store: store, guard: newGuard(cfg.Dir, full.Timeouts, func(error) {})}
	if err := n.guardStorage(); err != nil {
		return out, err
	}
	if out.LastIndex, out.LastTerm, err = n.newest(); err != nil {
		return out, err
	}
	if out.LastIndex == 0 {
		return out, &StoreError{Kind: ErrStoreLost, Path: cfg.Dir, Err: errors.New("there is neither an entry nor a snapshot"), Hint: "nothing can be recovered here: use another server's directory, or restore a snapshot into a new cluster"}
	}
	if dry {
		return out, nil
	}
	if out.Index, err = n.recover(out.Servers, cfg.Restate); err != nil {
		return out, err
	}
	out.UsedFile, err = usePeers(cfg.Dir)
	return out, err
}

// newest is the last entry, or the last snapshot where no entry follows it.
func (n *Node) newest() (index, term uint64, err error) {
	list, err := n.store.Snapshots.List()
	if err != nil {
		return 0, 0, err
	}
	if len(list) > 0 {
		index, term = list[0].Index, list[0].Term
	}
	last, err := n.logs.LastIndex()
	if err != nil || last <= index {
		return index, term, err
	}
	var l raft.Log
	if err := n.logs.GetLog(last, &l); err != nil {
		return 0, 0, err
	}
	return last, l.Term, nil
}

// recover replays everything into a snapshot with the new servers, then writes
// the restated one behind it, which is the one that counts.
func (n *Node) recover(servers []Server, restate func(io.Reader, uint64, io.Writer) (uint64, error)) (uint64, error) {
	s := n.store.Storage
	_, trans := raft.NewInmemTransport("") // encodes addresses, connects to nothing
	if err := raft.RecoverCluster(n.cfg.raft(), n.cfg.Replica, n.logs, s.Vote, s.Snapshots, trans, configuration(servers)); err != nil {
		return 0, fmt.Errorf("recover the log: %w", err)
	}
	list, err := s.Snapshots.List()
	if err != nil || len(list) == 0 {
		return 0, fmt.Errorf("recover the log: the snapshot just written is not there: %w", err)
	}
	left := list[0]
	_, state, err := s.Snapshots.Open(left.ID)
	if err != nil {
		return 0, fmt.Errorf("recover the log: %w", err)
	}
	defer func() { _ = state.Close() }()
	pending := &pendingSnapshot{}
	index, err := restate(state, left.Index, pending)
	if err != nil {
		return 0, fmt.Errorf("recover the log: %w", err)
	}
	if index <= left.Index {
		return 0, fmt.Errorf("recover the log: the new state is of index %d, the old one of %d: this is a defect, report it", index, left.Index)
	}
	sink, err := s.Snapshots.Create(left.Version, index, left.Term, configuration(servers), 1, trans)
	if err != nil {
		return 0, fmt.Errorf("recover the log: %w", err)
	}
	if _, err := sink.Write(pending.data); err != nil {
		return 0, errors.Join(fmt.Errorf("recover the log: %w", err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return 0, fmt.Errorf("recover the log: %w", err)
	}
	return index, nil
}

// pendingSnapshot collects a state whose index is known only when it is written.
type pendingSnapshot struct{ data []byte }

func (p *pendingSnapshot) Write(b []byte) (int, error) {
	p.data = append(p.data, b...)
	return len(b), nil
}

// usePeers renames the file so that it is not used twice by accident.
func usePeers(dir string) (string, error) {
	path := filepath.Join(dir, PeersFile)
	used := path + ".used"
	for i := 2; ; i++ {
		if _, err := os.Lstat(used); errors.Is(err, os.ErrNotExist) {
			break
		}
		used = fmt.Sprintf("%s.used.%d", path, i)
	}
	if err := os.Rename(path, used); err != nil {
		return "", fmt.Errorf("the log is recovered, but %s could not be renamed; remove it: %w", path, err)
	}
	return used, durable.SyncDir(dir)
}
