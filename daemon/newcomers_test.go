package daemon

import (
	"fmt"
	"testing"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// What runs on a second host is disputed for as long as it does; what somebody has
// moved by other means is its new host's, with what the books know of it, and
// never leaves them.
func TestMovedByOthers(t *testing.T) {
	s := newSite(t, 57)
	hosts := [2]*hypervisor{{}, {}}
	s.prepare = func(i int, d *Daemon) {
		d.look = 100 * time.Millisecond
		if i < len(hosts) {
			d.drivers["libvirt"] = hosts[i]
		}
	}
	agents, stops, _ := s.three()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	domain := driver.Found{Spec: driver.Spec{ID: "vm", Driver: "libvirt", Size: 1 << 30, Reserve: fleet.Vector{CPU: 500, Memory: 1 << 30}}, State: driver.Running}
	// await waits for what the books of an agent that does not have the workload say.
	epoch := uint64(0)
	await := func(what string, owner int, disputed int) {
		t.Helper()
		within(t, 90*time.Second, what, func() (err error) {
			agents[2].replica.Read(func(state *fsm.State) {
				w, known := state.Workload("vm")
				claims := state.Disputed("vm")
				if !known || w.Owner != agents[owner].self || len(claims) != disputed {
					err = fmt.Errorf("known %t, owner %s, disputed by %v", known, w.Owner, claims)
				}
				epoch = w.Epoch
			})
			return err
		})
	}
	hosts[0].set(domain)
	await("it is booked", 0, 0)
	first := epoch
	hosts[1].set(domain)
	await("a second copy is told of", 0, 1)
	hosts[1].set()
	await("and that it is gone", 0, 0)

	hosts[1].set(domain)
	await("it runs on both while it is moved", 0, 1)
	hosts[0].set()
	await("it is its new host's", 1, 0)
	if epoch != first+1 {
		t.Errorf("it left the books in between: epoch %d, was %d", epoch, first)
	}
	agents[2].replica.Read(func(state *fsm.State) {
		for _, e := range state.EventsSince(0, 0) {
			if e.Type == "workload.deregistered" && e.Workload == "vm" {
				t.Errorf("it left the books: %s", e.Message)
			}
		}
	})
}
