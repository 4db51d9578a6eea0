package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/predictor"
)

// kin is what is known of the fleet's kinds of load, for workloads that have no
// history of their own yet.
type kin struct {
	usual map[string]*predictor.Usual // by category; "" is the whole fleet
	// Categories of the workloads of a group and of a family of names.
	groups, families map[string]map[string]int
}

// profiledWorkload is a workload with its profile as the books have it.
type profiledWorkload struct {
	fleet.Workload
	blob []byte
}

func profilesIn(s *fsm.State) []profiledWorkload {
	var out []profiledWorkload
	for _, w := range s.Workloads() {
		if have, ok := s.Profile(w.ID); ok {
			out = append(out, profiledWorkload{w, have.Blob})
		}
	}
	return out
}

func newKin(all []profiledWorkload) *kin {
	k := &kin{usual: map[string]*predictor.Usual{"": {Kind: "the whole fleet"}}, groups: map[string]map[string]int{}, families: map[string]map[string]int{}}
	for _, w := range all {
		var p predictor.Profile
		if p.UnmarshalBinary(w.blob) != nil {
			continue // of a newer version
		}
		if !k.usual[""].Add(&p, fleet.CPU, w.Reservation.CPU) || p.Category == predictor.CategoryUnknown {
			continue
		}
		category := string(p.Category)
		if k.usual[category] == nil {
			k.usual[category] = &predictor.Usual{Kind: "category " + category}
		}
		k.usual[category].Add(&p, fleet.CPU, w.Reservation.CPU)
		count(k.groups, w.Group, category)
		count(k.families, family(w.ID), category)
	}
	return k
}

func count(in map[string]map[string]int, name, category string) {
	if name == "" {
		return
	}
	if in[name] == nil {
		in[name] = map[string]int{}
	}
	in[name][category]++
}

// family of a workload is its name without the number at its end: web-12 is of the
// family web.
func family(id fleet.WorkloadID) string {
	return strings.TrimRight(strings.TrimRight(string(id), "0123456789"), "-_.")
}

// usualOf is what a workload's kind usually does, nil when nobody's profile says
// anything: the category of its group, else of its family of names, else the mix of
// the whole fleet.
func (k *kin) usualOf(w fleet.Workload) *predictor.Usual {
	for _, of := range []struct {
		categories map[string]int
		what       string
	}{{k.groups[w.Group], "as its group " + w.Group}, {k.families[family(w.ID)], "as others named " + family(w.ID)}} {
		if len(of.categories) == 0 {
			continue
		}
		most := slices.MaxFunc(slices.Sorted(maps.Keys(of.categories)), func(a, b string) int {
			return cmp.Compare(of.categories[a], of.categories[b])
		})
		u := *k.usual[most]
		u.Kind = fmt.Sprintf("%s, %s", u.Kind, of.what)
		return &u
	}
	if u := k.usual[""]; u.Members > 0 {
		return u
	}
	return nil
}

// dependencies names, for every workload that an affinity rule keeps together with
// others, the set that it belongs to: what is kept together works together. Sets
// that share a workload are one.
func dependencies(view fleet.View) map[fleet.WorkloadID]string {
	root := map[fleet.WorkloadID]fleet.WorkloadID{}
	var find func(id fleet.WorkloadID) fleet.WorkloadID
	find = func(id fleet.WorkloadID) fleet.WorkloadID {
		if up, ok := root[id]; ok && up != id {
			root[id] = find(up)
			return root[id]
		}
		return id
	}
	for _, r := range view.Rules {
		if r.Kind != fleet.Affinity {
			continue
		}
		var first *fleet.WorkloadID
		for i := range view.Workloads {
			id := view.Workloads[i].ID
			if !r.Applies(view.Workloads[i].Workload) {
				continue
			}
			if _, ok := root[id]; !ok {
				root[id] = id
			}
			if first == nil {
				first = &id
				continue
			}
			a, b := find(*first), find(id)
			root[max(a, b)] = min(a, b)
		}
	}
	out := map[fleet.WorkloadID]string{}
	for id := range root {
		if top := find(id); top != id {
			out[id], out[top] = string(top), string(top)
		}
	}
	return out
}
