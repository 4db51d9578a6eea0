//go:build lab

package lab_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/placed-dev/placed/lab"
)

// TestForeseen is make lab-demo: on real hosts a contention is forecast from recorded
// load, a real guest leaves before it, whole and answering, and the contention
// would have come. Load time passes a hundred times faster than the machine's, so
// that a machine which is busy with other work may come too late: it is no part of
// the short forms.
func TestForeseen(t *testing.T) {
	if why := lab.Missing(); why != "" {
		t.Skip(why)
	}
	if !soak {
		t.Skip("only in a soak: its clock does not wait for a busy machine")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l, err := lab.Up(ctx, lab.Config{Name: "foreseen"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.Foresee(ctx, binary(t), []string{self, "probe"}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	lead := f.Contention.Breach.Sub(f.Moved)
	switch {
	case !f.At.Before(f.Contention.Breach) || f.Contention.Probability < 0.5:
		t.Errorf("forecast at %s: %+v", f.At, f.Contention)
	case f.From != f.Host || f.To == f.Host || f.Move.Type != "preemptive":
		t.Errorf("moved %+v", f.Move)
	case lead <= 0:
		t.Errorf("the guest left %s after the predicted contention", -lead)
	case f.Sight.Double != 0:
		t.Errorf("the guest has run twice: %+v", f.Sight.Stays)
	case len(f.Sight.Stays) < 2 || f.Sight.Stays[len(f.Sight.Stays)-1].Host != f.To:
		t.Errorf("the prober did not see it move to %s: %+v", f.To, f.Sight.Stays)
	case f.Came.IsZero() || f.Needed <= f.Allocatable:
		t.Errorf("the contention did not come: %.2f of %.2f cores", f.Needed, f.Allocatable)
	}
	t.Logf("foreseen: %.0f load minutes ahead of %s, moved %.0f before it, gap seen from outside %s; without the move %.2f of %.2f cores for %.0f load minutes",
		f.Contention.Breach.Sub(f.At).Minutes(), f.Contention.Breach.UTC().Format("15:04"), lead.Minutes(), f.Sight.Gap.Round(time.Millisecond), f.Needed, f.Allocatable, f.Contended.Minutes())
}
