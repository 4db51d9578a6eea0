package workload

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// maxClients at once: the proxy keeps one connection per client.
	maxClients = 256
	// answerTime bounds how long a client that does not read can keep a
	// freeze waiting.
	answerTime = 500 * time.Millisecond
)

// server answers the client protocol. A request is inside the gate from before
// it is looked at until its answer has left, so behind a shut gate no request
// is half done: it is either answered or untouched.
type server struct {
	listener net.Listener
	gate     *gate
	answer   func(line []byte) []byte

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended bool
	wait  sync.WaitGroup
}

// run serves until ctx ends.
func (s *server) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				break
			}
			// Out of descriptors or a connection that was reset before
			// it was accepted: wait a little, so as not to spin.
			pause := time.NewTimer(10 * time.Millisecond)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
			continue
		}
		if !s.add(conn) {
			_ = conn.SetWriteDeadline(time.Now().Add(answerTime))
			_, _ = conn.Write([]byte("ERR too many connections\n"))
			conn.Close()
			continue
		}
		s.wait.Go(func() {
			defer s.remove(conn)
			s.serve(ctx, conn)
		})
	}
	s.wait.Wait()
}

func (s *server) serve(ctx context.Context, conn net.Conn) {
	in := bufio.NewReaderSize(conn, MaxLine)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			_ = s.write(conn, []byte("ERR line too long"))
			return
		}
		if err != nil {
			return
		}
		if s.gate.enter(ctx) != nil {
			return
		}
		err = s.write(conn, s.answer(bytes.TrimRight(line, "\r\n")))
		s.gate.leave()
		if err != nil {
			return
		}
	}
}

func (s *server) write(conn net.Conn, answer []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if len(answer) > MaxLine-1 {
		answer = []byte("ERR answer too long")
	}
	n, err := conn.Write(append(answer, '\n'))
	if err == nil && n <= len(answer) {
		err = io.ErrShortWrite
	}
	return err
}

func (s *server) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.conns) >= maxClients {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *server) remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	conn.Close()
}

func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.listener.Close()
	for conn := range s.conns {
		conn.Close()
	}
}
