package predictor

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Calendar is what is known of the days ahead and how it bends a forecast:
// maintenance takes capacity, events multiply load or forbid moves, and labels
// grow. It knows intervals only; rules of recurrence and time zones are the
// shell's business. The zero Calendar changes nothing.
type Calendar struct {
	entries []fleet.CalendarEntry // by beginning, then end, then id
}

// NewCalendar makes a calendar of the entries of all sources, in any order.
func NewCalendar(entries []fleet.CalendarEntry) Calendar {
	c := Calendar{entries: slices.Clone(entries)}
	slices.SortStableFunc(c.entries, func(a, b fleet.CalendarEntry) int {
		if order := a.From.Compare(b.From); order != 0 {
			return order
		}
		if order := a.Until.Compare(b.Until); order != 0 {
			return order
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return c
}

// Within keeps what lies within (from, until]: a pass narrows the calendar once,
// because it asks it for every workload.
func (c Calendar) Within(from, until time.Time) Calendar {
	out := Calendar{}
	for _, e := range c.entries {
		if overlaps(e, from, until) {
			out.entries = append(out.entries, e)
		}
	}
	return out
}

// Growing keeps what grows.
func (c Calendar) Growing() Calendar {
	return Calendar{entries: slices.DeleteFunc(slices.Clone(c.entries), func(e fleet.CalendarEntry) bool { return e.Kind != fleet.LoadGrows })}
}

// Load is by how much the calendar multiplies the load of a workload at a later
// time, compared with now. Events that overlap multiply one another. What goes on
// now is already in the history that a forecast starts from, so an event that
// ends divides, and one that is under way at both times changes nothing.
func (c Calendar) Load(w fleet.Workload, owner fleet.Host, r fleet.Resource, now, at time.Time) float64 {
	factor := 1.0
	for _, e := range c.entries {
		if !e.OnWorkload(w, owner) {
			continue
		}
		switch during := changeShare(e.Change.Get(r)); {
		case e.Kind == fleet.LoadGrows:
			factor *= e.Growth(r, now, at)
		case e.Kind != fleet.LoadChanges:
		case e.At(at) && !e.At(now):
			factor *= during
		case e.At(now) && !e.At(at) && during > 0:
			// Of an event that silences a workload nothing is left to
			// divide; the forecast then rests on its seasons.
			factor /= during
		}
	}
	return factor
}

// Peak is the largest Load within (from, until], for forecasts of peaks.
func (c Calendar) Peak(w fleet.Workload, owner fleet.Host, r fleet.Resource, now, from, until time.Time) float64 {
	largest := c.Load(w, owner, r, now, until)
	for tick := fleet.TickOf(from) + 1; tick < fleet.TickOf(until); tick++ {
		largest = max(largest, c.Load(w, owner, r, now, middle(tick)))
	}
	return largest
}

// Ahead is by how much the calendar multiplies what is foreseen for one horizon
// after a tick.
func (c Calendar) Ahead(w fleet.Workload, owner fleet.Host, r fleet.Resource, tick int64, h Horizon) float64 {
	from, until := middle(tick), middle(tick+int64(h.Ticks))
	if h.Peak {
		return c.Peak(w, owner, r, from, from, until)
	}
	return c.Load(w, owner, r, from, until)
}

func changeShare(thousandths int64) float64 {
	if thousandths == fleet.Unknown {
		return 1
	}
	return max(1+float64(thousandths)/1000, 0)
}

// Bend returns the block as the calendar changes it: centre and scenarios of each
// step times the load's factor. A block without events in reach is returned as it
// is.
func (c Calendar) Bend(b Block, w fleet.Workload, owner fleet.Host, r fleet.Resource) Block {
	if b.amounts == nil || len(c.entries) == 0 {
		return b
	}
	var factors [Steps]float64
	bent := false
	for k := range Steps {
		factors[k] = c.Load(w, owner, r, middle(b.tick), middle(b.tick+int64(k)+1))
		bent = bent || factors[k] != 1
	}
	if !bent {
		return b
	}
	out := Block{tick: b.tick}
	var all scenarios
	for k, factor := range factors {
		out.centres[k] = times(b.centres[k], factor)
		for i, amount := range b.row(k) {
			all[k][i] = times(amount, factor)
		}
	}
	out.keep(&all)
	return out
}

// middle of a tick: what holds then is taken to hold for all of it.
func middle(tick int64) time.Time { return fleet.TickStart(tick).Add(fleet.Tick / 2) }

func times(amount int64, factor float64) int64 {
	return int64(min(math.Round(float64(amount)*factor), float64(maxAmount)))
}

// Allocatable is the least that the host can give of a resource within a tick:
// maintenances that overlap add up, down to nothing. Unknown stays unknown, unless
// all is taken away.
func (c Calendar) Allocatable(h fleet.Host, r fleet.Resource, tick int64) int64 {
	begin, end := fleet.TickStart(tick), fleet.TickStart(tick+1)
	taken := int64(0)
	for _, e := range c.entries {
		if n := e.Change.Get(r); e.Kind == fleet.CapacityFalls && n < 0 && n != fleet.Unknown && e.From.Before(end) && e.Until.After(begin) && e.OnHost(h) {
			taken = min(taken-n, 1000)
		}
	}
	whole := h.Allocatable().Get(r)
	switch {
	case taken == 1000 && whole == fleet.Unknown:
		return 0
	case taken == 1000:
		return min(whole, 0)
	case taken == 0 || whole == fleet.Unknown || whole <= 0:
		return whole
	}
	return fleet.Vector{CPU: whole}.ScaleMilli(fleet.Vector{CPU: 1000 - taken}).CPU
}

// Contention is Contention with what the calendar leaves of the host: the line
// that demand must cross falls during maintenance.
func (c Calendar) Contention(host fleet.Host, r fleet.Resource, d Demand, nowTick int64, current float64, policy fleet.Policy) (fleet.Contention, bool) {
	return contentionOf(host, r, d, nowTick, current, policy, func(tick int64) int64 {
		return c.Allocatable(host, r, tick)
	})
}

// Forbids returns the first entry, if any, that forbids to move the workload at
// any time within [from, until], between its owner and the destination.
func (c Calendar) Forbids(w fleet.Workload, owner, destination fleet.Host, from, until time.Time) (fleet.CalendarEntry, bool) {
	for _, e := range c.entries {
		if e.Kind == fleet.NoMoves && !e.From.After(until) && e.Until.After(from) && (e.OnWorkload(w, owner) || e.OnHost(destination)) {
			return e, true
		}
	}
	return fleet.CalendarEntry{}, false
}

// Effect is one thing that the calendar does to a forecast, for display.
type Effect struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	Why   string    `json:"why"`
	// Factor of load or capacity: 1.5 = half as much again, 0 = none left.
	Factor float64 `json:"factor"`
}

func (e Effect) String() string {
	return fmt.Sprintf("×%.2f from %s to %s: %s", e.Factor, e.From.UTC().Format("01-02 15:04"), e.Until.UTC().Format("01-02 15:04"), e.Why)
}

// EffectsOn lists what changes the load of a workload within (from, until], by
// beginning. The factor of a growth is that of this time.
func (c Calendar) EffectsOn(w fleet.Workload, owner fleet.Host, r fleet.Resource, from, until time.Time) []Effect {
	var out []Effect
	for _, e := range c.entries {
		rate := e.Change.Get(r)
		if rate == 0 || rate == fleet.Unknown || !e.OnWorkload(w, owner) || !overlaps(e, from, until) {
			continue
		}
		switch e.Kind {
		case fleet.LoadChanges:
			out = append(out, Effect{e.From, e.Until, e.String(), changeShare(rate)})
		case fleet.LoadGrows:
			out = append(out, Effect{e.From, e.Until, fmt.Sprintf("%s by %.1f %% a month", e, float64(rate)/10), e.Growth(r, from, until)})
		}
	}
	return out
}

// EffectsOnHost lists what takes capacity of a host within (from, until].
func (c Calendar) EffectsOnHost(h fleet.Host, r fleet.Resource, from, until time.Time) []Effect {
	var out []Effect
	for _, e := range c.entries {
		if e.Kind == fleet.CapacityFalls && e.OnHost(h) && overlaps(e, from, until) && e.Change.Get(r) != 0 {
			out = append(out, Effect{e.From, e.Until, e.String(), changeShare(e.Change.Get(r))})
		}
	}
	return out
}

func overlaps(e fleet.CalendarEntry, from, until time.Time) bool {
	return e.Until.After(from) && !e.From.After(until)
}
