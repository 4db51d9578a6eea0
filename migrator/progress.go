package migrator

import (
	"slices"
	"sync"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// keptProgress is how many ended moves are remembered for displays.
const keptProgress = 64

// board holds the progress of the moves of which this host is the source.
type board struct {
	now    func() time.Time
	notify func(fleet.Progress)
	every  time.Duration

	mu    sync.Mutex
	moves []*fleet.Progress // oldest first
	last  map[*fleet.Progress]time.Time
}

func newBoard(now func() time.Time, every time.Duration, notify func(fleet.Progress)) *board {
	return &board{now: now, notify: notify, every: every, last: map[*fleet.Progress]time.Time{}}
}

func (b *board) begin(lease fleet.Lease, size int64) *fleet.Progress {
	p := &fleet.Progress{Lease: lease.ID, Workload: lease.Workload, Source: lease.Source, Destination: lease.Destination,
		Type: lease.Type, Phase: fleet.PhaseOffered, Total: size, Started: b.now()}
	b.mu.Lock()
	b.moves = append(b.moves, p)
	for i := 0; len(b.moves) > keptProgress && i < len(b.moves); {
		if b.moves[i].Ended.IsZero() {
			i++
			continue
		}
		delete(b.last, b.moves[i])
		b.moves = slices.Delete(b.moves, i, i+1)
	}
	b.mu.Unlock()
	b.change(p, func(*fleet.Progress) {})
	return p
}

// change applies f under the lock and tells the world: always when the phase
// changed or the move ended, else at most once in a while.
func (b *board) change(p *fleet.Progress, f func(*fleet.Progress)) {
	b.mu.Lock()
	phase, ended := p.Phase, p.Ended
	f(p)
	now := b.now()
	last, told := b.last[p]
	tell := b.notify != nil && (!told || p.Phase != phase || p.Ended != ended || now.Sub(last) >= b.every)
	if tell {
		b.last[p] = now
	}
	copied := snapshot(p)
	b.mu.Unlock()
	if tell {
		b.notify(copied)
	}
}

func (b *board) all() []fleet.Progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]fleet.Progress, len(b.moves))
	for i, p := range b.moves {
		out[i] = snapshot(p)
	}
	return out
}

func snapshot(p *fleet.Progress) fleet.Progress {
	c := *p
	c.Rounds, c.Notes = slices.Clone(p.Rounds), slices.Clone(p.Notes)
	return c
}
