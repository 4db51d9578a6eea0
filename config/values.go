package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is written as Go writes it: "30s", "1h30m".
type Duration string

// Value returns the duration; zero when it is empty. Load has checked it.
func (d Duration) Value() time.Duration {
	v, _ := d.parse()
	return v
}

func (d Duration) parse() (time.Duration, error) {
	if d == "" {
		return 0, nil
	}
	v, err := time.ParseDuration(string(d))
	if err != nil {
		return 0, fmt.Errorf("%q is no duration", string(d))
	}
	if v < 0 {
		return 0, fmt.Errorf("%q is negative", string(d))
	}
	return v, nil
}

// Bytes is an amount with a unit: "512MiB", "16GiB", "1.5TiB", "125MB" or a bare
// number of bytes.
type Bytes string

// Value returns the bytes; zero when it is empty. Load has checked it.
func (b Bytes) Value() int64 {
	v, _ := b.parse()
	return v
}

// byteUnits, longest first, so that "MiB" is not read as "B".
var byteUnits = []struct {
	name   string
	factor float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

func (b Bytes) parse() (int64, error) {
	text := strings.TrimSpace(string(b))
	if text == "" {
		return 0, nil
	}
	for _, unit := range byteUnits {
		number, found := strings.CutSuffix(text, unit.name)
		if !found {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			break
		}
		amount := f * unit.factor
		if amount < 0 || amount >= math.MaxInt64 {
			return 0, fmt.Errorf("%q is out of range", text)
		}
		return int64(amount), nil
	}
	return 0, fmt.Errorf("%q is no amount of bytes", text)
}
