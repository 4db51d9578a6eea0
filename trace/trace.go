package trace

import (
	"fmt"
	"math"
)

// Trace is one series on a fixed time step. NaN is missing.
type Trace struct {
	Name   string
	Values []float64
}

// Limits bounds what a reader accepts, so that a wrong file ends in an error
// and not in all of the memory. A zero field means the default.
type Limits struct {
	// Traces in one file (default 100,000), Values in one trace (default
	// 1,000,000), Cells in the file (default 50,000,000), and LineBytes in one
	// line (default 64 MiB).
	Traces, Values, Cells, LineBytes int
}

func (l Limits) withDefaults() Limits {
	defaults := Limits{Traces: 100_000, Values: 1_000_000, Cells: 50_000_000, LineBytes: 64 << 20}
	for _, field := range []struct{ have, standard *int }{
		{&l.Traces, &defaults.Traces}, {&l.Values, &defaults.Values},
		{&l.Cells, &defaults.Cells}, {&l.LineBytes, &defaults.LineBytes},
	} {
		if *field.have <= 0 {
			*field.have = *field.standard
		}
	}
	return l
}

// Error says where a trace file is wrong, why, and so what to repair.
type Error struct {
	Line   int    // from 1
	Column int    // field of the line, from 1; 0 = the whole line
	Name   string // of the trace, when it is known
	Reason string
}

func (e *Error) Error() string {
	place := fmt.Sprintf("line %d", e.Line)
	if e.Column > 0 {
		place += fmt.Sprintf(", column %d", e.Column)
	}
	if e.Name != "" {
		place += fmt.Sprintf(" (trace %.40q)", e.Name)
	}
	return "trace: " + place + ": " + e.Reason
}

// Known returns how many values of the trace are not missing.
func (t Trace) Known() int {
	n := 0
	for _, v := range t.Values {
		if !math.IsNaN(v) {
			n++
		}
	}
	return n
}

// Mean returns the mean of the known values, NaN if there is none.
func (t Trace) Mean() float64 {
	sum, n := 0.0, 0
	for _, v := range t.Values {
		if !math.IsNaN(v) {
			sum, n = sum+v, n+1
		}
	}
	return sum / float64(n)
}
