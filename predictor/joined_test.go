package predictor

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// A joined demand says what the demand with the member added says, of every step: members that
// are ahead or behind, amounts that are shifted, and nothing at all included.
func TestJoinedIsAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		block := func(name string) Block {
			if rapid.IntRange(0, 5).Draw(t, name+" is nothing") == 0 {
				return Block{tick: rapid.Int64Range(995, 1005).Draw(t, name+" tick")}
			}
			scale := rapid.SampledFrom([]float64{1, 1e3, 1e12, 1e17}).Draw(t, name+" scale")
			tick := 1000 + rapid.Int64Range(-400, 400).Draw(t, name+" late")*rapid.Int64Range(0, 1).Draw(t, name+" is late")
			b := UsageBlock(fleet.WorkloadID(name), fleet.CPU, tick, scale*rapid.Float64Range(0, 10).Draw(t, name))
			return b
		}
		var d Demand
		if rapid.Bool().Draw(t, "members") {
			d = Sum(rapid.Float64Range(0, 100).Draw(t, "foreign"), []Block{block("a"), block("b")})
		}
		member := block("c")
		want, got := d.Add(member), d.Join(member)
		if want.Tick() != got.Tick() {
			t.Fatalf("tick %d, want %d", got.Tick(), want.Tick())
		}
		level := rapid.Float64Range(0.01, 0.999).Draw(t, "level")
		for step := 1; step <= Steps; step++ {
			q := want.Quantile(step, level)
			limit := q * rapid.Float64Range(0, 2).Draw(t, "limit")
			if got.Centre(step) != want.Centre(step) || got.Quantile(step, level) != q || got.Exceeds(step, limit) != want.Exceeds(step, limit) {
				t.Fatalf("step %d: centre %g %g, quantile %g %g, exceeds %g %g", step, got.Centre(step), want.Centre(step),
					got.Quantile(step, level), q, got.Exceeds(step, limit), want.Exceeds(step, limit))
			}
		}
	})
}
