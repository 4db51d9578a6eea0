package controller

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Learning rests as long as it works, at most a second, and not at all once it is
// to end.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := newPace(time.Now)
		for _, c := range []struct{ work, rest time.Duration }{
			{100 * time.Millisecond, 100 * time.Millisecond}, {0, 0}, {time.Hour, longestRest},
		} {
			time.Sleep(c.work) // virtual
			began := time.Now()
			p.rest(ctx)
			if got := time.Since(began); got != c.rest {
				t.Errorf("after %s of work it rests %s, want %s", c.work, got, c.rest)
			}
		}
		time.Sleep(time.Minute)
		cancel()
		began := time.Now()
		if p.rest(ctx); time.Since(began) != 0 {
			t.Error("it rests although it is to end")
		}
	})
}
