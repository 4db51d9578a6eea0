package traffic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrNoProxy: no proxy answers on the directory.
	ErrNoProxy = errors.New("no traffic proxy runs here")
	// ErrRestarted: another process serves than the one connected to. Routes
	// and holds of the old one are gone: Connect or Ensure again, set the
	// routes, and hold again what must be held.
	ErrRestarted = errors.New("the traffic proxy was restarted: its routes and holds are gone")
	// ErrWrongProxy: what runs there may not be used; nothing was replaced.
	ErrWrongProxy = errors.New("another traffic proxy runs here")
)

// Control is an agent's hand on the proxy of its host. Every call is one short
// connection, so calls are independent and may run at the same time.
type Control struct {
	path     string
	identity Identity
}

// Connect finds the proxy that runs on dir and proves which process it is: the
// kernel's word on who holds the socket, and the start time of that process.
func Connect(ctx context.Context, dir string) (*Control, error) {
	c := &Control{path: filepath.Join(dir, socketFile)}
	a, pid, err := c.exchange(ctx, request{Op: opHello})
	if err != nil {
		return nil, err
	}
	proved, err := identify(pid)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoProxy, err)
	}
	if !a.Identity.same(proved) {
		return nil, fmt.Errorf("%w: %s is served by process %d, which claims to be process %d", ErrWrongProxy, c.path, pid, a.Identity.PID)
	}
	if a.Identity.Protocol != protocolVersion {
		return nil, fmt.Errorf("%w: process %d speaks protocol %d, this program %d: it keeps serving; end it when its clients may be cut off, and a new one is started",
			ErrWrongProxy, pid, a.Identity.Protocol, protocolVersion)
	}
	c.identity = a.Identity
	return c, nil
}

// Identity is that of the process connected to.
func (c *Control) Identity() Identity { return c.identity }

// SetRoutes gives the full table. Problems name the routes that are not in
// force: a port in use (tried again every second), an epoch older than the one
// in force, a held workload that the table does not name. The rest is in force.
func (c *Control) SetRoutes(ctx context.Context, routes []Route) ([]Problem, error) {
	a, err := c.do(ctx, request{Op: opRoutes, Routes: routes})
	return a.Problems, err
}

// Hold stops new requests to a workload owned here and returns when every
// request in flight has been answered. If ctx ends before, the workload is
// released again and Hold fails. It may be repeated. The hold itself has no end:
// only Resume or Switch release it.
func (c *Control) Hold(ctx context.Context, workload string) error {
	_, err := c.do(ctx, request{Op: opHold, Workload: workload})
	return err
}

// Resume releases the workload on the route it has.
func (c *Control) Resume(ctx context.Context, workload string) error {
	_, err := c.do(ctx, request{Op: opResume, Workload: workload})
	return err
}

// Switch puts in the route of a new owner (or of a new backend), releases the
// clients and returns after the first answer. After an error of an unanswered
// switch the new route stays.
func (c *Control) Switch(ctx context.Context, workload string, route Route) (SwitchResult, error) {
	route.Workload = workload
	a, err := c.do(ctx, request{Op: opSwitch, Workload: workload, Route: &route})
	if err != nil || a.Switch == nil {
		return SwitchResult{}, err
	}
	return *a.Switch, nil
}

// Status reads what the proxy does.
func (c *Control) Status(ctx context.Context) (Status, error) {
	a, err := c.do(ctx, request{Op: opStatus})
	if err != nil || a.Status == nil {
		return Status{}, err
	}
	return *a.Status, nil
}

// Stop ends the proxy and with it every client's connection.
func (c *Control) Stop(ctx context.Context) error {
	_, err := c.do(ctx, request{Op: opStop})
	return err
}

func (c *Control) do(ctx context.Context, q request) (response, error) {
	a, _, err := c.exchange(ctx, q)
	switch {
	case err != nil:
		return a, fmt.Errorf("traffic %s %s: %w", q.Op, q.Workload, err)
	case a.Error != "":
		return a, fmt.Errorf("traffic %s %s: %s", q.Op, q.Workload, a.Error)
	}
	return a, nil
}

// slack lets the proxy's own deadline, which undoes a hold, come before ours.
const slack = 2 * time.Second

func (c *Control) exchange(ctx context.Context, q request) (a response, pid int, err error) {
	patience := defaultControlTimeout
	if deadline, ok := ctx.Deadline(); ok {
		patience = max(min(time.Until(deadline), maxControlTimeout), time.Millisecond)
	}
	q.TimeoutMS = max(patience.Milliseconds(), 1)

	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "unix", c.path)
	if err != nil {
		return a, 0, fmt.Errorf("%w: %w", ErrNoProxy, err)
	}
	defer func() { _ = conn.Close() }()
	// A cancelled caller goes at once; one that runs into its deadline still
	// hears what the proxy made of it.
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			_ = conn.Close()
		}
	})
	defer stop()
	if pid, err = peerPID(conn.(*net.UnixConn)); err != nil {
		return a, 0, err
	}
	// Before anything is asked of it: a new process has an empty table.
	if c.identity.PID != 0 {
		if now, err := identify(pid); err != nil || !now.same(c.identity) {
			return a, pid, ErrRestarted
		}
	}
	if err := conn.SetDeadline(time.Now().Add(patience + slack)); err != nil {
		return a, pid, err
	}
	line, err := json.Marshal(q)
	if err != nil {
		return a, pid, err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return a, pid, fmt.Errorf("proxy process %d: %w", pid, err)
	}
	answer, err := newLines(conn, maxControlLine).next()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return a, pid, fmt.Errorf("proxy process %d does not answer: %w", pid, err)
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return a, pid, fmt.Errorf("proxy process %d: answer is not JSON: %w", pid, err)
	}
	return a, pid, nil
}

func peerPID(c *net.UnixConn) (pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("who serves the control socket: %w", err)
	}
	return int(cred.Pid), nil
}
