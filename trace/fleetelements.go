package trace

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// reportedAt stands for "reported": a fleet file is one moment, and has no time.
var reportedAt = time.Unix(0, 0).UTC()

// hostStates are the words of a host's state in a fleet file: what an operator
// decided, or what gossip found.
var hostStates = map[string]struct {
	state    fleet.HostState
	liveness fleet.Liveness
}{
	"": {}, "active": {}, "draining": {state: fleet.HostDraining}, "maintenance": {state: fleet.HostMaintenance}, "left": {state: fleet.HostLeft},
	"suspect": {liveness: fleet.Suspect}, "stale": {liveness: fleet.Stale}, "dead": {liveness: fleet.Dead},
}

func (f *fleetReader) host(where string, line int, raw json.RawMessage) error {
	var in struct {
		ID, Zone, State string
		Capacity        amounts
		Overcommit      map[string]float64
		Price           *struct {
			CPUHour float64 `json:"cpu_hour"`
			GiBHour float64 `json:"gib_hour"`
		}
		Capabilities map[string]any
		Labels       map[string]any
	}
	if err := f.object(where, line, raw, &in, "id", "zone", "state", "capacity", "overcommit", "price", "capabilities", "labels"); err != nil {
		return err
	}
	id := fleet.HostID(in.ID)
	fail := func(format string, args ...any) error {
		return &FleetError{Line: line, Where: named(where, in.ID), Reason: fmt.Sprintf(format, args...)}
	}
	if err := checkID(in.ID); err != nil {
		return fail("%v", err)
	}
	if before, ok := f.hosts[id]; ok {
		return fail("the id stands on line %d already", before)
	}
	f.hosts[id] = line
	state, ok := hostStates[in.State]
	if !ok {
		return fail("state %q: want active, draining, maintenance, left, suspect, stale or dead", in.State)
	}
	capacity, err := in.Capacity.vector("capacity", func(fleet.Resource) int64 { return fleet.Unknown })
	if err != nil {
		return fail("%v", err)
	}
	h := fleet.HostView{Host: fleet.Host{ID: id, Name: in.ID, Zone: in.Zone, State: state.state, Capacity: capacity},
		Liveness: state.liveness, Reported: reportedAt}
	if h.Zone == "" {
		h.Zone = "default"
	}
	for _, name := range sortedKeys(in.Overcommit) {
		factor := in.Overcommit[name]
		if factor <= 0 || factor > 1000 {
			return fail("overcommit: %s is %g: want more than 0 and at most 1000", name, factor)
		}
		h.Overcommit = h.Overcommit.With(fleet.Resource(name), int64(math.Round(factor*1000)))
	}
	if in.Price != nil {
		if in.Price.CPUHour < 0 || in.Price.GiBHour < 0 {
			return fail("price: want 0 or more")
		}
		h.Price = fleet.Price(*in.Price)
	}
	h.Capabilities, h.Labels = capabilities(in.Capabilities), map[string]string{}
	for _, name := range sortedKeys(in.Labels) {
		h.Labels[name] = text(in.Labels[name])
	}
	if len(h.Labels) == 0 {
		h.Labels = nil
	}
	h.Class = h.Labels["class"]
	f.out.View.Hosts = append(f.out.View.Hosts, h)
	return nil
}

func (f *fleetReader) instance(where string, line int, raw json.RawMessage) error {
	var in struct {
		ID                 string
		Host               *string
		Reservation, Usage amounts
		Priority           float64
		Tolerance          *float64
		Movable            *bool
		Group              string
		Requires           map[string]any
	}
	if err := f.object(where, line, raw, &in, "id", "host", "reservation", "usage", "priority", "tolerance", "movable", "group", "requires"); err != nil {
		return err
	}
	fail := func(format string, args ...any) error {
		return &FleetError{Line: line, Where: named(where, in.ID), Reason: fmt.Sprintf(format, args...)}
	}
	if err := checkID(in.ID); err != nil {
		return fail("%v", err)
	}
	id := fleet.WorkloadID(in.ID)
	if before, ok := f.works[id]; ok {
		return fail("the id stands on line %d already", before)
	}
	f.works[id] = line
	none := func(fleet.Resource) int64 { return 0 }
	given, err := in.Usage.vector("usage", none)
	if err != nil {
		return fail("%v", err)
	}
	reservation, err := in.Reservation.vector("reservation", func(r fleet.Resource) int64 {
		if r == fleet.Memory {
			return given.Memory
		}
		return 0
	})
	if err != nil {
		return fail("%v", err)
	}
	usage, err := in.Usage.vector("usage", reservation.Get)
	if err != nil {
		return fail("%v", err)
	}
	for _, custom := range reservation.Named {
		if _, ok := in.Usage[string(custom.Name)]; !ok {
			usage = usage.With(custom.Name, custom.Amount)
		}
	}
	tolerance := 1.0
	if in.Tolerance != nil {
		tolerance = *in.Tolerance
	}
	if tolerance < 0 || tolerance > 1 {
		return fail("tolerance is %g: want 0 to 1", tolerance)
	}
	if math.Abs(in.Priority) > 1e9 || in.Priority != math.Trunc(in.Priority) {
		return fail("priority is %g: want a whole number", in.Priority)
	}
	w := fleet.WorkloadView{Workload: fleet.Workload{ID: id, Reservation: reservation, Priority: int64(in.Priority),
		Tolerance: int64(math.Round(tolerance * 1000)), Pinned: in.Movable != nil && !*in.Movable, Group: in.Group},
		Usage: usage, Size: reservation.Memory, Requires: capabilities(in.Requires)}
	if w.Size == 0 {
		w.Size = usage.Memory
	}
	if in.Host != nil && *in.Host != "" {
		w.Owner = fleet.HostID(*in.Host)
		f.checks = append(f.checks, func() error {
			if _, ok := f.hosts[w.Owner]; !ok {
				return fail("host %q is not in the file: name one of its hosts, or none for a pending instance", w.Owner)
			}
			return nil
		})
	}
	f.out.View.Workloads = append(f.out.View.Workloads, w)
	return nil
}

func (f *fleetReader) rule(where string, line int, raw json.RawMessage) error {
	var in struct {
		ID                       string
		Kind                     string
		Hard                     *bool
		Instances, Groups, Hosts []string
	}
	if err := f.object(where, line, raw, &in, "id", "kind", "hard", "instances", "groups", "hosts"); err != nil {
		return err
	}
	fail := func(format string, args ...any) error {
		return &FleetError{Line: line, Where: named(where, in.ID), Reason: fmt.Sprintf(format, args...)}
	}
	rule := fleet.Rule{ID: in.ID, Hard: in.Hard == nil || *in.Hard, Groups: in.Groups}
	if rule.ID == "" {
		rule.ID = fmt.Sprintf("rule-%03d", len(f.out.View.Rules)+1)
	}
	if before, ok := f.rules[rule.ID]; ok {
		return fail("the id stands on line %d already", before)
	}
	if f.rules == nil {
		f.rules = map[string]int{}
	}
	f.rules[rule.ID] = line
	if err := rule.Kind.UnmarshalText([]byte(in.Kind)); err != nil {
		return fail("%v", err)
	}
	for _, id := range in.Instances {
		rule.Workloads = append(rule.Workloads, fleet.WorkloadID(id))
	}
	for _, id := range in.Hosts {
		rule.Hosts = append(rule.Hosts, fleet.HostID(id))
	}
	if err := rule.Validate(); err != nil {
		return fail("%v", err)
	}
	f.checks = append(f.checks, func() error {
		for _, id := range rule.Workloads {
			if _, ok := f.works[id]; !ok {
				return fail("instance %q is not in the file", id)
			}
		}
		for _, id := range rule.Hosts {
			if _, ok := f.hosts[id]; !ok {
				return fail("host %q is not in the file", id)
			}
		}
		return nil
	})
	f.out.View.Rules = append(f.out.View.Rules, rule)
	return nil
}

func (f *fleetReader) link(where string, line int, raw json.RawMessage) error {
	var in struct {
		From, To   string
		LatencyMS  float64 `json:"latency_ms"`
		Bandwidth  float64
		CostPerGiB float64 `json:"cost_per_gib"`
		Barred     string
	}
	if err := f.object(where, line, raw, &in, "from", "to", "latency_ms", "bandwidth", "cost_per_gib", "barred"); err != nil {
		return err
	}
	fail := func(format string, args ...any) error {
		return &FleetError{Line: line, Where: named(where, in.From+" to "+in.To), Reason: fmt.Sprintf(format, args...)}
	}
	if in.From == "" || in.To == "" {
		return fail("want from and to")
	}
	if in.LatencyMS < 0 || in.CostPerGiB < 0 || in.Bandwidth < 0 || in.Bandwidth > math.MaxInt64/4 {
		return fail("latency_ms, bandwidth and cost_per_gib must not be negative")
	}
	link := fleet.Link{From: in.From, To: in.To, LatencyMS: in.LatencyMS, Bandwidth: int64(in.Bandwidth), CostPerGiB: in.CostPerGiB, Barred: in.Barred}
	f.checks = append(f.checks, func() error {
		for _, end := range []string{link.From, link.To} {
			_, isHost := f.hosts[fleet.HostID(end)]
			if !isHost && !slices.ContainsFunc(f.out.View.Hosts, func(h fleet.HostView) bool { return h.Zone == end }) {
				return fail("%q is neither a host nor a zone of the file", end)
			}
		}
		return nil
	})
	f.out.View.Links = append(f.out.View.Links, link)
	return nil
}

// capabilities reads the keys that the planner understands, in any of the forms
// "avx2", ["avx2", "aes"] and true (the key itself); every other key counts as a
// device of that name, with its value: "gpu": "a100" is the device gpu=a100.
// "ability:CLASS" is a class of which a host that does not name it is not known to
// have none.
func capabilities(in map[string]any) fleet.Capabilities {
	var out fleet.Capabilities
	found := map[string][]string{}
	for _, key := range sortedKeys(in) {
		values := texts(in[key])
		if class, ok := strings.CutPrefix(key, "ability:"); ok {
			found[class] = values
			continue
		}
		switch key {
		case "cpu_model":
			out.CPUModel = strings.Join(values, " ")
		case "cpu_features":
			out.CPUFeatures = values
		case "devices":
			out.Devices = append(out.Devices, values...)
		case "storage":
			out.Storage = values
		case "networks":
			out.Networks = values
		default:
			for _, v := range values {
				out.Devices = append(out.Devices, key+"="+v)
			}
		}
	}
	if len(found) > 0 {
		out.Abilities = fleet.Abilities(found)
	}
	return out
}

// texts turns a value into a list; a text is split at commas.
func texts(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, texts(e)...)
		}
		return out
	case string:
		var out []string
		for _, part := range strings.Split(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
		return out
	}
	return []string{text(v)}
}

func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	out, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(out)
}

func named(where, id string) string {
	if id == "" {
		return where
	}
	return fmt.Sprintf("%s (%.60s)", where, id)
}

func checkID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("the id is empty")
	case len(id) > 256:
		return fmt.Errorf("the id is longer than 256 bytes")
	case strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("the id contains a control character")
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
