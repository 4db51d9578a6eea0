package fsm

import "time"

// Stamp is the newest time that an entry may carry, by the leader's word: the
// books' time, plus what has passed on the leader's monotonic clock since, plus
// ClockGrace, once in wall time and once in load time. It keeps a host with a
// wrong clock from ending cool-downs and forgetting results for everybody; the
// leader's own clock is compared with the other voters'.
//
// A zero time binds nothing: entries of the first feature level carry no stamp,
// and the first entry of all has nothing to be held against.
type Stamp struct {
	Wall time.Time
	Load time.Time
}

// ClockGrace is what a command's time may exceed the books' time by, beyond what
// has passed.
const ClockGrace = 10 * time.Second

func (c *coder) stamp(s *Stamp) {
	c.message(func() {
		c.time(&s.Wall)
		c.time(&s.Load)
	})
}

// Pacer makes stamps. It belongs to one leader and one term: elapsed time of one
// machine's monotonic clock says nothing about another's.
type Pacer struct {
	// The books' times at a moment, from which they are carried on.
	wall, load time.Time
	seen       time.Time
}

// Stamp bounds an entry proposed now; wall and load are the books' time (see
// State.Time), scale is how many load seconds pass in a machine second. now must
// carry a monotonic reading, as time.Now's does.
//
// How much has passed before the first stamp of a term, no monotonic clock knows:
// there the leader's wall clock counts, or the books would lag behind for hours
// after a night without a leader. Entries in flight do not add up: their stamps
// are moments, not durations.
func (p *Pacer) Stamp(now, wall, load time.Time, scale float64) Stamp {
	if wall.IsZero() || load.IsZero() {
		return Stamp{}
	}
	scale = max(scale, 1)
	if p.seen.IsZero() {
		gap := max(now.Round(0).Sub(wall), 0)
		p.wall, p.load, p.seen = wall.Add(gap), load.Add(onLoadClock(gap, scale)), now
	}
	passed := max(now.Sub(p.seen), 0)
	// The books are ahead when a command has used some of the grace.
	p.wall = later(p.wall.Add(passed), wall)
	p.load = later(p.load.Add(onLoadClock(passed, scale)), load)
	p.seen = p.seen.Add(passed)
	return Stamp{Wall: p.wall.Add(ClockGrace), Load: p.load.Add(onLoadClock(ClockGrace, scale))}
}

func onLoadClock(d time.Duration, scale float64) time.Duration {
	return time.Duration(float64(d) * scale)
}

// hold keeps a header's times within the stamp. A wrong clock is no reason to
// refuse what its host has to say, only not to believe the time.
func (l Stamp) hold(h *Header) {
	if !l.Wall.IsZero() && h.At.After(l.Wall) {
		h.At = l.Wall
	}
	if !l.Load.IsZero() && h.LoadAt.After(l.Load) {
		h.LoadAt = l.Load
	}
}
