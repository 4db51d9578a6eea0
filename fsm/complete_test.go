package fsm

import (
	"reflect"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// fill sets every field of a value to something that is not zero.
func fill(v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(epoch))
		return
	case fleet.Vector:
		v.Set(reflect.ValueOf(fleet.Vector{CPU: 1, Memory: 2, Net: 3, Disk: 4}.With("gpu", 5)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(1)
	}
}

// TestEveryFieldTravels: a field that is added to what the books hold, and not to
// its code, would be lost on the way through the log without a word.
func TestEveryFieldTravels(t *testing.T) {
	for name, code := range map[string]func(*coder, any){
		"host":       func(c *coder, v any) { c.host(v.(*fleet.Host)) },
		"workload":   func(c *coder, v any) { c.workload(v.(*fleet.Workload)) },
		"lease":      func(c *coder, v any) { c.lease(v.(*fleet.Lease)) },
		"policy":     func(c *coder, v any) { c.policy(v.(*fleet.Policy)) },
		"decision":   func(c *coder, v any) { c.decision(v.(*fleet.Decision)) },
		"event":      func(c *coder, v any) { c.event(v.(*fleet.Event)) },
		"rule":       func(c *coder, v any) { c.rule(v.(*fleet.Rule)) },
		"calendar":   func(c *coder, v any) { c.calendarEntry(v.(*fleet.CalendarEntry)) },
		"model":      func(c *coder, v any) { c.model(v.(*fleet.Model)) },
		"source":     func(c *coder, v any) { c.calendarSource(v.(*fleet.CalendarSource)) },
		"adjustment": func(c *coder, v any) { c.adjustment(v.(*fleet.Adjustment)) },
		"thresholds": func(c *coder, v any) { c.thresholds(v.(*fleet.WorkloadThresholds)) },
		"outcome":    func(c *coder, v any) { c.outcome(v.(*MigrationOutcome)) },
		"refusal":    func(c *coder, v any) { c.refusal(v.(*Refusal)) },
	} {
		types := map[string]any{"host": fleet.Host{}, "workload": fleet.Workload{}, "lease": fleet.Lease{}, "policy": fleet.Policy{}, "decision": fleet.Decision{},
			"event": fleet.Event{}, "rule": fleet.Rule{}, "calendar": fleet.CalendarEntry{}, "model": fleet.Model{}, "source": fleet.CalendarSource{}, "outcome": MigrationOutcome{}, "adjustment": fleet.Adjustment{}, "thresholds": fleet.WorkloadThresholds{}, "refusal": Refusal{}}
		want := reflect.New(reflect.TypeOf(types[name]))
		fill(want.Elem())
		out := writer()
		code(out, want.Interface())
		got := reflect.New(want.Type().Elem())
		in := reader(out.buf)
		code(in, got.Interface())
		if out.err != nil || in.err != nil || !reflect.DeepEqual(got.Interface(), want.Interface()) {
			t.Errorf("%s (%v, %v):\n%+v\nbecame\n%+v", name, out.err, in.err, want.Elem().Interface(), got.Elem().Interface())
		}
	}
}
