package fleet

import (
	"strings"
	"testing"
	"time"
)

func TestCalendarEntryNamesWhatIsWrong(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	good := CalendarEntry{ID: "e1", Kind: LoadChanges, From: noon, Until: noon.Add(time.Hour), Change: Vector{CPU: 500}.With("gpu", -1000)}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		spoil func(*CalendarEntry)
		want  string
	}{
		"no id":            {func(e *CalendarEntry) { e.ID = "" }, "calendar id is empty"},
		"kind":             {func(e *CalendarEntry) { e.Kind = 9 }, "kind 9 has no name"},
		"backwards":        {func(e *CalendarEntry) { e.Until = e.From }, "not after it begins"},
		"long label":       {func(e *CalendarEntry) { e.Label = strings.Repeat("x", 200) }, "label has 200"},
		"nothing changes":  {func(e *CalendarEntry) { e.Change = Vector{} }, "by how many thousandths"},
		"no-moves changes": {func(e *CalendarEntry) { e.Kind = NoMoves }, "changes no amount"},
		"more capacity":    {func(e *CalendarEntry) { e.Kind, e.Change = CapacityFalls, Vector{CPU: 1} }, "cpu changes by 1 thousandths: -1000 to 0"},
		"less than none":   {func(e *CalendarEntry) { e.Change = Vector{Memory: -1001} }, "memory changes by -1001"},
		"unknown":          {func(e *CalendarEntry) { e.Change.Net = Unknown }, "net changes by"},
		"resource":         {func(e *CalendarEntry) { e.Change.Named[0].Name = "a b" }, "resource"},
	} {
		e := good
		e.Change.Named = append([]Amount(nil), good.Change.Named...)
		test.spoil(&e)
		if err := e.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
	}
}

func TestCalendarEntrySaysWhomItIsAbout(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	owner, web := Host{ID: "h1", Zone: "z1"}, Workload{ID: "w1", Group: "web"}
	for name, test := range map[string]struct {
		entry          CalendarEntry
		host, workload bool
	}{
		"everything":     {CalendarEntry{}, true, true},
		"its host":       {CalendarEntry{Hosts: []HostID{"h1"}}, true, true},
		"its zone":       {CalendarEntry{Zones: []string{"z1"}}, true, true},
		"itself":         {CalendarEntry{Workloads: []WorkloadID{"w1"}}, false, true},
		"its group":      {CalendarEntry{Groups: []string{"web"}}, false, true},
		"something else": {CalendarEntry{Hosts: []HostID{"h2"}, Zones: []string{"z2"}, Workloads: []WorkloadID{"w2"}, Groups: []string{""}}, false, false},
	} {
		if got := test.entry.OnHost(owner); got != test.host {
			t.Errorf("%s: on its host %t", name, got)
		}
		if got := test.entry.OnWorkload(web, owner); got != test.workload {
			t.Errorf("%s: on the workload %t", name, got)
		}
	}
	if test := (CalendarEntry{Groups: []string{""}}); test.OnWorkload(Workload{ID: "w3"}, owner) {
		t.Error("a workload of no group is of the group without a name")
	}
	e := CalendarEntry{From: noon, Until: noon.Add(time.Hour)}
	for at, want := range map[time.Duration]bool{-1: false, 0: true, time.Hour - 1: true, time.Hour: false} {
		if e.At(noon.Add(at)) != want {
			t.Errorf("%s after its beginning: %t", at, !want)
		}
	}
}

// TestGrowthOfAnEntry: growth compounds within its interval and stands still outside.
func TestGrowthOfAnEntry(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	e := CalendarEntry{Kind: LoadGrows, From: begin, Until: begin.Add(2 * Month), Change: Vector{CPU: 100, Memory: -999, Net: Unknown}}
	for _, c := range []struct {
		r           Resource
		from, until time.Duration
		want        float64
	}{
		{CPU, 0, Month, 1.1}, {CPU, 0, 2 * Month, 1.21}, {CPU, -Month, Month, 1.1}, {CPU, Month, 9 * Month, 1.1},
		{CPU, 3 * Month, 4 * Month, 1}, {CPU, Month, 0, 1}, {Memory, 0, Month, 0.001}, {Net, 0, Month, 1}, {Disk, 0, Month, 1},
	} {
		if got := e.Growth(c.r, begin.Add(c.from), begin.Add(c.until)); got < c.want-1e-9 || got > c.want+1e-9 {
			t.Errorf("%s from %s to %s: ×%v, want ×%v", c.r, c.from, c.until, got, c.want)
		}
	}
	e.Kind = LoadChanges
	if got := e.Growth(CPU, begin, begin.Add(Month)); got != 1 {
		t.Errorf("an event grows by %v", got)
	}
}

func TestModelNamesWhatIsWrong(t *testing.T) {
	good := Model{Name: "60m/cpu", Version: 1, Hash: strings.Repeat("0f", 32), Size: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		spoil func(*Model)
		want  string
	}{
		"no name":    {func(m *Model) { m.Name = "" }, "model name is empty"},
		"no version": {func(m *Model) { m.Version = 0 }, "versions begin at 1"},
		"short hash": {func(m *Model) { m.Hash = "ab" }, "a hash of 2 characters"},
		"bad hash":   {func(m *Model) { m.Hash = strings.Repeat("X", 64) }, "contains 'X'"},
		"size":       {func(m *Model) { m.Size = -1 }, "size -1 is negative"},
	} {
		m := good
		test.spoil(&m)
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
	}
}
