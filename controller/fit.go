package controller

import (
	"cmp"
	"encoding/json"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"github.com/placed-dev/placed/fleet"
)

// Fit is what a host has and what each of its workloads requires of another one.
// It changes rarely, so it is sent when it has changed, and to a voter that asks.
type Fit struct {
	Has []fleet.Ability `json:"has"`
	// Sets are the different requirements of all workloads, Needs per workload the
	// places in it: guests of one host have most of them in common.
	Sets  []fleet.Ability            `json:"sets,omitempty"`
	Needs map[fleet.WorkloadID][]int `json:"needs,omitempty"`
}

// NewFit packs what drivers have found.
func NewFit(has []fleet.Ability, needs map[fleet.WorkloadID][]fleet.Ability) *Fit {
	f := &Fit{Has: has, Needs: make(map[fleet.WorkloadID][]int, len(needs))}
	place := map[string]int{}
	for _, id := range slices.Sorted(maps.Keys(needs)) {
		for _, a := range needs[id] {
			key := a.Class + "\x00" + strings.Join(a.Values, "\x00")
			i, known := place[key]
			if !known {
				i = len(f.Sets)
				place[key], f.Sets = i, append(f.Sets, a)
			}
			f.Needs[id] = append(f.Needs[id], i)
		}
	}
	return f
}

// Version tells two fits apart; never 0, which stands for an agent that sends none.
func (f *Fit) Version() uint64 {
	text, err := json.Marshal(f)
	if err != nil {
		return 1 // lists of strings: it cannot fail
	}
	h := fnv.New64a()
	_, _ = h.Write(text) // it cannot fail
	return max(h.Sum64(), 1)
}

// hostFit is the newest fit of a host with the requirements unpacked; equal ones
// share their list.
type hostFit struct {
	version uint64
	has     []fleet.Ability
	needs   map[fleet.WorkloadID][]fleet.Ability
}

func unpack(version uint64, f *Fit) *hostFit {
	out := &hostFit{version: version, has: ordered(f.Has), needs: make(map[fleet.WorkloadID][]fleet.Ability, len(f.Needs))}
	shared := map[string][]fleet.Ability{}
	for id, places := range f.Needs {
		var list []fleet.Ability
		key := make([]byte, 0, len(places))
		for _, p := range places {
			if p < 0 || p >= len(f.Sets) {
				continue // of a newer agent: what cannot be read refuses nothing
			}
			list = append(list, f.Sets[p])
			key = append(key, byte(p), byte(p>>8))
		}
		if known, ok := shared[string(key)]; ok {
			out.needs[id] = known
			continue
		}
		list = ordered(list)
		shared[string(key)], out.needs[id] = list, list
	}
	return out
}

// ordered sorts what has come over the network, which readers rely on.
func ordered(list []fleet.Ability) []fleet.Ability {
	list = slices.Clone(list)
	for i := range list {
		if !slices.IsSorted(list[i].Values) {
			list[i].Values = slices.Sorted(slices.Values(list[i].Values))
		}
	}
	slices.SortStableFunc(list, func(a, b fleet.Ability) int { return cmp.Compare(a.Class, b.Class) })
	return list
}

// addFit takes in what a report says; it returns true when it must be sent again. A
// host that says nothing any more has an older agent now: nothing is known of it.
func (r *Reports) addFit(report Report) (missing bool) {
	have := r.fits[report.Host]
	switch {
	case report.FitVersion == 0:
		delete(r.fits, report.Host)
	case have != nil && have.version == report.FitVersion:
	case report.Fit == nil:
		return true
	default:
		r.fits[report.Host] = unpack(report.FitVersion, report.Fit)
	}
	return false
}

// fillFit writes into a view what tells its hosts apart for its workloads.
func (r *Reports) fillFit(view *fleet.View) {
	if len(r.fits) == 0 {
		return
	}
	hosts, workloads := make([]*fleet.Capabilities, len(view.Hosts)), make([]*fleet.Capabilities, len(view.Workloads))
	for i := range view.Hosts {
		h := &view.Hosts[i]
		if f := r.fits[h.ID]; f != nil {
			h.Capabilities.Abilities = f.has
		}
		hosts[i] = &h.Capabilities
	}
	for i := range view.Workloads {
		w := &view.Workloads[i]
		if f := r.fits[w.Owner]; f != nil {
			w.Requires.Abilities = f.needs[w.ID]
		}
		workloads[i] = &w.Requires
	}
	fleet.Distinguish(hosts, workloads)
}

// Fits returns what is held of every host, for an agent that hears no reports.
func (r *Reports) Fits() map[fleet.HostID]*Fit {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[fleet.HostID]*Fit, len(r.fits))
	for id, f := range r.fits {
		out[id] = NewFit(f.has, f.needs)
	}
	return out
}

// BorrowFits takes over what another agent holds.
func (r *Reports) BorrowFits(all map[fleet.HostID]*Fit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fits = make(map[fleet.HostID]*hostFit, len(all))
	for id, f := range all {
		if f != nil {
			r.fits[id] = unpack(f.Version(), f)
		}
	}
}
