package workload

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// process is one life of a workload: its memory, its two sockets and the phase
// it is in.
type process struct {
	config    Config
	pid       int
	startTime uint64
	lock      *os.File
	memory    *memory
	uffd      int // -1 when there is none
	uffdError string
	clients   net.Listener
	agents    *net.UnixListener
	gate      *gate
	started   chan struct{} // closed once state is set

	mu    sync.Mutex // guards phase, token and the first write of state
	phase string
	token string
	// state is nil until activation in incoming mode. It is set before the
	// gate opens for the first time and never changes afterwards, so what
	// runs inside the gate reads it without the lock.
	state *state
}

// newProcess makes everything that can fail, in the order that leaves nothing
// behind: the socket that says "here I am" comes last.
func newProcess(c Config) (p *process, err error) {
	p = &process{config: c, pid: os.Getpid(), uffd: -1, gate: newGate(), started: make(chan struct{})}
	defer func() {
		if err != nil {
			p.close()
			p, err = nil, fmt.Errorf("workload %s: %w", c.ID, err)
		}
	}()
	if p.startTime, err = ownStartTime(); err != nil {
		return p, err
	}
	if p.lock, err = takeLock(c); err != nil {
		return p, err
	}
	if p.memory, err = newMemory(c.ID, c.Size); err != nil {
		return p, err
	}
	if p.uffd, err = newUffd(); err != nil {
		// Not fatal: the agent then compares instead of tracking.
		p.uffd, p.uffdError, err = -1, err.Error(), nil
	}
	if err := p.load(); err != nil {
		return p, err
	}
	if p.clients, err = net.Listen("tcp", c.Listen); err != nil {
		return p, fmt.Errorf("client protocol: %w", err)
	}
	if p.agents, err = listenControl(c.Dir); err != nil {
		return p, fmt.Errorf("control socket: %w", err)
	}
	return p, nil
}

// load brings the state into the phase that the mode asks for.
func (p *process) load() error {
	switch p.config.Mode {
	case ModeIncoming:
		p.phase = PhaseIncoming
		return nil
	case ModeRestore:
		p.phase = PhaseFrozen
		path := filepath.Join(p.config.Dir, SavedFile)
		if err := loadSaved(path, p.memory.mem); err != nil {
			return err
		}
		s, err := openState(p.memory.mem, p.config.ID)
		if err == nil {
			_, err = s.verify()
		}
		if err != nil {
			return fmt.Errorf("saved state %s: %w", path, err)
		}
		s.useClock(p.config.Clock)
		p.begin(s)
		return nil
	}
	s, err := createState(p.config, p.memory.mem)
	if err != nil {
		return err
	}
	p.phase = PhaseRunning
	p.begin(s)
	p.gate.open()
	return nil
}

func createState(c Config, mem []byte) (*state, error) {
	var trace []float32
	if c.TraceFile != "" {
		var err error
		if trace, err = readTrace(c.TraceFile, c.TraceColumn, c.TraceFrom, c.TraceTo); err != nil {
			return nil, err
		}
	}
	origin := c.TraceOrigin
	switch {
	case !origin.IsZero():
	case c.Clock.isZero():
		origin = time.Now()
	default:
		origin = c.Clock.Load
	}
	return newState(mem, header{
		id: c.ID, seed: c.Seed, origin: origin, scale: c.Scale, dirtyRate: c.DirtyRate, clock: c.Clock,
	}, trace)
}

func (p *process) begin(s *state) {
	p.state = s
	close(p.started)
}

// do carries out one control request.
func (p *process) do(ctx context.Context, r ControlRequest) (ControlAnswer, []int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	switch r.Op {
	case "hello":
	case "freeze":
		err = p.freeze(ctx)
	case "thaw":
		err = p.thaw()
	case "activate":
		err = p.activate(r.Token)
	case "set-token":
		p.token = r.Token
	case "exit":
	default:
		err = fmt.Errorf("unknown control request %q", r.Op)
	}
	answer := p.describe()
	var fds []int
	if r.Op == "hello" && r.Memory {
		answer.Memory, fds = true, append(fds, p.memory.fd)
		if p.uffd >= 0 {
			answer.Uffd, fds = true, append(fds, p.uffd)
		}
	}
	if err != nil {
		answer.Error = err.Error()
	}
	return answer, fds, r.Op == "exit"
}

func (p *process) describe() ControlAnswer {
	a := ControlAnswer{
		Protocol: ControlProtocol, ID: p.config.ID, PID: p.pid, StartTime: p.startTime,
		State: p.phase, Token: p.token, Backend: p.clients.Addr().String(),
		Size: p.config.Size, UffdError: p.uffdError,
	}
	if p.state != nil {
		a.Version, a.Counter = version, p.state.counter()
	}
	return a
}

func (p *process) freeze(ctx context.Context) error {
	switch p.phase {
	case PhaseFrozen:
		return nil
	case PhaseIncoming:
		return errors.New("freeze: it has never run here")
	}
	ctx, cancel := context.WithTimeout(ctx, freezeTime)
	defer cancel()
	if err := p.gate.shut(ctx); err != nil {
		return fmt.Errorf("freeze: a writer did not stop within %s, it runs on: %w", freezeTime, err)
	}
	p.phase = PhaseFrozen
	return nil
}

func (p *process) thaw() error {
	if p.phase == PhaseIncoming {
		return errors.New("thaw: it has never run here; activate it")
	}
	p.phase = PhaseRunning
	p.gate.open()
	return nil
}

func (p *process) activate(token string) error {
	switch {
	case p.phase == PhaseRunning && p.token == token:
		return nil
	case p.phase != PhaseIncoming:
		return fmt.Errorf("activate under token %q: it is %s under token %q", token, p.phase, p.token)
	}
	s, err := openState(p.memory.mem, p.config.ID)
	if err != nil {
		return fmt.Errorf("activate: %w", err)
	}
	s.useClock(p.config.Clock)
	p.token, p.phase = token, PhaseRunning
	p.begin(s)
	p.gate.open()
	return nil
}

// run lives until ctx ends or an agent asks it to exit.
func (p *process) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	clients := &server{listener: p.clients, gate: p.gate, answer: p.answer, conns: map[net.Conn]struct{}{}}
	agents := &control{listener: p.agents, do: p.do, end: cancel}
	var wait sync.WaitGroup
	wait.Go(func() { clients.run(ctx) })
	wait.Go(func() { agents.run(ctx) })
	wait.Go(func() {
		select {
		case <-p.started:
			(&labour{state: p.state, gate: p.gate}).run(ctx)
		case <-ctx.Done():
		}
	})
	wait.Wait()
}

func (p *process) close() {
	if p.agents != nil {
		p.agents.Close()
	}
	if p.clients != nil {
		p.clients.Close()
	}
	if p.uffd >= 0 {
		unix.Close(p.uffd)
	}
	if p.memory != nil {
		p.memory.close()
	}
	if p.lock != nil {
		p.lock.Close()
	}
}

// takeLock makes sure that one process at a time lives in the directory.
func takeLock(c Config) (*os.File, error) {
	path := filepath.Join(c.Dir, LockFile)
	if c.LockFD > 0 {
		unix.CloseOnExec(c.LockFD)
		return os.NewFile(uintptr(c.LockFD), path), nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is locked: another process of this workload lives: %w", path, err)
	}
	return f, nil
}

// ownStartTime reads field 22 of /proc/self/stat; the command name before it
// may contain anything, so fields are counted from its closing parenthesis.
func ownStartTime() (uint64, error) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/self/stat has %d fields behind the name", len(fields))
	}
	return strconv.ParseUint(fields[19], 10, 64)
}
