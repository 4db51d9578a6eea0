package lab

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects from inside a network namespace; the connection stays there
// whatever thread uses it later.
func Dial(ctx context.Context, namespace, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	var dial func()
	dial = func() {
		// Never unlocked: the thread ends with the goroutine, so that no
		// other finds itself in the wrong namespace.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread stands for the process in /proc: in the lab's
			// namespace it would make this process one of the lab's.
			other := make(chan struct{})
			go func() { defer close(other); dial() }()
			<-other
			runtime.UnlockOSThread()
			return
		}
		if err := enter(namespace); err != nil {
			done <- result{nil, err}
			return
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		done <- result{conn, err}
	}
	go dial()
	r := <-done
	return r.conn, r.err
}

// enter moves the calling thread into a network namespace.
func enter(namespace string) error {
	fd, err := unix.Open(filepath.Join(netnsDir, namespace), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", namespace, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("namespace %s: %w", namespace, err)
	}
	return nil
}

// Ask sends one command to a guest's control port and returns the answer; it
// tries again while the guest cannot be reached, for at most patience.
func (l *Lab) Ask(ctx context.Context, g Guest, command string) (answer string, err error) {
	err = poll(ctx, patience, "guest "+g.Name, func() error {
		answer, err = l.AskOnce(ctx, g, command)
		return err
	})
	return answer, err
}

// askTime bounds one question: to compare a working set takes an emulated guest on
// a busy machine several seconds.
const askTime = 30 * time.Second

// AskOnce sends one command to a guest's control port and returns the answer.
func (l *Lab) AskOnce(ctx context.Context, g Guest, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := Dial(ctx, l.SwitchNamespace(), "tcp4", g.Address()+":7778")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(conn, command); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// Check asks the guest to compare every page of its working set.
func (l *Lab) Check(ctx context.Context, g Guest) error {
	answer, err := l.Ask(ctx, g, "check")
	if err == nil && answer != "ok" {
		err = fmt.Errorf("the memory of guest %s is damaged: %s", g.Name, answer)
	}
	return err
}
