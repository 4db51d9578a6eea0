package migrator

import (
	"fmt"
	"testing"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// TestNotesOfAMove: what the driver says on the way is kept with the move, bounded, and
// what is shown does not change afterwards.
func TestNotesOfAMove(t *testing.T) {
	b := newBoard(time.Now, 0, nil)
	d := &handSource{source: &source{m: &Migrator{board: b, cfg: Config{Now: time.Now}}}}
	d.progress = b.begin(fleet.Lease{ID: "l", Workload: "w"}, 1)
	d.jobProgress(driver.Progress{})
	d.jobProgress(driver.Progress{Note: "the guest was told"})
	shown := b.all()[0]
	for i := range 2 * maxNotes {
		d.jobProgress(driver.Progress{Note: fmt.Sprint(i)})
	}
	if len(shown.Notes) != 1 || shown.Notes[0] != "the guest was told" {
		t.Errorf("shown %q", shown.Notes)
	}
	if now := b.all()[0].Notes; len(now) != maxNotes || now[0] != "the guest was told" {
		t.Errorf("kept %q", now)
	}
}
