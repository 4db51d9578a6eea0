package cutover

import (
	"slices"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// TestPlantedBugs alters one rule at a time. Each altered machine must break an
// invariant in the very exploration that the real ones pass.
func TestPlantedBugs(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]alter{
		"source thaws when its wait for the commit ends": {
			source: func(before Source, e Event, after Source, actions []Action) (Source, []Action) {
				if before.Stage == Proposed && e.Kind == Deadline {
					return before.keep()
				}
				return after, actions
			}},
		"source thaws alone after a restart": {
			source: func(_ Source, e Event, after Source, actions []Action) (Source, []Action) {
				if e.Kind == Restart && after.Stage == Proposed {
					return after.keep()
				}
				return after, actions
			}},
		"source discards at the commit, before the destination runs": {
			source: func(before Source, e Event, after Source, actions []Action) (Source, []Action) {
				if before.Stage == Proposed && learned(e, fleet.Committed) {
					return before.give()
				}
				return after, actions
			}},
		"source proposes again and then relinquishes in doubt": {
			source: func(before Source, e Event, after Source, actions []Action) (Source, []Action) {
				if before.Stage == Proposed && e.Kind == Leave && before.Doubt {
					after.Stage, after.Word = Given, Relinquished
					return after, []Action{write(Relinquished), say(Relinquished)}
				}
				return after, actions
			}},
		"destination says Refused before it is on disk": {
			destination: func(_ Destination, _ Event, after Destination, actions []Action) (Destination, []Action) {
				return after, swap(actions, WriteWord, Send)
			}},
		"destination activates before its word": {
			destination: func(_ Destination, _ Event, after Destination, actions []Action) (Destination, []Action) {
				return after, swap(actions, WriteWord, Activate)
			}},
		"destination refuses, keeps its copy and activates it on a commit": {
			destination: func(before Destination, e Event, after Destination, actions []Action) (Destination, []Action) {
				if before.Word == Refused && before.Copy == Incoming && learned(e, fleet.Committed) {
					return before.activate()
				}
				if before.Copy == Incoming && after.Word == Refused {
					after.Copy = Incoming
					return after, slices.DeleteFunc(actions, func(a Action) bool { return a.Kind == Discard })
				}
				return after, actions
			}},
		"destination prepares before everything has arrived": {
			destination: func(before Destination, e Event, after Destination, actions []Action) (Destination, []Action) {
				if before.Word == Admitted && e.Kind == Deadline {
					return before.Step(Event{Kind: Verified})
				}
				return after, actions
			}},
		"destination never answers a question": {
			destination: func(before Destination, e Event, after Destination, actions []Action) (Destination, []Action) {
				if e.Kind == Asked {
					return before, nil
				}
				return after, actions
			}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := explore(m, 0, 0)
			if x.bad == "" {
				t.Fatalf("not caught in %d states", len(x.worlds))
			}
			t.Logf("caught after %d states: %s", len(x.worlds), x.bad)
		})
	}
}

// swap exchanges the first actions of two kinds, if both are there in this order.
func swap(actions []Action, first, second ActionKind) []Action {
	i := slices.IndexFunc(actions, func(a Action) bool { return a.Kind == first })
	j := slices.IndexFunc(actions, func(a Action) bool { return a.Kind == second })
	if i < 0 || j < i {
		return actions
	}
	actions = slices.Clone(actions)
	actions[i], actions[j] = actions[j], actions[i]
	return actions
}
