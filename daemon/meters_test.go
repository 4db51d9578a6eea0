package daemon

import (
	"context"
	"testing"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// counters is a driver whose hypervisor has rates.
type counters struct {
	driver.Driver
	rates map[fleet.WorkloadID]fleet.Vector
}

func (c counters) Name() string                                { return "counters" }
func (c counters) Run(ctx context.Context) error               { <-ctx.Done(); return nil }
func (c counters) Measured() map[fleet.WorkloadID]fleet.Vector { return c.rates }

// TestMeasure: what a hypervisor knows completes what its processes show, and what it
// does not know changes nothing.
func TestMeasure(t *testing.T) {
	known := fleet.Vector{CPU: fleet.Unknown, Memory: fleet.Unknown, Net: 700, Disk: fleet.Unknown}
	i := &inventory{drivers: map[string]driver.Driver{"counters": counters{rates: map[fleet.WorkloadID]fleet.Vector{"a": known, "gone": known}}}}
	shown := fleet.Vector{CPU: 5, Memory: 6, Net: fleet.Unknown, Disk: 8}
	samples := map[fleet.WorkloadID]fleet.Sample{"a": {Usage: shown}, "b": {Usage: shown}}
	i.measure(samples)
	if want := (fleet.Vector{CPU: 5, Memory: 6, Net: 700, Disk: 8}); !samples["a"].Usage.Equal(want) {
		t.Errorf("measured %v, want %v", samples["a"].Usage, want)
	}
	if !samples["b"].Usage.Equal(shown) || len(samples) != 2 {
		t.Errorf("samples %v", samples)
	}
	if parts := (&Daemon{inventory: i}).meterParts(); len(parts) != 1 || parts[0].name != "counters counters" {
		t.Errorf("parts %v", parts)
	}
}
