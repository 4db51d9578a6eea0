package predictor

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/placed-dev/placed/boost"
)

// HostGroup is a hypothetical host: which series run on it and how much each
// counts.
type HostGroup struct {
	Name    string
	Members []int
	Weights []float64
}

// OnsetTrialConfig says how contention ahead of time is tried. Ticks.
type OnsetTrialConfig struct {
	Test  int
	Leads []int
	// Full is the quantile of a host's own demand before the test that stands
	// for what it can give (0..1).
	Full float64
	// More is how many further hosts are made up from the same series to teach:
	// none of them is judged.
	More int
	Seed uint64
	// MemberTrees is how many trees forecast the workloads (default 80).
	MemberTrees int
}

// OnsetTrial groups series into hosts, trains on what lies before the test and
// predicts contention at every tick of the test, beside simple rules.
func OnsetTrial(values [][]float64, hosts []HostGroup, cfg OnsetTrialConfig, par boost.Par) ([]OnsetScore, error) {
	if par == nil {
		par = func(n int, do func(int)) {
			for i := range n {
				do(i)
			}
		}
	}
	t := onsetTrial{values: values, cfg: cfg, par: par}
	for _, v := range values {
		t.length = max(t.length, len(v))
	}
	t.end = t.length - cfg.Test
	if t.end < learnFrom+3*ticksPerDay || len(hosts) == 0 {
		return nil, fmt.Errorf("contention: %d ticks before the test and %d hosts: want at least %d ticks (%d days) and a host",
			t.end, len(hosts), learnFrom+3*ticksPerDay, learnFrom/ticksPerDay+3)
	}
	for _, lead := range cfg.Leads {
		if lead < 1 || lead > 48 {
			return nil, fmt.Errorf("contention: a lead of %d ticks is outside 1..48", lead)
		}
	}
	t.hosts = append(slices.Clone(hosts), moreHosts(hosts, len(values), cfg)...)
	t.judged = len(hosts)
	if err := t.forecastMembers(); err != nil {
		return nil, err
	}
	t.observe()
	var scores []OnsetScore
	for place := range cfg.Leads {
		s, err := t.judge(place)
		if err != nil {
			return nil, err
		}
		scores = append(scores, s...)
	}
	return scores, nil
}

// moreHosts draws further groups of the same size and weights.
func moreHosts(hosts []HostGroup, series int, cfg OnsetTrialConfig) []HostGroup {
	rng := sequenceRandom(cfg.Seed)
	var out []HostGroup
	for i := range cfg.More {
		like := hosts[i%len(hosts)]
		g := HostGroup{Name: fmt.Sprintf("more-%d", i)}
		chosen := map[int]bool{}
		for k := range like.Members {
			m := rng.below(series)
			for chosen[m] && len(chosen) < series {
				m = (m + 1) % series
			}
			chosen[m] = true
			g.Members = append(g.Members, m)
			g.Weights = append(g.Weights, like.Weights[k])
		}
		out = append(out, g)
	}
	return out
}

type onsetTrial struct {
	values      [][]float64
	cfg         OnsetTrialConfig
	par         boost.Par
	hosts       []HostGroup
	judged      int // the first of hosts
	length, end int
	members     [][]memberView // per series, by tick − learnFrom; NaN where unknown
	moments     [][]onsetMoment
}

// memberView is what a workload adds to its host's JointView.
type memberView struct {
	centre, upper   [2]float32
	peak, deviation float32
}

// onsetMoment is one tick of one host.
type onsetMoment struct {
	tick    int
	now     float32
	view    HostView // Windows are those of the first lead until judged
	windows [][7]float32
	above   []int8 // per lead: 1, 0, or -1 when not known
}

// memberHorizons are the ones whose forecasts are summed.
var memberHorizons = [2]int{0, 1}

// forecastMembers runs the pooled forecasts of every series at every tick: with
// models of the first part up to the middle of the teaching time for what comes
// after it, and the other way round before it, so that no sum was trained on.
func (t *onsetTrial) forecastMembers() error {
	half := (learnFrom + t.end) / 2
	tr := trial{values: t.values, par: t.par, length: t.length, end: t.end,
		cfg: TrialConfig{Test: t.cfg.Test, Every: 1 << 30, Horizons: Horizons[:2]}}
	tr.collect()
	cfg := PoolConfig{Seed: t.cfg.Seed, Trees: cmp.Or(t.cfg.MemberTrees, 80), Only: []Horizon{Horizons[0], Horizons[1]}}
	first, err := TrainPool(tr.examples(learnFrom, half), cfg, t.par)
	if err != nil {
		return err
	}
	second, err := TrainPool(tr.examples(half, t.end), cfg, t.par)
	if err != nil {
		return err
	}
	tr.origins = nil
	t.members = make([][]memberView, len(t.values))
	t.par(len(t.values), func(i int) {
		s := NewSeries()
		t.members[i] = make([]memberView, t.length-learnFrom)
		last := memberView{centre: [2]float32{float32(math.NaN()), float32(math.NaN())}}
		for tick, v := range t.values[i] {
			s.record(int64(tick), v)
			if tick < learnFrom {
				continue
			}
			if t.wanted(tick) && s.started {
				p := second
				if tick >= half && tick < t.end {
					p = first
				}
				last = memberOf(p, s.Outlook())
			}
			t.members[i][tick-learnFrom] = last
		}
	})
	return nil
}

// wanted ticks are those that teach, and every tick of the test.
func (t *onsetTrial) wanted(tick int) bool {
	return tick >= t.end || (tick-learnFrom)%calibrateEvery == 0
}

func memberOf(p *Pool, outlook []float32) memberView {
	v := memberView{deviation: outlook[outlookSDs+3]}
	for k, h := range memberHorizons {
		var q [LevelCount]float64
		p.Forecast(outlook, h, &q)
		v.centre[k], v.upper[k] = float32(q[0]), float32(q[1])
	}
	at := outlook[outlookTargets+4*outlookPerTarget:]
	v.peak = max(outlook[outlookMaxima+1]+at[targetMoves+2], v.upper[1])
	return v
}

// observe builds the moments of every host.
func (t *onsetTrial) observe() {
	t.moments = make([][]onsetMoment, len(t.hosts))
	t.par(len(t.hosts), func(h int) { t.moments[h] = t.follow(h) })
}

// follow walks one host through time.
func (t *onsetTrial) follow(h int) []onsetMoment {
	g := t.hosts[h]
	demand := make([]float64, t.length)
	for tick := range demand {
		for k, m := range g.Members {
			v := math.NaN()
			if tick < len(t.values[m]) {
				v = t.values[m][tick]
			}
			demand[tick] += g.Weights[k] * v
		}
	}
	before := slices.DeleteFunc(slices.Clone(demand[:t.end]), func(v float64) bool { return v != v })
	slices.Sort(before)
	full := interpolated(before, t.cfg.Full)
	if !(full > 0) {
		return nil
	}
	for tick := range demand {
		demand[tick] /= full
	}
	s := NewSeries()
	j := jointErrors{}
	var out []onsetMoment
	lastOver := -1
	for tick, v := range demand {
		s.record(int64(tick), v)
		if v > 1 {
			lastOver = tick
		}
		if tick < learnFrom {
			continue
		}
		joint := t.joint(g, tick, full)
		if t.wanted(tick) {
			j.observe(tick, demand, joint)
		}
		teaches := tick < t.end && (tick-learnFrom)%calibrateEvery == 0
		if h >= t.judged {
			// Made up hosts overlap: half of the moments say enough.
			teaches = tick < t.end && (tick-learnFrom)%(2*calibrateEvery) == 0
		}
		if v != v || !s.started || !(teaches || tick >= t.end && h < t.judged) {
			continue
		}
		m := onsetMoment{tick: tick, now: float32(v)}
		m.view = HostView{Outlook: s.Outlook(), Over: float32(math.NaN()), Joint: j.view(joint)}
		if lastOver >= 0 {
			m.view.Over = float32(tick - lastOver)
		}
		m.view.Day, m.view.Week = shareAbove(demand, tick, ticksPerDay), shareAbove(demand, tick, ticksPerWeek)
		for _, lead := range t.cfg.Leads {
			var w [7]float32
			for day := range w {
				w[day] = windowMax(demand, tick+lead-(day+1)*ticksPerDay)
			}
			m.windows = append(m.windows, w)
			above := int8(-1)
			limit := t.length
			if tick < t.end {
				limit = t.end // what teaches must be known before the test
			}
			if tick+lead+OnsetWindow < limit {
				if w := windowMax(demand, tick+lead); w == w {
					above = int8(boolean(w > 1))
				}
			}
			m.above = append(m.above, above)
		}
		out = append(out, m)
	}
	return out
}

// windowMax is the largest of the OnsetWindow ticks after the given one, NaN if
// one is missing.
func windowMax(demand []float64, after int) float32 {
	largest := math.Inf(-1)
	for i := after + 1; i <= after+OnsetWindow; i++ {
		if i < 0 || i >= len(demand) || math.IsNaN(demand[i]) {
			return float32(math.NaN())
		}
		largest = max(largest, demand[i])
	}
	return float32(largest)
}

func shareAbove(demand []float64, tick, ticks int) float32 {
	n := 0
	for i := max(tick-ticks+1, 0); i <= tick; i++ {
		if demand[i] > 1 {
			n++
		}
	}
	return float32(n) / float32(ticks)
}

// joint sums the members of a host up.
func (t *onsetTrial) joint(g HostGroup, tick int, full float64) JointView {
	var v JointView
	for k, m := range g.Members {
		one := t.members[m][tick-learnFrom]
		w := float32(g.Weights[k] / full)
		for i := range v.Centre {
			v.Centre[i] += w * one.centre[i]
		}
		v.Peak += w * one.peak
		v.Alone += w * w * one.deviation * one.deviation
		v.Largest = max(v.Largest, w*one.deviation)
	}
	v.Alone = float32(math.Sqrt(float64(v.Alone)))
	return v
}

// jointErrors remembers how far the sums of forecasts were off during the last
// day: the errors of all members at one moment, added up.
type jointErrors struct {
	waiting [2][]jointSum
	errors  [2][]float32
}

type jointSum struct {
	due    int
	centre float32
}

const jointWindow = ticksPerDay / calibrateEvery

func (j *jointErrors) observe(tick int, demand []float64, v JointView) {
	for i, h := range memberHorizons {
		for len(j.waiting[i]) > 0 && j.waiting[i][0].due <= tick {
			w := j.waiting[i][0]
			j.waiting[i] = j.waiting[i][1:]
			if e := float32(demand[w.due]) - w.centre; e == e {
				j.errors[i] = append(j.errors[i], e)
			}
		}
		if over := len(j.errors[i]) - 3*jointWindow; over > 0 {
			j.errors[i] = j.errors[i][over:]
		}
		j.waiting[i] = append(j.waiting[i], jointSum{tick + Horizons[h].Ticks, v.Centre[i]})
	}
}

func (j *jointErrors) view(v JointView) JointView {
	for i := range v.Centre {
		sorted := slices.Clone(j.errors[i])
		slices.Sort(sorted)
		v.Upper[i] = v.Centre[i] + interpolated(sorted, 0.9)
		n := 0
		for _, e := range sorted {
			if v.Centre[i]+e > 1 {
				n++
			}
		}
		v.Above[i] = float32(n) / float32(len(sorted))
	}
	return v
}

// onsetRules are what needs no model; each ranks by a score.
var onsetRules = []struct {
	name string
	of   func(v *HostView) float32
}{
	{"now", func(v *HostView) float32 { return v.Outlook[outlookLags] }},
	{"ewma", func(v *HostView) float32 { return v.Outlook[outlookEWMA] }},
	{"mean + 3 sd of 3 h", func(v *HostView) float32 { return v.Outlook[outlookMeans+3] + 3*v.Outlook[outlookSDs+1] }},
	{"max of 24 h", func(v *HostView) float32 { return v.Outlook[outlookMaxima+3] }},
	{"same time yesterday", func(v *HostView) float32 { return v.Windows[0] }},
	{"same time, max of 7 days", func(v *HostView) float32 { return slices.Max(v.Windows[:]) }},
	{"sum of forecasts, q.9", func(v *HostView) float32 { return v.Joint.Upper[1] }},
}

// judge trains and scores one lead.
func (t *onsetTrial) judge(place int) ([]OnsetScore, error) {
	cut := learnFrom + (t.end-learnFrom)*3/4
	var rows []OnsetRow
	for h := range t.moments {
		for _, m := range t.moments[h] {
			if m.tick >= t.end || m.above[place] < 0 {
				continue
			}
			v := m.view
			v.Windows = m.windows[place]
			rows = append(rows, OnsetRow{View: v, Above: m.above[place] == 1, Calibrates: h < t.judged && m.tick >= cut})
		}
	}
	// Once to learn how often what is said comes true, once with every row.
	early, err := TrainOnset(rows, t.cfg.Seed, t.par)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i].Calibrates = false
	}
	late, err := TrainOnset(rows, t.cfg.Seed, t.par)
	if err != nil {
		return nil, err
	}
	late.calibration = early.calibration

	var cases []onsetCase
	for h := range t.judged {
		for _, m := range t.moments[h] {
			if m.tick < t.end || m.above[place] < 0 {
				continue
			}
			v := m.view
			v.Windows = m.windows[place]
			c := onsetCase{above: m.above[place] == 1, onset: m.now <= 1, probability: late.Probability(&v)}
			for _, r := range onsetRules {
				c.rules = append(c.rules, float64(r.of(&v)))
			}
			cases = append(cases, c)
		}
	}
	lead := t.cfg.Leads[place]
	ours := scoreOnset(lead, Ours, cases, func(c *onsetCase) float64 { return c.probability })
	ours.Brier, ours.Skill = brier(cases)
	out := []OnsetScore{ours}
	for i, r := range onsetRules {
		out = append(out, scoreOnset(lead, r.name, cases, func(c *onsetCase) float64 { return known(c.rules[i], 0) }))
	}
	return out, nil
}
