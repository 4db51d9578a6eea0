package fsm

import "github.com/placed-dev/placed/fleet"

// Breakers lists, in words, who breaks a rule as the books stand; empty when
// nobody does. A workload under a lease counts on both hosts.
func (s *State) Breakers(rule fleet.Rule) []string { return (&entry{State: s}).breakers(rule) }
