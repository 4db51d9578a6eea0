package region

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The control protocol: one JSON object per line and direction. The program
// that Config.Command starts implements the other end.
type controlRequest struct {
	Op     string `json:"op"` // hello, freeze, thaw, activate, set-token, exit
	Token  string `json:"token,omitempty"`
	Memory bool   `json:"memory,omitempty"` // hello: pass memfd and userfaultfd
}

type controlAnswer struct {
	Protocol  int    `json:"protocol"`
	Error     string `json:"error"`
	ID        string `json:"id"`
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"`
	State     string `json:"state"`
	Token     string `json:"token"`
	Backend   string `json:"backend"`
	Size      int64  `json:"size"`
	Memory    bool   `json:"memory"`
	Uffd      bool   `json:"uffd"`
	UffdError string `json:"uffd_error"`
}

const (
	controlProtocol = 1
	// maxAnswer bounds what a process may send.
	maxAnswer = 1 << 16
)

// errRefused: the process lives and said no.
var errRefused = errors.New("refused")

// controlConn is a connection to the control socket of one process.
type controlConn struct {
	conn *net.UnixConn
	pid  int // of the listener, as the kernel says
}

// dialControl connects through a descriptor of the directory: a socket's path
// may have 107 bytes only, a directory's may be longer.
func dialControl(ctx context.Context, f folder) (*controlConn, error) {
	d, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), socketFile))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", f.path(socketFile), err)
	}
	c := &controlConn{conn: conn.(*net.UnixConn)}
	if c.pid, err = listenerPID(c.conn); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func listenerPID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, inner); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// ask sends one request and returns the answer and the descriptors that came
// with it, which the caller owns.
func (c *controlConn) ask(ctx context.Context, r controlRequest) (controlAnswer, []int, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return controlAnswer{}, nil, errors.New("control request without a deadline")
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return controlAnswer{}, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	text, err := json.Marshal(r)
	if err != nil {
		return controlAnswer{}, nil, err
	}
	if _, err := c.conn.Write(append(text, '\n')); err != nil {
		return controlAnswer{}, nil, err
	}
	line, fds, err := c.receive()
	var a controlAnswer
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	if err == nil && a.Protocol != controlProtocol {
		err = fmt.Errorf("it speaks control protocol %d, this agent %d", a.Protocol, controlProtocol)
	}
	if err == nil && a.PID != c.pid {
		err = fmt.Errorf("the socket belongs to process %d, its answer says %d", c.pid, a.PID)
	}
	if err == nil && a.Error != "" {
		err = fmt.Errorf("%w: %s", errRefused, a.Error)
	}
	if err != nil {
		closeAll(fds)
		return a, nil, fmt.Errorf("%s: %w", r.Op, err)
	}
	return a, fds, nil
}

// receive reads one line and whatever descriptors come with it.
func (c *controlConn) receive() (line []byte, fds []int, err error) {
	data, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(2*4))
	for {
		n, rn, _, _, err := c.conn.ReadMsgUnix(data, rights)
		if rn > 0 {
			got, parseErr := parseRights(rights[:rn])
			fds = append(fds, got...)
			err = errors.Join(err, parseErr)
		}
		if err == nil && n == 0 {
			err = errors.New("the process closed the connection")
		}
		if err != nil {
			return nil, fds, err
		}
		line = append(line, data[:n]...)
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			return line[:end], fds, nil
		}
		if len(line) > maxAnswer {
			return nil, fds, fmt.Errorf("answer is longer than %d bytes", maxAnswer)
		}
	}
}

func parseRights(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var all []int
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return all, err
		}
		all = append(all, fds...) // net receives them close-on-exec
	}
	return all, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
