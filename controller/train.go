package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/boost"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/predictor"
)

// Names under which the books know what the leader has learned.
const (
	PoolModel     = "pool"
	GroupingModel = "categories"
)

// TrainerConfig of a Trainer; every field without a default is required.
type TrainerConfig struct {
	Books Books
	// Examples asks the host that runs a workload for rows of its history.
	Examples func(ctx context.Context, host fleet.Host, of fleet.WorkloadID, l predictor.Lesson) ([]predictor.Example, error)
	// Keep stores bytes on this host and on other voters, so that the next
	// leader has them, and returns their SHA-256 in hexadecimal digits.
	Keep func(ctx context.Context, data []byte) (hash string, err error)
	// Held says whether the bytes of a hash are on this host.
	Held       func(hash string) bool
	Leading    func() bool
	Categories *Categories
	Clock      fleet.LoadClock
	// Every is the load time between two trainings (default an hour), Rest the
	// machine time that lies between them at least (default five minutes),
	// Check the machine time between two looks (default Rest/20).
	Every, Rest, Check time.Duration
	// Trees of each model, 0 for the predictor's default.
	Trees int
	// Par may train on several threads; nil uses one.
	Par    boost.Par
	Now    func() time.Time
	Logger hclog.Logger
}

// Trainer learns in the background while this host leads: pooled models from rows
// of the hosts' histories, and categories. No pass ever waits for it; what it has
// learned goes into the books by its hash, and from there to every host.
type Trainer struct {
	cfg  TrainerConfig
	log  hclog.Logger
	last time.Time // machine time of the last training
	told string    // last trouble, so that it is logged once
}

// NewTrainer returns a trainer; Run does the work.
func NewTrainer(cfg TrainerConfig) *Trainer {
	if cfg.Every <= 0 {
		cfg.Every = time.Hour
	}
	if cfg.Rest <= 0 {
		cfg.Rest = 5 * time.Minute
	}
	if cfg.Check <= 0 {
		cfg.Check = cfg.Rest / 20
	}
	return &Trainer{cfg: cfg, log: cfg.Logger.Named("trainer")}
}

// Run looks at every Check whether something is to be learned, until ctx ends.
func (t *Trainer) Run(ctx context.Context) error {
	ticker := time.NewTicker(t.cfg.Check)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !t.cfg.Leading() {
			continue
		}
		t.forget()
		// Below the feature level of models there would be no use for them.
		var err error
		t.cfg.Books.Read(func(s *fsm.State) { err = s.Allows(fsm.PutModel{}) })
		if err == nil {
			err = errors.Join(t.divide(ctx), t.train(ctx))
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			t.told = ""
		case err.Error() != t.told:
			t.told = err.Error()
			t.log.Warn("nothing new was learned; forecasts go on with what there is, and it is tried again", "error", err)
		}
	}
}

// forget lets go of workloads that have left the books.
func (t *Trainer) forget() {
	known := map[fleet.WorkloadID]bool{}
	t.cfg.Books.Read(func(s *fsm.State) {
		for _, w := range s.Workloads() {
			known[w.ID] = true
		}
	})
	t.cfg.Categories.Forget(func(id fleet.WorkloadID) bool { return known[id] })
}

// divide makes the day's categories.
func (t *Trainer) divide(ctx context.Context) error {
	now := t.cfg.Clock.At(t.cfg.Now())
	day := now.Unix() / int64(24*time.Hour/time.Second)
	if !t.cfg.Categories.Due(day) {
		return nil
	}
	data, err := t.cfg.Categories.Divide(day, uint64(day))
	if err != nil || data == nil {
		return err
	}
	return t.publish(ctx, GroupingModel, data, now)
}

// train trains pooled models when the newest are an hour older than they could be.
func (t *Trainer) train(ctx context.Context) error {
	now := t.cfg.Clock.At(t.cfg.Now())
	// What is learned has to be judged on days that it has not seen.
	cut := fleet.TickOf(now) - predictor.TrackDays*int64(24*time.Hour/fleet.Tick)
	var old fleet.Model
	var have bool
	t.cfg.Books.Read(func(s *fsm.State) { old, have = s.Model(PoolModel) })
	usable := have && t.cfg.Held(old.Hash)
	if usable && fleet.TickStart(cut).Sub(old.Trained) < t.cfg.Every || !t.last.IsZero() && t.cfg.Now().Sub(t.last) < t.cfg.Rest {
		return nil
	}
	examples, err := t.gather(ctx, cut)
	if err != nil {
		return err
	}
	if len(examples) < predictor.MinExamples {
		return fmt.Errorf("%d rows of history are too few for models, %d are wanted", len(examples), predictor.MinExamples)
	}
	t.last = t.cfg.Now()
	pace := newPace(t.cfg.Now)
	stop := func() bool { // is asked before every tree
		pace.rest(ctx)
		return ctx.Err() != nil || !t.cfg.Leading()
	}
	pool, err := predictor.TrainPool(examples, predictor.PoolConfig{Seed: old.Version + 1, Trees: t.cfg.Trees, Stop: stop}, t.cfg.Par)
	if errors.Is(err, boost.ErrStopped) {
		return nil // another leader trains now
	}
	if err != nil {
		return fmt.Errorf("%d rows of history: %w", len(examples), err)
	}
	data, err := pool.MarshalBinary()
	if err != nil {
		return err
	}
	t.log.Info("models are trained", "rows", len(examples), "bytes", len(data), "took", t.cfg.Now().Sub(t.last).Round(time.Millisecond), "until", fleet.TickStart(cut))
	return t.publish(ctx, PoolModel, data, fleet.TickStart(cut))
}

// publish stores bytes and names them in the books under the next version.
func (t *Trainer) publish(ctx context.Context, name string, data []byte, trained time.Time) error {
	hash, err := t.cfg.Keep(ctx, data)
	if err != nil {
		return fmt.Errorf("keep model %s: %w", name, err)
	}
	model := fleet.Model{Name: name, Version: 1, Hash: hash, Size: int64(len(data)), Trained: trained}
	t.cfg.Books.Read(func(s *fsm.State) {
		if old, ok := s.Model(name); ok {
			model.Version = old.Version + 1
		}
	})
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	result, err := t.cfg.Books.Propose(ctx, fsm.PutModel{Model: model})
	if err != nil {
		return fmt.Errorf("put model %s into the books: %w", name, err)
	}
	return result.Refused()
}
