package workload

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// freezeTime bounds how long the writers may take to park.
const freezeTime = 5 * time.Second

// control serves the control socket, one agent at a time: a new connection ends
// the old one, because an agent that lost its process number or its mind must
// not keep its successor out.
type control struct {
	listener *net.UnixListener
	do       func(ctx context.Context, r ControlRequest) (a ControlAnswer, fds []int, last bool)
	end      func() // called after the answer to exit has left

	mu      sync.Mutex
	current *net.UnixConn
	ended   bool
	wait    sync.WaitGroup
}

// listenControl binds the socket through a descriptor of the directory: a
// socket's path may have 107 bytes only, a directory's may be longer.
func listenControl(dir string) (*net.UnixListener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	path := filepath.Join(dir, SocketFile)
	// The lock of the directory is ours: whoever bound it is gone.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	short := filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), SocketFile)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// By then the short path is another one's.
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// run serves until ctx ends.
func (c *control) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	for {
		conn, err := c.listener.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				break
			}
			pause := time.NewTimer(10 * time.Millisecond)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
			continue
		}
		if err := checkPeer(conn); err != nil || !c.replace(conn) {
			conn.Close()
			continue
		}
		c.wait.Go(func() {
			defer conn.Close()
			c.serve(ctx, conn)
		})
	}
	c.wait.Wait()
}

// checkPeer admits the user the process runs as, and root.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var inner error
	if err := raw.Control(func(fd uintptr) {
		cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if inner != nil {
		return inner
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("uid %d may not control this workload", cred.Uid)
	}
	return nil
}

func (c *control) replace(conn *net.UnixConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	if c.current != nil {
		c.current.Close()
	}
	c.current = conn
	return true
}

func (c *control) serve(ctx context.Context, conn *net.UnixConn) {
	in := bufio.NewReaderSize(conn, MaxLine)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		var request ControlRequest
		if err := json.Unmarshal(line, &request); err != nil {
			request.Op = "?"
		}
		answer, fds, last := c.do(ctx, request)
		text, err := json.Marshal(answer)
		if err != nil {
			return
		}
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		_ = conn.SetWriteDeadline(time.Now().Add(answerTime))
		_, _, err = conn.WriteMsgUnix(append(text, '\n'), rights, nil)
		if last {
			c.end()
		}
		if err != nil || last {
			return
		}
	}
}

func (c *control) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.listener.Close()
	if c.current != nil {
		c.current.Close()
	}
}
