package wal

import (
	"context"
	"os"
)

// want asks Prepare for the next segment.
func (l *Log) want() {
	select {
	case l.wanted <- struct{}{}:
	default:
	}
}

// Prepare makes each segment before it is needed, until ctx ends. Without it an
// append that fills a segment makes the next one itself; so it does after a
// failure here, and says why it fails.
func (l *Log) Prepare(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wanted:
			l.making.Lock()
			_ = l.makeNext()
			l.making.Unlock()
		}
	}
}

// takeNext returns the segment behind the tail, which is made if it was not.
func (l *Log) takeNext() (*segment, error) {
	l.making.Lock()
	defer l.making.Unlock()
	if err := l.makeNext(); err != nil {
		return nil, err
	}
	next := l.next
	l.next = nil
	return next, nil
}

// makeNext is called with making held.
func (l *Log) makeNext() error {
	switch {
	case l.closed:
		return os.ErrClosed
	case l.next != nil:
		return nil
	}
	next, err := createSegment(l.cfg.Dir, l.made+1, l.cfg.Segment)
	if err != nil {
		return err
	}
	l.next, l.made = next, next.sequence
	return nil
}
