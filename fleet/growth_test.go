package fleet

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestGrowth(t *testing.T) {
	g := Growth{Group: "web", Workloads: []WorkloadID{"x"}, PerMonth: Vector{CPU: -999, Memory: Unknown, Net: 100}}
	for _, c := range []struct {
		r     Resource
		after time.Duration
		want  float64
	}{{CPU, Month, 0.001}, {Memory, Month, 1}, {Net, Month, 1.1}, {Net, 0, 1}, {Net, -Month, 1}, {Disk, Month, 1}} {
		if got := g.Factor(c.r, c.after); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s after %s: ×%v, want ×%v", c.r, c.after, got, c.want)
		}
	}
	for _, c := range []struct {
		g    Growth
		w    Workload
		want bool
	}{
		{g, Workload{ID: "a", Group: "web"}, true}, {g, Workload{ID: "x"}, true}, {g, Workload{ID: "a"}, false}, {Growth{}, Workload{ID: "a"}, true},
	} {
		if got := c.g.OnWorkload(c.w); got != c.want {
			t.Errorf("%+v about %+v: %v", c.g, c.w, got)
		}
	}
	for _, c := range []struct {
		g    Growth
		want string
	}{
		{Growth{Group: "a b"}, "contains ' '"},
		{Growth{Group: "a", PerMonth: Vector{CPU: -1000}}, `growth of "a": cpu changes by -1000 thousandths a month: -999 to 10000 are allowed`},
	} {
		if err := c.g.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
	if err := (Growth{Group: "web", PerMonth: Vector{CPU: 20}}).Validate(); err != nil {
		t.Error(err)
	}
}
