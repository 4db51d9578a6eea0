package planner

import (
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// maintenance is a host's next window in which the calendar takes all of its cpu
// or memory away, and by when its workloads must begin to leave.
type maintenance struct {
	entry fleet.CalendarEntry
	// takes is the load time that all of them need, one after the other.
	takes   time.Duration
	leaveBy time.Time
}

// upkeep finds the hosts that are to be emptied for a maintenance.
func (p *pass) upkeep() map[fleet.HostID]maintenance {
	out := map[fleet.HostID]maintenance{}
	for _, s := range p.books.sites {
		if m, due := p.maintenanceOf(s); due {
			out[s.ID] = m
		}
	}
	return out
}

// maintenanceOf finds the window that a host is to be emptied for now: one that
// has begun or begins so soon that its workloads need the time that is left. The
// moves get twice what they are predicted to take, and the policy's horizon on
// top: a host is emptied one move at a time, and other moves are under way too.
func (p *pass) maintenanceOf(s *site) (maintenance, bool) {
	var found maintenance
	ok := false
	for _, e := range p.view.Calendar {
		if e.Kind != fleet.CapacityFalls || !e.OnHost(s.Host) || !e.Until.After(p.view.Now) {
			continue
		}
		if e.Change.CPU != -1000 && e.Change.Memory != -1000 {
			continue // less of it is a shortage like any other
		}
		if ok && !e.From.Before(found.entry.From) {
			continue
		}
		found, ok = maintenance{entry: e}, true
	}
	if !ok {
		return maintenance{}, false
	}
	found.takes = p.leaving(s)
	found.leaveBy = found.entry.From.Add(-found.takes - p.view.Policy.Margin)
	begin := found.entry.From.Add(-2*found.takes - p.view.Policy.Margin - p.view.Policy.Horizon)
	return found, !p.view.Now.Before(begin)
}

// text is why the workloads leave, and by when.
func (m maintenance) text(s *site, now time.Time) string {
	when := fmt.Sprintf("begins at %s", clockText(m.entry.From))
	if !m.entry.From.After(now) {
		when = fmt.Sprintf("has begun and lasts until %s", clockText(m.entry.Until))
	}
	late := fmt.Sprintf("the first must leave by %s", clockText(m.leaveBy))
	if now.After(m.leaveBy) {
		late = "that is too late for all of them to be gone in time"
	}
	return fmt.Sprintf("%s on %s %s; its workloads take %s to leave, %s", m.entry, s.label(), when, loadText(m.takes), late)
}

// emptied says that a host's workloads leave anyway, for its maintenance.
func (p *pass) emptied(host fleet.HostID) string {
	m, due := p.due[host]
	if !due {
		return ""
	}
	return fmt.Sprintf("all of its workloads leave anyway, for %s at %s", m.entry, clockText(m.entry.From))
}
