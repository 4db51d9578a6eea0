package workload

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// maxTraceRows keeps a trace well below the smallest region: 64 Ki rows are 227
// days of five-minute ticks in 256 KiB.
const maxTraceRows = 1 << 16

// readTrace returns the percentages of rows [from, to) of one column.
func readTrace(path, column string, from, to int) ([]float32, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	defer f.Close()
	var r io.Reader = bufio.NewReaderSize(f, 1<<16)
	if strings.HasSuffix(path, ".gz") {
		zipped, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("trace %s: %w", path, err)
		}
		r = zipped
	}
	values, err := parseTrace(r, column, from, to)
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w", path, err)
	}
	return values, nil
}

func parseTrace(r io.Reader, column string, from, to int) ([]float32, error) {
	rows := csv.NewReader(r)
	rows.ReuseRecord = true
	head, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("head line: %w", err)
	}
	at, err := findColumn(head, column)
	if err != nil {
		return nil, err
	}
	var values []float32
	for row := 0; to == 0 || row < to; row++ {
		record, err := rows.Read()
		if errors.Is(err, io.EOF) && to == 0 {
			break
		}
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("has %d rows, rows %d to %d were asked for", row, from, to)
		}
		if err != nil {
			return nil, err
		}
		if row < from {
			continue
		}
		if len(values) == maxTraceRows {
			return nil, fmt.Errorf("more than %d rows: set trace-to", maxTraceRows)
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(record[at]), 32)
		if err != nil || !validPercent(float32(v)) {
			line, _ := rows.FieldPos(at)
			return nil, fmt.Errorf("line %d, column %s: %q is no percentage", line, column, record[at])
		}
		values = append(values, float32(v))
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("no rows from %d on", from)
	}
	return values, nil
}

func findColumn(head []string, column string) (int, error) {
	if n, ok := strings.CutPrefix(column, "#"); ok {
		at, err := strconv.Atoi(n)
		if err != nil || at < 0 || at >= len(head) {
			return 0, fmt.Errorf("column %s: the file has columns #0 to #%d", column, len(head)-1)
		}
		return at, nil
	}
	if at := slices.Index(head, column); at >= 0 {
		return at, nil
	}
	return 0, fmt.Errorf("no column %q among %d", column, len(head))
}

// validPercent allows more than 100: a trace may count several cores.
func validPercent(v float32) bool { return v >= 0 && v <= 1e6 && !math.IsNaN(float64(v)) }
