package controller

import (
	"bytes"
	"maps"
	"sync"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// Foresights are what a voter makes of the series that hosts report: calibrated
// forecasts, and whether they may be acted upon. A series is forecast once per tick
// and model. Safe for concurrent use.
type Foresights struct {
	// pool gives the models in force and their name; nil and "experts" while
	// there are none.
	pool func() (*predictor.Pool, string)

	mu   sync.Mutex // guards held
	held map[seriesKey]heldForesight
}

type heldForesight struct {
	tick   int64
	record []byte
	pool   *predictor.Pool
	known  bool
	made   predictor.Foresight
}

// UntrainedModel names the calibrated blend of the baselines, which serves until
// there are trained models.
const UntrainedModel = "experts"

// NewForesights takes the source of the models; nil means that there are none.
func NewForesights(pool func() (*predictor.Pool, string)) *Foresights {
	if pool == nil {
		pool = func() (*predictor.Pool, string) { return nil, UntrainedModel }
	}
	return &Foresights{pool: pool, held: map[seriesKey]heldForesight{}}
}

// Fill adds to every series of a view what may be acted upon, and forgets the
// series that are no longer in it.
func (f *Foresights) Fill(view *fleet.View) {
	pool, model := f.pool()
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := make(map[seriesKey]bool, len(view.Workloads))
	for i := range view.Workloads {
		w := &view.Workloads[i]
		for k := range w.Series {
			s := &w.Series[k]
			seen[seriesKey{w.ID, s.Resource}] = true
			if h := f.of(*s, pool, model); h.known {
				bands := h.made.Bands
				s.Bands = &bands
			}
		}
	}
	maps.DeleteFunc(f.held, func(k seriesKey, _ heldForesight) bool { return !seen[k] })
}

// of forecasts a series, or returns what was made of it for the same tick; needs
// mu. The record of a history that was replayed is another one even in one tick.
func (f *Foresights) of(s fleet.Series, pool *predictor.Pool, model string) heldForesight {
	key := seriesKey{s.Workload, s.Resource}
	if have, ok := f.held[key]; ok && have.tick == s.Tick && have.pool == pool && bytes.Equal(have.record, s.Record) {
		return have
	}
	made, known := predictor.Foresee(s, pool, model)
	h := heldForesight{tick: s.Tick, record: s.Record, pool: pool, known: known, made: made}
	f.held[key] = h
	return h
}

// name puts the models in force in the place of the plain forecast's name: that one
// has no say where a gate is open.
func (f *Foresights) name(forecasts []fleet.Forecast) {
	if pool, model := f.pool(); pool != nil {
		for i := range forecasts {
			forecasts[i].Model = model
		}
	}
}

// Shown is the foresight of one series, for people.
type Shown struct {
	Resource  fleet.Resource
	Tick      int64
	Foresight predictor.Foresight
}

// Of returns what is foreseen of one workload's series.
func (f *Foresights) Of(w fleet.WorkloadView) []Shown {
	pool, model := f.pool()
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Shown
	for _, s := range w.Series {
		if h := f.of(s, pool, model); h.known {
			out = append(out, Shown{s.Resource, s.Tick, h.made})
		}
	}
	return out
}
