package planner

import (
	"github.com/placed-dev/placed/fleet"
)

// boundRule is a rule with its workloads counted per host.
type boundRule struct {
	fleet.Rule
	count map[int]int // host -> members on it
	total int         // members that run anywhere
	hosts map[int]bool
}

func (b *board) bindRules(rules []fleet.Rule, index map[fleet.HostID]int) {
	for _, rule := range rules {
		bound := boundRule{Rule: rule, count: map[int]int{}, hosts: map[int]bool{}}
		for _, id := range rule.Hosts {
			if h, ok := index[id]; ok {
				bound.hosts[h] = true
			}
		}
		b.rules = append(b.rules, bound)
	}
	for i := range b.rules {
		for w := range b.works {
			if b.rules[i].Applies(b.works[w].Workload) {
				b.ruled[w] = append(b.ruled[w], i)
			}
		}
	}
	for w, h := range b.at {
		if h >= 0 {
			b.countRules(w, h, 1)
		}
	}
}

func (b *board) countRules(w, h, by int) {
	for _, i := range b.ruled[w] {
		b.rules[i].count[h] += by
		b.rules[i].total += by
	}
}

// breaks returns a hard rule that the workload would break by going to the host
// on its own, or nil. What is broken already may not get worse.
func (b *board) breaks(w, to int) *fleet.Rule {
	for _, i := range b.ruled[w] {
		if rule := &b.rules[i]; rule.Hard && rule.worsens(b.at[w], to) {
			return &rule.Rule
		}
	}
	return nil
}

// worsens says whether a step of one member between two hosts leaves the rule
// broken where it was not, or more broken than it was. Members that belong
// together can therefore not leave a host one by one: the first would part them.
func (r *boundRule) worsens(from, to int) bool {
	switch r.Kind {
	case fleet.HostAffinity:
		return !r.hosts[to]
	case fleet.HostAntiAffinity:
		return r.hosts[to]
	case fleet.AntiAffinity:
		return r.count[to] > 0
	}
	here := 0
	if from >= 0 {
		here = r.count[from]
	}
	others := r.total
	if from >= 0 {
		others--
	}
	return others > 0 && (r.count[to] == 0 || r.count[to] < here)
}

// broken says whether the workload, where it is, takes part in breaking the rule.
func (r *boundRule) broken(at int) bool {
	switch r.Kind {
	case fleet.HostAffinity:
		return !r.hosts[at]
	case fleet.HostAntiAffinity:
		return r.hosts[at]
	case fleet.AntiAffinity:
		return r.count[at] > 1
	}
	return r.count[at] < r.total
}

// softCost counts the soft rules that the workload breaks on a host: itself
// counted there, and not where it is now.
func (b *board) softCost(w, h int) int {
	n := 0
	for _, i := range b.ruled[w] {
		rule := &b.rules[i]
		if rule.Hard || h < 0 {
			continue
		}
		there := rule.count[h]
		others := rule.total
		if b.at[w] >= 0 {
			others--
		}
		if b.at[w] == h {
			there--
		}
		switch rule.Kind {
		case fleet.HostAffinity:
			n += count(!rule.hosts[h])
		case fleet.HostAntiAffinity:
			n += count(rule.hosts[h])
		case fleet.AntiAffinity:
			n += count(there > 0)
		case fleet.Affinity:
			n += count(there < others)
		}
	}
	return n
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
