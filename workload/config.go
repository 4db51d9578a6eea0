package workload

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Mode says where the state comes from.
type Mode string

// Modes of a workload process.
const (
	// ModeNew makes an empty state and runs.
	ModeNew Mode = "new"
	// ModeRestore reads the saved state in its directory and waits, frozen,
	// until an agent thaws it: the agent first puts the saved file out of
	// the way, so that a file and a running process never both claim to be
	// the newest state.
	ModeRestore Mode = "restore"
	// ModeIncoming makes room and waits until an agent has filled it and
	// activates it.
	ModeIncoming Mode = "incoming"
)

// Bounds of a region. The lower one leaves room for a table and a heap, the
// upper one keeps a typing mistake from taking the machine.
const (
	MinSize = 1 << 20
	MaxSize = 16 << 30
)

// maxIDLength is the bound on names in the replicated state.
const maxIDLength = 128

// Clock maps machine wall time to load time: Wall and Load are one instant on
// both, load time runs Scale times faster. The zero Clock is wall time itself.
type Clock struct {
	Wall  time.Time
	Load  time.Time
	Scale float64
}

func (c Clock) isZero() bool { return c.Scale == 0 }

// at returns the load time at the wall time.
func (c Clock) at(wall time.Time) time.Time {
	if c.isZero() {
		return wall
	}
	return c.Load.Add(time.Duration(float64(wall.Sub(c.Wall)) * c.Scale))
}

// Config is what a workload process is told on its command line. In restore and
// incoming mode the state brings its own trace, scale, seed and dirty rate.
type Config struct {
	ID   string // of the workload
	Dir  string // holds control.sock, lock, and state.region when saved
	Mode Mode
	Size int64 // bytes of state, a multiple of the page size
	// Listen is the "ip:port" of the client protocol; port 0 takes a free one.
	Listen string
	// LockFD is the inherited descriptor of a lock on Dir/lock, or 0: then
	// the process takes the lock itself. Whoever can take the lock knows
	// that no process of this directory lives.
	LockFD int

	// TraceFile is a CSV file (.gz allowed) with a head line; TraceColumn is
	// the name of a column or "#n" for the n-th, counted from 0; rows
	// [TraceFrom, TraceTo) are replayed in a loop, one per five minutes of
	// load time; TraceTo 0 means to the end. No file means no load.
	TraceFile   string
	TraceColumn string
	TraceFrom   int
	TraceTo     int
	// TraceOrigin is the load time of the first replayed row; zero means
	// Clock.Load, or now without a clock.
	TraceOrigin time.Time
	// Scale is how many thousandths of a core one percent of the trace is.
	Scale float64
	// DirtyRate is how many heap pages are written per core and second of
	// demand.
	DirtyRate float64
	// Seed makes contents and order of page writes repeatable.
	Seed  uint64
	Clock Clock

	// Log receives a few lines about the life of the process; nil is none.
	Log io.Writer
}

// DefaultDirtyRate writes 400 pages per second at 80 millicores of demand.
const DefaultDirtyRate = 5000

// ParseArgs reads the command line of a workload process (without the words
// that name the command).
func ParseArgs(args []string) (Config, error) {
	var c Config
	var wall, load, origin, mode string
	fs := flag.NewFlagSet("workload", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.ID, "id", "", "id of the workload")
	fs.StringVar(&c.Dir, "dir", "", "directory of its socket, lock and saved state")
	fs.StringVar(&mode, "mode", string(ModeNew), "new | restore | incoming")
	fs.Int64Var(&c.Size, "size", 16<<20, "bytes of state")
	fs.StringVar(&c.Listen, "listen", "127.0.0.1:0", "ip:port of the client protocol")
	fs.IntVar(&c.LockFD, "lock-fd", 0, "inherited descriptor of the directory's lock")
	fs.StringVar(&c.TraceFile, "trace-file", "", "CSV file with the load in percent")
	fs.StringVar(&c.TraceColumn, "trace-column", "#1", "column by name, or #n from 0")
	fs.IntVar(&c.TraceFrom, "trace-from", 0, "first row to replay")
	fs.IntVar(&c.TraceTo, "trace-to", 0, "row after the last one, 0 = end of file")
	fs.StringVar(&origin, "trace-origin", "", "load time of the first row, RFC 3339")
	fs.Float64Var(&c.Scale, "scale", 1, "thousandths of a core per percent")
	fs.Float64Var(&c.DirtyRate, "dirty-rate", DefaultDirtyRate, "page writes per core and second of demand")
	fs.Uint64Var(&c.Seed, "seed", 1, "seed of contents")
	fs.StringVar(&wall, "clock-wall", "", "wall time that is -clock-load on the load clock, RFC 3339")
	fs.StringVar(&load, "clock-load", "", "load time at -clock-wall, RFC 3339")
	fs.Float64Var(&c.Clock.Scale, "clock-scale", 0, "load seconds per machine second, 0 = wall time")
	if err := fs.Parse(args); err != nil {
		return Config{}, fmt.Errorf("workload: command line: %w", err)
	}
	if fs.NArg() > 0 {
		return Config{}, fmt.Errorf("workload: unexpected argument %q", fs.Arg(0))
	}
	c.Mode = Mode(mode)
	for _, t := range []struct {
		name string
		text string
		into *time.Time
	}{{"clock-wall", wall, &c.Clock.Wall}, {"clock-load", load, &c.Clock.Load}, {"trace-origin", origin, &c.TraceOrigin}} {
		if t.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, t.text)
		if err != nil {
			return Config{}, fmt.Errorf("workload: -%s: %w", t.name, err)
		}
		*t.into = at
	}
	return c, c.Validate()
}

// Validate names the first mistake.
func (c Config) Validate() error {
	switch {
	case c.ID == "" || len(c.ID) > maxIDLength || strings.ContainsAny(c.ID, " \t\r\n"):
		return fmt.Errorf("workload: id %q must have 1 to %d characters and no blanks", c.ID, maxIDLength)
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("workload %s: dir %q must be an absolute path", c.ID, c.Dir)
	case c.Mode != ModeNew && c.Mode != ModeRestore && c.Mode != ModeIncoming:
		return fmt.Errorf("workload %s: mode %q: want new, restore or incoming", c.ID, c.Mode)
	case c.LockFD < 0:
		return fmt.Errorf("workload %s: lock-fd %d is negative", c.ID, c.LockFD)
	case c.TraceFrom < 0 || c.TraceTo < 0 || c.TraceTo != 0 && c.TraceTo <= c.TraceFrom:
		return fmt.Errorf("workload %s: trace rows [%d, %d) are empty or negative", c.ID, c.TraceFrom, c.TraceTo)
	case !finite(c.Scale) || c.Scale > 1e6:
		return fmt.Errorf("workload %s: scale %v is outside 0..1e6", c.ID, c.Scale)
	case !finite(c.DirtyRate) || c.DirtyRate > 1e7:
		return fmt.Errorf("workload %s: dirty-rate %v is outside 0..1e7", c.ID, c.DirtyRate)
	}
	if err := validateSize(c.Size); err != nil {
		return fmt.Errorf("workload %s: %w", c.ID, err)
	}
	if err := c.Clock.validate(); err != nil {
		return fmt.Errorf("workload %s: %w", c.ID, err)
	}
	if _, err := netip.ParseAddrPort(c.Listen); err != nil {
		return fmt.Errorf("workload %s: listen %q: want ip:port: %w", c.ID, c.Listen, err)
	}
	return nil
}

func validateSize(size int64) error {
	if size < MinSize || size > MaxSize || size%pageSize != 0 {
		return fmt.Errorf("size %d must be a multiple of %d between %d and %d", size, pageSize, int64(MinSize), int64(MaxSize))
	}
	return nil
}

func (c Clock) validate() error {
	if c.isZero() {
		if !c.Wall.IsZero() || !c.Load.IsZero() {
			return errors.New("clock: wall and load are given without a scale")
		}
		return nil
	}
	if !finite(c.Scale) || c.Scale > 1e6 {
		return fmt.Errorf("clock: scale %v is outside 0..1e6", c.Scale)
	}
	if !representable(c.Wall) || !representable(c.Load) {
		return errors.New("clock: wall and load must lie between the years 1970 and 2200")
	}
	return nil
}

// representable times survive as nanoseconds in 64 bits.
func representable(t time.Time) bool { return t.Year() >= 1970 && t.Year() < 2200 }

// finite accepts what a rate or a factor may be: not negative, a number.
func finite(f float64) bool { return f >= 0 && !math.IsInf(f, 0) && !math.IsNaN(f) }
