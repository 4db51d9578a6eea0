package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/placed-dev/placed/durable"
)

const identityFile = "identity.json"

// identity stands beside the store and says whose it is and whether it ever
// held anything. bbolt opens a missing or empty file as a new store; a voter
// that came back with one could vote twice or forget acknowledged entries.
type identity struct {
	dir string

	mu sync.Mutex
	// Host and Cluster never change.
	Host    string `json:"host"`
	Cluster string `json:"cluster"`
	// Voted: a term was written. Stored: the log held an entry.
	Voted  bool `json:"voted"`
	Stored bool `json:"stored"`
}

func openIdentity(dir, host, cluster string) (*identity, error) {
	path := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		id := &identity{dir: dir, Host: host, Cluster: cluster}
		return id, id.save()
	}
	if err != nil {
		return nil, fmt.Errorf("raft identity: %w", err)
	}
	id := &identity{dir: dir}
	if err := json.Unmarshal(data, id); err != nil {
		return nil, &StoreError{Kind: ErrStoreDamaged, Op: "read the identity", Path: path, Err: err, Hint: hintDamaged}
	}
	if id.Host != host || id.Cluster != cluster {
		return nil, &StoreError{
			Kind: ErrStoreForeign, Path: dir,
			Err:  fmt.Errorf("it belongs to host %s of cluster %s, this is host %s of cluster %s", id.Host, id.Cluster, host, cluster),
			Hint: "nothing was changed. Correct the data directory, the host id or the cluster in the configuration",
		}
	}
	return id, nil
}

// check refuses a store that lost what it once held.
func (id *identity) check(hasTerm, hasLog bool) error {
	switch {
	case id.Stored && !hasLog:
		return id.lost("the log is empty, but held entries before")
	case (id.Voted || hasLog) && !hasTerm:
		return id.lost("the vote is empty, but this host voted before")
	}
	return nil
}

func (id *identity) lost(missing string) error {
	return &StoreError{Kind: ErrStoreLost, Path: id.dir, Err: fmt.Errorf("host %s of cluster %s: %s", id.Host, id.Cluster, missing), Hint: hintLost}
}

func (id *identity) markVoted() error  { return id.mark(&id.Voted) }
func (id *identity) markStored() error { return id.mark(&id.Stored) }

func (id *identity) mark(flag *bool) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	if *flag {
		return nil
	}
	*flag = true
	if err := id.save(); err != nil {
		*flag = false
		return err
	}
	return nil
}

// save replaces the file so that a crash leaves the old or the new one.
func (id *identity) save() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write raft identity in %s: %w", id.dir, err)
		}
	}()
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(id.dir, identityFile)
	return durable.WriteFile(path, append(data, '\n'), 0o600)
}
