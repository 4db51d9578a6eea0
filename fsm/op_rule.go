package fsm

import (
	"maps"
	"slices"
	"strings"

	"github.com/placed-dev/placed/fleet"
)

// Bounds of what operators may tell the books.
const (
	maxRules       = 1024
	maxRuleMembers = 1024 // workloads, groups and hosts of one rule together
)

// PutRule adds a rule or replaces the one of its id. It moves nothing: what
// breaks a new rule is named in the event, and putting it right is for a pass.
type PutRule struct {
	Rule fleet.Rule `json:"rule"`
	By   string     `json:"by"`
}

func (PutRule) number() uint64 { return numPutRule }
func (o *PutRule) code(c *coder) {
	c.rule(&o.Rule)
	str(c, &o.By)
}

func (o PutRule) apply(e *entry) OpResult {
	if r := o.refusal(e); r != nil {
		return OpResult{Err: r}
	}
	rule := o.Rule
	e.putRule(&ruleRecord{Rule: rule})
	strength := "soft"
	if rule.Hard {
		strength = "hard"
	}
	message := strength + " " + rule.String() + " is in force" + by(o.By)
	if broken := e.breakers(rule); len(broken) > 0 {
		message += "; it is broken now by " + listed(broken)
	}
	e.emit(fleet.Event{Topic: fleet.TopicPolicy, Type: "rule.set", Message: message}, &rule)
	return OpResult{}
}

func (o PutRule) refusal(e *entry) *Refusal {
	if r := checkText("by", o.By); r != nil {
		return r
	}
	if err := o.Rule.Validate(); err != nil {
		return refuse(CodeRule, "%v", err)
	}
	if n := len(o.Rule.Workloads) + len(o.Rule.Groups) + len(o.Rule.Hosts); n > maxRuleMembers {
		return refuse(CodeRule, "rule %s names %d workloads, groups and hosts: at most %d are allowed; use groups", o.Rule.ID, n, maxRuleMembers)
	}
	for _, name := range slices.Concat(o.Rule.Groups, texts(o.Rule.Workloads), texts(o.Rule.Hosts)) {
		if r := checkName("rule "+o.Rule.ID+": member", name); r != nil {
			return r
		}
	}
	if e.rules[o.Rule.ID] == nil && len(e.rules) >= maxRules {
		return refuse(CodeRule, "there are %d rules already: drop one first", len(e.rules))
	}
	return nil
}

// DropRule forgets a rule.
type DropRule struct {
	ID string `json:"id"`
	By string `json:"by"`
}

func (DropRule) number() uint64 { return numDropRule }
func (o *DropRule) code(c *coder) {
	str(c, &o.ID)
	str(c, &o.By)
}

func (o DropRule) apply(e *entry) OpResult {
	if r := checkText("by", o.By); r != nil {
		return OpResult{Err: r}
	}
	old := e.rules[o.ID]
	if old == nil {
		return OpResult{Err: refuse(CodeNotFound, "there is no rule %q", shorten(o.ID))}
	}
	e.dropRule(old)
	e.emit(fleet.Event{Topic: fleet.TopicPolicy, Type: "rule.dropped", Message: old.Rule.String() + " is no longer in force" + by(o.By)}, nil)
	return OpResult{}
}

type ruleRecord struct {
	fleet.Rule
	digest digest
}

func (s *State) putRule(r *ruleRecord) {
	if old := s.rules[r.ID]; old != nil {
		s.dropRule(old)
	}
	r.digest = s.digestOf(ruleKind, func(c *coder) { c.rule(&r.Rule) })
	s.replace(digest{}, r.digest)
	s.rules[r.ID] = r
	s.indexRules()
}

func (s *State) dropRule(r *ruleRecord) {
	s.replace(r.digest, digest{})
	delete(s.rules, r.ID)
	s.indexRules()
}

// indexRules lists the hard rules in the order of their ids. Rules change by an
// operator's hand, grants by the thousand.
func (s *State) indexRules() {
	s.hard = s.hard[:0:0]
	for _, id := range slices.Sorted(maps.Keys(s.rules)) {
		if r := s.rules[id]; r.Hard {
			s.hard = append(s.hard, r)
		}
	}
}

// checkRules refuses a grant that would break a hard rule. A workload under a
// lease counts on both hosts, so no order in which moves end can break one.
func (o *Grant) checkRules(e *entry) *Refusal {
	if len(e.hard) == 0 {
		return nil
	}
	w := fleet.Workload{ID: o.Workload, Group: o.Group}
	if booked := e.workloads[o.Workload]; booked != nil {
		w = booked.Workload
	}
	for _, rule := range e.hard {
		if !rule.Applies(w) {
			continue
		}
		if why := e.breaks(rule.Rule, w, o.Destination); why != "" {
			r := refuse(CodeRule, "workload %s may not go to host %s: %s: %s", w.ID, e.nameOf(o.Destination), rule.Rule, why)
			r.Host, r.Workload, r.Rule = o.Destination, w.ID, rule.ID
			return r
		}
	}
	return nil
}

// breaks says how the workload would break the rule at a host, or "".
func (e *entry) breaks(rule fleet.Rule, w fleet.Workload, to fleet.HostID) string {
	switch rule.Kind {
	case fleet.HostAffinity:
		if !slices.Contains(rule.Hosts, to) {
			return "it runs only on " + e.hostNames(rule.Hosts)
		}
	case fleet.HostAntiAffinity:
		if slices.Contains(rule.Hosts, to) {
			return "it never runs there"
		}
	case fleet.AntiAffinity:
		if others := e.members(rule, w.ID, to); len(others) > 0 {
			return listed(texts(others)) + " counts there"
		}
	case fleet.Affinity:
		return e.separates(rule, w, to)
	}
	return ""
}

// separates says from whom an affinity rule's workload would go away. A rule
// that is broken already does not hold the rest in place: a move may not leave
// more company than it finds, and a placement goes where most of it is.
func (e *entry) separates(rule fleet.Rule, w fleet.Workload, to fleet.HostID) string {
	there := len(e.members(rule, w.ID, to))
	from := []fleet.HostID{w.Owner}
	if w.Owner == "" {
		from = slices.Sorted(maps.Keys(e.hosts))
	}
	for _, host := range from {
		if here := e.members(rule, w.ID, host); len(here) > there {
			return listed(texts(here)) + " counts on host " + e.nameOf(host) + "; grant them together in one entry"
		}
	}
	return ""
}

// members lists the workloads of a rule, except one, that count on a host, in
// order: owned there, held there by a lease, or granted there together with the
// one in question.
func (e *entry) members(rule fleet.Rule, except fleet.WorkloadID, host fleet.HostID) []fleet.WorkloadID {
	var out []fleet.WorkloadID
	at := e.at[host]
	if at == nil {
		return nil
	}
	for _, w := range at.workloads {
		if w.ID != except && rule.Applies(w.Workload) {
			out = append(out, w.ID)
		}
	}
	for _, l := range at.leases {
		w := fleet.Workload{ID: l.Workload, Group: l.Group}
		if booked := e.workloads[l.Workload]; booked != nil {
			w = booked.Workload
		}
		if w.ID != except && rule.Applies(w) {
			out = append(out, w.ID)
		}
	}
	for id, to := range e.together {
		if w := e.workloads[id]; to == host && id != except && w != nil && rule.Applies(w.Workload) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// breakers lists the workloads that break a rule as the books stand.
func (e *entry) breakers(rule fleet.Rule) (out []string) {
	on := map[fleet.HostID][]fleet.WorkloadID{}
	all := map[fleet.WorkloadID]bool{}
	hosts := slices.Sorted(maps.Keys(e.hosts))
	for _, host := range hosts {
		on[host] = e.members(rule, "", host)
		for _, id := range on[host] {
			all[id] = true
		}
	}
	for _, host := range hosts {
		members, named := on[host], slices.Contains(rule.Hosts, host)
		bad := len(members) > 0
		switch rule.Kind {
		case fleet.AntiAffinity:
			bad = len(members) > 1
		case fleet.HostAffinity:
			bad = bad && !named
		case fleet.HostAntiAffinity:
			bad = bad && named
		case fleet.Affinity:
			if len(members) == len(all) {
				return nil // one host has them all, or will have
			}
		}
		if bad {
			out = append(out, listed(texts(members))+" on host "+e.nameOf(host))
		}
	}
	return out
}

func (e *entry) hostNames(ids []fleet.HostID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = e.nameOf(id)
	}
	return listed(names)
}

// listed names at most eight things.
func listed(names []string) string {
	if len(names) > 8 {
		return strings.Join(names[:8], ", ") + " and " + number(uint64(len(names)-8)) + " more"
	}
	return strings.Join(names, ", ")
}

func texts[T ~string](ids []T) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

func (c *coder) rule(r *fleet.Rule) {
	c.message(func() {
		str(c, &r.ID)
		enum(c, &r.Kind)
		c.bool(&r.Hard)
		list(c, &r.Workloads, func(id *fleet.WorkloadID) { str(c, id) })
		list(c, &r.Groups, func(g *string) { str(c, g) })
		list(c, &r.Hosts, func(id *fleet.HostID) { str(c, id) })
	})
}
