package region

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fleet"
)

// observe says what the workload of a slot is doing, adopting its process if
// this agent has not yet. It returns driver.ErrNotFound when nothing is left.
func (d *Driver) observe(ctx context.Context, s *slot) (driver.Found, error) {
	if s.process != nil && !s.process.alive() {
		reap(s.process.pidfd)
		s.forget()
	}
	if !s.folder.exists() {
		return driver.Found{}, driver.ErrNotFound
	}
	l, err := s.folder.takeLock()
	if err != nil {
		return driver.Found{}, err
	}
	if l != nil {
		defer l.Close()
		return d.observeDead(s)
	}
	return d.observeLiving(ctx, s)
}

// observeLiving asks the process. One that holds the lock and does not answer
// is reported as running: it may be, and it uses its memory.
func (d *Driver) observeLiving(ctx context.Context, s *slot) (driver.Found, error) {
	// One workload that hangs must not hide the others.
	ctx, cancel := context.WithTimeout(ctx, d.config.Timeout/5)
	defer cancel()
	rec, recErr := s.folder.read()
	a, err := d.hello(ctx, s)
	if err != nil {
		if l, lockErr := s.folder.takeLock(); lockErr == nil && l != nil {
			defer l.Close() // it died while it was asked
			return d.observeDead(s)
		}
	}
	if recErr != nil {
		d.log.Error("record of a living workload cannot be read: reported without settings, it cannot move", "workload", s.id, "error", recErr)
		rec = record{Spec: driver.Spec{ID: s.id, Driver: Name, Size: a.Size, Reserve: fleet.Vector{Memory: a.Size}}}
	}
	found := driver.Found{
		Spec: rec.Spec, Token: rec.Token, State: driver.Running, Backend: rec.Backend,
		PID: rec.Process.PID, StartTime: rec.Process.StartTime, BootID: rec.Process.BootID,
	}
	if err != nil {
		if s.silent == nil { // once, not with every inventory
			d.log.Warn("workload lives but does not answer: counted as running", "workload", s.id, "pid", rec.Process.PID, "error", err)
		}
		s.silent = err
		s.holdSilent(rec.Process)
		return found, nil
	}
	s.silent = nil
	found.State, found.Backend = stateOf(a.State), a.Backend
	found.PID, found.StartTime, found.BootID = s.process.who.PID, s.process.who.StartTime, s.process.who.BootID
	if recErr == nil {
		d.bringUpToDate(ctx, s, rec, a)
	}
	return found, nil
}

// holdSilent keeps hold of a process that was recorded and does not answer, so
// that it can still be ended by force.
func (s *slot) holdSilent(who identity) {
	if s.process != nil {
		return
	}
	if pidfd, err := openIdentity(who); err == nil {
		s.process = &process{folder: s.folder, who: who, pidfd: pidfd}
	}
}

// hello asks the process, adopting it first if need be. A process that was just
// started by an agent that died may not listen yet, so connecting is retried.
func (d *Driver) hello(ctx context.Context, s *slot) (controlAnswer, error) {
	if s.process != nil {
		a, _, err := s.process.ask(ctx, controlRequest{Op: "hello"})
		return a, err
	}
	p, a, err := awaitProcess(ctx, s.folder, nil, func() bool { return false })
	if err != nil {
		return controlAnswer{}, err
	}
	s.process = p
	d.log.Info("adopted workload", "workload", s.id, "pid", p.who.PID, "state", a.State)
	return a, nil
}

// awaitProcess connects until it succeeds, ctx ends or the process has ended.
func awaitProcess(ctx context.Context, f folder, expect *identity, ended func() bool) (*process, controlAnswer, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last error
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, controlAnswer{}, errors.Join(ctx.Err(), last)
		}
		p, a, err := adopt(ctx, f, expect)
		if err == nil {
			return p, a, nil
		}
		last = err
		if ended() {
			return nil, controlAnswer{}, ErrDied
		}
		timer.Reset(2 * time.Millisecond)
	}
}

// bringUpToDate repairs what an agent that died between two steps left behind.
func (d *Driver) bringUpToDate(ctx context.Context, s *slot, rec record, a controlAnswer) {
	stale := rec
	stale.Process, stale.Backend = s.process.who, a.Backend
	stale.Incoming = rec.Incoming && a.State == string(driver.Incoming)
	if stale.Process != rec.Process || stale.Backend != rec.Backend || stale.Incoming != rec.Incoming {
		if err := s.folder.write(stale); err != nil {
			d.log.Warn("cannot bring the record up to date", "workload", s.id, "error", err)
		}
	}
	if a.State == string(driver.Running) && s.folder.saved() {
		// It cannot be: a saved state is put away before its workload
		// runs. If a file was put there by hand, it must not be taken
		// for the newest state later.
		if err := s.folder.retireSaved(); err != nil {
			d.log.Error("a saved state lies beside a running workload and cannot be put away", "workload", s.id, "error", err)
		}
	}
	if a.State != string(driver.Incoming) && a.Token != tokenText(rec.Token) {
		if _, _, err := s.process.ask(ctx, controlRequest{Op: "set-token", Token: tokenText(rec.Token)}); err != nil {
			d.log.Warn("cannot tell the workload its token", "workload", s.id, "error", err)
		}
	}
}

// observeDead decides what a folder without a process is. The caller holds its
// lock.
func (d *Driver) observeDead(s *slot) (driver.Found, error) {
	s.forget()
	rec, err := s.folder.read()
	switch {
	case err == nil && rec.Ending:
		// Ordered and done, only the removal is missing.
		return driver.Found{}, d.vanish(s)
	case err == nil && s.folder.saved():
		return driver.Found{Spec: rec.Spec, Token: rec.Token, State: driver.Stopped}, nil
	case err == nil && rec.Incoming:
		d.log.Warn("incoming workload died before it ever ran here: removed", "workload", s.id, "last_log", s.folder.lastLog())
		return driver.Found{}, d.vanish(s)
	}
	kept, moveErr := d.moveAside(s)
	if moveErr != nil {
		return driver.Found{}, moveErr
	}
	d.log.Error("workload died and left no saved state: it is absent; its directory is kept", "workload", s.id,
		"kept", kept, "holds_older_state", hasState(kept), "last_log", folder(kept).lastLog(), "error", err)
	return driver.Found{}, driver.ErrNotFound
}

// keptDead is how many directories of dead workloads without any state are kept.
const keptDead = 16

// moveAside keeps the directory of a dead workload for an operator and prunes
// older ones, never one that holds a state.
func (d *Driver) moveAside(s *slot) (string, error) {
	dir := filepath.Join(d.config.Dir, deadDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	kept := filepath.Join(dir, time.Now().UTC().Format("20060102T150405.000000000Z")+"-"+fileName(s.id))
	if err := os.Rename(string(s.folder), kept); err != nil {
		return "", fmt.Errorf("keep the directory of a dead workload: %w", err)
	}
	if err := durable.SyncDir(d.config.Dir); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var empty []string
	for _, e := range entries { // by name, so by time
		if path := filepath.Join(dir, e.Name()); !hasState(path) {
			empty = append(empty, path)
		}
	}
	for _, path := range empty[:max(0, len(empty)-keptDead)] {
		if err := os.RemoveAll(path); err != nil {
			return "", err
		}
	}
	return kept, nil
}

// hasState says whether a directory holds a saved state, of whatever age.
func hasState(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err != nil || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), savedFile) })
}

// vanish removes what is left of a workload and says that it is not here.
func (d *Driver) vanish(s *slot) error {
	if err := d.remove(s); err != nil {
		return err
	}
	return driver.ErrNotFound
}

// remove forgets the directory of a workload: first out of sight, at once, then
// piece by piece.
func (d *Driver) remove(s *slot) error {
	doomed := filepath.Join(d.config.Dir, doomedPrefix+fileName(s.id)+time.Now().UTC().Format("-150405.000000000"))
	if err := os.Rename(string(s.folder), doomed); err != nil {
		return fmt.Errorf("remove its directory: %w", err)
	}
	if err := durable.SyncDir(d.config.Dir); err != nil {
		return err
	}
	return os.RemoveAll(doomed)
}

func stateOf(text string) driver.State {
	switch s := driver.State(text); s {
	case driver.Running, driver.Frozen, driver.Incoming:
		return s
	}
	return driver.Running
}

// tokenText is how a process is told its token: opaque to it.
func tokenText(t fleet.Token) string {
	if t.IsZero() {
		return ""
	}
	return t.String()
}
