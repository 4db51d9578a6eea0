package migrator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// Versions of the migration protocol this binary speaks.
const (
	wireVersion    = 1
	wireVersionMin = 1
)

// offer opens a connection: who wants to bring what, under which token.
type offer struct {
	Version int           `json:"version"`
	Oldest  int           `json:"oldest"`
	Cluster string        `json:"cluster"`
	Source  fleet.HostID  `json:"source"`
	Lease   fleet.LeaseID `json:"lease"`
	Token   fleet.Token   `json:"token"`
	Spec    driver.Spec   `json:"spec"`
	Size    int64         `json:"size"`
	Page    int64         `json:"page"`
	Block   int64         `json:"block"`
	Tracker string        `json:"tracker"`
	Codecs  []string      `json:"codecs"`
}

// accept answers an offer; refusal is the other answer.
type accept struct {
	Version int      `json:"version"`
	Codecs  []string `json:"codecs"`
}

type refusal struct {
	Reason string `json:"reason"`
}

type round struct {
	Round int `json:"round"`
}

type final struct {
	Digest string `json:"digest"`
}

// say turns a cutover event into what travels, event back. Only what an end may
// rightly say passes: an authenticated peer that errs must not steer this one.
func toSay(e cutover.Event) Say {
	return Say{Kind: e.Kind.String(), Word: e.Word, Lease: e.Lease}
}

func (s Say) event(fromSource bool) (cutover.Event, error) {
	switch {
	case s.Kind == "asked" && fromSource:
		return cutover.Event{Kind: cutover.Asked}, nil
	case s.Kind == "learned" && fromSource && s.Lease == fleet.Committed:
		return cutover.Event{Kind: cutover.Learned, Lease: s.Lease}, nil
	case s.Kind == "heard" && wordOf(s.Word, fromSource):
		return cutover.Event{Kind: cutover.Heard, Word: s.Word}, nil
	}
	return cutover.Event{}, fmt.Errorf("%w: the peer may not say %q %s", errFrame, s.Kind, s.Word)
}

// wordOf says whether the word belongs to that end.
func wordOf(w cutover.Word, source bool) bool {
	switch w {
	case cutover.Aborted, cutover.Relinquished, cutover.Released:
		return source
	case cutover.Admitted, cutover.Prepared, cutover.Activated, cutover.Refused:
		return !source
	}
	return false
}

// wire is one migration connection. One goroutine reads it, one session writes.
type wire struct {
	conn net.Conn
	w    *bufio.Writer
	idle time.Duration
	now  func() time.Time
	sent int64
	head []byte
	last time.Time // of the last flush

	in   chan frame
	done chan struct{}
	once sync.Once
	wg   sync.WaitGroup
	// err is why reading ended; read it after in is closed.
	err error
}

func newWire(conn net.Conn, idle time.Duration, now func() time.Time) *wire {
	return &wire{conn: conn, w: bufio.NewWriterSize(conn, 64<<10), idle: idle, now: now, last: now(),
		in: make(chan frame, 4), done: make(chan struct{})}
}

// write buffers a frame; flush sends what is buffered. Both respect the idle
// limit, so a peer that stops reading cannot hold the session for ever.
func (l *wire) write(f frame) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(l.idle)); err != nil {
		return err
	}
	l.head = appendFrame(l.head[:0], f)
	n, err := l.w.Write(l.head)
	l.sent += int64(n)
	return err
}

func (l *wire) flush() error {
	l.last = l.now()
	return l.w.Flush()
}

func (l *wire) send(kind frameKind, v any) error {
	f, err := jsonFrame(kind, v)
	if err != nil {
		return err
	}
	if err := l.write(f); err != nil {
		return err
	}
	return l.flush()
}

// ping keeps an otherwise silent connection from looking dead.
func (l *wire) ping() error {
	if l.now().Sub(l.last) < l.idle/4 {
		return nil
	}
	if err := l.write(frame{kind: framePing}); err != nil {
		return err
	}
	return l.flush()
}

// receive reads one frame outside of the reading goroutine, for the handshake.
func (l *wire) receive(wait time.Duration) (frame, error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return frame{}, err
	}
	f, err := readFrame(l.conn, nil)
	return f, errors.Join(err, l.conn.SetReadDeadline(time.Time{}))
}

// listen starts the reading goroutine, which ends when the connection does;
// limit bounds the silence between two frames, 0 = no bound.
func (l *wire) listen(limit time.Duration) {
	l.wg.Go(func() {
		defer close(l.in)
		r := bufio.NewReaderSize(l.conn, 64<<10)
		for {
			if limit > 0 {
				if l.err = l.conn.SetReadDeadline(time.Now().Add(limit)); l.err != nil {
					return
				}
			}
			var f frame
			if f, l.err = readFrame(r, nil); l.err != nil {
				return
			}
			select {
			case l.in <- f:
			case <-l.done:
				return
			}
		}
	})
}

// close ends the connection and waits for the reading goroutine.
func (l *wire) close() {
	l.once.Do(func() {
		close(l.done)
		_ = l.conn.Close() // nothing is lost by it: words are on disk
	})
	l.wg.Wait()
}

// next waits for a frame until the time is over.
func (l *wire) next(ctx context.Context, wait time.Duration) (frame, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case f, ok := <-l.in:
		if !ok {
			return frame{}, fmt.Errorf("connection to the other end lost: %w", l.err)
		}
		return f, nil
	case <-timer.C:
		return frame{}, fmt.Errorf("no answer from the other end within %s", wait)
	case <-ctx.Done():
		return frame{}, context.Cause(ctx)
	}
}
