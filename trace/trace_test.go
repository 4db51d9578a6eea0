package trace

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestReadColumns(t *testing.T) {
	in := "\ufeff\"\",\"a, b\",\"say \"\"hi\"\"\"\r\n1,0.5,\n\n2,NaN,3\n3, 4\n"
	traces, err := ReadColumns(strings.NewReader(in), Options{})
	if err != nil {
		t.Fatal(err)
	}
	nan := math.NaN()
	want := []Trace{{"a, b", []float64{0.5, nan, 4}}, {`say "hi"`, []float64{nan, 3, nan}}}
	compare(t, traces, want)
}

func TestReadRows(t *testing.T) {
	in := "id,v1,v2,v3,v4\nx,1,,3,\n\"y\",NaN,2,NA,NaN\nz\n"
	traces, err := ReadRows(strings.NewReader(in), Options{Header: true})
	if err != nil {
		t.Fatal(err)
	}
	nan := math.NaN()
	compare(t, traces, []Trace{{"x", []float64{1, nan, 3}}, {"y", []float64{nan, 2, nan, nan}}, {"z", nil}})
}

// TestErrors compares whole messages: they are what an operator has.
func TestErrors(t *testing.T) {
	small := Limits{Traces: 2, Values: 3, Cells: 6, LineBytes: 40}
	for _, c := range []struct {
		name, in, want string
		rows           bool
	}{
		{"empty", "", "trace: line 1: the file is empty: want a header with the names of the series", false},
		{"no series", "row\n1\n", "trace: line 1: the header names no series: want a first column for the time and one column per series", false},
		{"bad number", "row,a,b\n1,2,3\n2,4,x5\n", `trace: line 3, column 3 (trace "b"): "x5" is no number: want a decimal number, or nothing for a missing value`, false},
		{"infinite", "row,a\n1,+Inf\n", `trace: line 2, column 2 (trace "a"): "+Inf" is not finite`, false},
		{"too large", "row,a\n1,1e999\n", `trace: line 2, column 2 (trace "a"): "1e999" is no number: want a decimal number, or nothing for a missing value`, false},
		{"long line", "row,a\n1,2,3\n", "trace: line 2, column 3: 3 fields where the header has 2", false},
		{"same name", "row,a,a\n", `trace: line 1, column 3 (trace "a"): the name was used before (entry 1)`, false},
		{"no name", "row, \n", "trace: line 1, column 2: the series has no name", false},
		{"open quote", "row,\"a\n", "trace: line 1, column 2: a quote is not closed, or text follows it", false},
		{"many series", "row,a,b,c\n", "trace: line 1: 3 series: at most 2 are read", false},
		{"many steps", "row,a\n1,1\n2,2\n3,3\n4,4\n", "trace: line 5: more than 3 time steps", false},
		{"many bytes", "row,a\n1,111111111111111111111111111111111111111\n", "trace: line 2: the line is longer than 40 bytes", false},
		{"bad row", "a,1,2\nb,,?\n", `trace: line 2, column 3 (trace "b"): "?" is no number: want a decimal number, or nothing for a missing value`, true},
		{"many rows", "a,1\nb,1\nc,1\n", "trace: line 3: more than 2 series", true},
		{"many values", "a,1,2,3,4\n", `trace: line 1 (trace "a"): 4 values: at most 3 are read`, true},
		{"many cells", "a,1,2,3\nb,1,2,3\n", "trace: line 2: more than 6 cells in the file", true},
		{"same row", "a,1\na,2\n", `trace: line 2, column 1 (trace "a"): the name was used before (entry 1)`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			read := ReadColumns
			if c.rows {
				read = ReadRows
			}
			traces, err := read(strings.NewReader(c.in), Options{Limits: small})
			if err == nil || err.Error() != c.want || traces != nil {
				t.Errorf("got  %v %v\nwant %s", traces, err, c.want)
			}
			var where *Error
			if !errors.As(err, &where) || where.Line == 0 {
				t.Errorf("%T is no *Error with a line", err)
			}
		})
	}
}

// TestReadFails passes the error of the file on.
func TestReadFails(t *testing.T) {
	broken := errors.New("disk on fire")
	r := &failing{data: "row,a\n1,2\n", err: broken}
	if _, err := ReadColumns(r, Options{}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type failing struct {
	data string
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.data == "" {
		return 0, f.err
	}
	n := copy(p, f.data)
	f.data = f.data[n:]
	return n, nil
}

// TestRoundTrip: what is written is read back, in both layouts.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		value := rapid.Custom(func(rt *rapid.T) float64 {
			if rapid.IntRange(0, 4).Draw(rt, "missing") == 0 {
				return math.NaN()
			}
			return rapid.Float64Range(-1e12, 1e12).Draw(rt, "value")
		})
		n := rapid.IntRange(0, 12).Draw(rt, "rows")
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z," ]{0,5}[a-z]`), 1, 5, rapid.ID[string]).Draw(rt, "names")
		var traces []Trace
		for _, name := range names {
			traces = append(traces, Trace{name, rapid.SliceOfN(value, n, n).Draw(rt, "values")})
		}
		var columns, rows bytes.Buffer
		if err := errors.Join(WriteColumns(&columns, traces, -1), WriteRows(&rows, traces, -1)); err != nil {
			rt.Fatal(err)
		}
		for _, read := range []func() ([]Trace, error){
			func() ([]Trace, error) { return ReadColumns(&columns, Options{}) },
			func() ([]Trace, error) { return ReadRows(&rows, Options{}) },
		} {
			got, err := read()
			if err != nil {
				rt.Fatal(err)
			}
			compare(rt, got, traces)
		}
	})
}

func TestWriteRefusesNames(t *testing.T) {
	for _, name := range []string{"", " ", "a\nb"} {
		if err := WriteColumns(&bytes.Buffer{}, []Trace{{Name: name}}, 1); err == nil {
			t.Errorf("the name %q was written", name)
		}
	}
}

// FuzzRead: no input makes a reader panic, exceed its limits or return a value
// that is not finite.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{"row,a\n1,2\n", "\"a\",1,,NaN\n", "\"", "a,1e308\n,\n", "\ufeff,x\r\n"} {
		f.Add(seed)
	}
	limits := Limits{Traces: 8, Values: 16, Cells: 64, LineBytes: 256}
	f.Fuzz(func(t *testing.T, in string) {
		for _, read := range []func() ([]Trace, error){
			func() ([]Trace, error) { return ReadColumns(strings.NewReader(in), Options{Limits: limits}) },
			func() ([]Trace, error) { return ReadRows(strings.NewReader(in), Options{Limits: limits, Header: true}) },
		} {
			traces, err := read()
			if err != nil && traces != nil || len(traces) > limits.Traces {
				t.Fatalf("%d traces with error %v", len(traces), err)
			}
			for _, tr := range traces {
				if len(tr.Values) > limits.Values {
					t.Fatalf("%d values", len(tr.Values))
				}
				for _, v := range tr.Values {
					if math.IsInf(v, 0) {
						t.Fatal("an infinite value")
					}
				}
			}
		}
	})
}

type failer interface{ Fatalf(string, ...any) }

func compare(t failer, got, want []Trace) {
	if len(got) != len(want) {
		t.Fatalf("%d traces, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].Name != want[i].Name || len(got[i].Values) != len(want[i].Values) {
			t.Fatalf("trace %d: got %v, want %v", i, got[i], want[i])
		}
		for j, v := range want[i].Values {
			if w := got[i].Values[j]; w != v && !(math.IsNaN(w) && math.IsNaN(v)) {
				t.Fatalf("trace %d value %d: got %v, want %v", i, j, w, v)
			}
		}
	}
}
