package predictor

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

var (
	calendarNow  = fleet.TickStart(5_000_000)
	calendarHost = fleet.Host{ID: "h1", Zone: "z1", Capacity: fleet.Vector{CPU: 10_000, Memory: fleet.Unknown}}
	calendarWork = fleet.Workload{ID: "w1", Group: "web", Owner: "h1"}
)

// entry lasts from one minute to another after calendarNow.
func entry(id string, kind fleet.CalendarKind, from, until int, cpu int64) fleet.CalendarEntry {
	e := fleet.CalendarEntry{ID: id, Kind: kind, From: calendarNow.Add(time.Duration(from) * time.Minute), Until: calendarNow.Add(time.Duration(until) * time.Minute)}
	if kind != fleet.NoMoves {
		e.Change = fleet.Vector{CPU: cpu}
	}
	return e
}

func after(minutes int) time.Time { return calendarNow.Add(time.Duration(minutes) * time.Minute) }

func TestCalendarLoad(t *testing.T) {
	sale := entry("sale", fleet.LoadChanges, 30, 60, 500)
	ad := entry("ad", fleet.LoadChanges, 45, 90, 1000)
	ad.Groups = []string{"web"}
	running := entry("running", fleet.LoadChanges, -60, 20, 3000)
	holiday := entry("holiday", fleet.LoadChanges, 200, 300, -1000)
	over := entry("over", fleet.LoadChanges, -60, 10, -1000)
	other := entry("other", fleet.LoadChanges, 0, 1000, 9000)
	other.Workloads, other.Hosts = []fleet.WorkloadID{"w2"}, []fleet.HostID{"h2"}
	c := NewCalendar([]fleet.CalendarEntry{ad, sale, running, holiday, over, other})
	for _, want := range []struct {
		minute int
		factor float64
	}{
		{0, 1}, {19, 1}, // the running event is in the history already
		{25, 0.25}, {30, 0.25 * 1.5}, {50, 0.25 * 1.5 * 2}, {60, 0.25 * 2}, {95, 0.25}, {250, 0}, {300, 0.25},
	} {
		if got := c.Load(calendarWork, calendarHost, fleet.CPU, calendarNow, after(want.minute)); math.Abs(got-want.factor) > 1e-12 {
			t.Errorf("in %d minutes: ×%v, want ×%v", want.minute, got, want.factor)
		}
	}
	if got := c.Load(calendarWork, calendarHost, fleet.Net, calendarNow, after(50)); got != 1 {
		t.Errorf("a cpu event multiplies net by %v", got)
	}
	if got := c.Peak(calendarWork, calendarHost, fleet.CPU, calendarNow, after(30), after(120)); got != 0.75 {
		t.Errorf("peak of half an hour to two hours ahead: ×%v, want ×0.75", got)
	}
	if got := c.Within(after(100), after(150)).Load(calendarWork, calendarHost, fleet.CPU, after(100), after(120)); got != 1 {
		t.Errorf("narrowed to a quiet hour: ×%v", got)
	}
}

func TestCalendarGrowth(t *testing.T) {
	web, batch := entry("web", fleet.LoadGrows, -60, 75*24*60, 20), entry("batch", fleet.LoadGrows, 0, 365*24*60, 900)
	web.Groups, batch.Groups = []string{"web"}, []string{"batch"}
	c := NewCalendar([]fleet.CalendarEntry{web, batch})
	in := func(days int) float64 {
		return c.Load(calendarWork, calendarHost, fleet.CPU, calendarNow, calendarNow.AddDate(0, 0, days))
	}
	if got := in(30); math.Abs(got-1.02) > 1e-12 {
		t.Errorf("after a month ×%v", got)
	}
	if got := in(60); math.Abs(got-1.02*1.02) > 1e-12 {
		t.Errorf("after two months ×%v: growth compounds", got)
	}
	if got := in(90); math.Abs(got-math.Pow(1.02, 2.5)) > 1e-12 {
		t.Errorf("after three months, of which it grows two and a half, ×%v", got)
	}
	if got := c.Load(calendarWork, calendarHost, fleet.CPU, after(-30), calendarNow); math.Abs(got-math.Pow(1.02, 0.5/24/30)) > 1e-12 {
		t.Errorf("what has grown until a forecast's beginning is in its history: ×%v", got)
	}
	if got := c.Load(calendarWork, calendarHost, fleet.Memory, calendarNow, calendarNow.AddDate(1, 0, 0)); got != 1 {
		t.Errorf("cpu growth multiplies memory by %v", got)
	}
}

// TestCalendarBendsForecast: an event shows in the forecast at its steps, for
// every quantile, and nowhere else.
func TestCalendarBendsForecast(t *testing.T) {
	s := NewSeries()
	r := rand.New(rand.NewPCG(1, 1))
	newest := fleet.TickOf(calendarNow)
	for tick := newest - 600; tick <= newest; tick++ {
		s.Observe(tick, 2000+300*r.Float64())
	}
	plain := NewBlock(s.Report("w1", fleet.CPU, Window), Baseline{})
	c := NewCalendar([]fleet.CalendarEntry{entry("sale", fleet.LoadChanges, 30, 45, 500)})
	bent := c.Bend(plain, calendarWork, calendarHost, fleet.CPU)
	before, with := Sum(0, []Block{plain}), Sum(0, []Block{bent})
	for step := 1; step <= Steps; step++ {
		want := 1.0
		if step >= 6 && step < 9 { // ticks that begin 30, 35 and 40 minutes ahead
			want = 1.5
		}
		for _, level := range []float64{0.5, 0.9, 0.99} {
			if got := with.Quantile(step, level) / before.Quantile(step, level); math.Abs(got-want) > 1e-4 {
				t.Errorf("step %d, quantile %v: ×%.4f, want ×%v", step, level, got, want)
			}
		}
	}
	empty, base := with.Remove(bent), Sum(0, nil)
	if empty.Quantile(7, 0.9) != base.Quantile(7, 0.9) {
		t.Error("a bent block does not leave a sum as it came")
	}
	if far := NewCalendar([]fleet.CalendarEntry{entry("far", fleet.LoadChanges, 500, 600, 500)}); far.Bend(plain, calendarWork, calendarHost, fleet.CPU).amounts != plain.amounts {
		t.Error("an event out of reach costs a copy")
	}
	if got := NewCalendar(nil).Bend(Block{}, calendarWork, calendarHost, fleet.CPU); got.amounts != nil {
		t.Error("nothing is bent into something")
	}
}

func TestCalendarAllocatable(t *testing.T) {
	half := entry("half", fleet.CapacityFalls, 10, 20, -500)
	more := entry("more", fleet.CapacityFalls, 17, 40, -700)
	elsewhere := entry("elsewhere", fleet.CapacityFalls, 0, 100, -1000)
	elsewhere.Zones = []string{"z2"}
	memory := entry("memory", fleet.CapacityFalls, 60, 70, 0)
	memory.Change = fleet.Vector{Memory: -1000}
	c := NewCalendar([]fleet.CalendarEntry{half, more, elsewhere, memory})
	newest := fleet.TickOf(calendarNow)
	for tick, want := range map[int64]int64{0: 10_000, 2: 5_000, 3: 0, 4: 3_000, 7: 3_000, 8: 10_000} {
		if got := c.Allocatable(calendarHost, fleet.CPU, newest+tick); got != want {
			t.Errorf("in tick %d: %d millicores, want %d", tick, got, want)
		}
	}
	if got := c.Allocatable(calendarHost, fleet.Memory, newest); got != fleet.Unknown {
		t.Errorf("unknown memory became %d", got)
	}
	if got := c.Allocatable(calendarHost, fleet.Memory, newest+12); got != 0 {
		t.Errorf("of all memory taken away %d is left", got)
	}
}

// TestCalendarContention: demand that fits is a breach when maintenance begins,
// and not before.
func TestCalendarContention(t *testing.T) {
	s := NewSeries()
	newest := fleet.TickOf(calendarNow)
	for tick := newest - 600; tick < newest; tick++ {
		s.Observe(tick, 4000)
	}
	d := Sum(0, []Block{NewBlock(s.Report("w1", fleet.CPU, Window), Baseline{})})
	policy := fleet.DefaultPolicy()
	if got, ok := (Calendar{}).Contention(calendarHost, fleet.CPU, d, newest, 4000, policy); ok {
		t.Fatalf("without a calendar: %+v", got)
	}
	c := NewCalendar([]fleet.CalendarEntry{entry("rack", fleet.CapacityFalls, 30, 60, -700)})
	got, ok := c.Contention(calendarHost, fleet.CPU, d, newest, 4000, policy)
	if !ok || got.Steps != 6 || got.Now || got.Allocatable != 3000 || got.Probability < 0.9 {
		t.Errorf("30 minutes before maintenance: %+v", got)
	}
	c = NewCalendar([]fleet.CalendarEntry{entry("rack", fleet.CapacityFalls, -10, 60, -700)})
	if got, ok = c.Contention(calendarHost, fleet.CPU, d, newest, 4000, policy); !ok || !got.Now || got.Steps != 0 || got.Allocatable != 3000 {
		t.Errorf("within maintenance: %+v", got)
	}
}

func TestCalendarForbids(t *testing.T) {
	freeze := entry("freeze", fleet.NoMoves, 30, 60, 0)
	freeze.Hosts = []fleet.HostID{"h2"}
	c := NewCalendar([]fleet.CalendarEntry{freeze})
	h2 := fleet.Host{ID: "h2"}
	for _, w := range []struct {
		from, until int
		to          fleet.Host
		want        bool
	}{
		{0, 29, h2, false}, {0, 30, h2, true}, {40, 41, h2, true}, {59, 100, h2, true}, {60, 100, h2, false}, {40, 41, fleet.Host{ID: "h3"}, false},
	} {
		if got, ok := c.Forbids(calendarWork, calendarHost, w.to, after(w.from), after(w.until)); ok != w.want || ok && got.ID != "freeze" {
			t.Errorf("a move from %d to %d toward %s: forbidden %v, want %v", w.from, w.until, w.to.ID, ok, w.want)
		}
	}
	if _, ok := c.Forbids(calendarWork, h2, fleet.Host{ID: "h3"}, after(30), after(31)); !ok {
		t.Error("a move away from the frozen host is not forbidden")
	}
}

func TestCalendarEffects(t *testing.T) {
	sale := entry("sale", fleet.LoadChanges, 30, 60, 500)
	sale.Label = "winter sale"
	shop := entry("shop", fleet.LoadGrows, -1, 90*24*60, 500)
	shop.Groups = []string{"web"}
	c := NewCalendar([]fleet.CalendarEntry{sale, shop, entry("rack", fleet.CapacityFalls, 10, 20, -1000)})
	var lines []string
	for _, e := range append(c.EffectsOn(calendarWork, calendarHost, fleet.CPU, calendarNow, after(120)), c.EffectsOnHost(calendarHost, fleet.CPU, calendarNow, after(120))...) {
		lines = append(lines, e.String())
	}
	at := func(minute int) string { return after(minute).Format("01-02 15:04") }
	want := []string{
		"×1.00 from " + at(-1) + " to " + at(90*24*60) + ": load-grows shop by 50.0 % a month",
		"×1.50 from " + at(30) + " to " + at(60) + ": load-changes winter sale",
		"×0.00 from " + at(10) + " to " + at(20) + ": capacity-falls rack",
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("effects\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if got := c.EffectsOn(calendarWork, calendarHost, fleet.Net, calendarNow, after(120)); len(got) != 0 {
		t.Errorf("on net: %v", got)
	}
}

// TestCalendarOrder: the order in which entries come does not show, more load is
// never less demand, and capacity never rises.
func TestCalendarOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var entries []fleet.CalendarEntry
		for range rapid.IntRange(0, 6).Draw(t, "entries") {
			from := rapid.IntRange(-60, 120).Draw(t, "from")
			e := entry(string(rune('a'+len(entries))), fleet.CalendarKind(rapid.IntRange(0, 3).Draw(t, "kind")), from, from+rapid.IntRange(1, 90).Draw(t, "length"),
				-int64(rapid.IntRange(1, 1000).Draw(t, "change")))
			if e.Kind == fleet.LoadGrows && e.Change.CPU < -999 {
				e.Change.CPU = -999
			}
			if e.Kind == fleet.LoadChanges {
				e.Change.CPU += int64(rapid.IntRange(0, 5000).Draw(t, "rise"))
			}
			entries = append(entries, e)
		}
		shuffled := append([]fleet.CalendarEntry(nil), entries...)
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		a, b := NewCalendar(entries), NewCalendar(shuffled)
		extra := NewCalendar(append(shuffled, entry("z", fleet.LoadChanges, 1, 600, 100)))
		for minute := 1; minute < 180; minute += 7 {
			x, y := a.Load(calendarWork, calendarHost, fleet.CPU, calendarNow, after(minute)), b.Load(calendarWork, calendarHost, fleet.CPU, calendarNow, after(minute))
			if x != y || math.IsNaN(x) || math.IsInf(x, 0) || x < 0 {
				t.Fatalf("minute %d: ×%v and ×%v", minute, x, y)
			}
			if z := extra.Load(calendarWork, calendarHost, fleet.CPU, calendarNow, after(minute)); z < x {
				t.Fatalf("minute %d: with one more event ×%v instead of ×%v", minute, z, x)
			}
			tick := fleet.TickOf(after(minute))
			if x, y := a.Allocatable(calendarHost, fleet.CPU, tick), b.Allocatable(calendarHost, fleet.CPU, tick); x != y || x < 0 || x > 10_000 {
				t.Fatalf("minute %d: %d and %d millicores", minute, x, y)
			}
		}
	})
}
