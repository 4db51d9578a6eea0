package fsm

import (
	"cmp"
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// MaxProfile bounds the profile of one workload, in bytes.
const MaxProfile = 512

// Profile is the compact summary of a workload's history, in predictor's bytes.
type Profile struct {
	Workload fleet.WorkloadID `json:"workload"`
	Category string           `json:"category"`
	Blob     []byte           `json:"blob"`
	// Index of the entry that brought it.
	Index uint64 `json:"index"`
}

func (c *coder) profile(p *Profile) {
	c.message(func() {
		str(c, &p.Workload)
		str(c, &p.Category)
		c.bytes(&p.Blob)
		c.uint(&p.Index)
	})
}

// PutProfile replaces the profile of a workload; its owner proposes it.
type PutProfile struct {
	Workload fleet.WorkloadID `json:"workload"`
	Blob     []byte           `json:"blob"`
	Category string           `json:"category"`
}

func (PutProfile) number() uint64 { return numPutProfile }
func (o *PutProfile) code(c *coder) {
	str(c, &o.Workload)
	c.bytes(&o.Blob)
	str(c, &o.Category)
}

func (o PutProfile) apply(e *entry) OpResult {
	w, r := e.needWorkload(o.Workload)
	if r == nil {
		r = e.fromHost("the profile of workload "+string(o.Workload), w.Owner)
	}
	if r == nil && (len(o.Blob) > MaxProfile || len(o.Category) > 64) {
		r = refuse(CodeRule, "workload %s: a profile of %d bytes and a category of %d: at most %d and 64 are allowed", o.Workload, len(o.Blob), len(o.Category), MaxProfile)
		r.Workload = o.Workload
	}
	if r != nil {
		return OpResult{Err: r}
	}
	old := e.profiles[o.Workload]
	e.putProfile(o.Workload, &Profile{Workload: o.Workload, Category: o.Category, Blob: o.Blob, Index: e.index})
	if old == nil || old.Category != o.Category { // daily refreshes are no news
		e.workloadEvent("workload.category", w, "workload %s is of category %q", w.ID, o.Category)
	}
	return OpResult{}
}

// putProfile stores a profile; nil forgets it.
func (s *State) putProfile(id fleet.WorkloadID, p *Profile) {
	if old := s.profiles[id]; old != nil {
		s.replace(s.digestOfProfile(old), digest{})
		delete(s.profiles, id)
	}
	if p != nil {
		s.replace(digest{}, s.digestOfProfile(p))
		s.profiles[id] = p
	}
}

func (s *State) digestOfProfile(p *Profile) digest {
	return s.digestOf(profileKind, func(c *coder) { c.profile(p) })
}

type decisionRecord struct {
	fleet.Decision
	size int // encoded bytes
}

func weighDecision(d decisionRecord) int { return d.size }

// RecordDecisions stores why a pass moved or refused to move.
type RecordDecisions struct {
	Decisions []fleet.Decision `json:"decisions"`
}

func (RecordDecisions) number() uint64   { return numRecordDecisions }
func (o *RecordDecisions) code(c *coder) { list(c, &o.Decisions, c.decision) }

func (o RecordDecisions) apply(e *entry) OpResult {
	r := e.fromVoter("a decision")
	for _, d := range o.Decisions {
		if r == nil && (d.ID == "" || len(d.ID) > 128) {
			r = refuse(CodeRule, "a decision id of %d characters: 1 to 128 are needed", len(d.ID))
		}
	}
	if r != nil {
		return OpResult{Err: r}
	}
	for i := range o.Decisions {
		d := o.Decisions[i]
		size := writer()
		size.decision(&d)
		e.decisions.push(decisionRecord{d, len(size.buf)}, maxDecisions, maxDecisionBytes, weighDecision)
		e.emit(fleet.Event{Topic: fleet.TopicDecision, Type: "decision." + string(d.Outcome), Host: d.From, Workload: d.Workload, Message: d.Reason}, &d)
	}
	return OpResult{}
}

// MigrationOutcome is what a move cost and was worth. What the books know
// themselves (everything up to Allocatable) is filled in from the lease and its
// decision.
type MigrationOutcome struct {
	Lease       fleet.LeaseID       `json:"lease"`
	Workload    fleet.WorkloadID    `json:"workload"`
	Source      fleet.HostID        `json:"source"`
	Destination fleet.HostID        `json:"destination"`
	Type        fleet.MigrationType `json:"type"`
	State       fleet.LeaseState    `json:"state"` // of the lease when recorded
	Decision    string              `json:"decision,omitempty"`
	Reason      string              `json:"reason,omitempty"`
	// CommittedIndex is the log index of the commit, CommittedAt its load
	// time; zero if it was not committed.
	CommittedIndex uint64    `json:"committed_index"`
	CommittedAt    time.Time `json:"committed_at,omitzero"`
	// Breach is the predicted breach (load time), Resource and Allocatable
	// the line it would cross; LeadTime the load time from commit to breach.
	Breach      time.Time      `json:"predicted_breach,omitzero"`
	LeadTime    time.Duration  `json:"lead_time_ns"`
	Resource    fleet.Resource `json:"resource,omitempty"`
	Allocatable int64          `json:"allocatable"`
	// As the source measured; durations are machine time.
	Rounds   int64         `json:"rounds"`
	Wire     int64         `json:"wire"` // bytes sent
	Downtime time.Duration `json:"downtime_ns"`
	Duration time.Duration `json:"duration_ns"`
	Tracker  string        `json:"tracker,omitempty"`
	Error    string        `json:"error,omitempty"`
	// ContentionCame is nil until the breach has passed and was judged.
	ContentionCame *bool `json:"contention_came,omitempty"`
}

func (c *coder) outcome(o *MigrationOutcome) {
	c.message(func() {
		str(c, &o.Lease)
		str(c, &o.Workload)
		str(c, &o.Source)
		str(c, &o.Destination)
		enum(c, &o.Type)
		enum(c, &o.State)
		str(c, &o.Decision)
		str(c, &o.Reason)
		c.uint(&o.CommittedIndex)
		c.time(&o.CommittedAt)
		c.time(&o.Breach)
		c.duration(&o.LeadTime)
		str(c, &o.Resource)
		c.int(&o.Allocatable)
		c.int(&o.Rounds)
		c.int(&o.Wire)
		c.duration(&o.Downtime)
		c.duration(&o.Duration)
		str(c, &o.Tracker)
		str(c, &o.Error)
		optional(c, &o.ContentionCame, c.bool)
	})
}

// RecordOutcome stores what became of a move: first by its source, later by the
// leader with ContentionCame. Fields left zero keep what was recorded before.
type RecordOutcome struct {
	Outcome MigrationOutcome `json:"outcome"`
}

func (RecordOutcome) number() uint64   { return numRecordOutcome }
func (o *RecordOutcome) code(c *coder) { c.outcome(&o.Outcome) }

func (o RecordOutcome) apply(e *entry) OpResult {
	l, at := e.leases[o.Outcome.Lease], e.outcomeAt(o.Outcome.Lease)
	if l == nil && at < 0 {
		_, r := e.needLease(o.Outcome.Lease)
		return OpResult{Err: r}
	}
	if l == nil || l.Source != e.h.Proposer {
		if r := e.fromVoter("the outcome of lease " + string(o.Outcome.Lease)); r != nil {
			return e.refused(l, r)
		}
	}
	if len(o.Outcome.Tracker) > 64 {
		return e.refused(l, refuse(CodeRule, "a tracker name of %d characters: at most 64 are allowed", len(o.Outcome.Tracker)))
	}
	if r := checkText("error", o.Outcome.Error); r != nil {
		return e.refused(l, r)
	}
	var known MigrationOutcome
	if at >= 0 {
		known = e.outcomes.items[at]
	}
	out := e.complete(known.merge(o.Outcome), l)
	if at >= 0 {
		// A capture may share the array: replace the element in a new one.
		e.replace(e.digestOfOutcome(&known), e.digestOfOutcome(&out))
		e.outcomes.items = append([]MigrationOutcome(nil), e.outcomes.items...)
		e.outcomes.items[at] = out
	} else {
		if len(e.outcomes.items) == maxOutcomes {
			e.replace(e.digestOfOutcome(&e.outcomes.items[0]), digest{})
		}
		e.replace(digest{}, e.digestOfOutcome(&out))
		e.outcomes.push(out, maxOutcomes, maxOutcomes, one[MigrationOutcome])
	}
	e.emit(fleet.Event{Topic: fleet.TopicMigration, Type: "migration.outcome", Host: out.Source, Workload: out.Workload,
		Lease: out.Lease, Message: out.sentence()}, &out)
	return OpResult{}
}

func (s *State) digestOfOutcome(o *MigrationOutcome) digest {
	wordless := *o // see link
	wordless.Reason = ""
	return s.digestOf(outcomeKind, func(c *coder) { c.outcome(&wordless) })
}

func (s *State) outcomeAt(id fleet.LeaseID) int {
	for i := len(s.outcomes.items) - 1; i >= 0; i-- {
		if s.outcomes.items[i].Lease == id {
			return i
		}
	}
	return -1
}

// merge returns the measured fields of both records, the later one first.
func (o MigrationOutcome) merge(n MigrationOutcome) MigrationOutcome {
	o.Lease = n.Lease
	o.Rounds = cmp.Or(n.Rounds, o.Rounds)
	o.Wire = cmp.Or(n.Wire, o.Wire)
	o.Downtime = cmp.Or(n.Downtime, o.Downtime)
	o.Duration = cmp.Or(n.Duration, o.Duration)
	o.Tracker = cmp.Or(n.Tracker, o.Tracker)
	o.Error = cmp.Or(n.Error, o.Error)
	if !n.Breach.IsZero() {
		o.Breach = n.Breach
	}
	o.Resource = cmp.Or(n.Resource, o.Resource)
	o.Allocatable = cmp.Or(n.Allocatable, o.Allocatable)
	o.ContentionCame = cmp.Or(n.ContentionCame, o.ContentionCame)
	return o
}

// complete fills in what the books know.
func (e *entry) complete(o MigrationOutcome, l *leaseRecord) MigrationOutcome {
	if l != nil {
		o.Workload, o.Source, o.Destination, o.Type, o.State = l.Workload, l.Source, l.Destination, l.Type, l.State
		o.Decision, o.Reason = l.Decision, l.Reason
		o.CommittedIndex, o.CommittedAt = l.committed, l.committedAt
	}
	if d, ok := e.decisionOf(o.Decision); ok && d.Contention != nil && o.Breach.IsZero() {
		o.Breach, o.Resource, o.Allocatable = d.Contention.Breach, d.Contention.Resource, d.Contention.Allocatable
	}
	if !o.Breach.IsZero() && !o.CommittedAt.IsZero() {
		o.LeadTime = o.Breach.Sub(o.CommittedAt)
	}
	return o
}

func (s *State) decisionOf(id string) (*fleet.Decision, bool) {
	if id == "" {
		return nil, false
	}
	for i := len(s.decisions.items) - 1; i >= 0; i-- {
		if d := &s.decisions.items[i].Decision; d.ID == id {
			return d, true
		}
	}
	return nil, false
}

func (o MigrationOutcome) sentence() string {
	s := fmt.Sprintf("move of workload %s under lease %s: %s, %d rounds, %d bytes, %s down", o.Workload, o.Lease, o.State, o.Rounds, o.Wire, o.Downtime)
	switch {
	case o.Error != "":
		s += "; " + o.Error
	case o.Type != fleet.Preemptive: // nothing was predicted
	case o.ContentionCame != nil && *o.ContentionCame:
		s += "; the predicted contention came"
	case o.ContentionCame != nil:
		s += "; the predicted contention did not come"
	}
	return s
}
