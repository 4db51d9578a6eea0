package devfleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// agent is one `placed agent` process.
type agent struct {
	host   Host
	config string
	log    string
	cmd    *exec.Cmd
	// ended is closed when the process is gone; err is set before.
	ended chan struct{}
	err   error
}

// startAgent starts the agent of one host in a process group of its own, so that
// a Ctrl-C in the terminal reaches `placed dev` alone, which ends the agents in
// order. The kernel ends the agent when `placed dev` dies.
func startAgent(binary string, host Host, config, logFile string) (*agent, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", host.Name, err)
	}
	defer log.Close() // the child has its own copy
	cmd := exec.Command(binary, "agent", "--config", config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the agent of %s: %w", host.Name, err)
	}
	a := &agent{host: host, config: config, log: logFile, cmd: cmd, ended: make(chan struct{})}
	go func() { // ends with the process; stop waits for it
		a.err = cmd.Wait()
		close(a.ended)
	}()
	return a, nil
}

func (a *agent) running() bool {
	select {
	case <-a.ended:
		return false
	default:
		return true
	}
}

// stop asks the agent to end and waits; one that does not is killed. Its
// workloads are not touched either way.
func (a *agent) stop(ctx context.Context) error {
	if !a.running() {
		return nil
	}
	// The process may end between the check and the signal: then Wait says so.
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-a.ended:
		return nil
	case <-ctx.Done():
	}
	_ = a.cmd.Process.Kill()
	select {
	case <-a.ended:
		return fmt.Errorf("the agent of %s did not end in time and was killed; its log is %s", a.host.Name, a.log)
	case <-time.After(5 * time.Second):
		return fmt.Errorf("the agent of %s (pid %d) cannot be killed; its log is %s", a.host.Name, a.cmd.Process.Pid, a.log)
	}
}

// stopByHand ends an agent of this fleet that an operator has started again by
// hand after it had died: the file names it, the lock proves that it runs.
func stopByHand(ctx context.Context, host Host, lockFile string) error {
	lock, err := os.OpenFile(lockFile, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never ran
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	for asked := false; ; {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil // closing lets go of it
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock of %s: %w", host.Name, err)
		}
		if !asked {
			text, err := os.ReadFile(lockFile)
			if err != nil {
				return err
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil || pid <= 1 {
				return fmt.Errorf("%s does not name the agent of %s that holds it: stop that agent by hand", lockFile, host.Name)
			}
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("stop the agent of %s (pid %d): %w", host.Name, pid, err)
			}
			asked = true
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent of %s, started by hand, does not end: stop it and run again", host.Name)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// restartCommand is what an operator types to start a killed agent again.
func (a *agent) restartCommand(binary string) string {
	return fmt.Sprintf("%s agent --config %s", binary, a.config)
}
