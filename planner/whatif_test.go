package planner

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/trace"
)

// readFleet reads a fleet file as the tool does.
func readFleet(t interface{ Fatal(...any) }, text string) fleet.View {
	file, err := trace.ReadFleet(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Notes) > 0 {
		t.Fatal(file.Notes)
	}
	return file.View
}

// The stories under testdata/whatif: a fleet file, then one goal per command.
func TestWhatIfStories(t *testing.T) {
	datadriven.Walk(t, "testdata/whatif", func(t *testing.T, path string) {
		var view fleet.View
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "fleet" {
				view = readFleet(t, d.Input)
				return ""
			}
			goal := Goal{Objective: Objective(d.Cmd), Ceiling: DefaultCeiling, Minimise: MinimiseMoves}
			for _, arg := range d.CmdArgs {
				switch arg.Key {
				case "minimise":
					goal.Minimise = Minimise(arg.Vals[0])
				case "ceiling":
					arg.Scan(t, 0, &goal.Ceiling)
				case "max-moves":
					arg.Scan(t, 0, &goal.MaxMoves)
				case "headroom":
					arg.Scan(t, 0, &goal.Headroom)
				case "reserve":
					arg.Scan(t, 0, &goal.ReserveHosts)
				case "drain":
					for _, v := range arg.Vals {
						goal.Drain = append(goal.Drain, fleet.HostID(v))
					}
				default:
					d.Fatalf(t, "unknown argument %q", arg.Key)
				}
			}
			out, err := WhatIf(view, goal)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			return arrangementText(out)
		})
	})
}

func arrangementText(a Arrangement) string {
	var b strings.Builder
	fmt.Fprintln(&b, a.Summary)
	for i, s := range a.Steps {
		from := s.From
		if from == "" {
			from = "-"
		}
		fmt.Fprintf(&b, "%d. %s %s->%s: %s\n", i+1, s.Workload, from, s.To, s.Reason)
	}
	for _, e := range a.Unrelieved {
		fmt.Fprintf(&b, "unrelieved %s: %s\n", e.Host, e.Reason)
	}
	for _, e := range a.Refused {
		fmt.Fprintf(&b, "refused %s %s: %s\n", e.Workload, e.Host, e.Reason)
	}
	return b.String()
}

// drawView draws a fleet with everything a fleet file may hold: tight memory,
// rules of all kinds, closed hosts, pinned and pending workloads, barred ways.
func drawView(t *rapid.T) fleet.View {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 7))
	hosts := 2 + r.IntN(6)
	var v fleet.View
	for h := range hosts {
		host := fleet.HostView{Host: fleet.Host{ID: fleet.HostID(fmt.Sprintf("h%d", h)), Name: fmt.Sprintf("h%d", h), Zone: fmt.Sprintf("z%d", h%2),
			Capacity: fleet.Vector{CPU: 8000 * (1 + r.Int64N(2)), Memory: (12 + r.Int64N(12)) * gib, Net: fleet.Unknown, Disk: fleet.Unknown}}, Reported: start}
		switch r.IntN(12) {
		case 0:
			host.State = fleet.HostDraining
		case 1:
			host.Liveness = fleet.Dead
		}
		v.Hosts = append(v.Hosts, host)
	}
	for w := range hosts * (1 + r.IntN(7)) {
		memory := 1 + r.Int64N(4)
		work := fleet.WorkloadView{Workload: fleet.Workload{ID: fleet.WorkloadID(fmt.Sprintf("w%02d", w)), Tolerance: 1000, Priority: r.Int64N(3),
			Reservation: fleet.Vector{Memory: memory * gib}, Pinned: r.IntN(10) == 0, Group: fmt.Sprintf("g%d", r.IntN(4))},
			Usage: fleet.Vector{CPU: r.Int64N(5000), Memory: memory * gib}, Size: memory * gib}
		if h := &v.Hosts[min(r.IntN(hosts), r.IntN(hosts))]; r.IntN(9) > 0 && h.Held.Memory+memory*gib <= h.Capacity.Memory {
			work.Owner = h.ID
			h.Held, h.Usage = h.Held.Add(work.Reservation), h.Usage.Add(work.Usage)
		}
		v.Workloads = append(v.Workloads, work)
	}
	for i := range r.IntN(4) {
		rule := fleet.Rule{ID: fmt.Sprintf("r%d", i), Kind: fleet.RuleKind(r.IntN(4)), Hard: r.IntN(3) > 0, Groups: []string{fmt.Sprintf("g%d", r.IntN(4))}}
		if rule.Kind.NamesHosts() {
			rule.Hosts = []fleet.HostID{v.Hosts[r.IntN(hosts)].ID, v.Hosts[r.IntN(hosts)].ID}
		}
		v.Rules = append(v.Rules, rule)
	}
	if r.IntN(3) == 0 {
		v.Links = append(v.Links, fleet.Link{From: "z0", To: "z1", Barred: "older cpu"})
	}
	return v
}

func drawGoal(t *rapid.T, v fleet.View) Goal {
	g := Goal{
		Objective: rapid.SampledFrom(Objectives()).Draw(t, "objective"), Minimise: rapid.SampledFrom(Minimisations()).Draw(t, "minimise"),
		Ceiling: rapid.Int64Range(300, 1200).Draw(t, "ceiling"), MaxMoves: rapid.SampledFrom([]int{0, 0, 1, 2, 5}).Draw(t, "max moves"),
		Headroom: rapid.SampledFrom([]int64{0, 0, 50, 300}).Draw(t, "headroom"),
	}
	if rapid.IntRange(0, 3).Draw(t, "drain") == 0 {
		g.Drain = []fleet.HostID{v.Hosts[0].ID}
	}
	return g
}

// excess counts, per hard rule, by how much a placement breaks it.
func excess(v fleet.View, at map[fleet.WorkloadID]fleet.HostID) []int {
	var out []int
	for _, rule := range v.Rules {
		count, total, wrong := map[fleet.HostID]int{}, 0, 0
		for _, w := range v.Workloads {
			h := at[w.ID]
			if !rule.Hard || h == "" || !rule.Applies(w.Workload) {
				continue
			}
			on := slices.Contains(rule.Hosts, h)
			if rule.Kind == fleet.HostAffinity && !on || rule.Kind == fleet.HostAntiAffinity && on {
				wrong++
			}
			count[h]++
			total++
		}
		together, pairs := 0, 0
		for _, n := range count {
			together += n * n
			pairs += n * (n - 1) / 2
		}
		switch rule.Kind {
		case fleet.AntiAffinity:
			wrong = pairs
		case fleet.Affinity:
			wrong = total*total - together
		}
		out = append(out, wrong)
	}
	return out
}

// Whatever the fleet and the goal: every step is safe once those before it are
// done, nothing moves that may not, no bound is exceeded, every step has its
// reason and a score that adds up, and the same input gives the same bytes.
func TestWhatIfIsSafeAtEveryStep(t *testing.T) {
	steps := map[Objective]int{}
	stepless := func(o Objective) bool { return steps[o] == 0 }
	property := func(t *rapid.T) {
		v := drawView(t)
		goal := drawGoal(t, v)
		out, err := WhatIf(v, goal)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := WhatIf(v, goal)
		if a, b := asJSON(t, out), asJSON(t, again); a != b {
			t.Fatalf("the same fleet gives two plans:\n%s\n%s", a, b)
		}
		steps[goal.Objective] += len(out.Steps)
		if goal.MaxMoves > 0 && len(out.Steps) > goal.MaxMoves {
			t.Fatalf("%d steps, %d allowed", len(out.Steps), goal.MaxMoves)
		}
		hosts := map[fleet.HostID]fleet.HostView{}
		held := map[fleet.HostID]int64{}
		for _, h := range v.Hosts {
			hosts[h.ID], held[h.ID] = h, h.Held.Memory
		}
		works := map[fleet.WorkloadID]fleet.WorkloadView{}
		at := map[fleet.WorkloadID]fleet.HostID{}
		for _, w := range v.Workloads {
			works[w.ID], at[w.ID] = w, w.Owner
		}
		broken := excess(v, at)
		for _, s := range out.Steps {
			w, to := works[s.Workload], hosts[s.To]
			switch {
			case at[s.Workload] != s.From || s.From == s.To:
				t.Fatalf("%+v, but it is on %q", s, at[s.Workload])
			case w.Pinned && s.From != "" || to.State != fleet.HostActive || to.Liveness != fleet.Alive || slices.Contains(goal.Drain, s.To):
				t.Fatalf("%+v is forbidden", s)
			case s.From != "" && hosts[s.From].Liveness != fleet.Alive:
				t.Fatalf("%+v leaves a host that does not answer", s)
			case s.From != "" && len(v.Links) > 0 && hosts[s.From].Zone == "z0" && to.Zone == "z1":
				t.Fatalf("%+v goes a barred way", s)
			case s.Reason == "" || s.Memory != w.Size:
				t.Fatalf("%+v is not explained", s)
			}
			// While it moves it counts on both hosts; then the source is freed.
			if held[s.To] += w.Reservation.Memory; held[s.To] > to.Capacity.Memory {
				t.Fatalf("%+v breaks the memory of %s", s, s.To)
			}
			if s.From != "" {
				held[s.From] -= w.Reservation.Memory
			}
			at[s.Workload] = s.To
			now := excess(v, at)
			for i, n := range now {
				// A pending member of a broken affinity adds pairs wherever it
				// goes; every other kind and step must not get worse.
				if n > broken[i] && !(s.From == "" && v.Rules[i].Kind == fleet.Affinity && broken[i] > 0) {
					t.Fatalf("%+v breaks %s: %d -> %d", s, v.Rules[i], broken[i], n)
				}
			}
			broken = now
			total := 0.0
			for _, p := range s.Score.Parts {
				total += p.Value
			}
			if total != s.Score.Total {
				t.Fatalf("the parts of %+v sum to %g", s.Score, total)
			}
		}
		if out.Summary == "" {
			t.Fatal("no summary")
		}
		// The lowest peak may leave more hosts a little above the ceiling, and
		// what leaves a draining host has to go somewhere: there it is not the
		// count that is minimised.
		draining := slices.ContainsFunc(v.Hosts, func(h fleet.HostView) bool { return h.State != fleet.HostActive })
		if goal.Objective == Relieve && goal.Minimise != MinimiseMaxLoad && !draining && len(v.Rules) == 0 && len(goal.Drain) == 0 && out.After.Overloaded > out.Before.Overloaded {
			t.Fatalf("relief overloads: %+v -> %+v\n%s\n%s", out.Before, out.After, asJSON(t, v), asJSON(t, out))
		}
	}
	rapid.Check(t, property)
	if testing.Short() {
		return // a fifth of the fleets: some goal may go without a step
	}
	for range 4 { // one goal in hundreds goes without a step in a hundred fleets
		if slices.ContainsFunc(Objectives(), stepless) {
			rapid.Check(t, property)
		}
	}
	for _, o := range Objectives() {
		if stepless(o) {
			t.Errorf("no drawn fleet made a step for %s: the property tests nothing of it", o)
		}
	}
}

func asJSON(t *rapid.T, v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// Pending workloads are placed all together or not at all.
func TestPlaceIsAllOrNone(t *testing.T) {
	seen := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		out, err := WhatIf(v, Goal{Objective: Place, Minimise: MinimiseMoves, Ceiling: 2000})
		if err != nil {
			t.Fatal(err)
		}
		pending := 0
		for _, w := range v.Workloads {
			if w.Owner == "" {
				pending++
			}
		}
		if n := len(out.Steps); n != 0 && n != pending {
			t.Fatalf("%d of %d pending workloads are placed", n, pending)
		}
		if len(out.Steps) == 0 && pending > 0 && len(out.Refused) == 0 {
			t.Fatal("nothing is placed and nothing says why")
		}
		seen[len(out.Steps) > 0] += pending
	})
	if seen[true] == 0 || seen[false] == 0 {
		t.Errorf("placed %d, refused %d: the property tests one side only", seen[true], seen[false])
	}
}

// What a relief finds on small fleets is optimal: no set of fewer moves does it.
func TestRelieveIsOptimalWhereItCanBeCounted(t *testing.T) {
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 9))
		var v fleet.View
		for h := range 3 {
			v.Hosts = append(v.Hosts, fleet.HostView{Host: fleet.Host{ID: fleet.HostID(fmt.Sprintf("h%d", h)),
				Capacity: fleet.Vector{CPU: 1000, Memory: 100 * gib}}, Reported: start})
		}
		for w := range 8 {
			v.Workloads = append(v.Workloads, fleet.WorkloadView{Workload: fleet.Workload{ID: fleet.WorkloadID(fmt.Sprintf("w%d", w)),
				Owner: v.Hosts[min(r.IntN(3), r.IntN(3))].ID}, Usage: fleet.Vector{CPU: 50 + r.Int64N(350)}, Size: 1})
		}
		out, err := WhatIf(v, Goal{Objective: Relieve, Minimise: MinimiseMoves, Ceiling: 800})
		if err != nil {
			t.Fatal(err)
		}
		best := fewestByCounting(v, 800)
		if best < 0 {
			if len(out.Unrelieved) == 0 {
				t.Fatal("no placement relieves the fleet, and the plan claims one")
			}
			return
		}
		if len(out.Unrelieved) > 0 || len(out.Steps) != best {
			t.Fatalf("%d steps (%d unrelieved), %d are enough", len(out.Steps), len(out.Unrelieved), best)
		}
		found += best
	})
	if found == 0 {
		t.Error("no drawn fleet needed a move")
	}
}

// fewestByCounting tries all placements of 8 workloads on 3 hosts.
func fewestByCounting(v fleet.View, ceiling int64) int {
	best := -1
	for code := range 6561 {
		load := [3]int64{}
		moves, rest := 0, code
		for _, w := range v.Workloads {
			h := rest % 3
			rest /= 3
			load[h] += w.Usage.CPU
			if v.Hosts[h].ID != w.Owner {
				moves++
			}
		}
		if max(load[0], load[1], load[2]) <= ceiling && (best < 0 || moves < best) {
			best = moves
		}
	}
	return best
}
