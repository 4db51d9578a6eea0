package fsm

import (
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// draw chooses an operation that has a chance, and who proposes it: mostly the
// right one.
func (h *history) draw() (fleet.HostID, Operation) {
	hosts := []fleet.HostID{"h1", "h2", "h3", "h4"}
	pick := func() fleet.HostID { return sample(h, hosts) }
	any := fleet.WorkloadID(fmt.Sprintf("w%d", h.roll(1, 12)))
	owner := pick()
	if w, ok := h.state.Workload(any); ok {
		owner = w.Owner
	}
	kind := h.roll(0, 99)
	leases := h.state.Leases()
	switch {
	case kind < 2 && h.roll(0, 6) == 0:
		return "h1", RaiseGeneration{Reason: "drill"}
	case kind < 5:
		id := pick()
		return id, RegisterHost{Host: host(string(id), int64(h.roll(8, 64))*gib)}
	case kind < 6:
		op := SetHostState{Host: pick(), State: fleet.HostState(sample(h, []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3}))}
		if h.roll(0, 9) == 0 {
			op.DrainBy = h.now.Add(time.Hour)
		}
		return "h1", op
	case kind < 17:
		return h.drawReport(pick())
	case kind < 19:
		return owner, DeregisterWorkload{Workload: any}
	case kind < 21:
		return "h1", PinWorkload{Workload: any, Pinned: h.roll(0, 7) == 0}
	case kind < 23:
		p := fleet.DefaultPolicy()
		p.Automation = fleet.Auto
		p.Paused = h.roll(0, 19) == 0
		p.MovesInFlight, p.ChurnPerHour, p.Standbys = 6, 40, 3
		p.InPlace = fleet.InPlace{CPUWeight: true, CPUQuota: true, VCPUs: true, Balloon: h.roll(0, 9) > 0}
		return "h1", SetPolicy{Policy: p}
	case kind < 24:
		return owner, PutProfile{Workload: any, Blob: []byte{1}, Category: "flat"}
	case kind < 25:
		return "h1", RecordDecisions{Decisions: []fleet.Decision{{ID: fmt.Sprint("d", h.ids), At: h.now}}}
	case kind < 26:
		return "h1", InitCluster{Cluster: "c1", Level: FeatureLevel}
	case kind < 30:
		return "h1", h.drawPolicy()
	case kind == 30:
		id := pick()
		foreign := fleet.Vector{Memory: int64(h.roll(0, 5)) / 5 * gib}
		if h.roll(0, 3) == 0 {
			foreign = foreign.With("gpu", int64(h.roll(0, 1)))
		}
		return id, ObserveHost{Host: id, Foreign: foreign}
	case kind < 34:
		return h.drawInPlace(any)
	case kind < 51 && len(leases) > 4:
	case kind < 51 && h.roll(0, 19) == 0:
		return h.drawTight(pick(), fleet.WorkloadID(fmt.Sprintf("w%d", h.roll(1, 12))))
	case kind < 51:
		return h.drawGrant(any, pick())
	}
	if len(leases) == 0 {
		return h.drawGrant(any, pick())
	}
	from, op := h.drawStep(sample(h, leases))
	if h.roll(0, 24) == 0 {
		return h.drawWrong(sample(h, leases))
	}
	if h.roll(0, 29) == 0 {
		from = pick()
	}
	return from, op
}

func (h *history) drawGrant(workload fleet.WorkloadID, to fleet.HostID) (fleet.HostID, Operation) {
	g := Grant{Workload: workload, Destination: to, Type: fleet.MigrationType(h.roll(0, 6))}
	n := h.roll(0, 24)
	if w, known := h.state.Workload(workload); n > 5 && !known {
		n = 0 // a chance
	} else if n < 5 && known {
		n = 24
	} else if w.Owner == to && h.roll(0, 9) > 0 {
		g.Destination = sample(h, []fleet.HostID{"h1", "h2", "h3", "h4"})
	}
	switch {
	case n < 5:
		g.Kind, g.Reservation = fleet.LeasePlacement, fleet.Vector{CPU: 100, Memory: int64(h.roll(1, 12)) * gib}
	case n < 9:
		g.Kind = fleet.LeaseStandby
	}
	return "h1", g
}

func (h *history) drawReport(id fleet.HostID) (fleet.HostID, Operation) {
	o := RegisterWorkloads{Host: id}
	for _, w := range h.state.Workloads() {
		if w.Owner == id && h.roll(0, 9) > 0 {
			if h.roll(0, 9) == 0 {
				w.Reservation.Memory = int64(h.roll(1, 16)) * gib
			}
			o.Workloads = append(o.Workloads, w)
		}
	}
	extra := h.roll(0, 20)
	if w, known := h.state.Workload(fleet.WorkloadID(fmt.Sprintf("w%d", extra))); known && (w.Owner == id || h.roll(0, 19) > 0) {
		extra = 0
	}
	if extra >= 1 && extra <= 12 {
		o.Workloads = append(o.Workloads, instance(fmt.Sprintf("w%d", extra), int64(h.roll(1, 12))*gib))
	}
	return id, o
}

// drawStep chooses what one end of a lease, the leader or an operator may say.
func (h *history) drawStep(l fleet.Lease) (fleet.HostID, Operation) {
	n := h.roll(0, 19)
	digest := "d"
	if n == 19 {
		digest = "other"
	}
	source := sample(h, []Seen{SeenRunning, SeenFrozen, SeenAbsent})
	destination := sample(h, []Seen{SeenRunning, SeenPrepared, SeenFrozen, SeenAbsent})
	switch {
	case n == 0:
		return "h1", Resolve{Lease: l.ID, Commit: h.roll(0, 1) == 1, By: "alice"}
	case n == 1:
		return "h1", Expire{Lease: l.ID}
	case n == 2:
		return l.Source, Abort{Lease: l.ID, Reason: "no"}
	case n == 3:
		return l.Destination, Revert{Lease: l.ID, Reason: "no"}
	case n == 4:
		return l.Source, RecordOutcome{Outcome: MigrationOutcome{Lease: l.ID, Rounds: 3}}
	case n == 5:
		return l.Source, Release{Lease: l.ID}
	}
	if l.Kind == fleet.LeaseStandby && l.State <= fleet.Prepared && n < 12 {
		if n == 11 {
			return "h1", Abort{Lease: l.ID, Reason: "no longer wanted"}
		}
		return "h1", Promote{Lease: l.ID, Type: fleet.MigrationType(h.roll(0, 6)), Reason: "it is time"}
	}
	switch l.State {
	case fleet.Granted:
		if l.Kind == fleet.LeasePlacement {
			w := instance(string(l.Workload), l.Reservation.Memory)
			w.Reservation = l.Reservation
			return l.Destination, Claim{Lease: l.ID, Workload: w}
		}
		return l.Source, Begin{Lease: l.ID, Token: l.Token}
	case fleet.Transferring:
		return l.Destination, ReportPrepared{Lease: l.ID, Digest: "d"}
	case fleet.Prepared:
		return l.Source, Commit{Lease: l.ID, Digest: digest}
	case fleet.Committed:
		return l.Destination, ReportActivated{Lease: l.ID}
	case fleet.Activated:
		return l.Source, ReportReleased{Lease: l.ID}
	case fleet.Aborted:
		return l.Destination, ReportDiscarded{Lease: l.ID}
	}
	if n < 12 && l.Source != "" {
		return l.Source, ObserveOwner{Lease: l.ID, Host: l.Source, Seen: source}
	}
	return l.Destination, ObserveOwner{Lease: l.ID, Host: l.Destination, Seen: destination, Digest: digest}
}

func (h *history) drawSource(id string) Operation {
	if written := h.state.sources[id] != nil; written && h.roll(0, 3) > 0 {
		return DropCalendarSource{ID: id}
	}
	entry := fleet.CalendarEntry{ID: id, Kind: fleet.NoMoves, Label: fmt.Sprint(h.roll(0, 9))}
	return PutCalendarSource{Source: fleet.CalendarSource{Entry: entry, Start: "2026-01-05T22:00", Duration: time.Hour}}
}

// drawPolicy chooses what the leader or an operator tells the books.
func (h *history) drawPolicy() Operation {
	ids := []string{"r1", "r2", "r3"}
	switch h.roll(0, 11) {
	case 0, 1:
		return RaiseFeatureLevel{Level: FeatureLevel, By: "alice"}
	case 2, 3:
		h.models++
		return PutModel{Model: fleet.Model{Name: sample(h, []string{"60m/cpu", "5m/memory"}), Version: h.models, Hash: fmt.Sprintf("%064x", h.models)}}
	case 4, 5:
		from := h.now.Add(time.Duration(h.roll(-60, 300)) * time.Minute)
		x := fleet.CalendarEntry{ID: "e", Kind: fleet.CalendarKind(h.roll(0, 2)), From: from, Until: from.Add(10 * time.Minute)}
		if x.Kind != fleet.NoMoves {
			x.Change.CPU = -500
		}
		return SetCalendar{Source: sample(h, []string{"a", "b"}), Entries: []fleet.CalendarEntry{x}[h.roll(0, 1):]}
	case 6:
		rule := fleet.Rule{ID: sample(h, ids), Kind: fleet.RuleKind(h.roll(0, 3)), Hard: h.roll(0, 3) > 0}
		for range h.roll(2, 3) {
			rule.Workloads = append(rule.Workloads, fleet.WorkloadID(fmt.Sprintf("w%d", h.roll(1, 12))))
		}
		if rule.Kind.NamesHosts() {
			rule.Hosts = []fleet.HostID{sample(h, []fleet.HostID{"h1", "h2"}), sample(h, []fleet.HostID{"h3", "h4"})}
		}
		return PutRule{Rule: rule}
	case 7, 8:
		return DropRule{ID: sample(h, ids)}
	case 9:
		return h.drawSource(sample(h, ids))
	}
	if hash, ok := h.state.NextHash(); ok {
		return hash
	}
	hash, _ := h.state.HashAt(h.state.hashed())
	return StateHash{Index: h.state.hashed(), Version: hashVersion, Hash: hash}
}
