package precopy

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

const mib = 1 << 20

// copied plays n rounds of a workload that obeys the model exactly.
func copied(m Model, link Link, size float64, n int) []fleet.Checkpoint {
	var rounds []fleet.Checkpoint
	dirty := size
	for i := range n {
		took := seconds(link.secondsFor(dirty))
		rounds = append(rounds, fleet.Checkpoint{
			Round: i + 1, Scanned: int64(size), Dirty: int64(dirty), Wire: int64(dirty * link.ratio()), Took: took,
		})
		dirty = min(m.Dirty(took), size)
	}
	return rounds
}

func drawLink(t *rapid.T) Link {
	return Link{
		Bandwidth:    rapid.Float64Range(1*mib, 4096*mib).Draw(t, "bandwidth"),
		WireRatio:    rapid.Float64Range(0.01, 1.1).Draw(t, "ratio"),
		FixedCutover: time.Duration(rapid.Int64Range(0, int64(50*time.Millisecond)).Draw(t, "fixed")),
	}
}

func drawModel(t *rapid.T) Model {
	return Model{
		WriteRate:  rapid.Float64Range(0, 2048*mib).Draw(t, "rate"),
		WorkingSet: rapid.Float64Range(0, 512*mib).Draw(t, "set"),
	}
}

func TestEstimateRecoversTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Model{
			WriteRate:  rapid.Float64Range(8*mib, 512*mib).Draw(t, "rate"),
			WorkingSet: rapid.Float64Range(16*mib, 256*mib).Draw(t, "set"),
		}
		link := Link{Bandwidth: rapid.Float64Range(32*mib, 1024*mib).Draw(t, "bandwidth")}
		rounds := copied(want, link, 1024*mib, 5)
		got := Estimate(rounds)
		// What counts is D(T) over the lengths that were seen.
		for i := 1; i < len(rounds); i++ {
			took := rounds[i-1].Took
			if took < 50*time.Millisecond {
				continue
			}
			if off := math.Abs(got.Dirty(took)-want.Dirty(took)) / want.Dirty(took); off > 0.02 {
				t.Fatalf("D(%s): got %.0f, want %.0f (%.1f %% off); model %+v", took, got.Dirty(took), want.Dirty(took), 100*off, got)
			}
		}
	})
}

func TestDirtyIsMonotoneAndBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t)
		a := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "a"))
		b := a + time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "b"))
		if m.Dirty(a) > m.Dirty(b) {
			t.Fatalf("D(%s)=%g > D(%s)=%g", a, m.Dirty(a), b, m.Dirty(b))
		}
		if m.WorkingSet > 0 && m.Dirty(b) > m.WorkingSet {
			t.Fatalf("D(%s)=%g exceeds the working set %g", b, m.Dirty(b), m.WorkingSet)
		}
		if d := m.Dirty(b); d > m.WriteRate*b.Seconds()*(1+1e-9) {
			t.Fatalf("D(%s)=%g exceeds r×T", b, d)
		}
	})
}

// More bandwidth never turns a move that converges into one that does not, nor
// makes it longer or dearer; faster writes never make it shorter.
func TestPredictIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, link := drawModel(t), drawLink(t)
		size := rapid.Int64Range(0, 8192*mib).Draw(t, "size")
		target := Target{Downtime: time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Second)).Draw(t, "target"))}
		p := m.Predict(link, size, target)

		faster := link
		faster.Bandwidth *= rapid.Float64Range(1, 10).Draw(t, "faster")
		q := m.Predict(faster, size, target)
		if p.Converges && (!q.Converges || q.Duration > p.Duration || q.Bytes > p.Bytes+1) {
			t.Fatalf("more bandwidth hurts:\n%+v\n%+v", p, q)
		}
		busier := m
		busier.WriteRate *= rapid.Float64Range(1, 10).Draw(t, "busier")
		q = busier.Predict(link, size, target)
		if q.Converges && (!p.Converges || q.Duration < p.Duration) {
			t.Fatalf("faster writes help:\n%+v\n%+v", p, q)
		}
	})
}

func TestPredictBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, link := drawModel(t), drawLink(t)
		size := rapid.Int64Range(0, 8192*mib).Draw(t, "size")
		target := Target{MaxRounds: rapid.IntRange(1, 30).Draw(t, "rounds")}
		p := m.Predict(link, size, target)
		once := link.secondsFor(float64(size))
		switch {
		case p.Rounds < 1 || p.Rounds > target.MaxRounds:
			t.Fatalf("%d rounds of at most %d", p.Rounds, target.MaxRounds)
		case p.Duration.Seconds() < once:
			t.Fatalf("the whole move takes %s, but sending the state once takes %gs", p.Duration, once)
		case p.Downtime < link.FixedCutover || p.Downtime > p.Duration:
			t.Fatalf("downtime %s is outside %s..%s", p.Downtime, link.FixedCutover, p.Duration)
		case float64(p.Bytes) < float64(size)*link.ratio()-1:
			t.Fatalf("%d bytes on the wire for %d of state", p.Bytes, size)
		}
	})
}

// A migration that follows Next always ends, within its budget, and never cuts
// above the limit nor aborts below it.
func TestNextAlwaysEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, link := drawModel(t), drawLink(t)
		size := float64(rapid.Int64Range(mib, 4096*mib).Draw(t, "size"))
		target := Target{MaxRounds: rapid.IntRange(1, 20).Draw(t, "rounds")}
		for n := 0; ; n++ {
			v := Next(copied(m, link, size, n), target, link)
			if v.Reason == "" {
				t.Fatal("a verdict without a reason")
			}
			if v.Action == Copy {
				if n >= target.MaxRounds {
					t.Fatalf("round %d of %d: %+v", n, target.MaxRounds, v)
				}
				continue
			}
			full := target.withDefaults(size, link)
			if (v.Action == Cut) != (v.Predicted <= full.Limit) {
				t.Fatalf("after %d rounds: %+v with a limit of %s", n, v, full.Limit)
			}
			return
		}
	})
}

func TestHopelessLinkSaturates(t *testing.T) {
	p := Model{WriteRate: 1e12}.Predict(Link{Bandwidth: 1e-6}, math.MaxInt64, Target{})
	if p.Converges || p.Duration != math.MaxInt64 || p.Downtime != math.MaxInt64 || p.Bytes <= 0 {
		t.Fatalf("a hopeless link looks usable: %+v", p)
	}
}

// The slowest of the newest rounds speaks for the link; tiny rounds do not.
func TestObserved(t *testing.T) {
	round := func(dirty, wire int64, took time.Duration) fleet.Checkpoint {
		return fleet.Checkpoint{Dirty: dirty, Wire: wire, Took: took}
	}
	prior := Link{Bandwidth: 7, WireRatio: 0.5, FixedCutover: 3}
	tests := map[string]struct {
		rounds []fleet.Checkpoint
		want   Link
	}{
		"no rounds":         {nil, prior},
		"a tiny round":      {[]fleet.Checkpoint{round(4096, 4096, time.Second)}, prior},
		"the slower counts": {[]fleet.Checkpoint{round(mib, mib/2, time.Second), round(mib, mib, 4*time.Second)}, Link{mib / 4, 1, 3}},
		"only the newest four count": {[]fleet.Checkpoint{round(mib, mib, time.Hour), round(mib, mib, time.Second), round(mib, mib, time.Second),
			round(mib, mib, time.Second), round(mib, mib, time.Second)}, Link{mib, 1, 3}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Observed(test.rounds, prior); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// Stories: `move` plays a whole migration as the migrator would drive it.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			number := func(key string, fallback float64) float64 {
				if !d.HasArg(key) {
					return fallback
				}
				var text string
				d.ScanArgs(t, key, &text)
				var f float64
				if _, err := fmt.Sscan(text, &f); err != nil {
					d.Fatalf(t, "%s: %v", key, err)
				}
				return f
			}
			m := Model{WriteRate: number("rate", 0) * mib, WorkingSet: number("set", 0) * mib}
			link := Link{Bandwidth: number("link", 0) * mib, WireRatio: number("ratio", 1),
				FixedCutover: seconds(number("fixed-ms", 0) / 1000)}
			target := Target{Downtime: seconds(number("target-ms", 0) / 1000), MaxRounds: int(number("rounds", 0)),
				MaxBytes: int64(number("budget", 0) * mib)}
			size := number("size", 256) * mib
			for _, arg := range d.CmdArgs {
				if !strings.Contains(" rate set link ratio fixed-ms target-ms rounds budget size ", " "+arg.Key+" ") {
					d.Fatalf(t, "unknown argument %q", arg.Key)
				}
			}
			switch d.Cmd {
			case "predict":
				p := m.Predict(link, int64(size), target)
				return fmt.Sprintf("duration=%s downtime=%s sent=%s rounds=%d converges=%t\n",
					short(p.Duration), short(p.Downtime), bytesText(p.Bytes), p.Rounds, p.Converges)
			case "move":
				var out strings.Builder
				for n := 1; ; n++ {
					rounds := copied(m, link, size, n)
					v := Next(rounds, target, link)
					fmt.Fprintf(&out, "round %d sent %s in %s: %s, %s\n", n, bytesText(rounds[n-1].Wire), short(rounds[n-1].Took), v.Action, v.Reason)
					if v.Action != Copy {
						return out.String()
					}
				}
			}
			d.Fatalf(t, "unknown command %q", d.Cmd)
			return ""
		})
	})
}

// When the fixed part of the cutover alone misses the target, copying goes on
// only until it no longer matters: an idle workload once went through 30 rounds.
func TestNextDoesNotCopyAgainstAFixedCutover(t *testing.T) {
	link := Link{Bandwidth: 500 << 20, WireRatio: 1, FixedCutover: 150 * time.Millisecond}
	target := Target{Downtime: 50 * time.Millisecond, MaxRounds: 30, MaxBytes: 1 << 30, Limit: time.Second}
	rounds := []fleet.Checkpoint{{Round: 1, Dirty: 32 << 20, Wire: 32 << 20, Took: 64 * time.Millisecond}}
	for len(rounds) < 30 {
		v := Next(rounds, target, link)
		if v.Action == Cut {
			if len(rounds) > 4 {
				t.Errorf("cut only after %d rounds: %s", len(rounds), v.Reason)
			}
			return
		}
		rounds = append(rounds, fleet.Checkpoint{Round: len(rounds) + 1, Dirty: int64(40-len(rounds)%3) << 10, Wire: 8 << 10, Took: 10 * time.Millisecond})
	}
	t.Error("never cut")
}
