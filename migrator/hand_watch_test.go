package migrator

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// arrival is a hypervisor at which a workload arrives.
type arrival struct {
	driver.Handover
	stirs chan struct{}

	mu    sync.Mutex // guards all below
	state driver.State
	looks int
	blind int // so many looks at what is whole fail
}

func (a *arrival) Look(context.Context, fleet.WorkloadID) (driver.Found, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looks++
	if a.state == driver.Whole && a.blind > 0 {
		a.blind--
		return driver.Found{}, errors.New("it changes just now")
	}
	if a.state == "" {
		return driver.Found{}, driver.ErrNotFound
	}
	return driver.Found{State: a.state}, nil
}

// arrive returns how often it was looked at before.
func (a *arrival) arrive() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state = driver.Whole
	return a.looks
}

// speaking is an arrival of which its hypervisor speaks.
type speaking struct{ *arrival }

func (h speaking) Stirred(fleet.WorkloadID) <-chan struct{} { return h.stirs }

// TestArrivalIsSeen: how long after it a workload's arrival is seen, which is time in
// which it runs nowhere, and how often it was looked at in the second before.
func TestArrivalIsSeen(t *testing.T) {
	for _, c := range []struct {
		name         string
		blind        int  // looks that fail
		heard        bool // the driver hears of changes
		within       time.Duration
		most         int
		early, later bool // the news come before, or after, what they tell of
	}{
		{name: "looked for", within: copyEvery, most: 110},
		{name: "looked for, three looks fail", blind: 3, within: 160 * time.Millisecond, most: 110},
		{name: "heard", heard: true, within: 0, most: 25},
		{name: "heard a little early", heard: true, early: true, within: copyStirred, most: 40},
		{name: "not heard of", heard: true, later: true, within: copyHeard, most: 25},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &arrival{state: driver.Incoming, blind: c.blind, stirs: make(chan struct{}, 1)}
				var drv driver.Handover = a
				if c.heard {
					drv = speaking{a}
				}
				m := &Migrator{cfg: Config{Now: time.Now, Effect: time.Minute, RecoverEvery: time.Hour, Logger: hclog.NewNullLogger()}, log: hclog.NewNullLogger()}
				s := newSession(m, workload)
				ctx, cancel := context.WithCancel(t.Context())
				d := newHandDestination(m, s, drv)
				d.watchCopy(ctx)
				if n := <-s.notes; n.event.Copy != cutover.Incoming {
					t.Fatalf("seen at first: %+v", n.event)
				}
				time.Sleep(time.Second + 3*time.Millisecond)
				if c.heard && c.early {
					a.stirs <- struct{}{}
					time.Sleep(9 * time.Millisecond)
				}
				synctest.Wait()
				looks, arrived := a.arrive(), time.Now()
				if c.heard && !c.early && !c.later {
					a.stirs <- struct{}{}
				}
				n := <-s.notes
				if took := time.Since(arrived); n.event.Copy != cutover.Whole || took > c.within || looks > c.most {
					t.Errorf("%s after %s, want within %s; %d looks before, want at most %d", n.event.Copy, took, c.within, looks, c.most)
				}
				cancel()
				s.join(func() {})
			})
		})
	}
}
