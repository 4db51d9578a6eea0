package daemon

import (
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/trace"
)

// readHistory reads the rows of a recorded load as one sample per tick.
func readHistory(h History) ([]fleet.Sample, error) {
	file, err := os.Open(h.File)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var in io.Reader = file
	if strings.HasSuffix(h.File, ".gz") {
		unpacked, err := gzip.NewReader(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.File, err)
		}
		defer unpacked.Close()
		in = unpacked
	}
	traces, err := trace.ReadColumns(in, trace.Options{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.File, err)
	}
	for _, t := range traces {
		if t.Name != h.Column {
			continue
		}
		if h.From < 0 || h.To > len(t.Values) || h.From >= h.To {
			return nil, fmt.Errorf("%s: rows %d to %d are not among the %d of column %s", h.File, h.From, h.To, len(t.Values), h.Column)
		}
		first := fleet.TickOf(h.End) - int64(h.To-h.From)
		var out []fleet.Sample
		for i, v := range t.Values[h.From:h.To] {
			if math.IsNaN(v) {
				continue
			}
			out = append(out, fleet.Sample{At: fleet.TickStart(first + int64(i)), Usage: fleet.Vector{CPU: int64(math.Round(v * h.Scale))}})
		}
		return out, nil
	}
	return nil, fmt.Errorf("%s has no column %s", h.File, h.Column)
}
