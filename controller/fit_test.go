package controller

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/scorer"
)

// cpuFeatures are as many as a server's CPU has, with names as long.
func cpuFeatures(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("feature-%03d", i))
	}
	return out
}

// TestFit: what hosts say of themselves and of their workloads reaches the view, where
// the scorer refuses what cannot be; a host that says nothing refuses nothing.
func TestFit(t *testing.T) {
	r, now := NewReports(), time.Unix(1e9, 0)
	report := func(host fleet.HostID, seq uint64, version uint64, f *Fit) Ack {
		return r.Add(Report{Host: host, Boot: "b", Seq: seq, At: now, FitVersion: version, Fit: f}, now)
	}
	guest := fleet.Abilities(map[string][]string{"network segment": {"br0=prod"}, "cpu feature": cpuFeatures(3)})
	here := NewFit(fleet.Abilities(map[string][]string{"network segment": {"br0=prod"}, "cpu feature": cpuFeatures(4)}),
		map[fleet.WorkloadID][]fleet.Ability{"w": guest, "v": guest})
	small := NewFit(fleet.Abilities(map[string][]string{"network segment": {"br0=test"}, "cpu feature": cpuFeatures(4)}), nil)
	if ack := report("h1", 1, here.Version(), nil); !ack.Fit {
		t.Error("a version that this voter does not have was not asked for")
	}
	if ack := report("h1", 2, here.Version(), here); ack.Fit {
		t.Error("asked for again")
	}
	if ack := report("h1", 3, here.Version(), nil); ack.Fit {
		t.Error("asked for again without a change")
	}
	report("h2", 1, small.Version(), small)
	report("h3", 1, 0, nil)

	fill := func() fleet.View {
		view := fleet.View{Hosts: make([]fleet.HostView, 3), Workloads: make([]fleet.WorkloadView, 2)}
		for i := range view.Hosts {
			view.Hosts[i].ID = fleet.HostID(fmt.Sprintf("h%d", i+1))
		}
		view.Workloads[0].ID, view.Workloads[1].ID = "v", "w"
		view.Workloads[0].Owner, view.Workloads[1].Owner = "h1", "h1"
		r.Fill(&view, now, time.Minute)
		return view
	}
	view := fill()
	judge := func(to int) (bool, string) {
		return scorer.Compatible(view.Workloads[1], &view.Hosts[0].Host, view.Hosts[to], scorer.NewWays(nil))
	}
	if ok, why := judge(1); ok || why != "it lacks network segment br0=prod, which the workload requires" {
		t.Errorf("another segment: %v %q", ok, why)
	}
	for _, to := range []int{0, 2} {
		if ok, why := judge(to); !ok {
			t.Errorf("host %d: %s", to+1, why)
		}
	}
	// The features, which all hosts have, are not carried through the pass.
	if n := len(view.Workloads[1].Requires.Abilities); n != 1 {
		t.Errorf("%d classes in the view, want the one that decides", n)
	}
	report("h1", 4, 0, nil) // an older agent has taken over
	if view = fill(); !view.Workloads[1].Requires.IsZero() {
		t.Error("what an agent no longer says still counts")
	}
}

// TestFitSize: the record of a host stays within a few KiB, and 40 guests with CPUs of
// a hundred features add little, for they share them.
func TestFitSize(t *testing.T) {
	has := fleet.Abilities(map[string][]string{"cpu feature (x86_64, kvm)": cpuFeatures(120), "machine type of x86_64": cpuFeatures(60)})
	needs := map[fleet.WorkloadID][]fleet.Ability{}
	for i := range 40 {
		needs[fleet.WorkloadID(fmt.Sprintf("guest-%d", i))] = fleet.Abilities(map[string][]string{
			"cpu feature (x86_64, kvm)": cpuFeatures(100 + i%2), "machine type of x86_64": {"feature-001"}, "network segment": {"br0=prod"}})
	}
	fit := NewFit(has, needs)
	text, err := json.Marshal(fit)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("FIGURE host record with 40 guests: %d bytes, sent on change", len(text))
	if len(text) > 10<<10 {
		t.Errorf("%d bytes", len(text))
	}
	var back Fit
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	got := unpack(back.Version(), &back)
	if back.Version() != fit.Version() || fmt.Sprint(got.needs["guest-7"]) != fmt.Sprint(needs["guest-7"]) {
		t.Errorf("came back as %v", got.needs["guest-7"])
	}
}

// FuzzFit: whatever a host sends, a voter takes it in.
func FuzzFit(f *testing.F) {
	f.Add([]byte(`{"has":[{"class":"b","values":["z","a"]},{"class":"a"}],"sets":[{"class":"x","values":null}],"needs":{"w":[0,7,-1]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var in Fit
		if json.Unmarshal(text, &in) != nil {
			t.Skip()
		}
		got := unpack(1, &in)
		for _, want := range got.needs {
			fleet.Lacking(got.has, want)
		}
	})
}
