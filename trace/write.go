package trace

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// WriteColumns writes what ReadColumns reads: row numbers from 1, as many
// decimals as digits says (-1 = as many as the value needs), missing values
// blank. Shorter traces end in blanks.
func WriteColumns(w io.Writer, traces []Trace, digits int) error {
	out := bufio.NewWriter(w)
	rows := 0
	out.WriteString("row")
	for _, t := range traces {
		if err := writeName(out, t.Name, true); err != nil {
			return err
		}
		rows = max(rows, len(t.Values))
	}
	out.WriteByte('\n')
	for row := range rows {
		out.WriteString(strconv.Itoa(row + 1))
		for _, t := range traces {
			out.WriteByte(',')
			if row < len(t.Values) {
				out.WriteString(formatCell(t.Values[row], digits))
			}
		}
		out.WriteByte('\n')
	}
	return out.Flush()
}

// WriteRows writes what ReadRows reads, without a header. Missing values at the
// end of a trace are written as "NaN": a blank there would be no value.
func WriteRows(w io.Writer, traces []Trace, digits int) error {
	out := bufio.NewWriter(w)
	for _, t := range traces {
		if err := writeName(out, t.Name, false); err != nil {
			return err
		}
		for i, v := range t.Values {
			out.WriteByte(',')
			if i == len(t.Values)-1 && math.IsNaN(v) {
				out.WriteString("NaN")
				continue
			}
			out.WriteString(formatCell(v, digits))
		}
		out.WriteByte('\n')
	}
	return out.Flush()
}

func writeName(out *bufio.Writer, name string, comma bool) error {
	if strings.TrimSpace(name) == "" || strings.ContainsAny(name, "\n\r") {
		return fmt.Errorf("trace: the name %.40q cannot be written: it is blank or has a line break", name)
	}
	if comma {
		out.WriteByte(',')
	}
	out.WriteString(`"` + strings.ReplaceAll(name, `"`, `""`) + `"`)
	return nil
}

func formatCell(v float64, digits int) string {
	if math.IsNaN(v) {
		return ""
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}
