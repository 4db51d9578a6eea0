package daemon

import (
	"context"
	"time"

	"github.com/placed-dev/placed/fsm"
)

// stamper makes the entries of the log out of proposals and bounds how far they
// may move the books' time, in a term of this leader. One goroutine uses it.
type stamper struct {
	d     *Daemon
	term  uint64
	pacer fsm.Pacer

	// What the books said when they were last looked at.
	looked     time.Time
	level      uint64
	wall, load time.Time
}

// lookEvery bounds how old the stamper's picture is. A look waits for the entries
// that are being applied, and meanwhile the log would get nothing new.
const lookEvery = 100 * time.Millisecond

func (s *stamper) bundle(proposals [][]byte) []byte {
	now := time.Now()
	if term := s.d.node.Term(); term != s.term {
		s.term, s.pacer, s.looked = term, fsm.Pacer{}, time.Time{}
	}
	if now.Sub(s.looked) > lookEvery {
		s.d.replica.Read(func(state *fsm.State) {
			s.level = state.FeatureLevel()
			s.wall, s.load = state.Time()
		})
		s.looked = now
	}
	switch {
	case s.level >= 2:
		return fsm.BundleStamped(s.pacer.Stamp(now, s.wall, s.load, s.d.clock.Scale), proposals)
	case len(proposals) > 1:
		return fsm.Bundle(proposals)
	}
	return proposals[0]
}

// compareEvery is the pause between two comparisons of the voters' books.
const compareEvery = 5 * time.Second

// compareBooks proposes, while this host leads, the hash of its books at a past
// index; a voter whose books were others at that index stops itself.
func (d *Daemon) compareBooks(ctx context.Context) error {
	ticker := time.NewTicker(compareEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		var hash fsm.StateHash
		var due bool
		d.replica.Read(func(s *fsm.State) {
			if hash, due = s.NextHash(); due {
				due = s.Allows(hash) == nil
			}
		})
		if !due {
			continue
		}
		if err := d.propose(ctx, hash); err != nil && ctx.Err() == nil {
			d.log.Warn("the voters' books could not be compared, it is tried again", "index", hash.Index, "error", err)
		}
	}
}
