package region

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fleet"
)

// Modes of a workload process.
const (
	modeNew      = "new"
	modeRestore  = "restore"
	modeIncoming = "incoming"
)

// Start runs a workload here, from its saved state if there is one.
func (d *Driver) Start(ctx context.Context, spec driver.Spec, token fleet.Token) (driver.Found, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	found, err := d.start(ctx, spec, token)
	return found, fail("start", spec.ID, err, "")
}

func (d *Driver) start(ctx context.Context, spec driver.Spec, token fleet.Token) (driver.Found, error) {
	if err := checkSpec(&spec); err != nil {
		return driver.Found{}, err
	}
	s, leave, err := d.enter(ctx, spec.ID)
	if err != nil {
		return driver.Found{}, err
	}
	defer leave()
	before, err := d.observe(ctx, s)
	rec := record{Spec: spec, Token: token}
	switch {
	case errors.Is(err, driver.ErrNotFound):
		a, err := d.launch(ctx, s, rec, modeNew)
		if err != nil {
			return driver.Found{}, err
		}
		d.tellToken(ctx, s, token)
		return s.found(rec, a), nil
	case err != nil:
		return driver.Found{}, err
	case before.State != driver.Stopped:
		return driver.Found{}, fmt.Errorf("it is %s here already, process %d", before.State, before.PID)
	case before.Spec.Size != spec.Size:
		return driver.Found{}, fmt.Errorf("its saved state has %d bytes, not %d", before.Spec.Size, spec.Size)
	}
	if _, err := d.launch(ctx, s, rec, modeRestore); err != nil {
		return driver.Found{}, err
	}
	// From here the process holds the newest state; the file must not claim
	// to, and it must be out of the way before the first client is served.
	if err := s.folder.retireSaved(); err != nil {
		return driver.Found{}, errors.Join(err, s.process.end(ctx))
	}
	d.tellToken(ctx, s, token)
	a, _, err := s.process.ask(ctx, controlRequest{Op: "thaw"})
	if err != nil {
		return driver.Found{}, err
	}
	return s.found(rec, a), nil
}

// tellToken is for the process's own answers only: the record is what counts.
func (d *Driver) tellToken(ctx context.Context, s *slot, token fleet.Token) {
	if _, _, err := s.process.ask(ctx, controlRequest{Op: "set-token", Token: tokenText(token)}); err != nil {
		d.log.Warn("cannot tell the workload its token", "workload", s.id, "error", err)
	}
}

func checkSpec(spec *driver.Spec) error {
	if spec.Driver == "" {
		spec.Driver = Name
	}
	if spec.Driver != Name {
		return fmt.Errorf("its driver is %q", spec.Driver)
	}
	if spec.Size <= 0 || spec.Size%pageSize != 0 {
		return fmt.Errorf("its size %d is not a multiple of %d", spec.Size, pageSize)
	}
	return nil
}

func (s *slot) found(rec record, a controlAnswer) driver.Found {
	return driver.Found{
		Spec: rec.Spec, Token: rec.Token, State: stateOf(a.State), Backend: a.Backend,
		PID: s.process.who.PID, StartTime: s.process.who.StartTime, BootID: s.process.who.BootID,
	}
}

// launch starts a process in the slot's folder and returns when it answers. If
// it does not, the process is ended, and the folder removed unless it holds the
// saved state of a restore.
func (d *Driver) launch(ctx context.Context, s *slot, rec record, mode string) (a controlAnswer, err error) {
	if err := os.Mkdir(string(s.folder), 0o700); err != nil && mode != modeRestore {
		return a, err
	}
	defer func() {
		if err != nil && mode != modeRestore {
			err = errors.Join(err, d.remove(s))
		}
	}()
	if err := durable.SyncDir(d.config.Dir); err != nil {
		return a, err
	}
	rec.Incoming = mode == modeIncoming
	if err := s.folder.write(rec); err != nil {
		return a, err
	}
	who, pidfd, err := d.spawn(s, rec.Spec, mode)
	if err != nil {
		return a, err
	}
	p, a, err := awaitProcess(ctx, s.folder, &who, func() bool { return exited(pidfd) })
	if err == nil {
		rec.Process, rec.Backend = who, a.Backend
		err = s.folder.write(rec)
	}
	if err != nil {
		if p != nil {
			p.release()
		}
		silent := &process{folder: s.folder, who: who, pidfd: pidfd}
		defer silent.release()
		err = silent.died(fmt.Errorf("process %d: %w", who.PID, err))
		return a, errors.Join(err, silent.kill(context.WithoutCancel(ctx)))
	}
	unix.Close(pidfd)
	s.process = p
	return a, nil
}

// spawn starts the process: in a session of its own, so that neither a signal
// to the agent's terminal nor the end of the agent reaches it, and with the
// folder's lock in its hands before it lives.
func (d *Driver) spawn(s *slot, spec driver.Spec, mode string) (identity, int, error) {
	args, err := d.arguments(s, spec, mode)
	if err != nil {
		return identity{}, -1, err
	}
	lock, err := s.folder.awaitLock()
	if err != nil {
		return identity{}, -1, err
	}
	defer lock.Close()
	if err := os.Rename(s.folder.path(logFile), s.folder.path(oldLogFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return identity{}, -1, err
	}
	out, err := os.OpenFile(s.folder.path(logFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return identity{}, -1, err
	}
	defer out.Close()
	pidfd := -1
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = string(s.folder), out, out
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	if err := cmd.Start(); err != nil {
		return identity{}, -1, fmt.Errorf("start %s: %w", args[0], err)
	}
	who := identity{PID: cmd.Process.Pid}
	_ = cmd.Process.Release() // collected through the pidfd
	if pidfd < 0 {
		if pidfd, err = unix.PidfdOpen(who.PID, 0); err != nil {
			// Not collected yet, so the number is still its own.
			_ = unix.Kill(who.PID, unix.SIGKILL)
			return identity{}, -1, fmt.Errorf("pidfd of process %d: %w", who.PID, err)
		}
	}
	boot, bootErr := bootID()
	started, startErr := startTime(who.PID)
	who.BootID, who.StartTime = boot, started
	if err := errors.Join(bootErr, startErr); err != nil {
		silent := &process{folder: s.folder, who: who, pidfd: pidfd}
		defer silent.release()
		lock.Close()
		return identity{}, -1, errors.Join(err, silent.kill(context.Background()))
	}
	return who, pidfd, nil
}

// lockFD is the number under which a process inherits the lock: the first one
// behind standard input, output and error.
const lockFD = 3

func (d *Driver) arguments(s *slot, spec driver.Spec, mode string) ([]string, error) {
	args := append([]string(nil), d.config.Command...)
	add := func(flag, value string) { args = append(args, "-"+flag+"="+value) }
	add("id", string(spec.ID))
	add("dir", string(s.folder))
	add("mode", mode)
	add("size", strconv.FormatInt(spec.Size, 10))
	add("listen", net.JoinHostPort(d.config.ListenIP, "0"))
	add("lock-fd", strconv.Itoa(lockFD))
	if c := d.config.Clock; c.Scale != 0 && !c.Wall.IsZero() {
		add("clock-wall", c.Wall.UTC().Format(time.RFC3339Nano))
		add("clock-load", c.Load.UTC().Format(time.RFC3339Nano))
		add("clock-scale", strconv.FormatFloat(c.Scale, 'g', -1, 64))
	}
	if mode != modeNew {
		return args, nil // the state brings the rest
	}
	for _, setting := range []struct{ key, flag string }{
		{SettingTraceFile, "trace-file"}, {SettingTraceColumn, "trace-column"}, {SettingTraceFrom, "trace-from"},
		{SettingTraceTo, "trace-to"}, {SettingTraceOrigin, "trace-origin"}, {SettingScale, "scale"},
		{SettingSeed, "seed"}, {SettingDirtyRate, "dirty-rate"},
	} {
		value := spec.Settings[setting.key]
		if value == "" {
			continue
		}
		if setting.key == SettingTraceFile {
			abs, err := filepath.Abs(value)
			if err != nil {
				return nil, err
			}
			value = abs
		}
		add(setting.flag, value)
	}
	return args, nil
}
