package memnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window bounds the bytes that are sent and not yet read; a writer waits.
const window = 256 << 10

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// stream is one direction of a connection: what one end writes, the other reads
// after the time that the link takes.
type stream struct {
	net      *Network
	from, to string

	mu       sync.Mutex // guards everything below
	changed  chan struct{}
	segments []segment // sent, not yet read, in order
	held     int       // bytes in segments
	stuck    bool      // the first segment was due while the link was cut

	writerClosed, readerClosed bool
	readBy, writeBy            time.Time
}

type segment struct {
	due  time.Time
	data []byte
	last bool // the end of the stream
}

func newStream(n *Network, from, to string) *stream {
	return &stream{net: n, from: from, to: to, changed: make(chan struct{})}
}

// announce needs mu.
func (s *stream) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := 0
	for {
		// Where nobody reads any more, a host that is up answers with a reset.
		var links <-chan struct{}
		answered := false
		if s.readerClosed {
			var peer *Host
			peer, links = s.net.reachable(s.from, s.to)
			answered = peer != nil
		}
		switch {
		case s.writerClosed:
			return written, net.ErrClosed
		case past(s.writeBy):
			return written, os.ErrDeadlineExceeded
		case answered:
			return written, syscall.ECONNRESET
		case len(b) == 0:
			return written, nil
		}
		if room := min(window-s.held, len(b)); room > 0 {
			s.send(segment{data: append([]byte(nil), b[:room]...)})
			written, b = written+room, b[room:]
			continue
		}
		s.wait(s.writeBy, links)
	}
}

// send needs mu. Segments arrive in the order of sending.
func (s *stream) send(g segment) {
	g.due = time.Now().Add(s.net.delay(s.from, s.to, retransmit))
	if n := len(s.segments); n > 0 && g.due.Before(s.segments[n-1].due) {
		g.due = s.segments[n-1].due
	}
	s.segments = append(s.segments, g)
	s.held += len(g.data)
	s.announce()
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readerClosed:
			return 0, net.ErrClosed
		case past(s.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(s.segments) == 0:
			s.wait(s.readBy, nil)
			continue
		}
		if wait, links := s.arrival(); wait > 0 || links != nil {
			until := s.readBy
			if wake := time.Now().Add(wait); links == nil && (until.IsZero() || wake.Before(until)) {
				until = wake
			}
			s.wait(until, links)
			continue
		}
		return s.take(b)
	}
}

// arrival says how long the first segment is still on its way, or gives the
// channel to wait for while the link is cut. It needs mu.
func (s *stream) arrival() (time.Duration, <-chan struct{}) {
	first := &s.segments[0]
	if wait := time.Until(first.due); wait > 0 {
		return wait, nil
	}
	cut, links := s.net.state(s.from, s.to)
	if cut {
		s.stuck = true
		return 0, links
	}
	if s.stuck {
		// Mended: the sender tries again within a retransmission.
		s.stuck = false
		first.due = time.Now().Add(s.net.delay(s.from, s.to, retransmit) + retransmit/2)
		return time.Until(first.due), nil
	}
	return 0, nil
}

// take needs mu.
func (s *stream) take(b []byte) (int, error) {
	first := &s.segments[0]
	if first.last {
		return 0, io.EOF
	}
	n := copy(b, first.data)
	first.data = first.data[n:]
	s.held -= n
	if len(first.data) == 0 {
		s.segments = s.segments[1:]
	}
	s.announce()
	return n, nil
}

// wait gives mu away until something changes or until has passed; zero: no limit.
func (s *stream) wait(until time.Time, links <-chan struct{}) {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	if until.IsZero() {
		select {
		case <-changed:
		case <-links:
		}
		return
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-changed:
	case <-links:
	case <-timer.C:
	}
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (s *stream) closeWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.writerClosed {
		s.writerClosed = true
		s.send(segment{last: true})
	}
}

// vanishWriter ends the writer without telling the reader: one that only listens
// learns nothing, not even when the writer's host is up again.
func (s *stream) vanishWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writerClosed = true
	s.announce()
}

func (s *stream) closeReader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readerClosed = true
	s.announce()
}

func (s *stream) setReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readerClosed {
		return net.ErrClosed
	}
	s.readBy = t
	s.announce()
	return nil
}

func (s *stream) setWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writerClosed {
		return net.ErrClosed
	}
	s.writeBy = t
	s.announce()
	return nil
}
