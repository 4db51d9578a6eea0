package reference

import (
	"cmp"
	"fmt"
	"slices"
)

const (
	interval   = 300.0 // seconds between two samples, and between two decisions
	dayEnd     = 86400.0
	hostCount  = 800
	hostLink   = 1_000_000 // kbit/s
	machineNet = 100_000   // kbit/s
	// copyRate is half of the host's 1 Gbit/s, in MB/s.
	copyRate = 62.5
)

// machineTypes are the sizes of virtual machines; the first quarter of the
// traces gets the first one, and so on.
var machineTypes = [4]struct{ mips, ram float64 }{{2500, 870}, {2000, 1740}, {1000, 1740}, {500, 613}}

// Rules tell the two worlds apart.
type Rules struct {
	HostRAM float64 // MB
	// EnforceRAM counts memory on every placement, not only on the first.
	EnforceRAM bool
	// Immortal machines stay when their demand touches zero.
	Immortal bool
}

// WorldNamed returns the rules of world "a" or "b32".
func WorldNamed(name string) (Rules, error) {
	switch name {
	case "a":
		return Rules{HostRAM: 4096}, nil
	case "b32":
		return Rules{HostRAM: 32768, EnforceRAM: true, Immortal: true}, nil
	}
	return Rules{}, fmt.Errorf("world %q: want a or b32", name)
}

// Config of one run.
type Config struct {
	Rules Rules
	// Traces are the demand of the machines in percent of their nominal MIPS,
	// 288 samples of five minutes each, in the order of the machines.
	Traces [][]float64
	// Policy decides; nil leaves every machine where first fit put it.
	Policy *Policy
	// AllOn burns the full power of every host all day, without deciding.
	AllOn bool
}

// Policy is an overload test with a planner.
type Policy struct {
	Detector Detector
	// Planner, if not nil, replaces the reference planner; the detector is
	// then only told the past and never asked.
	Planner Planner
}

// Result of a day. SLATAH and PDM are fractions.
type Result struct {
	EnergyKWh         float64 `json:"energy_kwh"`
	Migrations        int     `json:"migrations"`
	SLATAH            float64 `json:"slatah"`
	PDM               float64 `json:"pdm"`
	SLAV              float64 `json:"slav"`
	ESV               float64 `json:"esv"`
	MeanActiveHosts   float64 `json:"mean_active_hosts"`
	OverloadedPercent float64 `json:"overloaded_percent"`
	UnservedPercent   float64 `json:"unserved_percent"`
}

// world is a run under way.
type world struct {
	rules    Rules
	detector Detector
	planner  Planner
	hosts    []*host
	vms      []*vm // that live

	step   int     // number of the decision instant, 1..287
	now    float64 // of the last update of all hosts
	joules float64

	migrations                  int
	activeSamples, overloaded   int
	unserved, asked             float64
	everAsked, everLackedMoving float64 // of deleted machines
}

// Run plays one day.
func Run(c Config) (Result, error) {
	w, err := newWorld(c)
	if err != nil {
		return Result{}, err
	}
	if c.AllOn {
		watts := 0.0
		for _, h := range w.hosts {
			watts += h.watts[10]
		}
		last := 0.1
		for last+interval <= dayEnd {
			last += interval
		}
		return Result{EnergyKWh: watts * last / 3.6e6, MeanActiveHosts: hostCount * last / dayEnd}, nil
	}
	for t := 0.1 + interval; t <= dayEnd; t += interval {
		w.step++
		if err := w.decide(t); err != nil {
			return Result{}, err
		}
	}
	return w.result(), nil
}

func newWorld(c Config) (*world, error) {
	w := &world{rules: c.Rules}
	if c.Policy != nil {
		w.detector, w.planner = c.Policy.Detector, c.Policy.Planner
	}
	for i := range hostCount {
		kind := i % len(classes)
		w.hosts = append(w.hosts, &host{class: &classes[kind], kind: kind, index: i})
	}
	perType := (len(c.Traces) + len(machineTypes) - 1) / len(machineTypes)
	for i, percent := range c.Traces {
		if len(percent) != int(dayEnd/interval) {
			return nil, fmt.Errorf("trace %d has %d samples: want the %d of one day", i+1, len(percent), int(dayEnd/interval))
		}
		size := machineTypes[i/perType]
		v := &vm{index: i, mips: size.mips, ram: size.ram}
		for k, p := range percent {
			if !(p >= 0 && p <= 100) {
				return nil, fmt.Errorf("trace %d, sample %d: %g is no percentage", i+1, k+1, p)
			}
			v.data = append(v.data, p/100)
		}
		v.data = append(v.data, v.data[len(v.data)-1])
		if !w.start(v, c.Policy != nil) {
			return nil, fmt.Errorf("machine %d fits no host: a day has room for fewer traces", i+1)
		}
		w.vms = append(w.vms, v)
	}
	return w, nil
}

// start puts a machine on a host at time zero, by nominal sizes: where it costs
// the least power, or first fit. The overload tests cannot fire here: they know
// no load but the new machine's, which is never above their fallback.
func (w *world) start(v *vm, leastPower bool) bool {
	var best *host
	least := 0.0
	for _, h := range w.hosts {
		mips, ram := 0.0, 0.0
		for _, other := range h.vms {
			mips, ram = mips+other.mips, ram+other.ram
		}
		if h.mips < v.mips || h.total-mips < v.mips || w.rules.HostRAM-ram < v.ram || (len(h.vms)+1)*machineNet > hostLink {
			continue
		}
		more := h.power((mips+v.mips)/h.total) - h.power(0)
		if best == nil || more < least {
			best, least = h, more
		}
		if !leastPower {
			break
		}
	}
	if best == nil {
		return false
	}
	best.vms = append(best.vms, v)
	v.host = best
	return true
}

// decide is one instant: look, plan, move, and live through the moves.
func (w *world) decide(t float64) error {
	w.update(t)
	w.count()
	if !w.rules.Immortal {
		w.bury()
	}
	if w.detector == nil && w.planner == nil {
		return nil
	}
	for _, v := range w.vms {
		v.history = slices.Insert(v.history, 0, v.at(t))
		v.history = v.history[:min(len(v.history), historyLength)]
	}
	moves, err := w.planMoves()
	if err != nil {
		return err
	}
	w.carryOut(t, moves)
	return nil
}

// update brings all hosts to time t and charges their energy since the last
// time: the mean of the power before and after.
func (w *world) update(t float64) {
	dt := t - w.now
	if dt > 0 {
		for _, v := range w.vms {
			v.demand = v.at(t) * v.mips
		}
	}
	for _, h := range w.hosts {
		h.update(t)
		if h.usedBefore != 0 && dt > 0 {
			before, now := h.power(w.clamp(h.usedBefore/h.total)), h.power(w.clamp(h.used/h.total))
			w.joules += float64((before + now) / 2 * dt)
		}
	}
	w.now = t
}

// clamp keeps rounding from leaving the power model.
func (w *world) clamp(u float64) float64 { return min(u, 1) }

// count takes the samples of overload before anything is decided.
func (w *world) count() {
	for _, h := range w.hosts {
		if len(h.vms) == 0 {
			continue
		}
		w.activeSamples++
		w.asked += h.asked
		if h.asked > h.total {
			w.overloaded++
			w.unserved += h.asked - h.total
		}
	}
}

// bury deletes machines whose demand is exactly zero, as the published world
// does (they count as finished).
func (w *world) bury() {
	w.vms = slices.DeleteFunc(w.vms, func(v *vm) bool {
		if v.demand != 0 || v.migrating {
			return false
		}
		v.host.vms = slices.DeleteFunc(v.host.vms, func(o *vm) bool { return o == v })
		w.everAsked += v.asked
		w.everLackedMoving += v.lacking
		return true
	})
}

// carryOut starts all moves at t and lives through their ends.
func (w *world) carryOut(t float64, moves []move) {
	type ending struct {
		at float64
		move
	}
	endings := make([]ending, 0, len(moves))
	for _, m := range moves {
		m.vm.migrating = true
		m.to.vms = append(m.to.vms, m.vm)
		m.to.incoming = append(m.to.incoming, m.vm)
		endings = append(endings, ending{t + m.vm.ram/copyRate, m})
	}
	for _, m := range moves {
		m.to.update(t)
		m.vm.host.update(t)
	}
	w.migrations += len(moves)
	slices.SortStableFunc(endings, func(a, b ending) int { return cmp.Compare(a.at, b.at) })
	for len(endings) > 0 {
		at := endings[0].at
		w.update(at)
		for len(endings) > 0 && endings[0].at == at {
			endings[0].finish()
			endings = endings[1:]
		}
		w.update(at)
	}
}

// finish makes the machine live on its target.
func (m move) finish() {
	is := func(v *vm) bool { return v == m.vm }
	m.vm.host.vms = slices.DeleteFunc(m.vm.host.vms, is)
	m.to.vms = slices.DeleteFunc(m.to.vms, is)
	m.to.incoming = slices.DeleteFunc(m.to.incoming, is)
	m.to.vms = append(m.to.vms, m.vm)
	m.vm.host, m.vm.migrating = m.to, false
}

func (w *world) result() Result {
	r := Result{EnergyKWh: w.joules / 3.6e6, Migrations: w.migrations}
	active, violated := 0.0, 0.0
	for _, h := range w.hosts {
		active, violated = active+h.active, violated+h.violated
	}
	asked, lacking := w.everAsked, w.everLackedMoving
	for _, v := range w.vms {
		asked, lacking = asked+v.asked, lacking+v.lacking
	}
	if w.detector != nil || w.planner != nil {
		r.SLATAH, r.PDM = share(violated, active), share(lacking, asked)
	}
	r.SLAV = r.SLATAH * r.PDM
	r.ESV = r.EnergyKWh * r.SLAV
	r.MeanActiveHosts = active / dayEnd
	r.OverloadedPercent = 100 * share(float64(w.overloaded), float64(w.activeSamples))
	r.UnservedPercent = 100 * share(w.unserved, w.asked)
	return r
}

func share(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return part / whole
}
