package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// adjuster brings the workloads of this host to what the books say of them in place,
// and tells the books what came of it. The books know of every change before it is
// made here, so an agent that was killed finds there what to make true or take back.
type adjuster struct {
	self    fleet.HostID
	drivers map[string]driver.Driver
	books   *books
	propose func(context.Context, fsm.Operation) error
	log     hclog.Logger

	mu   sync.Mutex // guards all below; held while a driver works, so one thing is done at a time
	told map[adjusted]string
	// asked is when a guest was first asked for memory, by the machine's clock.
	asked map[adjusted]time.Time

	knobMu sync.Mutex // guards known
	known  map[fleet.WorkloadID][]fleet.Knob
}

// adjusted names an adjustment.
type adjusted struct {
	workload fleet.WorkloadID
	kind     fleet.AdjustmentKind
}

const (
	// adjustEvery is the pause between two looks at the books, and knobsEvery
	// between two looks at what can be changed at all.
	adjustEvery = time.Second
	knobsEvery  = 10 * time.Second
	// adjustTime bounds one change; giveTime is what a guest gets to give memory.
	adjustTime = 5 * time.Second
	giveTime   = 2 * time.Minute
	// letGoTime bounds all that is taken back when the agent stops: a hypervisor
	// that hangs must not keep it.
	letGoTime = 10 * time.Second
	// leastGiven is what a guest must have given to be worth writing down, bytes.
	leastGiven = 16 << 20
)

func newAdjuster(d *Daemon) *adjuster {
	return &adjuster{self: d.self, drivers: d.drivers, books: d.books, propose: d.propose, log: d.cfg.Logger.Named("adjustments"),
		told: map[adjusted]string{}, asked: map[adjusted]time.Time{}, known: map[fleet.WorkloadID][]fleet.Knob{}}
}

// Run follows the books until ctx ends. Then what holds no capacity is taken back, so
// that workloads that live on without an agent are as their definitions say; the books
// still name it, and the next agent makes it true again.
func (a *adjuster) Run(ctx context.Context) error {
	tick := time.NewTicker(adjustEvery)
	defer tick.Stop()
	looked, wanted := time.Time{}, false
	for {
		select {
		case <-ctx.Done():
			a.letGo(context.WithoutCancel(ctx))
			return nil
		case <-tick.C:
		}
		was := wanted
		a.books.Read(func(s *fsm.State) { wanted = s.Policy().InPlace.Any() || len(s.Adjustments()) > 0 })
		if now := time.Now(); now.Sub(looked) >= knobsEvery || wanted != was {
			looked = now
			a.look(ctx, wanted)
		}
		a.follow(ctx)
	}
}

// knobs are what can be changed of a workload, as last seen.
func (a *adjuster) knobs(id fleet.WorkloadID) []fleet.Knob {
	a.knobMu.Lock()
	defer a.knobMu.Unlock()
	return a.known[id]
}

// look asks the drivers what can be changed. Where the policy lets nothing be changed
// and nothing is, it is not wanted, and nobody is asked.
func (a *adjuster) look(ctx context.Context, wanted bool) {
	var mine []fleet.Workload
	a.books.Read(func(s *fsm.State) {
		for _, w := range s.Workloads() {
			if w.Owner == a.self && w.ManagedBy == "" {
				mine = append(mine, w)
			}
		}
	})
	known := map[fleet.WorkloadID][]fleet.Knob{}
	if wanted {
		for _, w := range mine {
			if knobs, err := a.ask(ctx, w); err == nil && len(knobs) > 0 {
				known[w.ID] = knobs
			}
		}
	}
	a.knobMu.Lock()
	defer a.knobMu.Unlock()
	a.known = known
}

func (a *adjuster) ask(ctx context.Context, w fleet.Workload) ([]fleet.Knob, error) {
	d, ok := a.drivers[w.Driver].(driver.Adjuster)
	if !ok {
		return nil, fmt.Errorf("driver %s: %w", w.Driver, driver.ErrCannotAdjust)
	}
	ctx, cancel := context.WithTimeout(ctx, adjustTime)
	defer cancel()
	return d.Knobs(ctx, w.ID)
}

// own lists the adjustments of this host's workloads, and those under a lease.
func (a *adjuster) own() (all []fleet.Adjustment, works map[fleet.WorkloadID]fleet.Workload, leased map[fleet.WorkloadID]bool) {
	works, leased = map[fleet.WorkloadID]fleet.Workload{}, map[fleet.WorkloadID]bool{}
	a.books.Read(func(s *fsm.State) {
		for _, x := range s.Adjustments() {
			if w, ok := s.Workload(x.Workload); ok && w.Owner == a.self {
				all, works[w.ID] = append(all, x), w
				_, leased[w.ID] = s.LeaseOf(w.ID)
			}
		}
	})
	return all, works, leased
}

// follow makes true what the books say.
func (a *adjuster) follow(ctx context.Context) {
	all, works, leased := a.own()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range all {
		if leased[x.Workload] {
			continue // it leaves; settle has seen to it
		}
		var err error
		switch x.State {
		case fleet.AdjustmentAsked:
			err = a.begin(ctx, x, works[x.Workload])
		case fleet.AdjustmentApplied:
			err = a.keep(ctx, x, works[x.Workload])
		case fleet.AdjustmentEnding:
			err = a.end(ctx, x, works[x.Workload])
		}
		a.tell(ctx, x, err)
	}
}

// tell logs what goes wrong with an adjustment, once for each reason.
func (a *adjuster) tell(ctx context.Context, x fleet.Adjustment, err error) {
	key := adjusted{x.Workload, x.Kind}
	switch {
	case err == nil:
		delete(a.told, key)
	case ctx.Err() == nil && a.told[key] != err.Error():
		a.told[key] = err.Error()
		a.log.Warn("an adjustment is not as the books say; it is tried again", "workload", x.Workload, "kind", x.Kind, "error", err)
	}
}

var errMovedOn = errors.New("the workload has moved before it was done")

// begin makes a change that was asked for. What fails leaves nothing behind.
func (a *adjuster) begin(ctx context.Context, x fleet.Adjustment, w fleet.Workload) error {
	report := fsm.ReportAdjusted{Workload: x.Workload, Kind: x.Kind, State: fleet.AdjustmentApplied}
	err := errMovedOn
	if x.Host == a.self {
		err = a.set(ctx, x, w, x.Want)
	}
	if err == nil && x.Kind == fleet.Balloon {
		given, waits, why := a.given(ctx, x, w)
		if waits {
			return why
		}
		report.Given, err = given, why
	}
	if err != nil && x.Host == a.self {
		if undone := a.set(ctx, x, w, x.Before); undone != nil && !errors.Is(undone, driver.ErrCannotAdjust) && !errors.Is(undone, driver.ErrNotFound) {
			return fmt.Errorf("%w; and it cannot be taken back: %w", err, undone)
		}
	}
	if err != nil {
		report.State, report.Reason = fleet.AdjustmentFailed, brief(err)
	}
	if err := a.propose(ctx, report); err != nil {
		return err
	}
	delete(a.asked, adjusted{x.Workload, x.Kind})
	a.log.Info("workload adjusted", "workload", x.Workload, "kind", x.Kind, "state", report.State, "amount", x.Kind.Amount(x.Want), "reason", report.Reason)
	return nil
}

// given is what a guest has given of what it was asked for. It waits until the guest
// has given it all; what it has given when its time is up is what there is.
func (a *adjuster) given(ctx context.Context, x fleet.Adjustment, w fleet.Workload) (bytes int64, waits bool, err error) {
	key := adjusted{x.Workload, x.Kind}
	if a.asked[key].IsZero() {
		a.asked[key] = time.Now()
	}
	knobs, err := a.ask(ctx, w)
	if err != nil {
		return 0, true, err
	}
	i := slices.IndexFunc(knobs, func(k fleet.Knob) bool { return k.Kind == x.Kind })
	if i < 0 {
		return 0, false, fmt.Errorf("its guest has no balloon any more: %w", driver.ErrCannotAdjust)
	}
	bytes = min(x.Before-knobs[i].Now, x.Before-x.Want)
	switch {
	case knobs[i].Now <= x.Want:
		return bytes, false, nil
	case time.Since(a.asked[key]) < giveTime:
		return 0, true, nil
	case bytes < leastGiven:
		return 0, false, fmt.Errorf("its guest has given nothing within %s", giveTime)
	}
	return bytes, false, nil
}

// keep makes sure that a change is still there: the workload or the agent may have
// been started again.
func (a *adjuster) keep(ctx context.Context, x fleet.Adjustment, w fleet.Workload) error {
	if x.Host != a.self {
		return nil // it came along with the guest, as it was
	}
	for _, k := range a.knobs(w.ID) {
		if k.Kind == x.Kind && k.Now == x.Before {
			return a.set(ctx, x, w, x.Want)
		}
	}
	return nil
}

// end takes a change back.
func (a *adjuster) end(ctx context.Context, x fleet.Adjustment, w fleet.Workload) error {
	if err := a.set(ctx, x, w, x.Before); err != nil && !errors.Is(err, driver.ErrNotFound) && !errors.Is(err, driver.ErrCannotAdjust) {
		return err
	}
	if err := a.propose(ctx, fsm.ReportAdjusted{Workload: x.Workload, Kind: x.Kind, State: fleet.AdjustmentEnding}); err != nil {
		return err
	}
	a.log.Info("adjustment taken back", "workload", x.Workload, "kind", x.Kind, "amount", x.Kind.Amount(x.Before))
	return nil
}

func (a *adjuster) set(ctx context.Context, x fleet.Adjustment, w fleet.Workload, amount int64) error {
	d, ok := a.drivers[w.Driver].(driver.Adjuster)
	if !ok {
		return fmt.Errorf("driver %s: %w", w.Driver, driver.ErrCannotAdjust)
	}
	ctx, cancel := context.WithTimeout(ctx, adjustTime)
	defer cancel()
	return d.Adjust(ctx, x.Workload, x.Kind, amount)
}

// settle prepares a workload for its move: what belongs to this host is taken back and
// leaves the books, what was only asked for is given up. What belongs to the guest goes
// along.
func (a *adjuster) settle(ctx context.Context, id fleet.WorkloadID) error {
	all, works, _ := a.own()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range all {
		if x.Workload != id || x.State == fleet.AdjustmentFailed || x.Kind.Travels() && x.State != fleet.AdjustmentAsked {
			continue
		}
		if err := a.set(ctx, x, works[id], x.Before); err != nil && !errors.Is(err, driver.ErrNotFound) && !errors.Is(err, driver.ErrCannotAdjust) {
			return fmt.Errorf("its %s cannot be taken back before it moves: %w", x.Kind, err)
		}
		if x.Kind.Travels() {
			continue // the books end it when the lease has ended: nothing of it is left here
		}
		if err := a.propose(ctx, fsm.ReportAdjusted{Workload: id, Kind: x.Kind, State: fleet.AdjustmentEnding, Reason: "the workload moves"}); err != nil {
			return fmt.Errorf("the books do not know yet that its %s was taken back: %w", x.Kind, err)
		}
	}
	return nil
}

// letGo takes back, without a word to the books, what holds no capacity.
func (a *adjuster) letGo(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, letGoTime)
	defer cancel()
	all, works, _ := a.own()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range all {
		if x.Kind.Travels() || x.State == fleet.AdjustmentFailed {
			continue
		}
		if err := a.set(ctx, x, works[x.Workload], x.Before); err != nil && !errors.Is(err, driver.ErrNotFound) {
			a.log.Warn("a workload keeps what was changed of it; the next agent finds it in the books", "workload", x.Workload, "kind", x.Kind, "error", err)
		}
	}
}
