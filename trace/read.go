package trace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Options of a reader.
type Options struct {
	Limits Limits
	// Header says that the first line of the rows layout is a header to skip.
	// The columns layout always has one.
	Header bool
}

// ReadColumns reads the layout with one series per column: a header with the
// names, then one line per time step whose first field is a row number or a time
// (it is not interpreted). Blank and NaN cells are missing; short lines are
// filled with missing values. Errors are of type *Error.
func ReadColumns(r io.Reader, o Options) ([]Trace, error) {
	limits := o.Limits.withDefaults()
	lines := newLineReader(r, limits)
	header, err := lines.next()
	if errors.Is(err, io.EOF) {
		return nil, &Error{Line: 1, Reason: "the file is empty: want a header with the names of the series"}
	}
	if err != nil {
		return nil, err
	}
	if len(header) < 2 {
		return nil, &Error{Line: lines.number, Reason: "the header names no series: want a first column for the time and one column per series"}
	}
	traces := make([]Trace, len(header)-1)
	if len(traces) > limits.Traces {
		return nil, &Error{Line: lines.number, Reason: fmt.Sprintf("%d series: at most %d are read", len(traces), limits.Traces)}
	}
	seen := map[string]int{}
	for i, name := range header[1:] {
		if err := checkName(name, seen, lines.number, i+2); err != nil {
			return nil, err
		}
		traces[i].Name = name
	}
	for {
		fields, err := lines.next()
		if errors.Is(err, io.EOF) {
			return traces, nil
		}
		if err != nil {
			return nil, err
		}
		if len(fields) > len(header) {
			return nil, &Error{Line: lines.number, Column: len(header) + 1,
				Reason: fmt.Sprintf("%d fields where the header has %d", len(fields), len(header))}
		}
		if len(traces[0].Values) >= limits.Values {
			return nil, &Error{Line: lines.number, Reason: fmt.Sprintf("more than %d time steps", limits.Values)}
		}
		for i := range traces {
			v := math.NaN()
			if i+1 < len(fields) {
				if v, err = parseCell(fields[i+1]); err != nil {
					return nil, &Error{Line: lines.number, Column: i + 2, Name: traces[i].Name, Reason: err.Error()}
				}
			}
			traces[i].Values = append(traces[i].Values, v)
		}
		if err := lines.count(len(traces)); err != nil {
			return nil, err
		}
	}
}

// ReadRows reads the layout with one series per line: its name, then its values.
// Blank and NaN cells are missing; blanks at the end of a line are no values at
// all. Errors are of type *Error.
func ReadRows(r io.Reader, o Options) ([]Trace, error) {
	limits := o.Limits.withDefaults()
	lines := newLineReader(r, limits)
	if o.Header {
		if _, err := lines.next(); errors.Is(err, io.EOF) {
			return nil, &Error{Line: 1, Reason: "the file is empty: want a header and one series per line"}
		} else if err != nil {
			return nil, err
		}
	}
	var traces []Trace
	seen := map[string]int{}
	for {
		fields, err := lines.next()
		if errors.Is(err, io.EOF) {
			return traces, nil
		}
		if err != nil {
			return nil, err
		}
		if err := checkName(fields[0], seen, lines.number, 1); err != nil {
			return nil, err
		}
		end := len(fields)
		for end > 1 && strings.TrimSpace(fields[end-1]) == "" {
			end--
		}
		t := Trace{Name: fields[0], Values: make([]float64, 0, end-1)}
		for i, cell := range fields[1:end] {
			v, err := parseCell(cell)
			if err != nil {
				return nil, &Error{Line: lines.number, Column: i + 2, Name: t.Name, Reason: err.Error()}
			}
			t.Values = append(t.Values, v)
		}
		if len(t.Values) > limits.Values {
			return nil, &Error{Line: lines.number, Name: t.Name, Reason: fmt.Sprintf("%d values: at most %d are read", len(t.Values), limits.Values)}
		}
		if traces = append(traces, t); len(traces) > limits.Traces {
			return nil, &Error{Line: lines.number, Reason: fmt.Sprintf("more than %d series", limits.Traces)}
		}
		if err := lines.count(len(fields)); err != nil {
			return nil, err
		}
	}
}

func checkName(name string, seen map[string]int, line, column int) error {
	if strings.TrimSpace(name) == "" {
		return &Error{Line: line, Column: column, Reason: "the series has no name"}
	}
	if before, ok := seen[name]; ok {
		return &Error{Line: line, Column: column, Name: name, Reason: fmt.Sprintf("the name was used before (entry %d)", before)}
	}
	seen[name] = len(seen) + 1
	return nil
}

// parseCell reads one value. Infinite values are refused: no load is infinite,
// and one would poison every sum it enters.
func parseCell(cell string) (float64, error) {
	cell = strings.TrimSpace(cell)
	if cell == "" || strings.EqualFold(cell, "nan") || strings.EqualFold(cell, "na") || strings.EqualFold(cell, "null") {
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(cell, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no number: want a decimal number, or nothing for a missing value", cell)
	}
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return 0, fmt.Errorf("%.40q is not finite", cell)
	}
	return v, nil
}

// lineReader reads CSV line by line. A quote inside a field is kept, quoted
// fields may contain commas but no line breaks: names of series need none, and
// so a missing quote spoils one line and is found there.
type lineReader struct {
	scan   *bufio.Scanner
	number int
	cells  int
	limits Limits
}

func newLineReader(r io.Reader, limits Limits) *lineReader {
	scan := bufio.NewScanner(r)
	scan.Buffer(make([]byte, 0, min(64<<10, limits.LineBytes)), limits.LineBytes)
	return &lineReader{scan: scan, limits: limits}
}

// next returns the fields of the next line that is not blank, io.EOF at the end.
func (l *lineReader) next() ([]string, error) {
	for l.scan.Scan() {
		l.number++
		line := strings.TrimSuffix(l.scan.Text(), "\r")
		if l.number == 1 {
			line = strings.TrimPrefix(line, "\ufeff") // spreadsheets write a byte order mark
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		return splitFields(line, l.number)
	}
	switch err := l.scan.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, &Error{Line: l.number + 1, Reason: fmt.Sprintf("the line is longer than %d bytes", l.limits.LineBytes)}
	case err != nil:
		return nil, fmt.Errorf("trace: after line %d: %w", l.number, err)
	}
	return nil, io.EOF
}

// count adds cells and refuses more than the limit.
func (l *lineReader) count(cells int) error {
	if l.cells += cells; l.cells > l.limits.Cells {
		return &Error{Line: l.number, Reason: fmt.Sprintf("more than %d cells in the file", l.limits.Cells)}
	}
	return nil
}

func splitFields(line string, number int) ([]string, error) {
	if !strings.Contains(line, `"`) {
		return strings.Split(line, ","), nil
	}
	var fields []string
	for {
		if !strings.HasPrefix(line, `"`) {
			field, rest, more := strings.Cut(line, ",")
			fields = append(fields, field)
			if !more {
				return fields, nil
			}
			line = rest
			continue
		}
		field, rest, ok := cutQuoted(line)
		if !ok || rest != "" && rest[0] != ',' {
			return nil, &Error{Line: number, Column: len(fields) + 1, Reason: "a quote is not closed, or text follows it"}
		}
		fields = append(fields, field)
		if rest == "" {
			return fields, nil
		}
		line = rest[1:]
	}
}

// cutQuoted reads a field in quotes; a doubled quote stands for one.
func cutQuoted(line string) (field, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(line); i++ {
		if line[i] != '"' {
			b.WriteByte(line[i])
			continue
		}
		if i+1 < len(line) && line[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return b.String(), line[i+1:], true
	}
	return "", "", false
}
