package region

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// process is one living workload process: who it is, a descriptor that proves
// its end, and the one control connection this agent has to it. Guarded by the
// slot that holds it.
type process struct {
	folder  folder
	who     identity
	pidfd   int
	control *controlConn // nil: connect when needed
}

// adopt connects to the process of a folder and proves who it is. expect, if
// not nil, is the process that must answer.
func adopt(ctx context.Context, f folder, expect *identity) (*process, controlAnswer, error) {
	c, err := dialControl(ctx, f)
	if err != nil {
		return nil, controlAnswer{}, err
	}
	a, _, err := c.ask(ctx, controlRequest{Op: "hello"})
	if err != nil {
		c.conn.Close()
		return nil, controlAnswer{}, err
	}
	boot, err := bootID()
	who := identity{PID: a.PID, StartTime: a.StartTime, BootID: boot}
	if err == nil && expect != nil && *expect != who {
		err = fmt.Errorf("process %d answers, process %d was started", who.PID, expect.PID)
	}
	pidfd := -1
	if err == nil {
		pidfd, err = openIdentity(who)
	}
	if err != nil {
		c.conn.Close()
		return nil, controlAnswer{}, err
	}
	return &process{folder: f, who: who, pidfd: pidfd, control: c}, a, nil
}

func (p *process) alive() bool { return !exited(p.pidfd) }

// release lets go of the process without touching it.
func (p *process) release() {
	p.disconnect()
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
		p.pidfd = -1
	}
}

func (p *process) disconnect() {
	if p.control != nil {
		p.control.conn.Close()
		p.control = nil
	}
}

// ask sends a request, over a new connection when the old one broke: another
// agent may have connected since. Every request may be repeated without harm.
func (p *process) ask(ctx context.Context, r controlRequest) (controlAnswer, []int, error) {
	for attempt := 0; ; attempt++ {
		fresh := p.control == nil
		if err := p.connect(ctx); err != nil {
			return controlAnswer{}, nil, p.died(err)
		}
		a, fds, err := p.control.ask(ctx, r)
		if err == nil || errors.Is(err, errRefused) {
			return a, fds, err
		}
		p.disconnect()
		if fresh || attempt > 0 || ctx.Err() != nil {
			return a, nil, p.died(err)
		}
	}
}

func (p *process) connect(ctx context.Context) error {
	if p.control != nil {
		return nil
	}
	c, err := dialControl(ctx, p.folder)
	if err != nil {
		return err
	}
	if c.pid != p.who.PID {
		c.conn.Close()
		return fmt.Errorf("the socket belongs to process %d, not to %d", c.pid, p.who.PID)
	}
	p.control = c
	return nil
}

// ErrDied: the process of the workload has ended by itself; its state is gone
// unless it was saved.
var ErrDied = errors.New("its process has died")

// died names the death of the process as the cause when it is.
func (p *process) died(err error) error {
	if p.alive() {
		return err
	}
	if last := p.folder.lastLog(); last != "" {
		return fmt.Errorf("%w (last line of %s: %s)", ErrDied, p.folder.path(logFile), last)
	}
	return fmt.Errorf("%w: %w", ErrDied, err)
}

const (
	// exitTime is what a process gets to end after it was asked.
	exitTime = 2 * time.Second
	// killTime is what the kernel gets to end it after SIGKILL: freeing its
	// memory takes a while.
	killTime = 10 * time.Second
)

// end ends the process and returns once it is proved gone: its pidfd says so
// and the lock that it held is free.
func (p *process) end(ctx context.Context) error {
	if p.alive() {
		ask, cancel := context.WithTimeout(ctx, exitTime)
		_, _, err := p.ask(ask, controlRequest{Op: "exit"})
		cancel()
		if err != nil || !awaitExit(ctx, p.pidfd, exitTime) {
			return p.kill(ctx)
		}
	}
	return p.gone()
}

func (p *process) kill(ctx context.Context) error {
	if err := unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.who.PID, err)
	}
	if !awaitExit(ctx, p.pidfd, killTime) {
		return fmt.Errorf("process %d has not ended %s after SIGKILL: it hangs in the kernel; its memory is still in use", p.who.PID, killTime)
	}
	return p.gone()
}

func (p *process) gone() error {
	reap(p.pidfd)
	l, err := p.folder.awaitLock()
	if err != nil {
		return fmt.Errorf("process %d is gone: %w", p.who.PID, err)
	}
	return l.Close()
}
