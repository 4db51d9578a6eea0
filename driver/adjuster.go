package driver

import (
	"context"
	"errors"

	"github.com/placed-dev/placed/fleet"
)

// ErrCannotAdjust: the driver, or this host, offers no such change of this workload.
var ErrCannotAdjust = errors.New("cannot be changed while it runs")

// Adjuster is a Driver that can change what a workload gets while it runs. What it
// changes lasts no longer than the workload's process: nothing is written into its
// definition.
type Adjuster interface {
	Driver
	// Knobs observes what can be changed of a workload, by kind; none when nothing
	// can. Before every Adjust of a kind its Now is what was there.
	Knobs(ctx context.Context, id fleet.WorkloadID) ([]fleet.Knob, error)
	// Adjust sets one of them; setting what is set already is no error. For
	// fleet.Balloon it only asks the guest: Knobs shows what it has given.
	Adjust(ctx context.Context, id fleet.WorkloadID, kind fleet.AdjustmentKind, amount int64) error
}
