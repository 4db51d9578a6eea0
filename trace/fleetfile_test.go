package trace

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/placed-dev/placed/fleet"
)

// Every default of the manual, and what is given in their place.
func TestFleetFileDefaults(t *testing.T) {
	file, err := ReadFleet(strings.NewReader(`{
 "instances": [
  {"id": "b", "host": "h1", "usage": {"cpu": 1.5, "memory": 1024.0}},
  {"id": "a", "host": "h1", "reservation": {"cpu": 2, "memory": 2048, "gpu": 1}, "usage": {"cpu": 0.5}, "priority": 7, "tolerance": 0.25, "movable": false, "group": "web", "requires": {"storage": "ceph, nfs"}},
  {"id": "c"}
 ],
 "hosts": [
  {"id": "h1", "capacity": {"cpu": 8, "memory": 65536, "custom": {"gpu": 2}}, "overcommit": {"cpu": 2.5}, "price": {"cpu_hour": 0.1, "gib_hour": 0.2},
   "capabilities": {"cpu_features": ["avx2", "aes"], "storage": "ceph", "gpu": "a100"}, "labels": {"class": "big", "rack": 3}},
  {"id": "h0", "state": "stale"}
 ],
 "rules": [{"kind": "anti-affinity", "instances": ["a", "b"]}, {"id": "soft", "kind": "host-affinity", "hard": false, "groups": ["web"], "hosts": ["h1"]}],
 "links": [{"from": "h1", "to": "default", "latency_ms": 0.3, "bandwidth": 1e9, "cost_per_gib": 0.01}]
}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Notes) != 0 {
		t.Errorf("notes %q", file.Notes)
	}
	v := file.View
	if v.Hosts[0].ID != "h0" || v.Hosts[0].Liveness != fleet.Stale || v.Hosts[0].Capacity.CPU != fleet.Unknown || v.Hosts[0].Zone != "default" {
		t.Errorf("host h0: %+v", v.Hosts[0])
	}
	h := v.Hosts[1]
	if h.Capacity.CPU != 8000 || h.Capacity.Net != fleet.Unknown || h.Allocatable().CPU != 20000 || h.Capacity.Get("gpu") != 2000 || h.Class != "big" ||
		h.Labels["rack"] != "3" || h.Price.GiBHour != 0.2 || strings.Join(h.Capabilities.Devices, " ") != "gpu=a100" || len(h.Capabilities.CPUFeatures) != 2 {
		t.Errorf("host h1: %+v", h)
	}
	a, b, c := v.Workloads[0], v.Workloads[1], v.Workloads[2]
	if a.Reservation.CPU != 2000 || a.Usage.CPU != 500 || a.Usage.Memory != 2048 || a.Usage.Get("gpu") != 1000 || !a.Pinned || a.Tolerance != 250 || a.Priority != 7 ||
		strings.Join(a.Requires.Storage, " ") != "ceph nfs" {
		t.Errorf("instance a: %+v", a)
	}
	if b.Reservation.CPU != 0 || b.Reservation.Memory != 1024 || b.Usage.CPU != 1500 || b.Tolerance != 1000 || b.Pinned {
		t.Errorf("instance b: %+v", b)
	}
	if c.Owner != "" || !c.Reservation.IsZero() {
		t.Errorf("instance c: %+v", c)
	}
	if h.Held.Memory != 3072 || h.Usage.CPU != 2000 {
		t.Errorf("held %v, used %v", h.Held, h.Usage)
	}
	if !v.Rules[0].Hard || v.Rules[1].Hard || v.Rules[1].ID != "soft" || len(v.Links) != 1 {
		t.Errorf("rules %+v", v.Rules)
	}
}

// Each mistake has its line, its place and a reason that says what to repair.
func TestFleetFileMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{``, "line 1: the file ends in the middle of a value"},
		{`[]`, "line 1: want an object with hosts and instances"},
		{"{\n\"hosts\": [}", "line 2: no JSON"},
		{`{"hosts": [`, "line 1: the file ends in the middle of a value"},
		{`{"instances": []}`, `there is no list "hosts"`},
		{`{"hosts": {}}`, "line 1: hosts: want a list"},
		{`{"hosts": [], "hosts": []}`, `"hosts" stands twice`},
		{`{"hosts": []} {}`, "something follows the end"},
		{"{\"hosts\": [\n{}]}", "line 2: hosts[0]: the id is empty"},
		{"{\"hosts\": [{\"id\": \"a\"},\n{\"id\": \"a\"}]}", "line 2: hosts[1] (a): the id stands on line 1 already"},
		{"{\"hosts\": [{\"id\": \"a\",\n\n\"zone\": 7}]}", "line 3: hosts[0]: zone is a number, want a text"},
		{`{"hosts": [7]}`, "hosts[0]: want an object, not a number"},
		{`{"hosts": [{"id": "a", "state": "off"}]}`, `hosts[0] (a): state "off": want active, draining`},
		{`{"hosts": [{"id": "a", "capacity": {"cpu": "8"}}]}`, `cpu is "8", want a number`},
		{`{"hosts": [{"id": "a", "capacity": {"cpu": -1}}]}`, "capacity: cpu is -1: want 0 or more"},
		{`{"hosts": [{"id": "a", "overcommit": {"cpu": 0}}]}`, "overcommit: cpu is 0"},
		{`{"hosts": [], "instances": [{"id": "v", "host": "x"}]}`, `instances[0] (v): host "x" is not in the file`},
		{`{"hosts": [], "instances": [{"id": "v", "tolerance": 2}]}`, "tolerance is 2: want 0 to 1"},
		{`{"hosts": [], "instances": [{"id": "v", "priority": 0.5}]}`, "priority is 0.5: want a whole number"},
		{`{"hosts": [], "rules": [{"kind": "near"}]}`, `unknown rule kind "near"`},
		{`{"hosts": [], "rules": [{"kind": "affinity"}]}`, "it names no workload and no group"},
		{`{"hosts": [], "rules": [{"kind": "affinity", "instances": ["v"]}]}`, `instance "v" is not in the file`},
		{`{"hosts": [], "links": [{"from": "a", "to": "b"}]}`, `"a" is neither a host nor a zone`},
	} {
		_, err := ReadFleet(strings.NewReader(c.text))
		var wrong *FleetError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

// A misspelt key is said, once.
func TestFleetFileNotes(t *testing.T) {
	file, err := ReadFleet(strings.NewReader(`{"hosts": [{"id": "a", "capcity": {}}, {"id": "b", "capcity": {}}], "extra": 1}`))
	if err != nil || strings.Join(file.Notes, "; ") != `line 1: hosts[0]: "capcity" is not known and ignored; line 1: "extra" is not known and ignored` {
		t.Errorf("%q, %v", file.Notes, err)
	}
}

// Whatever is read, it ends in an error with a line or in a view that holds
// together: every owner is a host, and sums do not wrap.
func FuzzReadFleet(f *testing.F) {
	f.Add(`{"hosts":[{"id":"h","capacity":{"cpu":1}}],"instances":[{"id":"v","host":"h","usage":{"cpu":1e3,"custom":{"x":1}}}],"rules":[{"kind":"affinity","instances":["v"]}],"links":[{"from":"h","to":"default"}]}`)
	f.Add(`{"hosts":null,"instances":[{"id":"v","host":null}]}`)
	f.Add("{\n\"hosts\":[{\"id\":\"\x01\"}]}")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := ReadFleet(strings.NewReader(text))
		if err != nil {
			var wrong *FleetError
			if !errors.As(err, &wrong) || wrong.Line < 1 || wrong.Line > 1+strings.Count(text, "\n") || wrong.Reason == "" {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		hosts := map[fleet.HostID]bool{"": true}
		for _, h := range file.View.Hosts {
			hosts[h.ID] = true
			if h.Held.CPU < 0 || h.Held.Memory < 0 {
				t.Fatalf("host %s holds %v", h.ID, h.Held)
			}
		}
		for _, w := range file.View.Workloads {
			if !hosts[w.Owner] || w.Size < 0 {
				t.Fatalf("%+v", w)
			}
		}
		if _, err := json.Marshal(file.View); err != nil {
			t.Fatal(err)
		}
	})
}
