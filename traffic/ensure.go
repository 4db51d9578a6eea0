package traffic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// EnsureConfig says which proxy must run on Dir and how to start it.
type EnsureConfig struct {
	Dir string
	// Command is the argv that runs Proxy.Run on Dir ("placed", "proxy", …).
	Command []string
	// Env is added to the agent's own environment.
	Env []string
	// Address and PeerPort are what a running proxy must have.
	Address  string
	PeerPort int
	// Wait bounds the start; 0 means 5 s.
	Wait   time.Duration
	Logger hclog.Logger
}

// Ensure returns a Control of the proxy that runs on cfg.Dir and starts one when
// none does. The process belongs to nobody: it has a session of its own, its
// parent is init, and it writes to proxy.log in Dir; neither the end of the agent
// nor a signal to its group reaches it. (Under systemd the unit needs
// KillMode=process.) A running proxy is never replaced: one with another address
// or protocol is ErrWrongProxy.
func Ensure(ctx context.Context, cfg EnsureConfig) (*Control, error) {
	if cfg.Wait == 0 {
		cfg.Wait = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	c, err := connectAs(ctx, cfg)
	if !errors.Is(err, ErrNoProxy) {
		return c, err
	}
	if len(cfg.Command) == 0 {
		return nil, fmt.Errorf("%w, and no command to start one is given", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start traffic proxy: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(cfg.Dir, logFile), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start traffic proxy: %w", err)
	}
	defer func() { _ = log.Close() }()
	before, err := log.Stat()
	if err != nil {
		return nil, fmt.Errorf("start traffic proxy: %w", err)
	}
	if err := detach(ctx, cfg, log); err != nil {
		return nil, fmt.Errorf("start traffic proxy %s: %w", strings.Join(cfg.Command, " "), err)
	}
	c, err = waitStarted(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start traffic proxy %s: %w: its log says: %s",
			strings.Join(cfg.Command, " "), err, tail(log, before.Size()))
	}
	cfg.Logger.Info("started the traffic proxy", "pid", c.identity.PID, "address", c.identity.Address)
	return c, nil
}

func connectAs(ctx context.Context, cfg EnsureConfig) (*Control, error) {
	c, err := Connect(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	if id := c.identity; id.Address != cfg.Address || id.PeerPort != cfg.PeerPort {
		return nil, fmt.Errorf("%w: process %d serves %s with peer port %d, wanted are %s and %d: it keeps serving; correct the configuration, or end it when its clients may be cut off",
			ErrWrongProxy, id.PID, id.Address, id.PeerPort, cfg.Address, cfg.PeerPort)
	}
	return c, nil
}

// detach starts the command as a child of init. The shell between forks and
// ends at once, so that the agent has no child to wait for and leaves no zombie.
func detach(ctx context.Context, cfg EnsureConfig, log *os.File) error {
	argv := append([]string{"-c", `exec "$@" &`, "sh"}, cfg.Command...)
	cmd := exec.CommandContext(ctx, "/bin/sh", argv...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), cfg.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Run()
}

// waitStarted polls: the new process can tell nobody that it is ready.
func waitStarted(ctx context.Context, cfg EnsureConfig) (*Control, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Wait)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := connectAs(ctx, cfg)
		if err == nil || errors.Is(err, ErrWrongProxy) {
			return c, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// tail returns the last lines that were written since the start.
func tail(log *os.File, from int64) string {
	const most = 2048
	info, err := log.Stat()
	if err != nil || info.Size() <= from {
		return "nothing"
	}
	from = max(from, info.Size()-most)
	b := make([]byte, info.Size()-from)
	n, _ := log.ReadAt(b, from)
	lines := bytes.Split(bytes.TrimSpace(b[:n]), []byte("\n"))
	lines = lines[max(0, len(lines)-3):]
	return string(bytes.Join(lines, []byte(" | ")))
}
