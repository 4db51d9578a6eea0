package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Ability is what a host has of one class ("machine type", "segment"), or what a
// workload requires of it; Values are sorted. Unlike the other capabilities a class
// that a host does not name is not known to be absent there: nothing is refused for
// it, the host itself decides when it is asked.
type Ability struct {
	Class  string   `json:"class"`
	Values []string `json:"values"`
}

// Abilities makes a list of what is known per class, sorted and without doubles.
func Abilities(of map[string][]string) []Ability {
	out := make([]Ability, 0, len(of))
	for class, values := range of {
		values = slices.Clone(values)
		slices.Sort(values)
		out = append(out, Ability{Class: class, Values: slices.Compact(values)})
	}
	slices.SortFunc(out, func(a, b Ability) int { return cmp.Compare(a.Class, b.Class) })
	return out
}

// Lacking says in words what abilities do not meet of others, one text per class,
// as "machine type pc-q35-8.0"; none when everything is there or not known.
func Lacking(have, want []Ability) (out []string) {
	for _, w := range want {
		values, known := valuesOf(have, w.Class)
		if !known {
			continue
		}
		if missing := without(w.Values, values); len(missing) > 0 {
			out = append(out, w.Class+" "+shortList(missing))
		}
	}
	return out
}

// listed is how many missing values are named: a CPU may lack a hundred features.
const listed = 3

func shortList(values []string) string {
	if len(values) <= listed {
		return strings.Join(values, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(values[:listed], ", "), len(values)-listed)
}

func valuesOf(list []Ability, class string) ([]string, bool) {
	i, ok := slices.BinarySearchFunc(list, class, func(a Ability, class string) int { return cmp.Compare(a.Class, class) })
	if !ok {
		return nil, false
	}
	return list[i].Values, true
}

// without returns what is in a and not in b; both are sorted.
func without(a, b []string) (out []string) {
	for _, v := range a {
		if _, ok := slices.BinarySearch(b, v); !ok {
			out = append(out, v)
		}
	}
	return out
}

// Distinguish leaves in the abilities of hosts and in what workloads require only
// what tells the hosts apart: a requirement that every host meets, or of which no
// host says anything, decides nothing, and what nobody requires neither. A pass over
// a fleet of equal hosts then compares nothing at all. The lists behind the
// arguments are shared and not changed.
func Distinguish(hosts, workloads []*Capabilities) {
	common := commonAbilities(hosts)
	wanted := map[string]map[string]bool{}
	reduced := map[*Ability][]Ability{} // lists that many workloads share are read once
	for _, w := range workloads {
		if len(w.Abilities) == 0 {
			continue
		}
		key := &w.Abilities[0]
		short, done := reduced[key]
		if !done {
			short = telling(w.Abilities, common)
			reduced[key] = short
			for _, a := range short {
				if wanted[a.Class] == nil {
					wanted[a.Class] = map[string]bool{}
				}
				for _, v := range a.Values {
					wanted[a.Class][v] = true
				}
			}
		}
		w.Abilities = short
	}
	for _, h := range hosts {
		var kept []Ability
		for _, a := range h.Abilities {
			if values, ok := wanted[a.Class]; ok {
				kept = append(kept, Ability{Class: a.Class, Values: slices.DeleteFunc(slices.Clone(a.Values), func(v string) bool { return !values[v] })})
			}
		}
		h.Abilities = kept
	}
}

// commonAbilities are, per class that any host knows, the values that all of those
// hosts have.
func commonAbilities(hosts []*Capabilities) map[string]map[string]bool {
	have := map[string]map[string]int{}
	know := map[string]int{}
	for _, h := range hosts {
		for _, a := range h.Abilities {
			if have[a.Class] == nil {
				have[a.Class] = map[string]int{}
			}
			know[a.Class]++
			for _, v := range a.Values {
				have[a.Class][v]++
			}
		}
	}
	out := make(map[string]map[string]bool, len(have))
	for class, values := range have {
		out[class] = map[string]bool{}
		for v, n := range values {
			if n == know[class] {
				out[class][v] = true
			}
		}
	}
	return out
}

// telling are the requirements that some host is known not to meet.
func telling(want []Ability, common map[string]map[string]bool) (out []Ability) {
	for _, w := range want {
		met, known := common[w.Class]
		if !known {
			continue
		}
		if rest := slices.DeleteFunc(slices.Clone(w.Values), func(v string) bool { return met[v] }); len(rest) > 0 {
			out = append(out, Ability{Class: w.Class, Values: rest})
		}
	}
	return out
}
