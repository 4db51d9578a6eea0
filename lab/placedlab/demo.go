package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/placed-dev/placed/lab"
)

// demoName is the demo's own lab, beside one that make lab has started.
const demoName = "demo"

// demo starts a lab of its own, lets a predicted contention move a real guest while
// a prober outside asks it every few milliseconds, tells what both saw, and what
// would have happened without.
func demo(ctx context.Context, cfg lab.Config, binary string) (err error) {
	cfg.Name = demoName
	began := time.Now()
	say("three hosts are started: a libvirtd each, in namespaces of their own")
	l, err := lab.Up(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Down(context.WithoutCancel(ctx))) }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f, err := l.Foresee(ctx, binary, []string{self, "probe"}, say)
	if err != nil {
		return err
	}
	clock := func(t time.Time) string { return t.UTC().Format("15:04") }
	say("forecast at %s for %s; guest %s left %s for %s and ran there at %s, %.0f load minutes before the predicted contention",
		clock(f.At), clock(f.Contention.Breach), f.Move.Workload, f.From, f.To, clock(f.Moved), f.Contention.Breach.Sub(f.Moved).Minutes())
	say("the move took %.1f s of the machine's time and sent %d MiB; longest silence of the guest seen from outside %s; answers given twice: %d; every page of its memory is what it should be",
		f.Move.DurationMS/1000, f.Move.Bytes>>20, f.Sight.Gap.Round(time.Millisecond), f.Sight.Double)
	if f.Came.IsZero() {
		say("it was a false alarm: until now the guests that were on %s would have needed %.2f cores at most, and it has %.2f", f.Host, f.Needed, f.Allocatable)
	} else {
		say("without the move: from %s on the guests of %s would have needed up to %.2f cores of its %.2f, for %.0f load minutes; with it, it used %.2f at most",
			clock(f.Came), f.Host, f.Needed, f.Allocatable, f.Contended.Minutes(), f.Used)
	}
	say("done in %s", time.Since(began).Round(time.Second))
	return nil
}
