package controller

import (
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// TestHostUse: what a host used of the other resources is the mean of what its reports
// said in each tick; what it never used, or cannot say, has no history.
func TestHostUse(t *testing.T) {
	r := NewReports()
	seq := uint64(0)
	say := func(at time.Duration, usage fleet.Vector) {
		seq++
		r.Add(Report{Host: "h1", Boot: "b", Seq: seq, At: start.Add(at), Usage: usage}, start)
	}
	say(time.Minute, fleet.Vector{Net: 100, Disk: fleet.Unknown})
	say(2*time.Minute, fleet.Vector{Net: 300, Disk: fleet.Unknown})
	say(5*time.Minute, fleet.Vector{Net: 500, Disk: fleet.Unknown}) // ends the same tick
	if ticks, _ := r.HostUse("h1", fleet.Net); len(ticks) != 0 {
		t.Errorf("a tick that runs is shown: %v", ticks)
	}
	say(6*time.Minute, fleet.Vector{Net: 0, Disk: fleet.Unknown})
	say(16*time.Minute, fleet.Vector{Net: 80})
	ticks, amounts := r.HostUse("h1", fleet.Net)
	first := fleet.TickOf(start)
	if len(ticks) != 2 || ticks[0] != first || ticks[1] != first+1 || amounts[0] != 300 || amounts[1] != 0 {
		t.Errorf("ticks %v, amounts %v", ticks, amounts)
	}
	for _, resource := range []fleet.Resource{fleet.Disk, fleet.Memory, fleet.CPU} {
		if ticks, _ := r.HostUse("h1", resource); len(ticks) != 0 {
			t.Errorf("%s has a history: %v", resource, ticks)
		}
	}
}
