package daemon

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/driver"
)

// slow is a driver whose answers take their time and are counted.
type slow struct {
	driver.Driver
	answers chan []driver.Found
	asked   *int
}

func (s slow) Inventory(context.Context) ([]driver.Found, error) {
	*s.asked++
	return <-s.answers, nil
}

// TestFollowNews: what has come is seen without waiting for the next sample, and a
// burst of events costs one look.
func TestFollowNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		d := slow{answers: make(chan []driver.Found, 16), asked: &asked}
		i := &inventory{drivers: map[string]driver.Driver{"slow": d}, log: hclog.NewNullLogger(), sick: map[string]bool{}}
		news, looked := make(chan struct{}, 1), 0
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			i.follow(ctx, news, func() { looked++ })
		}()
		d.answers <- []driver.Found{{Spec: driver.Spec{ID: "came", Driver: "slow"}}}
		for range 5 { // a burst, as a start is
			select {
			case news <- struct{}{}:
			default:
			}
			time.Sleep(settle / 10) // virtual
		}
		time.Sleep(settle) // virtual
		synctest.Wait()
		if list := i.last(); asked != 1 || looked != 1 || len(list) != 1 || list[0].Spec.ID != "came" {
			t.Errorf("asked %d times, looked %d times, found %v", asked, looked, list)
		}
		time.Sleep(time.Hour) // virtual: without news nobody looks
		synctest.Wait()
		if asked != 1 {
			t.Errorf("asked %d times without news", asked)
		}
		cancel()
		<-ended
	})
}

// TestLateObservation: an observation that was overtaken does not bring back what is
// gone.
func TestLateObservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		first, second := make(chan []driver.Found), make(chan []driver.Found)
		d := slow{answers: first, asked: &asked}
		i := &inventory{drivers: map[string]driver.Driver{"slow": d}, log: hclog.NewNullLogger(), sick: map[string]bool{}}
		old := make(chan struct{})
		go func() {
			defer close(old)
			i.observe(t.Context())
		}()
		synctest.Wait() // it waits for its answer
		i.drivers = map[string]driver.Driver{"slow": slow{answers: second, asked: &asked}}
		go func() { second <- nil }()
		i.observe(t.Context())
		first <- []driver.Found{{Spec: driver.Spec{ID: "gone", Driver: "slow"}}}
		<-old
		if list := i.last(); len(list) != 0 {
			t.Errorf("found %v", list)
		}
	})
}
