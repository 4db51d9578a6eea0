package controller

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/predictor"
)

// dayWave is a load of the given days until now, one value per tick.
func dayWave(seed, days int) []float32 {
	values := make([]float32, days*288)
	noise := uint64(seed)*2654435761 + 1
	for i := range values {
		noise = noise*6364136223846793005 + 1442695040888963407
		values[i] = float32(100*(seed+1)) * (1.5 + float32(math.Sin(2*math.Pi*float64(i)/288)) + float32(noise>>40)/float32(1<<26))
	}
	return values
}

// school is a trainer on real books whose hosts answer from memory.
type school struct {
	trainer *Trainer
	books   *ledger

	mu      sync.Mutex // guards everything below
	kept    map[string][]byte
	asked   int
	refuse  error
	leading bool
	days    int
}

// with changes or looks at the school between the trainer's steps.
func (s *school) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func newSchool(t *testing.T) *school {
	books := &ledger{t: t, state: fsm.New()}
	host := fleet.Host{ID: "h1", Name: "h1", Zone: "z", Voter: true, Capacity: fleet.Vector{CPU: 8000, Memory: 64 << 30}}
	workload := fleet.Workload{ID: "w", Driver: "region", Reservation: fleet.Vector{CPU: 1000, Memory: 1 << 30}}
	if err := books.propose("h1", fsm.InitCluster{Cluster: "c", Level: fsm.FeatureLevel}, fsm.RegisterHost{Host: host},
		fsm.RegisterWorkloads{Host: "h1", Workloads: []fleet.Workload{workload}}).Refused(); err != nil {
		t.Fatal(err)
	}
	s := &school{books: books, kept: map[string][]byte{}, leading: true, days: 12}
	now := time.Now()
	s.trainer = NewTrainer(TrainerConfig{
		Books: books, Categories: NewCategories(), Clock: fleet.LoadClock{Scale: 1}, Now: time.Now, Logger: hclog.NewNullLogger(),
		Trees: 3, Rest: 5 * time.Minute, Check: 10 * time.Second,
		Leading: func() (leading bool) { s.with(func() { leading = s.leading }); return leading },
		Held:    func(hash string) (ok bool) { s.with(func() { _, ok = s.kept[hash] }); return ok },
		Keep: func(_ context.Context, data []byte) (string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			hash := fmt.Sprintf("%064x", len(s.kept)+1)
			s.kept[hash] = data
			return hash, nil
		},
		Examples: func(_ context.Context, host fleet.Host, of fleet.WorkloadID, l predictor.Lesson) ([]predictor.Example, error) {
			s.mu.Lock()
			s.asked++
			refuse, days := s.refuse, s.days
			s.mu.Unlock()
			if refuse != nil {
				return nil, refuse
			}
			return predictor.Examples(fleet.TickOf(now)-int64(days)*288, dayWave(len(of), days), l), nil
		},
	})
	return s
}

func (s *school) model() fleet.Model {
	var m fleet.Model
	s.books.Read(func(st *fsm.State) { m, _ = st.Model(PoolModel) })
	return m
}

// TestTrainer: it trains when there is history, not again before an hour has passed,
// again when the bytes are lost, and not at all where this host does not lead.
func TestTrainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSchool(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.trainer.Run(ctx) }()
		wait := func(d time.Duration) {
			time.Sleep(d) // virtual
			synctest.Wait()
		}
		s.with(func() { s.leading = false })
		wait(time.Minute)
		if s.asked > 0 {
			t.Error("a host that does not lead has trained")
		}
		s.with(func() { s.leading, s.refuse = true, errors.New("the host is away") })
		wait(time.Minute)
		if s.model().Version != 0 || s.asked == 0 {
			t.Errorf("version %d without any history, %d calls", s.model().Version, s.asked)
		}
		s.with(func() { s.refuse, s.days = nil, 3 })
		wait(time.Minute)
		if s.model().Version != 0 {
			t.Error("three days of history were enough for models")
		}
		s.with(func() { s.days = 12 })
		wait(time.Minute)
		first := s.model()
		if first.Version != 1 || s.kept[first.Hash] == nil {
			t.Fatalf("no model after a minute with history: %+v", first)
		}
		if age := time.Since(first.Trained); age < predictor.TrackDays*24*time.Hour || age > predictor.TrackDays*24*time.Hour+10*time.Minute {
			t.Errorf("it has seen load up to %s ago", age)
		}
		if _, err := predictor.DecodePool(s.kept[first.Hash]); err != nil {
			t.Error(err)
		}
		wait(50 * time.Minute)
		if v := s.model().Version; v != 1 {
			t.Errorf("version %d within the hour", v)
		}
		wait(15 * time.Minute)
		if v := s.model().Version; v != 2 {
			t.Errorf("version %d after an hour", v)
		}
		s.with(func() { clear(s.kept) })
		wait(6 * time.Minute)
		if m := s.model(); m.Version != 3 || s.kept[m.Hash] == nil {
			t.Errorf("version %d after all bytes were lost", m.Version)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestTrainingIsDeterministic: the same books and histories give the same bytes.
func TestTrainingIsDeterministic(t *testing.T) {
	var bytes [2]string
	for i := range bytes {
		synctest.Test(t, func(t *testing.T) {
			s := newSchool(t)
			if err := s.trainer.train(t.Context()); err != nil {
				t.Fatal(err)
			}
			bytes[i] = string(s.kept[s.model().Hash])
		})
	}
	if bytes[0] == "" || bytes[0] != bytes[1] {
		t.Error("two trainings on the same histories differ")
	}
}

// described is a report of workloads whose loads are of different shapes.
func described(n int, day int64) Report {
	r := Report{Host: "h1", Boot: "b", Seq: uint64(day)}
	for i := range n {
		values := make([]float32, 14*288)
		for k := range values {
			v := 300 * (1.2 + math.Sin(2*math.Pi*float64(k)/288)) // by day
			switch i % 3 {
			case 1:
				v = 1 + float64(k%3) // idle
			case 2:
				v = 900 + float64((k*7919+i)%97) // steady, high
			}
			values[k] = float32(v * (1 + 0.02*float64((k*31+i*17)%11)))
		}
		traits, ok := predictor.TraitsOf(values, 1000)
		if !ok {
			panic("two weeks have no traits")
		}
		r.Workloads = append(r.Workloads, WorkloadReport{ID: fleet.WorkloadID(fmt.Sprintf("w%02d", i)),
			Description: &Description{Day: day, Traits: traits, Diurnal: predictor.Diurnal(values)}})
	}
	return r
}

// TestCategoriesOfTheFleet: workloads of one shape get one name, a new leader that
// takes over the division gives the same ones, and a small fleet is named by shape.
func TestCategoriesOfTheFleet(t *testing.T) {
	none := func(fleet.WorkloadID) predictor.Membership { return predictor.Membership{} }
	c := NewCategories()
	report := described(30, 100)
	c.Hear(report)
	if got := c.Members(report, none); got != nil {
		t.Errorf("answered before the fleet was divided: %v", got)
	}
	if !c.Due(100) {
		t.Fatal("a fleet that was never divided is not due")
	}
	data, err := c.Divide(100, 7)
	if err != nil || data == nil || c.Due(100) || !c.Due(101) {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	members := c.Members(report, none)
	for i := range 30 {
		same, id := fmt.Sprintf("w%02d", i%3), fmt.Sprintf("w%02d", i)
		if a, b := members[fleet.WorkloadID(same)], members[fleet.WorkloadID(id)]; a.Category != b.Category || a.Category == "" {
			t.Errorf("%s is %q and %s is %q, of one shape", same, a.Category, id, b.Category)
		}
	}
	if members["w00"].Category != predictor.CategoryDiurnal || members["w01"].Category != predictor.CategoryIdle || !members["w00"].Diurnal {
		t.Errorf("by day: %+v; idle: %+v", members["w00"], members["w01"])
	}

	next := NewCategories()
	if err := next.Use(data, 100); err != nil {
		t.Fatal(err)
	}
	again := next.Members(report, none)
	for id, m := range members {
		if again[id].Category != m.Category {
			t.Errorf("the next leader calls %s %q instead of %q", id, again[id].Category, m.Category)
		}
	}
	if err := next.Use([]byte("{}"), 101); err == nil || next.Use([]byte("rubbish"), 101) == nil {
		t.Error("rubbish was taken for a division")
	}
	// Three days in a row make a change; what was before is in the books.
	before := predictor.Membership{Category: predictor.CategoryCPU, Day: 99}
	for day := int64(100); day < 103; day++ {
		before = next.Members(described(1, day), func(fleet.WorkloadID) predictor.Membership { return before })["w00"]
	}
	if before.Category != predictor.CategoryDiurnal || len(before.Changes) != 1 {
		t.Errorf("after three days: %+v", before)
	}

	small := NewCategories()
	few := described(3, 100)
	small.Hear(few)
	if data, err := small.Divide(100, 1); err != nil || data != nil {
		t.Fatalf("three workloads were divided: %v", err)
	}
	if got := small.Members(few, none); got["w00"].Category != predictor.CategoryDiurnal || got["w01"].Category != predictor.CategoryIdle {
		t.Errorf("by shape: %+v", got)
	}
	small.Forget(func(fleet.WorkloadID) bool { return false })
	if small.Due(101) {
		t.Error("workloads that left are still divided")
	}
}

// foreseen is a report of one series with outlook and record.
func foreseen(t *testing.T, days int) fleet.Series {
	t.Helper()
	values := dayWave(4, days)
	first := fleet.TickOf(start) - int64(len(values))
	all := &predictor.SharedShifts{}
	s, track := predictor.NewTrack(first, values, first+int64(len(values))-2*288, nil, all, 1)
	out := s.Report("w", fleet.CPU, predictor.Window)
	out.Outlook, out.Record = predictor.OutlookBytes(s.Outlook()), track.Record(all)
	return out
}

// TestPassesObeyGates: what a pass plans from is the best forecast whose gate is
// open, and the present where none is; each series says which, and why.
func TestPassesObeyGates(t *testing.T) {
	view := func(s fleet.Series) fleet.View {
		return fleet.View{Workloads: []fleet.WorkloadView{{Workload: fleet.Workload{ID: "w", Owner: "h1"}, Series: []fleet.Series{s}}}}
	}
	f := NewForesights(nil, nil)
	young := view(foreseen(t, 1))
	f.Fill(&young)
	bands := young.Workloads[0].Series[0].Bands
	if bands == nil || !bands.Reactive || !strings.Contains(bands.Reason, "forecasts have been judged") {
		t.Fatalf("a day of history: %+v", bands)
	}
	old := view(foreseen(t, 12))
	f.Fill(&old)
	if bands = old.Workloads[0].Series[0].Bands; bands == nil || bands.Reactive {
		t.Fatalf("twelve days of a plain wave have earned no trust: %+v", bands)
	}
	if shown := f.Of(old.Workloads[0], 0); len(shown) != 1 || shown[0].Foresight.Bands.Model != bands.Model {
		t.Errorf("shown is something else than is acted upon: %+v", shown)
	}
	bare := view(fleet.Series{Workload: "w", Resource: fleet.CPU, Tick: 5})
	f.Fill(&bare)
	if bare.Workloads[0].Series[0].Bands != nil {
		t.Error("a host of an older version sends no outlook: its plain forecast must stand")
	}
	f.Fill(&fleet.View{})
	if len(f.held) != 0 {
		t.Error("what left the view is still held")
	}
}
