package fsm

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Below its feature level an operation is refused, and snapshots are those of
// the first release; the level goes up by one entry and never down.
func TestFeatureLevel(t *testing.T) {
	w := newFleet(t)
	grouped := instance("w9", gib)
	grouped.Group = "web"
	late := []Operation{
		PutRule{Rule: fleet.Rule{ID: "r", Kind: fleet.AntiAffinity, Workloads: []fleet.WorkloadID{"w1", "w2"}}},
		RegisterWorkloads{Host: "h1", Workloads: []fleet.Workload{grouped}},
		ObserveHost{Host: "h1"}, everyOperation()["set-calendar"], everyOperation()["put-model"], StateHash{},
	}
	before := snapshotBytes(t, w.state)
	for _, op := range late {
		if err := w.apply(t, "h1", op).Refused(); !errors.Is(err, ErrLevel) || w.state.Allows(op) == nil {
			t.Errorf("%T at level 1: %v", op, err)
		}
	}
	if version := before[len(snapshotMagic)]; version != snapshotFirst {
		t.Errorf("a snapshot of level 1 has version %d", version)
	}
	w.must(t, "h1", RaiseFeatureLevel{Level: FeatureLevel, By: "alice"}, late[0])
	if err := w.state.Allows(late...); err != nil {
		t.Errorf("at level %d: %v", w.state.FeatureLevel(), err)
	}
	if version := snapshotBytes(t, w.state)[len(snapshotMagic)]; version != snapshotVersion {
		t.Errorf("a snapshot of level %d has version %d", FeatureLevel, version)
	}
	if err := w.apply(t, "h1", RaiseFeatureLevel{Level: 1}).Refused(); !errors.Is(err, ErrState) {
		t.Errorf("back to level 1: %v", err)
	}
	if r := w.state.Apply(w.index+1, w.encode(t, "h1", RaiseFeatureLevel{Level: FeatureLevel + 1})); !errors.Is(r.Fatal, ErrUnknownCommand) {
		t.Errorf("a level of the future: %+v", r)
	}
}

// A cluster whose snapshot was written by the first release goes on.
func TestFirstSnapshotGoesOn(t *testing.T) {
	s, err := Restore(bytes.NewReader(goldenFiles(t, "snapshot-v1.hex")[0]))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{state: s, index: s.Index(), now: epoch.Add(time.Hour), ids: 1000}
	w.must(t, "h1", RaiseFeatureLevel{Level: FeatureLevel})
	w.must(t, "h1", everyOperation()["put-rule"])
	if len(s.View().Rules) != 1 {
		t.Errorf("rules: %+v", s.View().Rules)
	}
}

// A command may move the books' time to what has passed and ten seconds, whoever
// proposes it; an idle hour counts, entries in flight do not add up.
func TestTimeCannotJump(t *testing.T) {
	w := newest(t)
	var pacer Pacer
	begun := epoch // without a monotonic reading, which then counts as one
	stamp := func(elapsed time.Duration) Stamp {
		wall, load := w.state.Time()
		return pacer.Stamp(begun.Add(elapsed), wall, load, 60)
	}
	apply := func(s Stamp, ahead time.Duration) (wall, load time.Duration) {
		t.Helper()
		w.now = epoch.Add(ahead)
		w.index++
		if _, err := w.state.ApplyBundle(w.index, BundleStamped(s, [][]byte{w.encode(t, "h1", PinWorkload{Workload: "w3"})})); err != nil {
			t.Fatal(err)
		}
		atWall, atLoad := w.state.Time()
		return atWall.Sub(epoch), atLoad.Sub(epoch)
	}
	const hour = time.Hour
	for _, c := range []struct{ elapsed, ahead, wall, load time.Duration }{
		{0, 4 * time.Second, 4 * time.Second, 4 * time.Second},
		{0, hour, 14 * time.Second, 604 * time.Second},        // ten seconds more, ten minutes of load
		{0, time.Minute, 24 * time.Second, 604 * time.Second}, // and again
		{0, -hour, 24 * time.Second, 604 * time.Second},       // never back
		{hour, hour + 20*time.Second, hour + 20*time.Second, hour + 20*time.Second},
		{hour, 1000 * hour, hour + 34*time.Second, 60*hour + 1204*time.Second},
		{hour, 1000 * hour, hour + 44*time.Second, 60*hour + 1804*time.Second},
	} {
		if wall, load := apply(stamp(c.elapsed), c.ahead); wall != c.wall || load != c.load {
			t.Errorf("%s passed, proposed %s: wall %s, load %s; want %s, %s", c.elapsed, c.ahead, wall, load, c.wall, c.load)
		}
	}
	// A leader that begins a term after a night without one believes its clock,
	// once.
	pacer = Pacer{}
	if s := stamp(9 * hour); !s.Wall.Equal(epoch.Add(9*hour + ClockGrace)) {
		t.Errorf("after a night the limit is %s", s.Wall)
	}
	pacer = Pacer{}
	inFlight := stamp(hour)
	for range 3 {
		if wall, _ := apply(inFlight, 1000*hour); wall != hour+54*time.Second {
			t.Errorf("entries in flight moved the time to %s", wall)
		}
	}
}
