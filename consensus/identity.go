package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/placed-dev/placed/durable"
)

const identityFile = "identity.json"

// Formats of the log.
const (
	formatBolt     = 1 // raft.db, a file of raft-boltdb; not written into the identity
	formatSegments = 2 // log/, see package wal
)

// unreadable follows the host in the identity of a directory that versions which
// know formatBolt alone must not start on: they would begin a new raft.db beside
// the log. They compare the host and show it.
const unreadable = " (its log is of format 2, which this version of placed cannot read: start a newer one)"

// identity stands beside the store and says whose it is and whether it ever
// held anything. A missing or empty store opens as a new one; a voter that came
// back with one could vote twice or forget acknowledged entries.
type identity struct {
	dir string

	mu sync.Mutex
	// Host and Cluster never change.
	Host    string `json:"host"`
	Cluster string `json:"cluster"`
	// Voted: a term was written. Stored: the log held an entry.
	Voted  bool `json:"voted"`
	Stored bool `json:"stored"`
	// Format of the log.
	Format int `json:"format,omitempty"`
}

func openIdentity(dir, host, cluster string) (*identity, error) {
	path := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return newIdentity(dir, host, cluster)
	}
	if err != nil {
		return nil, fmt.Errorf("raft identity: %w", err)
	}
	id := &identity{dir: dir}
	if err := json.Unmarshal(data, id); err != nil {
		return nil, &StoreError{Kind: ErrStoreDamaged, Op: "read the identity", Path: path, Err: err, Hint: hintDamaged}
	}
	id.Host, id.Format = strings.TrimSuffix(id.Host, unreadable), max(id.Format, formatBolt)
	if id.Format > formatSegments {
		return nil, &StoreError{
			Kind: ErrStoreForeign, Path: dir, Err: fmt.Errorf("its log is of format %d, this version of placed reads %d and %d", id.Format, formatBolt, formatSegments),
			Hint: "nothing was changed. Start the newer version that was here before",
		}
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

// newIdentity is for a directory without one. Versions that wrote none in time
// left a raft.db at most.
func newIdentity(dir, host, cluster string) (*identity, error) {
	id := &identity{dir: dir, Host: host, Cluster: cluster, Format: formatSegments}
	_, noBolt := os.Stat(filepath.Join(dir, boltFile))
	_, noLog := os.Stat(filepath.Join(dir, logDir))
	switch {
	case noBolt == nil && noLog == nil:
		return nil, &StoreError{Kind: ErrStoreDamaged, Op: "read the identity", Path: filepath.Join(dir, identityFile),
			Err: fmt.Errorf("it is missing, and there are both a %s and a %s: nobody knows which is the newer", boltFile, logDir), Hint: hintDamaged}
	case noBolt == nil:
		id.Format = formatBolt
	}
	return id, id.save()
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

// markCarried: the log is in segments from now on.
func (id *identity) markCarried() error {
	id.mu.Lock()
	defer id.mu.Unlock()
	before := id.Format
	id.Format = formatSegments
	err := id.save()
	if err != nil {
		id.Format = before
	}
	return err
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
	file := struct {
		Host    string `json:"host"`
		Cluster string `json:"cluster"`
		Voted   bool   `json:"voted"`
		Stored  bool   `json:"stored"`
		Format  int    `json:"format,omitempty"`
	}{id.Host, id.Cluster, id.Voted, id.Stored, id.Format}
	if file.Format == formatBolt {
		file.Format = 0
	} else {
		file.Host += unreadable
	}
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(id.dir, identityFile)
	return durable.WriteFile(path, append(data, '\n'), 0o600)
}
