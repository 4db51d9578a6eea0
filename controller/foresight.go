package controller

import (
	"bytes"
	"maps"
	"sync"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/predictor"
)

// Foresights are what a voter makes of the series that hosts report: calibrated
// forecasts, and whether they may be acted upon. A series is forecast once per tick
// and model. Safe for concurrent use.
type Foresights struct {
	// pool gives the models in force and their name; nil and "experts" while
	// there are none.
	pool func() (*predictor.Pool, string)
	// books, if not nil, are read for what the kin of a young workload usually do.
	books func(func(*fsm.State))

	mu   sync.Mutex // guards everything below
	held map[seriesKey]heldForesight
	kin  *kin
	// kinMark says which profiles kin was made of.
	kinMark fsm.ProfilesMark
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

// NewForesights takes the source of the models; nil means that there are none. books
// give the profiles that young workloads borrow from; nil means that none does.
func NewForesights(pool func() (*predictor.Pool, string), books func(func(*fsm.State))) *Foresights {
	if pool == nil {
		pool = func() (*predictor.Pool, string) { return nil, UntrainedModel }
	}
	return &Foresights{pool: pool, books: books, held: map[seriesKey]heldForesight{}}
}

// Fill adds to every series of a view what may be acted upon, and forgets the
// series that are no longer in it.
func (f *Foresights) Fill(view *fleet.View) {
	pool, model := f.pool()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookAtKin()
	together := dependencies(*view)
	seen := make(map[seriesKey]bool, len(view.Workloads))
	for i := range view.Workloads {
		w := &view.Workloads[i]
		f.introduce(w, fleet.TickOf(view.Now)-1, together[w.ID])
		for k := range w.Series {
			s := &w.Series[k]
			s.Together = together[w.ID]
			seen[seriesKey{w.ID, s.Resource}] = true
			if h := f.made(w, *s, pool, model); h.known {
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

// made is what is foreseen of a series, its own or borrowed; needs mu.
func (f *Foresights) made(w *fleet.WorkloadView, s fleet.Series, pool *predictor.Pool, model string) heldForesight {
	h := f.of(s, pool, model)
	if h.known && !h.made.Bands.Reactive || s.Resource != fleet.CPU || f.kin == nil {
		return h
	}
	if usual := f.kin.usualOf(w.Workload); usual != nil {
		if bands, young := predictor.Borrow(s, usual, w.Reservation.CPU); young {
			if reason := h.made.Bands.Reason; reason != "" {
				bands.Reason += "; " + reason
			}
			h.known, h.made.Bands = true, bands
			h.made.Quantiles = predictor.BorrowQuantiles(s.Tick, usual, w.Reservation.CPU)
		}
	}
	return h
}

// lookAtKin reads the profiles again when they have changed; needs mu. They are
// decoded outside the books, which nobody may hold up for long.
func (f *Foresights) lookAtKin() {
	if f.books == nil {
		return
	}
	var mark fsm.ProfilesMark
	var all []profiledWorkload
	f.books(func(s *fsm.State) {
		if mark = s.ProfilesMark(); f.kin == nil || mark != f.kinMark {
			all = profilesIn(s)
		}
	})
	if f.kin == nil || mark != f.kinMark {
		f.kin, f.kinMark = newKin(all), mark
	}
}

// introduce gives a workload that nobody has measured yet a series of its present
// usage, so that it can borrow, or rise with what it depends on.
func (f *Foresights) introduce(w *fleet.WorkloadView, tick int64, together string) {
	for _, s := range w.Series {
		if s.Resource == fleet.CPU {
			return
		}
	}
	if together == "" && (f.kin == nil || f.kin.usualOf(w.Workload) == nil) {
		return
	}
	level := max(w.Usage.CPU, 0)
	if level == 0 {
		level = max(w.Reservation.CPU, 0)
	}
	first := predictor.UsageSeries(w.ID, fleet.CPU, tick, float64(level))
	w.Series = append([]fleet.Series{first}, w.Series...)
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

// Of returns what is foreseen of one workload's series; at is the newest complete
// tick of load.
func (f *Foresights) Of(w fleet.WorkloadView, at int64) []Shown {
	pool, model := f.pool()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookAtKin()
	f.introduce(&w, at, "")
	var out []Shown
	for _, s := range w.Series {
		if h := f.made(&w, s, pool, model); h.known {
			out = append(out, Shown{s.Resource, s.Tick, h.made})
		}
	}
	return out
}
