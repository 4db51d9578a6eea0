package predictor

import (
	"math"

	"github.com/placed-dev/placed/fleet"
)

// Track is the backtest of one series that goes on as long as the series does:
// every quarter of an hour the experts give their opinions, and when the time
// they speak of has come they are judged. It belongs to the host that runs the
// workload and moves with it.
type Track struct {
	learned Calibrations
	plain   [len(plainSteps)]PlainRecord
	waiting [HorizonCount][]opinion // ascending by tick
	pending [len(plainSteps)][]plainOpinion
	pooled  bool // a pool has been among the experts
}

// opinion waits until its tick plus the horizon has come.
type opinion struct {
	tick int64
	said Opinions
}

// plainOpinion is what the plain forecast and persistence said of one tick.
type plainOpinion struct {
	due                int64
	quantiles, repeats [len(backtestLevels)]float64
}

// PlainRecord judges the plain forecast (Baseline with its own errors) of one
// step; discounted sums as in Calibration.
type PlainRecord struct {
	Weight, Loss, Persistence, Covered float32
}

// plainSteps are the steps of the plain forecast that are judged: 15 min and 1 h.
var plainSteps = [...]int{3, Steps}

// SharedShifts are the shifts that the series of one host have in common.
type SharedShifts [HorizonCount]Shared

// Pooled says whether the track has judged pooled forecasts. One that has not is
// replayed when the first pool arrives.
func (t *Track) Pooled() bool { return t.pooled }

// Learned is what the opinions have taught so far.
func (t *Track) Learned() *Calibrations { return &t.learned }

// Observe is called after every observed tick of the series. pool may be nil; all
// are the shifts of the host's series, of which there are so many.
func (t *Track) Observe(s *Series, pool *Pool, all *SharedShifts, series int) {
	if !s.started {
		return
	}
	for h := range Horizons {
		t.judge(s, h, &all[h], series)
	}
	t.judgePlain(s)
	if slot(s.tick, calibrateEvery) == 0 {
		t.ask(s, pool)
	}
}

// judge holds the opinions that have come due against what came.
func (t *Track) judge(s *Series, h int, all *Shared, series int) {
	horizon, queue := Horizons[h], t.waiting[h]
	done := 0
	for ; done < len(queue) && queue[done].tick+int64(horizon.Ticks) <= s.tick; done++ {
		truth := s.came(queue[done].tick, horizon)
		if truth != truth {
			continue
		}
		c, said := &t.learned[h], &queue[done].said
		var given [LevelCount]float64
		c.Blend(horizon, said, all, &given)
		c.Observe(horizon, said, truth, all)
		all.Observe(horizon, &given, truth, series)
	}
	t.waiting[h] = append(queue[:0], queue[done:]...)
}

// came is the target of a horizon after a tick: NaN when it is not known. Of a
// peak one tick in twenty may be missing.
func (s *Series) came(tick int64, h Horizon) float64 {
	last := tick + int64(h.Ticks)
	if s.tick-tick >= ringTicks || last > s.tick {
		return math.NaN()
	}
	if !h.Peak {
		return float64(s.at(last))
	}
	largest, missing := math.NaN(), 0
	for i := tick + 1; i <= last; i++ {
		v := float64(s.at(i))
		if v != v {
			missing++
		} else if !(largest >= v) {
			largest = v
		}
	}
	if 20*missing > h.Ticks {
		return math.NaN()
	}
	return largest
}

func (t *Track) ask(s *Series, pool *Pool) {
	if n := len(t.waiting[0]); n > 0 && t.waiting[0][n-1].tick >= s.tick {
		return // asked already
	}
	outlook := s.Outlook()
	for h := range Horizons {
		o, ok := OpinionsOf(pool, outlook, h)
		if !ok || !finiteOpinions(&o) {
			continue
		}
		t.waiting[h] = append(t.waiting[h], opinion{s.tick, o})
	}
	t.pooled = t.pooled || pool != nil
	if s.features == nil {
		return // replayed without features: the plain forecast says nothing
	}
	now := s.Report("", fleet.CPU, Window)
	ours := NewBlock(now, Baseline{})
	for i, step := range plainSteps {
		p := plainOpinion{due: s.tick + int64(step), quantiles: ours.quantiles(step)}
		h := Horizon{Ticks: step}.Index()
		o, ok := OpinionsOf(nil, outlook, h)
		if !ok || !finiteOpinions(&o) {
			continue
		}
		copy(p.repeats[:], o.Of[expertPersistence][:len(backtestLevels)])
		t.pending[i] = append(t.pending[i], p)
	}
}

// finiteOpinions: the scale and every expert but the pool, which may be absent,
// must have something to say.
func finiteOpinions(o *Opinions) bool {
	sum := o.Scale
	for e := expertPersistence; e < ExpertCount; e++ {
		for _, v := range o.Of[e] {
			sum += v
		}
	}
	return o.Scale > 0 && !math.IsNaN(sum) && !math.IsInf(sum, 0)
}

func (t *Track) judgePlain(s *Series) {
	for i := range plainSteps {
		queue, done := t.pending[i], 0
		for ; done < len(queue) && queue[done].due <= s.tick; done++ {
			p := &queue[done]
			if s.tick-p.due >= ringTicks {
				continue
			}
			if truth := float64(s.at(p.due)); truth == truth {
				t.plain[i].observe(p, truth)
			}
		}
		t.pending[i] = append(queue[:0], queue[done:]...)
	}
}

func (r *PlainRecord) observe(p *plainOpinion, truth float64) {
	ours, theirs := 0.0, 0.0
	for q, level := range backtestLevels {
		ours += pinball(truth-p.quantiles[q], level)
		theirs += pinball(truth-p.repeats[q], level)
	}
	for _, v := range []*float32{&r.Weight, &r.Loss, &r.Persistence, &r.Covered} {
		*v *= calibrationDecay
	}
	r.Weight++
	r.Loss += float32(ours)
	r.Persistence += float32(theirs)
	if truth <= p.quantiles[len(backtestLevels)-1]+0.5/fraction {
		r.Covered++
	}
}

// Gate judges the plain forecast as Calibration.Gate does the pooled one.
func (r PlainRecord) Gate() Gate {
	return gateOf(r.Weight, r.Covered, r.Loss, r.Persistence)
}

// Merge adds what another track of the same workload has seen, as after a move
// when the destination had begun one of its own.
func (t *Track) Merge(other *Track) {
	for h := range t.learned {
		t.learned[h].Merge(&other.learned[h])
	}
	for i := range t.plain {
		a, b := &t.plain[i], other.plain[i]
		a.Weight, a.Loss = a.Weight+b.Weight, a.Loss+b.Loss
		a.Persistence, a.Covered = a.Persistence+b.Persistence, a.Covered+b.Covered
	}
	t.pooled = t.pooled || other.pooled
}

// Absorb keeps what the series forecast on another host, whose series had other
// shifts in common: the difference becomes its own.
func (t *Track) Absorb(there, here *SharedShifts) {
	for h := range t.learned {
		if !guardOf(Horizons[h]).shared() {
			continue
		}
		for q := range LevelCount {
			t.learned[h].Shift[q] += there[h].Shift[q] - here[h].Shift[q]
		}
	}
}
