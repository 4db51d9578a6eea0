package fsm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/placed-dev/placed/fleet"
)

// TestStories runs the life cycles in testdata/stories. A block is one log
// entry; its input has one operation per line:
//
//	apply from=h1
//	grant workload=w1 to=h2
//	begin lease=w2
//
// The output is one line per operation, then the events of the entry.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		w := newWorld()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "fleet":
				w = newFleet(t)
				return w.books()
			case "newest-fleet":
				w = newest(t)
				return w.books()
			case "books":
				return w.books()
			case "wait":
				w.now = w.now.Add(mustDuration(t, d))
				return ""
			case "apply":
				return w.tell(t, d)
			case "outcomes":
				var out strings.Builder
				for _, o := range w.state.Outcomes() {
					text, err := json.MarshalIndent(o, "", " ")
					if err != nil {
						t.Fatal(err)
					}
					fmt.Fprintf(&out, "%s\n", text)
				}
				return out.String()
			}
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		})
	})
}

// owned lists what a host owns, as it would report it.
func (w *world) owned(id fleet.HostID) (out []fleet.Workload) {
	for _, x := range w.state.Workloads() {
		if x.Owner == id {
			out = append(out, x)
		}
	}
	return out
}

func ids[T ~string](text string) (out []T) {
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' }) {
		out = append(out, T(word))
	}
	return out
}

func mustDuration(t *testing.T, d *datadriven.TestData) time.Duration {
	var text string
	d.ScanArgs(t, "for", &text)
	out, err := time.ParseDuration(text)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return out
}

func (w *world) tell(t *testing.T, d *datadriven.TestData) string {
	var from string
	d.ScanArgs(t, "from", &from)
	var ops []Operation
	for line := range strings.Lines(d.Input) {
		ops = append(ops, w.parseOperation(t, d, strings.TrimSpace(line)))
	}
	before := w.state.Index()
	result := w.apply(t, fleet.HostID(from), ops...)
	var out strings.Builder
	for i, op := range result.Ops {
		fmt.Fprintf(&out, "%s: ", commands[ops[i].number()].name)
		switch {
		case op.Err != nil:
			fmt.Fprintf(&out, "REFUSED %s: %v\n", op.Err.Code, op.Err)
		case op.Lease != nil:
			fmt.Fprintf(&out, "ok, %s %s\n", op.Lease.ID, op.Lease.State)
		default:
			out.WriteString("ok\n")
		}
	}
	for _, ev := range w.state.EventsSince(before, 1<<30) {
		fmt.Fprintf(&out, "  %d.%d %s: %s\n", ev.Index, ev.Seq, ev.Type, ev.Message)
	}
	return out.String()
}

func (w *world) books() string {
	var out strings.Builder
	for _, h := range w.state.Hosts() {
		fmt.Fprintf(&out, "%s %s: %s held of %s", h.ID, h.State, fleet.FormatAmount(fleet.Memory, w.state.Held(h.ID).Memory), fleet.FormatAmount(fleet.Memory, h.Allocatable().Memory))
		if over, why := w.state.Overbooked(h.ID); over {
			fmt.Fprintf(&out, ", OVERBOOKED %s", why)
		}
		if !w.state.Verified(h.ID) {
			out.WriteString(", unverified")
		}
		out.WriteByte('\n')
	}
	for _, x := range w.state.Workloads() {
		fmt.Fprintf(&out, "%s on %s, epoch %d\n", x.ID, x.Owner, x.Epoch)
	}
	for _, l := range w.state.Leases() {
		fmt.Fprintf(&out, "%s %s %s %s->%s\n", l.ID, l.Workload, l.State, l.Source, l.Destination)
	}
	return out.String()
}

// parseOperation reads "name key=value …".
func (w *world) parseOperation(t *testing.T, d *datadriven.TestData, line string) Operation {
	words := strings.Fields(line)
	if len(words) == 0 {
		d.Fatalf(t, "empty line")
	}
	args := map[string]string{}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		args[key] = strings.ReplaceAll(value, "_", " ")
	}
	take := func(key string) string {
		v := args[key]
		delete(args, key)
		return v
	}
	memory := func() int64 {
		text := take("memory")
		if text == "" {
			return 0
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return n * gib
	}
	standbys := func() int64 {
		n, err := strconv.ParseInt(cmp.Or(take("standbys"), "0"), 10, 64)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return n
	}
	// A lease is named by its workload: the newest one is meant.
	lease := func() fleet.LeaseID {
		name := take("lease")
		for _, l := range slices.Backward(w.state.AllLeases()) {
			if string(l.Workload) == name {
				return l.ID
			}
		}
		return fleet.LeaseID(name)
	}
	var op Operation
	switch words[0] {
	case "init":
		op = InitCluster{Cluster: take("cluster")}
	case "raise":
		op = RaiseGeneration{Reason: take("reason")}
	case "pause":
		p := fleet.DefaultPolicy()
		p.Automation, p.Paused = fleet.Auto, take("off") == ""
		op = SetPolicy{Policy: p, By: "alice"}
	case "policy":
		p := fleet.DefaultPolicy()
		if err := p.Automation.UnmarshalText([]byte(take("automation"))); err != nil {
			d.Fatalf(t, "%v", err)
		}
		p.Standbys = standbys()
		op = SetPolicy{Policy: p, By: "alice"}
	case "level":
		op = RaiseFeatureLevel{Level: FeatureLevel, By: "alice"}
	case "host":
		op = RegisterHost{Host: host(take("id"), memory())}
	case "host-state":
		o := SetHostState{Host: fleet.HostID(take("id")), By: "alice", Reason: take("reason")}
		if err := o.State.UnmarshalText([]byte(take("state"))); err != nil {
			d.Fatalf(t, "%v", err)
		}
		op = o
	case "runs":
		o := RegisterWorkloads{Host: fleet.HostID(take("host"))}
		size := memory()
		for _, id := range strings.FieldsFunc(take("workloads"), func(r rune) bool { return r == ',' }) {
			o.Workloads = append(o.Workloads, instance(id, size))
		}
		op = o
	case "external":
		x := instance(take("workload"), memory())
		x.ManagedBy = take("by")
		op = RegisterWorkloads{Host: fleet.HostID(take("host")), Workloads: append(w.owned(fleet.HostID(args["on"])), x)}
		take("on")
	case "groups":
		o := RegisterWorkloads{Host: fleet.HostID(take("host"))}
		group, of := take("group"), take("of")
		for _, x := range w.owned(o.Host) {
			if slices.Contains(strings.Split(of, ","), string(x.ID)) {
				x.Group = group
			}
			o.Workloads = append(o.Workloads, x)
		}
		op = o
	case "foreign":
		op = ObserveHost{Host: fleet.HostID(take("host")), Foreign: fleet.Vector{Memory: memory()}}
	case "rule":
		r := fleet.Rule{ID: take("id"), Hard: take("soft") == ""}
		if err := r.Kind.UnmarshalText([]byte(take("kind"))); err != nil {
			d.Fatalf(t, "%v", err)
		}
		r.Workloads, r.Groups, r.Hosts = ids[fleet.WorkloadID](take("workloads")), ids[string](take("groups")), ids[fleet.HostID](take("hosts"))
		op = PutRule{Rule: r, By: "alice"}
	case "drop-rule":
		op = DropRule{ID: take("id"), By: "alice"}
	case "no-moves":
		until, err := time.ParseDuration(take("until"))
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		op = SetCalendar{Source: "ops", By: "alice", Entries: []fleet.CalendarEntry{{ID: "e1", Kind: fleet.NoMoves, Label: take("label"),
			From: epoch, Until: epoch.Add(until), Hosts: ids[fleet.HostID](take("hosts")), Workloads: ids[fleet.WorkloadID](take("workloads"))}}}
	case "no-calendar":
		op = SetCalendar{Source: "ops", By: "alice"}
	case "deregister":
		op = DeregisterWorkload{Workload: fleet.WorkloadID(take("workload"))}
	case "pin":
		op = PinWorkload{Workload: fleet.WorkloadID(take("workload")), Pinned: take("off") == "", By: "alice"}
	case "grant":
		o := Grant{Workload: fleet.WorkloadID(take("workload")), Destination: fleet.HostID(take("to")), Decision: take("decision"), Reason: take("reason")}
		if text := take("type"); text != "" {
			if err := o.Type.UnmarshalText([]byte(text)); err != nil {
				d.Fatalf(t, "%v", err)
			}
		}
		if text := take("kind"); text != "" {
			if err := o.Kind.UnmarshalText([]byte(text)); err != nil {
				d.Fatalf(t, "%v", err)
			}
		}
		op = o
	case "promote":
		op = Promote{Lease: lease(), Type: fleet.Preemptive, Decision: take("decision"), Reason: take("reason")}
	case "place":
		op = Grant{Group: take("group"), Workload: fleet.WorkloadID(take("workload")), Destination: fleet.HostID(take("to")), Kind: fleet.LeasePlacement,
			Type: fleet.Requested, Reservation: fleet.Vector{CPU: 500, Memory: memory()}}
	case "claim":
		x := instance(take("workload"), memory())
		x.Group = take("group")
		op = Claim{Lease: lease(), Workload: x}
	case "begin":
		op = Begin{Lease: lease()}
	case "prepared":
		op = ReportPrepared{Lease: lease(), Digest: take("digest")}
	case "commit":
		op = Commit{Lease: lease(), Digest: take("digest")}
	case "abort":
		op = Abort{Lease: lease(), Reason: take("reason")}
	case "discarded":
		op = ReportDiscarded{Lease: lease()}
	case "activated":
		op = ReportActivated{Lease: lease()}
	case "released":
		op = ReportReleased{Lease: lease()}
	case "release":
		op = Release{Lease: lease()}
	case "expire":
		op = Expire{Lease: lease()}
	case "revert":
		op = Revert{Lease: lease(), Reason: take("reason")}
	case "observe":
		op = ObserveOwner{Lease: lease(), Host: fleet.HostID(take("host")), Seen: Seen(take("seen")), Digest: take("digest")}
	case "resolve":
		op = Resolve{Lease: lease(), Commit: take("commit") == "true", By: take("by"), Reason: take("reason")}
	case "decide":
		op = RecordDecisions{Decisions: []fleet.Decision{{ID: take("id"), Pass: "p1", At: epoch, Outcome: fleet.OutcomeMove, Reason: "breach ahead",
			Contention: &fleet.Contention{Host: "h1", Resource: fleet.CPU, Breach: epoch.Add(time.Hour), Allocatable: 8000, Probability: 0.9}}}}
	case "outcome":
		o := MigrationOutcome{Lease: lease()}
		if came := take("came"); came != "" {
			yes := came == "true"
			o.ContentionCame = &yes
		} else {
			o.Rounds, o.Wire, o.Downtime, o.Duration, o.Tracker = 3, 1<<20, 40*time.Millisecond, 2*time.Second, "pagemap-scan"
		}
		op = RecordOutcome{Outcome: o}
	default:
		d.Fatalf(t, "unknown operation %q", words[0])
	}
	if len(args) > 0 {
		d.Fatalf(t, "left-over arguments %v in %q", args, line)
	}
	return op
}
