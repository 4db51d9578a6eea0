package daemon

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/scorer"
	"github.com/placed-dev/placed/transport/memnet"
)

// surveying is a driver that looks at its host. All of its workloads are in one
// network segment; only the first hosts have it.
type surveying struct {
	standing
	segment *atomic.Value
	at      int
}

func (s surveying) Survey() (has []fleet.Ability, needs map[fleet.WorkloadID][]fleet.Ability) {
	own := s.segment.Load().(string)
	needs = map[fleet.WorkloadID][]fleet.Ability{}
	for _, f := range s.found {
		needs[f.Spec.ID] = fleet.Abilities(map[string][]string{"network segment": {"br0=prod"}})
	}
	if s.at < 2 {
		own = "br0=prod"
	}
	return fleet.Abilities(map[string][]string{"network segment": {own}}), needs
}

// TestFitTravels: what drivers see of their hosts reaches every voter's view through
// real reports over a lossy network, when it changes and when a voter has lost it, and
// not with every report.
func TestFitTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 5, memnet.Link{Latency: time.Millisecond, Jitter: 4 * time.Millisecond, Loss: 0.05})
		var segment atomic.Value
		segment.Store("br0=test")
		hosts := 0
		c.drive = func(s standing) driver.Driver {
			hosts++
			return surveying{s, &segment, hosts - 1}
		}
		stop := c.run()
		defer stop()
		judge := func(voter fleet.HostID) (out string) {
			var view fleet.View
			c.replica.Read(func(s *fsm.State) { view = s.View() })
			view.Workloads = []fleet.WorkloadView{{Workload: fleet.Workload{ID: "host-000-w3", Owner: "host-000"}}}
			c.heard[voter].Fill(&view, time.Now(), 20*time.Second)
			for _, h := range view.Hosts {
				if ok, why := scorer.Compatible(view.Workloads[0], &view.Hosts[0].Host, h, scorer.NewWays(nil)); !ok {
					out += fmt.Sprintf("%s: %s\n", h.ID, why)
				}
			}
			return out
		}
		await := func(what string, good func(string) bool) {
			t.Helper()
			for until := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) { // virtual
				bad := ""
				for _, h := range c.hosts[:crowdVoters] {
					if got := judge(h.ID); !good(got) {
						bad = fmt.Sprintf("voter %s:\n%s", h.ID, got)
					}
				}
				if bad == "" {
					return
				}
				if time.Now().After(until) {
					t.Fatalf("%s: %s", what, bad)
				}
			}
		}
		three := func(got string) bool {
			return strings.Count(got, "it lacks network segment br0=prod") == 3 && strings.Contains(got, "host-004")
		}
		await("reported", three)
		if hosts != len(c.hosts) {
			t.Fatalf("%d hosts survey", hosts)
		}
		for _, h := range c.hosts[:crowdVoters] { // as after a restart
			for id := range c.heard[h.ID].Fits() {
				newest, _, ok := c.heard[h.ID].Newest(id)
				if !ok || newest.FitVersion == 0 || newest.Fit != nil {
					t.Errorf("report of %s: version %d, kept with it: %v", id, newest.FitVersion, newest.Fit)
				}
			}
			c.heard[h.ID].BorrowFits(map[fleet.HostID]*controller.Fit{})
		}
		await("lost by the voters", three)
		segment.Store("br0=prod")
		await("changed", func(got string) bool { return got == "" })
	})
}

// TestFitOfDrivers: a workload whose driver surveys requires that driver, the others
// require nothing.
func TestFitOfDrivers(t *testing.T) {
	var segment atomic.Value
	segment.Store("br0=test")
	found := []driver.Found{{Spec: driver.Spec{ID: "vm"}}}
	i := &inventory{drivers: map[string]driver.Driver{"hyper": surveying{standing{found: found}, &segment, 9}, "region": standing{}}}
	fit := i.fit()
	if got := fmt.Sprint(fit.Has); got != "[{driver [hyper region]} {network segment [br0=test]}]" {
		t.Errorf("has %s", got)
	}
	if got := fmt.Sprint(fit.Sets, fit.Needs); got != "[{driver [hyper]} {network segment [br0=prod]}] map[vm:[0 1]]" {
		t.Errorf("needs %s", got)
	}
}
