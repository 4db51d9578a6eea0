package fsm

import (
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// BeginGeneration raises the generation of a state that does not follow a log,
// one restored from a snapshot or left over by a lost quorum, above the one
// given (0: just the next). It is deterministic: servers that hold the same
// state have the same one afterwards. The state's index grows by each step.
func BeginGeneration(s *State, above uint64, by fleet.HostID, reason string) error {
	for begun := false; !begun || s.generation <= above; begun = true {
		next := s.generation + 1
		header := Header{ID: fmt.Sprintf("generation-%d-%d", next, s.index), Proposer: by, At: s.wall, LoadAt: s.load}
		data, err := Encode(header, RaiseGeneration{Reason: reason})
		if err != nil {
			return fmt.Errorf("begin generation %d: %w", next, err)
		}
		if err := s.Apply(s.index+1, data).Refused(); err != nil {
			return fmt.Errorf("begin generation %d: %w", next, err)
		}
		if s.generation != next {
			return fmt.Errorf("begin generation %d: the state stays in generation %d", next, s.generation)
		}
	}
	return nil
}
