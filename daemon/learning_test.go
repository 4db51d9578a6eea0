package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/telemetry"
)

// waves is twelve days of load that ends now: a day's shape with noise, different
// for every seed, and memory that grows.
func waves(seed uint64, now time.Time) []fleet.Sample {
	random := rand.New(rand.NewPCG(seed, 1))
	last := fleet.TickOf(now) - 1
	var out []fleet.Sample
	for tick := last - 12*int64(24*time.Hour/fleet.Tick) + 1; tick <= last; tick++ {
		wave := math.Sin(2*math.Pi*float64(tick)/288 + float64(seed))
		out = append(out, fleet.Sample{At: fleet.TickStart(tick), Usage: fleet.Vector{
			CPU:    int64(200 * (1 + float64(seed%3)) * (1.5 + wave + 0.2*random.NormFloat64())),
			Memory: 1<<30 + (tick-last)*1000,
			Net:    int64(1000 * (1 + float64(seed%3)) * (1.5 + wave + 0.2*random.NormFloat64())),
		}})
	}
	return out
}

const workloadsPerHost = 4

// teachingSite is three agents on which workloads stand still: they have a history
// and run nothing, so that what is learned depends on the history alone.
func teachingSite(t *testing.T, subnet int) *site {
	s := newSite(t, subnet)
	now := time.Now()
	s.prepare = func(i int, d *Daemon) {
		standing := &silent{}
		if i < 2 { // the third has declared no network
			d.cfg.Host.Capacity.Net = 12_000
		}
		for k := range workloadsPerHost {
			id := fleet.WorkloadID(fmt.Sprintf("w%d-%d", i+1, k))
			standing.found = append(standing.found, driver.Found{Spec: driver.Spec{ID: id, Driver: "region"}, State: driver.Running})
			if !d.series.known(id) {
				if err := d.series.load(id, waves(uint64(i*workloadsPerHost+k), now)); err != nil {
					t.Fatal(err)
				}
			}
		}
		d.inventory.drivers = map[string]driver.Driver{"region": standing}
		d.trainer = controller.NewTrainer(controller.TrainerConfig{
			Books: d.books, Examples: d.askExamples, Keep: d.library.spread, Held: d.library.has, Leading: d.controller.Leading,
			Categories: d.categories, Clock: d.clock, Now: time.Now, Logger: hclog.NewNullLogger(),
			Rest: time.Second, Check: 50 * time.Millisecond, Trees: 2,
		})
	}
	return s
}

// book puts the workloads of a host into the books.
func book(d *Daemon, i int) error {
	var all []fleet.Workload
	for k := range workloadsPerHost {
		all = append(all, fleet.Workload{ID: fleet.WorkloadID(fmt.Sprintf("w%d-%d", i+1, k)), Driver: "region",
			Reservation: fleet.Vector{CPU: 500, Memory: 1 << 29}})
	}
	return d.propose(context.Background(), fsm.RegisterWorkloads{Host: d.self, Workloads: all})
}

// TestAgentsLearn: the leader trains on what hosts have on disk, every agent gets
// the same model by its hash, judges its newest days by it and forecasts; the
// categories come into the books; and when the leader is lost the next one has all
// of it without training again.
func TestAgentsLearn(t *testing.T) {
	s := teachingSite(t, 27)
	var agents [3]*Daemon
	var stops [3]func()
	for i := range agents {
		agents[i], stops[i] = s.start(i)
	}
	for i, d := range agents {
		eventually(t, "a fleet of three", healthyEnough(d))
		eventually(t, "workloads in the books", func() error { return book(d, i) })
	}
	model := func(d *Daemon) (m fleet.Model) {
		d.books.Read(func(st *fsm.State) { m, _ = st.Model(controller.PoolModel) })
		return m
	}
	learned := func(d *Daemon) error {
		named := model(d)
		have := d.models.inForce.Load()
		switch {
		case named.Version == 0:
			return errors.New("no model is in the books")
		case have == nil || have.hash != named.Hash:
			return errors.New("the model in force is not the one of the books")
		case !d.library.has(named.Hash):
			return errors.New("the model is not on disk")
		}
		for _, g := range d.series.gates() {
			if g.resource == fleet.CPU && g.gates[0].Judged < 100 {
				return fmt.Errorf("of %s %.0f forecasts were judged", g.workload, g.gates[0].Judged)
			}
		}
		return nil
	}
	for _, d := range agents {
		eventually(t, "every agent forecasts with the leader's model", func() error { return learned(d) })
	}
	for _, d := range agents {
		eventually(t, "categories in the books", func() error {
			for id := range ownWorkloads(d) {
				var category string
				d.books.Read(func(st *fsm.State) {
					if p, ok := st.Profile(id); ok {
						category = p.Category
					}
				})
				if category == "" || category == string(predictor.CategoryUnknown) {
					return fmt.Errorf("%s is of category %q", id, category)
				}
			}
			return nil
		})
	}
	checkShown(t, agents[1])
	checkNewcomer(t, agents[1], agents[2])

	leader := -1
	for i, d := range agents {
		if d.controller.Leading() {
			leader = i
		}
	}
	if leader < 0 {
		t.Fatal("nobody leads")
	}
	before := model(agents[leader])
	stops[leader]()
	eventually(t, "another leader", func() error {
		for i, d := range agents {
			if i != leader && d.controller.Leading() {
				if held := d.models.inForce.Load(); held == nil || held.hash != before.Hash {
					return errors.New("the new leader does not forecast with the model of the books")
				}
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	if after := model(agents[(leader+1)%3]); after.Version != before.Version {
		t.Errorf("a new leader trained at once: version %d after %d", after.Version, before.Version)
	}
}

// eventually is until for what costs processor time: training rests as long as it
// works, on machines that may have much else to do.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	within(t, 4*time.Minute, what, ok)
}

// healthyEnough: a leader and all agents alive; that workloads are not really there
// is no concern here.
func healthyEnough(d *Daemon) func() error {
	return func() error {
		s, err := backend{d}.Status(context.Background())
		if err == nil && (s.Leader == nil || s.HostsAlive != 3) {
			err = fmt.Errorf("leader %v, %d alive", s.Leader, s.HostsAlive)
		}
		return err
	}
}

func ownWorkloads(d *Daemon) map[fleet.WorkloadID]bool {
	out := map[fleet.WorkloadID]bool{}
	for _, f := range d.inventory.last() {
		out[f.Spec.ID] = true
	}
	return out
}

// checkNewcomer: a workload without a history is foreseen by those of its name, at
// every agent, and says so.
func checkNewcomer(t *testing.T, owner, asked *Daemon) {
	t.Helper()
	eventually(t, "a newcomer in the books", func() error {
		return owner.propose(context.Background(), fsm.RegisterWorkloads{Host: owner.self, Workloads: []fleet.Workload{{ID: "w2-9", Driver: "region",
			Reservation: fleet.Vector{CPU: 500, Memory: 1 << 29}}}})
	})
	eventually(t, "a newcomer that borrows", func() error {
		why, err := backend{asked}.Why(context.Background(), "w2-9")
		switch {
		case err != nil:
			return err
		case len(why.Forecasts) != 1 || !strings.Contains(why.Forecasts[0].Model, "as others named w2"):
			return fmt.Errorf("%+v", why.Forecasts)
		case !strings.Contains(why.Forecasts[0].Reason, "0 h of history") || why.Forecasts[0].Horizons[1].Quantiles[2] <= 0:
			return fmt.Errorf("%+v", why.Forecasts)
		}
		return nil
	})
}

// checkShown: why, the zones and the metrics say what is foreseen.
func checkShown(t *testing.T, d *Daemon) {
	t.Helper()
	eventually(t, "forecasts in why", func() error {
		why, err := backend{d}.Why(context.Background(), "w1-0")
		switch {
		case err != nil:
			return err
		case len(why.Forecasts) != 3 || len(why.Forecasts[0].Horizons) != predictor.HorizonCount:
			return fmt.Errorf("%d forecasts", len(why.Forecasts))
		case why.Category == nil || why.Category.History < 12:
			return fmt.Errorf("category %+v", why.Category)
		case !strings.Contains(why.Forecasts[0].Model+why.Forecasts[0].Reason, controller.PoolModel+" version"):
			return fmt.Errorf("acted upon: %s (%s)", why.Forecasts[0].Model, why.Forecasts[0].Reason)
		}
		for _, h := range why.Forecasts[0].Horizons {
			if h.Open == (h.Reason != "") || len(h.Quantiles) != predictor.LevelCount {
				return fmt.Errorf("%+v", h)
			}
		}
		return nil
	})
	eventually(t, "a forecast of the zone", func() error {
		zones, err := backend{d}.ZoneForecasts(context.Background())
		if err != nil {
			return err
		}
		if len(zones) != 3 || len(zones[0].Hour) != 4 || zones[0].Hour[3] <= zones[0].Hour[0] || zones[0].HistoryDays < 12 {
			return fmt.Errorf("%+v", zones)
		}
		if memory := zones[1]; memory.Resource != "memory" || memory.Growth <= 0 {
			return fmt.Errorf("memory grows every day: %+v", memory)
		}
		if net := zones[2]; net.Resource != "net" || net.Hosts != 2 || net.Allocatable != 24_000 || len(net.Hour) != 4 || !net.GrowthKnown || net.Probability <= 0 {
			return fmt.Errorf("of network, of two hosts: %+v", net)
		}
		return nil
	})
	eventually(t, "forecasts of every resource of the hosts", func() error {
		forecasts, err := backend{d}.Forecasts(context.Background(), "")
		if err != nil {
			return err
		}
		count := map[string]int{}
		for _, f := range forecasts {
			count[f.Resource]++
			most := 0.0
			for _, s := range f.Steps {
				most = max(most, s.Over)
			}
			if f.Probability != most || len(f.Steps) != predictor.Steps || f.Resource == "net" && (f.Allocatable != 12_000 || f.Unit != "bytes/s" || f.Probability <= 0) {
				return fmt.Errorf("%+v", f)
			}
		}
		if count["cpu"] != 3 || count["memory"] != 3 || count["net"] != 2 || count["disk"] != 0 {
			return fmt.Errorf("forecasts by resource: %v", count)
		}
		return nil
	})
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(newGateCollector(d.series)); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil || len(families) != 4 || len(families[0].GetMetric()) != workloadsPerHost*3*predictor.HorizonCount {
		t.Errorf("%d families of metrics, %v", len(families), err)
	}
}

// TestReportsAreSmall: what a report carries of one workload at each tick stays within
// its bound with all four resources in use, and a day of residuals within that of the
// call. A voter that hears these reports has, of every resource, a series that is a few
// ticks old at most, and every residual of it.
func TestReportsAreSmall(t *testing.T) {
	const workloads, ticks = 8, 40
	s, _ := openSeries(t, t.TempDir())
	now := time.Now()
	last := fleet.TickOf(now) - 1
	id := func(i int) fleet.WorkloadID { return fleet.WorkloadID(fmt.Sprintf("workload-%d", i)) }
	usage := make([][]fleet.Sample, workloads)
	for i := range workloads {
		usage[i] = waves(uint64(i), now)
		for k := range usage[i] {
			usage[i][k].Usage.Net *= 12_345
			usage[i][k].Usage.Disk = 777 * usage[i][k].Usage.CPU
		}
		if err := s.load(id(i), usage[i][:len(usage[i])-ticks]); err != nil {
			t.Fatal(err)
		}
	}
	s.replay(t.Context())

	reports := controller.NewReports()
	have := make([]sentSeries, workloads)
	seq := uint64(0)
	tell := func(tick int64) (largest, sum int, full bool) {
		seq++
		r := controller.Report{Host: "h", Boot: "b", Seq: seq, At: now}
		for i := range workloads {
			w := controller.WorkloadReport{ID: id(i), Usage: fleet.Vector{CPU: 1234, Memory: 1 << 30, Net: 12_345_678, Disk: 12_345_678}, Wait: 12, Size: 1 << 30,
				WriteRate: 1 << 20, WorkingSet: 1 << 25, Tick: tick, TickCPU: 1234}
			w.Series, have[i] = s.report(w.ID, tick, have[i])
			text, err := json.Marshal(w)
			if err != nil {
				t.Fatal(err)
			}
			largest, sum = max(largest, len(text)), sum+len(text)
			r.Workloads = append(r.Workloads, w)
		}
		return largest, sum, reports.Add(r, now).Full
	}
	// A new voter: one whole day a report, cpu first.
	for range forecastResources {
		largest, _, full := tell(last - ticks)
		if full || largest > 16<<10 {
			t.Fatalf("%d bytes with a day of residuals, asked for more: %v", largest, full)
		}
	}
	if largest, _, _ := tell(last - ticks); largest > 300 {
		t.Errorf("%d bytes without news", largest)
	}
	oldest, bytes, peak := int64(0), 0, 0
	for k := range ticks {
		tick := last - ticks + 1 + int64(k)
		for i := range workloads {
			at := usage[i][len(usage[i])-ticks+k].Usage
			if err := s.observe(telemetry.TickValue{Workload: id(i), Tick: tick, Mean: at}); err != nil {
				t.Fatal(err)
			}
		}
		largest, sum, full := tell(tick)
		if full {
			t.Fatalf("tick %d: the voter misses something", k)
		}
		peak, bytes = max(peak, largest), bytes+sum
		view := fleet.View{Now: now}
		for i := range workloads {
			view.Workloads = append(view.Workloads, fleet.WorkloadView{Workload: fleet.Workload{ID: id(i)}})
		}
		reports.Fill(&view, now, time.Hour)
		for _, w := range view.Workloads {
			if len(w.Series) != len(forecastResources) {
				t.Fatalf("%s: the voter has %d series", w.ID, len(w.Series))
			}
			for _, series := range w.Series {
				age := tick - series.Tick
				if series.Resource == fleet.CPU && age > 0 {
					t.Fatalf("cpu of %s is %d ticks old", w.ID, age)
				}
				oldest = max(oldest, age)
				if _, ok := predictor.Foresee(series, nil, "m"); !ok || !predictor.Readable(series) {
					t.Fatalf("%s of %s cannot be forecast from", series.Resource, w.ID)
				}
				got := residualTicks(series)
				for i, at := range got {
					if want := series.Tick - int64(len(got)-1-i); at != want || len(got) != predictor.Window {
						t.Fatalf("%s of %s: residual %d of %d is of tick %d, want %d", series.Resource, w.ID, i, len(got), at, want)
					}
				}
				if len(got) == 0 {
					t.Fatalf("%s of %s has no residuals", series.Resource, w.ID)
				}
			}
		}
	}
	t.Logf("%d bytes a workload and tick, %d at most; the oldest series of a resource is %d ticks old", bytes/workloads/ticks, peak, oldest)
	if peak > maxTickReport || oldest > 5 {
		t.Errorf("%d bytes, at most %d are allowed; a series is %d ticks old, 5 are allowed", peak, maxTickReport, oldest)
	}
	// The record of cpu that the voter has put together is the host's own.
	for i := range workloads {
		view := fleet.View{Workloads: []fleet.WorkloadView{{Workload: fleet.Workload{ID: id(i)}}}}
		reports.Fill(&view, now, time.Hour)
		if string(view.Workloads[0].Series[0].Record) != string(s.loads[id(i)].tracks[fleet.CPU].Record(s.shared[fleet.CPU])) {
			t.Errorf("%s: the voter judges cpu by another record than its host", id(i))
		}
	}
}

// residualTicks of a series as a voter holds it.
func residualTicks(s fleet.Series) []int64 {
	out := predictor.RowTicks(s.Rows)
	for _, r := range s.Residuals {
		out = append(out, r.Tick)
	}
	return out
}

// TestMissedReportsAreMadeUp: a voter that missed reports asks for what it lacks, and
// has it after one round.
func TestMissedReportsAreMadeUp(t *testing.T) {
	s, _ := openSeries(t, t.TempDir())
	now := time.Now()
	samples := waves(3, now)
	if err := s.load("w", samples[:len(samples)-20]); err != nil {
		t.Fatal(err)
	}
	reports := controller.NewReports()
	var have sentSeries
	seq := uint64(0)
	tell := func(tick int64, lost bool) bool {
		seq++
		w := controller.WorkloadReport{ID: "w", Tick: tick}
		w.Series, have = s.report("w", tick, have)
		return !lost && reports.Add(controller.Report{Host: "h", Boot: "b", Seq: seq, At: now, Workloads: []controller.WorkloadReport{w}}, now).Full
	}
	tick := fleet.TickOf(samples[len(samples)-21].At)
	for range 3 {
		tell(tick, false)
	}
	asked := false
	for k, sample := range samples[len(samples)-20:] {
		tick = fleet.TickOf(sample.At)
		if err := s.observe(telemetry.TickValue{Workload: "w", Tick: tick, Mean: sample.Usage}); err != nil {
			t.Fatal(err)
		}
		if tell(tick, k > 3 && k < 10) {
			asked, have = true, sentSeries{}
		}
	}
	tell(tick, false)
	tell(tick, false)
	view := fleet.View{Workloads: []fleet.WorkloadView{{Workload: fleet.Workload{ID: "w"}}}}
	reports.Fill(&view, now, time.Hour)
	if !asked || len(view.Workloads[0].Series) != 3 {
		t.Fatalf("asked: %v; %d series", asked, len(view.Workloads[0].Series))
	}
	for _, series := range view.Workloads[0].Series {
		if got := residualTicks(series); len(got) != predictor.Window || got[0] != series.Tick-predictor.Window+1 {
			t.Errorf("%s has %d residuals", series.Resource, len(got))
		}
	}
}

// TestRestartJudgesAgain: an agent that starts again has judged the newest days when
// it has replayed them, out of the sight of the model.
func TestRestartJudgesAgain(t *testing.T) {
	s, _ := openSeries(t, t.TempDir())
	if err := s.load("w", waves(4, time.Now())); err != nil {
		t.Fatal(err)
	}
	if !s.known("w") || s.gates()[0].gates[0].Judged != 0 {
		t.Fatal("judged before anybody replayed")
	}
	s.replay(t.Context())
	g := s.gates()[0].gates[0]
	if want := float64(replayTicks)/3 - 2; g.Judged < 0.9*want || g.Judged > want {
		t.Errorf("%.0f forecasts of 15 min were judged, want about %.0f", g.Judged, want)
	}
	// A model that has seen all but the last day is judged on that day alone.
	examples := s.examples("w", predictor.Lesson{Until: fleet.TickOf(time.Now()), Limit: 1500})
	pool, err := predictor.TrainPool(examples, predictor.PoolConfig{Seed: 1, Trees: 4}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.use(pool, fleet.TickOf(time.Now())-288)
	s.replay(t.Context())
	if g := s.gates()[0].gates[0]; g.Judged > 96 || g.Judged < 80 {
		t.Errorf("%.0f forecasts were judged on the one day that the model has not seen", g.Judged)
	}
}

// TestBlobs: bytes come back by their hash or not at all, and old ones make room.
func TestBlobs(t *testing.T) {
	b := &blobs{dir: filepath.Join(t.TempDir(), "models")}
	if _, err := b.get(strings.Repeat("0", 64)); !os.IsNotExist(err) {
		t.Errorf("of nothing: %v", err)
	}
	for _, bad := range []string{"", "../../etc/passwd", strings.Repeat("A", 64)} {
		if _, err := b.get(bad); err == nil || os.IsNotExist(err) {
			t.Errorf("%q was looked for: %v", bad, err)
		}
	}
	hash, err := b.put([]byte("a model"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.get(hash); err != nil || !bytes.Equal(got, []byte("a model")) {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, hash), []byte("a rotten one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.get(hash); err == nil || b.has(hash) {
		t.Errorf("a damaged model was given out or kept: %v", err)
	}
	for i := range 3 * maxBlobs {
		if _, err := b.put([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(b.dir)
	if err != nil || len(entries) > maxBlobs {
		t.Errorf("%d models are kept, at most %d should be: %v", len(entries), maxBlobs, err)
	}
}
