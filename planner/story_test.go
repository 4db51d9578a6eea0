package planner

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/placed-dev/placed/fleet"
)

// arguments reads the arguments of a story's line and fails on those left over.
type arguments struct {
	t    *testing.T
	d    *datadriven.TestData
	used map[string]bool
}

func (a *arguments) text(key, fallback string) string {
	a.used[key] = true
	if !a.d.HasArg(key) {
		return fallback
	}
	var s string
	a.d.ScanArgs(a.t, key, &s)
	return s
}

func (a *arguments) number(key string, fallback float64) float64 {
	f, err := strconv.ParseFloat(a.text(key, fmt.Sprint(fallback)), 64)
	if err != nil {
		a.d.Fatalf(a.t, "%s: %v", key, err)
	}
	return f
}

func (a *arguments) duration(key string, fallback time.Duration) time.Duration {
	v, err := time.ParseDuration(a.text(key, fallback.String()))
	if err != nil {
		a.d.Fatalf(a.t, "%s: %v", key, err)
	}
	return v
}

func (a *arguments) done() {
	for _, arg := range a.d.CmdArgs {
		if !a.used[arg.Key] && len(arg.Vals) > 0 {
			a.d.Fatalf(a.t, "left-over argument %s", arg.Key)
		}
	}
}

// pattern is the load of a workload in cores: "2" is constant; "2+3@10h" is 2,
// and 3 more from 10:00 on for so long (two hours) of every day, with a ramp of half an
// hour; "2~0.1" is stationary noise of 10 %.
func pattern(text string, lasts time.Duration) func(int64) float64 {
	number := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			panic("pattern " + text + ": " + err.Error())
		}
		return f
	}
	if base, noise, ok := strings.Cut(text, "~"); ok {
		return ar1(rand.New(rand.NewPCG(7, 7)), 1000*number(base), number(noise))
	}
	base, peak, ok := strings.Cut(text, "+")
	if !ok {
		return constant(1000 * number(text))
	}
	height, at, _ := strings.Cut(peak, "@")
	begin := number(strings.TrimSuffix(at, "h"))
	return func(tick int64) float64 {
		hour := math.Mod(fleet.TickStart(tick).Sub(start).Hours(), 24) - begin
		share := max(0, min(1, 2*hour, 2*(lasts.Hours()+0.5-hour)))
		return 1000 * (number(base) + share*number(height))
	}
}

// Stories: a fleet, line by line, and what passes decide about it.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/pass", func(t *testing.T, path string) {
		var f *trial
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			a := &arguments{t: t, d: d, used: map[string]bool{}}
			defer a.done()
			name := ""
			if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
				name = d.CmdArgs[0].Key
			}
			switch d.Cmd {
			case "fleet":
				p := fleet.DefaultPolicy()
				if err := p.Automation.UnmarshalText([]byte(a.text("automation", "auto"))); err != nil {
					d.Fatalf(t, "%v", err)
				}
				p.HoldPasses = int64(a.number("hold", 1))
				p.Margin = a.duration("margin", 0)
				p.MovesPerPass = int64(a.number("moves-per-pass", 1))
				p.MovesInFlight = int64(a.number("moves-in-flight", 2))
				p.ChurnPerHour = int64(a.number("churn", 4))
				p.Paused = a.text("paused", "no") == "yes"
				f = newTrial(p)
				f.model = yesterday{}
				f.view.TimeScale = a.number("scale", 1)
				return ""
			case "host":
				h := f.host(name, int64(1000*a.number("cpu", 8)), int64(a.number("memory", 64))*gib)
				h.Zone = a.text("zone", "z1")
				h.Bandwidth = int64(a.number("link", 1024)) << 20
				h.Overbooked = a.text("overbooked", "no") == "yes"
				if mib := a.number("net", 0); mib > 0 { // a second
					h.Capacity.Net = int64(mib) << 20
				}
				if mib := a.number("disk", 0); mib > 0 {
					h.Capacity.Disk = int64(mib) << 20
				}
				h.Overcommit.Memory = int64(1000 * a.number("overcommit", 1))
				must(d, t, h.State.UnmarshalText([]byte(a.text("state", "active"))))
				must(d, t, h.Liveness.UnmarshalText([]byte(a.text("liveness", "alive"))))
				return ""
			case "workload":
				w := f.workload(name, a.text("on", ""), int64(a.number("memory", 1)*float64(gib)), pattern(a.text("cpu", "1"), a.duration("for", 2*time.Hour)))
				w.Priority = int64(a.number("priority", 0))
				w.Pinned = a.text("pinned", "no") == "yes"
				w.ManagedBy = a.text("managed-by", "")
				w.Copies = a.text("copies", "no") == "yes"
				for _, r := range beside { // in GiB, and MiB a second
					if d.HasArg("use-" + string(r)) {
						f.use(w.ID, r, pattern(a.text("use-"+string(r), ""), a.duration("for", 2*time.Hour)))
					}
				}
				return ""
			case "change": // a host in the middle of the story
				for i := range f.view.Hosts {
					if h := &f.view.Hosts[i]; h.Name == name {
						must(d, t, h.State.UnmarshalText([]byte(a.text("state", h.State.String()))))
						must(d, t, h.Liveness.UnmarshalText([]byte(a.text("liveness", h.Liveness.String()))))
						if by := a.duration("drain-by", 0); by > 0 {
							h.DrainBy = f.view.Now.Add(by)
						}
						h.Foreign.CPU = int64(1000 * a.number("foreign", float64(h.Foreign.CPU)/1000))
						h.Capacity.CPU = int64(1000 * a.number("cores", float64(h.Capacity.CPU)/1000))
						h.Capacity.Memory = int64(a.number("memory", float64(h.Capacity.Memory/gib))) * gib
					}
				}
				return ""
			case "lease":
				w := slices.IndexFunc(f.view.Workloads, func(w fleet.WorkloadView) bool { return string(w.ID) == name })
				l := fleet.Lease{ID: "L1", Workload: fleet.WorkloadID(name), Source: f.view.Workloads[w].Owner,
					Destination: fleet.HostID(a.text("to", "")), Reservation: f.view.Workloads[w].Reservation}
				must(d, t, l.State.UnmarshalText([]byte(a.text("state", "granted"))))
				f.view.Leases = append(f.view.Leases, l)
				return ""
			case "rule":
				rule := fleet.Rule{ID: name, Hard: a.text("hard", "yes") == "yes"}
				must(d, t, rule.Kind.UnmarshalText([]byte(a.text("kind", ""))))
				for _, id := range strings.Split(a.text("workloads", ""), "+") {
					rule.Workloads = append(rule.Workloads, fleet.WorkloadID(id))
				}
				for _, id := range strings.Split(a.text("hosts", ""), "+") {
					if id != "" {
						rule.Hosts = append(rule.Hosts, fleet.HostID(id))
					}
				}
				must(d, t, rule.Validate())
				f.view.Rules = append(f.view.Rules, rule)
				return ""
			case "no-moves":
				f.view.Calendar = append(f.view.Calendar, fleet.CalendarEntry{ID: name, Kind: fleet.NoMoves, Label: name,
					From: f.view.Now, Until: f.view.Now.Add(a.duration("for", time.Hour))})
				return ""
			case "maintenance": // takes all of a host away
				f.view.Calendar = append(f.view.Calendar, fleet.CalendarEntry{ID: "m-" + name, Kind: fleet.CapacityFalls, Label: "new disks",
					Hosts: []fleet.HostID{fleet.HostID(name)}, From: f.view.Now.Add(a.duration("in", time.Hour)),
					Until: f.view.Now.Add(a.duration("in", time.Hour) + a.duration("for", time.Hour)), Change: fleet.Vector{CPU: -1000, Memory: -1000}})
				return ""
			case "days-known": // as profiles would tell them
				for i := range f.view.Workloads {
					w := &f.view.Workloads[i]
					w.Hours = make([]int64, 24)
					for h := range w.Hours {
						w.Hours[h] = int64(f.load[w.ID](fleet.TickOf(start) + int64(12*h)))
					}
				}
				return ""
			case "policy":
				f.view.Policy.ReserveHosts = int64(a.number("reserve-hosts", float64(f.view.Policy.ReserveHosts)))
				f.view.Policy.MovesPerHost = int64(a.number("moves-per-host", float64(f.view.Policy.MovesPerHost)))
				f.view.Policy.BandwidthInFlight = int64(a.number("bandwidth", float64(f.view.Policy.BandwidthInFlight>>20))) << 20
				f.view.Policy.Consolidate = a.text("consolidate", "no") == "yes"
				f.view.Policy.Standbys = int64(a.number("standbys", float64(f.view.Policy.Standbys)))
				if a.d.HasArg("automation") {
					must(d, t, f.view.Policy.Automation.UnmarshalText([]byte(a.text("automation", ""))))
				}
				f.view.Policy.MovesPerLink = int64(a.number("moves-per-link", float64(f.view.Policy.MovesPerLink)))
				f.view.Policy.BandwidthPerLink = int64(a.number("bandwidth-per-link", float64(f.view.Policy.BandwidthPerLink>>20))) << 20
				if a.d.HasArg("in-place") {
					f.view.Policy.InPlace = fleet.InPlace{}
					for _, kind := range strings.Split(a.text("in-place", ""), "+") {
						switch kind {
						case "cpu-weight":
							f.view.Policy.InPlace.CPUWeight = true
						case "cpu-quota":
							f.view.Policy.InPlace.CPUQuota = true
						case "vcpus":
							f.view.Policy.InPlace.VCPUs = true
						case "balloon":
							f.view.Policy.InPlace.Balloon = true
						}
					}
				}
				return ""
			case "knob": // what the workload's driver can change of it
				var k fleet.Knob
				must(d, t, k.Kind.UnmarshalText([]byte(a.text("kind", ""))))
				unit := map[fleet.AdjustmentKind]float64{fleet.CPUWeight: 1, fleet.CPUQuota: 1000, fleet.VCPUs: 1, fleet.Balloon: float64(gib)}[k.Kind]
				k.Now, k.Least, k.Most = int64(a.number("now", 100)*unit), int64(a.number("least", 1)*unit), int64(a.number("most", 10000)*unit)
				w := slices.IndexFunc(f.view.Workloads, func(w fleet.WorkloadView) bool { return string(w.ID) == name })
				f.view.Workloads[w].Knobs = append(f.view.Workloads[w].Knobs, k)
				return ""
			case "threshold": // of a feature
				w := slices.IndexFunc(f.view.Workloads, func(w fleet.WorkloadView) bool { return string(w.ID) == name })
				f.view.Workloads[w].Kind, f.view.Workloads[w].Instance = fleet.Feature, fleet.WorkloadID(a.text("of", "vm"))
				limit := fleet.FeatureThreshold{Metric: fleet.Resource(a.text("metric", "cpu")), Limit: int64(1000 * a.number("limit", 1)), Clear: fleet.DefaultClear, Hold: a.duration("hold", fleet.DefaultHold)}
				must(d, t, limit.Validate())
				f.view.Thresholds = append(f.view.Thresholds, fleet.WorkloadThresholds{Workload: fleet.WorkloadID(name), Thresholds: []fleet.FeatureThreshold{limit}})
				return ""
			case "metric": // what a feature pushes
				f.pushed[fleet.WorkloadID(name)] = fleet.Vector{}.With(fleet.Resource(a.text("of", "")), int64(1000*a.number("is", 0)))
				return ""
			case "link": // between zones
				f.view.Links = append(f.view.Links, fleet.Link{From: name, To: a.text("to", ""), Bandwidth: int64(a.number("mib", 0)) << 20})
				return ""
			case "barred":
				f.view.Links = append(f.view.Links, fleet.Link{From: name, To: a.text("to", ""), Barred: "its cpu is older"})
				return ""
			case "request":
				f.view.Requests = append(f.view.Requests, fleet.Request{Workload: fleet.WorkloadID(name), Type: fleet.Requested, By: "alice",
					Source: fleet.HostID(a.text("from", "")), DestinationHost: fleet.HostID(a.text("to", "")), DestinationZone: a.text("zone", "")})
				return ""
			case "learn": // history before the passes
				f.advance(int(a.duration("for", 48*time.Hour) / fleet.Tick))
				return ""
			case "passes": // several passes; shows those that decide something
				return f.passes(int(a.duration("for", fleet.Tick)/fleet.Tick), a.text("show", "decisions"))
			case "why-not":
				f.refresh()
				return describe(WhyNot(f.view, f.model, fleet.WorkloadID(name), fleet.HostID(a.text("on", ""))))
			}
			d.Fatalf(t, "unknown command %q", d.Cmd)
			return ""
		})
	})
}

func must(d *datadriven.TestData, t *testing.T, err error) {
	t.Helper()
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
}

func (f *trial) passes(n int, show string) string {
	var out strings.Builder
	moves := 0
	for range n {
		plan := f.pass()
		moves += len(plan.Moves)
		f.view.Requests = nil // a request is answered once
		for _, d := range plan.Decisions {
			if n == 1 || d.Outcome == fleet.OutcomeMove || d.Outcome == fleet.OutcomeAdjust || d.Outcome == fleet.OutcomeUndo || d.Outcome == fleet.OutcomeStandby || d.Outcome == fleet.OutcomeCancel || show == "all" && d.Outcome != fleet.OutcomeNone {
				fmt.Fprintf(&out, "%s ", f.view.Now.Format("15:04"))
				out.WriteString(describe(d))
			}
		}
	}
	fmt.Fprintf(&out, "moves=%d\n", moves)
	return out.String()
}

func describe(d fleet.Decision) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s", d.Outcome)
	if d.Workload != "" {
		fmt.Fprintf(&out, " %s %s->%s %s", d.Workload, d.From, cmp.Or(string(d.To), "?"), d.Type)
	}
	fmt.Fprintf(&out, ": %s\n", d.Reason)
	parts := func(kind string, list []fleet.ScorePart) {
		fmt.Fprintf(&out, "  %s", kind)
		for _, p := range list {
			fmt.Fprintf(&out, "; %s %.3f", p.Name, p.Value)
		}
		out.WriteString("\n")
	}
	if len(d.CandidateScore) > 0 {
		parts("candidate", d.CandidateScore)
	}
	for _, s := range d.Scores {
		parts(fmt.Sprintf("host %s %.3f", s.Host, s.Total), s.Parts)
	}
	for _, e := range d.Exclusions {
		fmt.Fprintf(&out, "  not %s\n", strings.Join(slices.DeleteFunc([]string{string(e.Workload), string(e.Host)}, func(s string) bool { return s == "" }), " on ")+": "+e.Reason)
	}
	return out.String()
}
