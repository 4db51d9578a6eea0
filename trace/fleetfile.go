package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/placed-dev/placed/fleet"
)

// FleetFile is what a fleet file says.
type FleetFile struct {
	// View with hosts, workloads and rules sorted by id. Now and Policy are the
	// caller's to set; the hosts' Held and Usage are the sums of what runs on
	// them, and every host counts as alive and as having reported unless its
	// state says otherwise. A workload without an Owner is pending.
	View fleet.View
	// Notes are what was read and not understood: keys that nobody knows. A
	// misspelt key would otherwise silently mean its default.
	Notes []string
}

// FleetError says where a fleet file is wrong, why, and so what to repair.
type FleetError struct {
	Line   int    // from 1
	Where  string // "instances[3] (vm-4)", empty for the file as a whole
	Reason string
}

func (e *FleetError) Error() string {
	if e.Where == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Reason)
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, e.Where, e.Reason)
}

// maxFleetBytes bounds a file: 2,000 hosts with 80,000 instances need 30 MB.
const maxFleetBytes = 512 << 20

// ReadFleet reads a fleet file (docs/planning.md), as GET /v1/fleet writes it.
// Wrong input ends in a *FleetError.
//
// Defaults: zone "default", state active, overcommit 1, a capacity that is not
// named is unlimited; tolerance 1, priority 0, movable true, no host = pending;
// reservation 0 for cpu, net and disk and the usage for memory, usage the
// reservation; rules are hard.
func ReadFleet(r io.Reader) (FleetFile, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFleetBytes+1))
	if err != nil {
		return FleetFile{}, fmt.Errorf("fleet file: %w", err)
	}
	if len(data) > maxFleetBytes {
		return FleetFile{}, &FleetError{Line: 1, Reason: fmt.Sprintf("the file is larger than %d MiB", maxFleetBytes>>20)}
	}
	f := &fleetReader{data: data, hosts: map[fleet.HostID]int{}, works: map[fleet.WorkloadID]int{}, lineAt: 1}
	if err := f.read(); err != nil {
		return FleetFile{}, err
	}
	return f.out, nil
}

// fleetReader reads element by element, so that each fault has its line.
type fleetReader struct {
	data  []byte
	out   FleetFile
	hosts map[fleet.HostID]int // line on which each was declared
	works map[fleet.WorkloadID]int
	rules map[string]int
	// checks wait until the whole file is read: an instance may stand before
	// its host.
	checks []func() error
	// lineOf counts on from here, since offsets only grow.
	lineAt, offset int
}

func (f *fleetReader) line(offset int64) int {
	to := min(int(offset), len(f.data))
	if to < f.offset {
		return 1 + bytes.Count(f.data[:to], []byte("\n"))
	}
	f.lineAt += bytes.Count(f.data[f.offset:to], []byte("\n"))
	f.offset = to
	return f.lineAt
}

func (f *fleetReader) read() error {
	d := json.NewDecoder(bytes.NewReader(f.data))
	if err := f.expect(d, '{', "want an object with hosts and instances"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return f.syntax(err, d.InputOffset())
		}
		name := key.(string)
		line := f.line(d.InputOffset())
		if seen[name] {
			return &FleetError{Line: line, Reason: fmt.Sprintf("%q stands twice", name)}
		}
		seen[name] = true
		each := map[string]func(where string, line int, raw json.RawMessage) error{
			"hosts": f.host, "instances": f.instance, "rules": f.rule, "links": f.link,
		}[name]
		if each == nil {
			f.note(line, "", name)
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return f.syntax(err, d.InputOffset())
			}
			continue
		}
		if err := f.list(d, name, each); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return f.syntax(err, d.InputOffset())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &FleetError{Line: f.line(d.InputOffset()), Reason: "something follows the end of the object"}
	}
	if !seen["hosts"] {
		return &FleetError{Line: 1, Reason: `there is no list "hosts"`}
	}
	for _, check := range f.checks {
		if err := check(); err != nil {
			return err
		}
	}
	f.finish()
	return nil
}

// list reads one of the lists; null is an empty one.
func (f *fleetReader) list(d *json.Decoder, name string, each func(string, int, json.RawMessage) error) error {
	token, err := d.Token()
	if err != nil {
		return f.syntax(err, d.InputOffset())
	}
	if token == nil {
		return nil
	}
	if token != json.Delim('[') {
		return &FleetError{Line: f.line(d.InputOffset()), Where: name, Reason: "want a list"}
	}
	for i := 0; d.More(); i++ {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return f.syntax(err, d.InputOffset())
		}
		line := f.line(d.InputOffset() - int64(len(raw)))
		if err := each(fmt.Sprintf("%s[%d]", name, i), line, raw); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return f.syntax(err, d.InputOffset())
	}
	return nil
}

func (f *fleetReader) expect(d *json.Decoder, want json.Delim, reason string) error {
	token, err := d.Token()
	if err != nil {
		return f.syntax(err, d.InputOffset())
	}
	if token != want {
		return &FleetError{Line: f.line(d.InputOffset()), Reason: reason}
	}
	return nil
}

func (f *fleetReader) syntax(err error, offset int64) error {
	var s *json.SyntaxError
	reason := err.Error()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		reason, offset = "the file ends in the middle of a value", int64(len(f.data))
	case errors.As(err, &s):
		reason = "no JSON: " + reason
		// The decoder counts from the start of the value it was reading.
		if s.Offset > 0 && s.Offset <= int64(len(f.data)) {
			offset = max(offset, s.Offset)
		}
	}
	return &FleetError{Line: 1 + bytes.Count(f.data[:min(int(offset), len(f.data))], []byte("\n")), Reason: reason}
}

// object decodes an element and notes keys that are not in known.
func (f *fleetReader) object(where string, line int, raw json.RawMessage, into any, known ...string) error {
	if err := json.Unmarshal(raw, into); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			line += bytes.Count(raw[:min(int(wrong.Offset), len(raw))], []byte("\n"))
			field := strings.ToLower(wrong.Field)
			if field == "" {
				return &FleetError{Line: line, Where: where, Reason: "want an object, not a " + wrong.Value}
			}
			return &FleetError{Line: line, Where: where, Reason: fmt.Sprintf("%s is a %s, want %s", field, wrong.Value, wordFor(wrong.Type.String()))}
		}
		return &FleetError{Line: line, Where: where, Reason: err.Error()}
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return &FleetError{Line: line, Where: where, Reason: err.Error()}
	}
	var unknown []string
	for key := range keys {
		if !slices.Contains(known, key) {
			unknown = append(unknown, key)
		}
	}
	slices.Sort(unknown)
	for _, key := range unknown {
		f.note(line, where+": ", key)
	}
	return nil
}

func wordFor(goType string) string {
	switch {
	case strings.Contains(goType, "float"), strings.Contains(goType, "int"):
		return "a number"
	case strings.Contains(goType, "bool"):
		return "true or false"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.Contains(goType, "string"):
		return "a text"
	}
	return "an object"
}

// maxNotes bounds what is said about unknown keys: a foreign field on every
// instance is one finding, not ten thousand.
const maxNotes = 8

func (f *fleetReader) note(line int, where, key string) {
	for _, n := range f.out.Notes {
		if strings.HasSuffix(n, fmt.Sprintf("%q is not known and ignored", key)) {
			return
		}
	}
	if len(f.out.Notes) < maxNotes {
		f.out.Notes = append(f.out.Notes, fmt.Sprintf("line %d: %s%q is not known and ignored", line, where, key))
	}
}

// finish sorts the lists and sums up what runs on each host.
func (f *fleetReader) finish() {
	v := &f.out.View
	slices.SortFunc(v.Hosts, func(a, b fleet.HostView) int { return strings.Compare(string(a.ID), string(b.ID)) })
	slices.SortFunc(v.Workloads, func(a, b fleet.WorkloadView) int { return strings.Compare(string(a.ID), string(b.ID)) })
	slices.SortFunc(v.Rules, func(a, b fleet.Rule) int { return strings.Compare(a.ID, b.ID) })
	at := map[fleet.HostID]*fleet.HostView{}
	for i := range v.Hosts {
		at[v.Hosts[i].ID] = &v.Hosts[i]
	}
	for i := range v.Workloads {
		if h := at[v.Workloads[i].Owner]; h != nil {
			h.Held = h.Held.Add(v.Workloads[i].Reservation)
			h.Usage = h.Usage.Add(v.Workloads[i].Usage)
		}
	}
}

// amounts is a vector of a fleet file: cores, bytes, bytes per second, and
// custom resources in whole units. Numbers may have fractions; they are rounded
// to the base unit.
type amounts map[string]*float64

func (a *amounts) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*a = amounts{}
	for key, value := range raw {
		if key == "custom" {
			var custom map[string]*float64
			if err := json.Unmarshal(value, &custom); err != nil {
				return fmt.Errorf("custom: want numbers by name")
			}
			for name, n := range custom {
				(*a)[name] = n
			}
			continue
		}
		var n *float64
		if err := json.Unmarshal(value, &n); err != nil {
			return fmt.Errorf("%s is %.40s, want a number", key, value)
		}
		(*a)[key] = n
	}
	return nil
}

// vector converts; what is absent becomes otherwise(resource).
func (a amounts) vector(what string, otherwise func(fleet.Resource) int64) (fleet.Vector, error) {
	var v fleet.Vector
	for _, r := range fleet.Resources() {
		v = v.With(r, otherwise(r))
	}
	names := make([]string, 0, len(a))
	for name := range a {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if a[name] == nil {
			continue // null: not declared, like an absent key
		}
		amount := *a[name]
		r := fleet.Resource(name)
		if r != fleet.Memory && r != fleet.Net && r != fleet.Disk {
			amount *= 1000
		}
		if amount < 0 || amount > math.MaxInt64/4 {
			return v, fmt.Errorf("%s: %s is %g: want 0 or more, within 64 bits", what, name, *a[name])
		}
		v = v.With(r, int64(math.Round(amount)))
	}
	return v, nil
}
