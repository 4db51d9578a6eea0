package devfleet

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/trace"
	"github.com/placed-dev/placed/traces"
)

// Config of a run of `placed dev`.
type Config struct {
	Shape
	// Set says which of the shape's flags were given by hand: a resumed fleet
	// keeps its shape and refuses another.
	Set map[string]bool
	// DataDir keeps the fleet between runs; empty: a temporary one, removed
	// at the end.
	DataDir    string
	Automation string // observe | recommend | auto
	// Binary is the placed executable that the fleet runs.
	Binary string

	Headless bool
	JSON     bool
	// UntilMigrations ends the run after so many committed pre-emptive
	// migrations, judged; 0 runs until Ctrl-C or Timeout.
	UntilMigrations int
	Timeout         time.Duration // 0 = none
	// FullTime goes on to the time-out even when the migrations are done, so
	// that two runs can be compared.
	FullTime bool

	Out, Err io.Writer
}

const tracesFile = "azure-v1-excerpt.csv"

// Deadlines of start and end. A fleet that does not come up in time says why.
const (
	readyTime = 60 * time.Second
	stopTime  = 30 * time.Second
	saveTime  = 60 * time.Second
)

// Run runs a fleet until ctx ends (Ctrl-C), the aim is reached, or the time-out.
// It returns an error when the aim was not reached; the summary says what was.
func Run(ctx context.Context, cfg Config) (summary Summary, err error) {
	// The kernel ends the agents with the thread that started them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	dir := cfg.DataDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "placed-dev-"); err != nil {
			return Summary{}, err
		}
		defer func() {
			if removed := os.RemoveAll(dir); removed != nil && err == nil {
				err = fmt.Errorf("removing the temporary data directory: %w", removed)
			}
		}()
	}
	data, err := openDataDir(dir)
	if err != nil {
		return Summary{}, err
	}
	defer data.close()
	f := &devFleet{cfg: cfg, data: data, started: time.Now()}
	if err := f.open(); err != nil {
		return Summary{}, err
	}
	summary, err = f.run(ctx)
	return summary, errors.Join(err, f.stop())
}

// devFleet is one run.
type devFleet struct {
	cfg       Config
	data      *dataDir
	blueprint Blueprint
	clock     fleet.LoadClock
	agents    []*agent
	started   time.Time
	resumed   bool
}

// open designs a new fleet or takes up the one in the data directory, and writes
// everything its agents need.
func (f *devFleet) open() error {
	recorded, err := readTraces()
	if err != nil {
		return err
	}
	b, found, err := f.data.readBlueprint()
	if err != nil {
		return err
	}
	f.resumed = found
	if found {
		if err := f.cfg.matches(b); err != nil {
			return fmt.Errorf("%s: %w", f.data.path, err)
		}
	} else if b, err = Design(f.cfg.Shape, recorded, time.Now()); err != nil {
		return err
	}
	switch {
	case !found:
		if err := b.assign(); err != nil {
			return err
		}
	case !b.Running:
		if err := b.free(); err != nil {
			return err
		}
	}
	if b.Running {
		// The last run was killed: workloads may live on, by its clock.
		f.clock = b.Clock
	} else {
		f.clock = fleet.LoadClock{Wall: time.Now().Round(0), Load: b.LoadTime, Scale: b.TimeScale}
	}
	b.Clock, b.Running = f.clock, true
	if err := f.data.prepare(b, f.clock, f.cfg.Automation, f.cfg.Binary); err != nil {
		return err
	}
	f.blueprint = b
	return f.data.writeBlueprint(b)
}

// matches refuses flags that contradict the fleet in the data directory.
func (c Config) matches(b Blueprint) error {
	for _, flag := range []struct {
		name       string
		want, have any
	}{
		{"hosts", c.Hosts, len(b.Hosts)}, {"workloads", c.Workloads, len(b.Workloads)},
		{"time-scale", c.TimeScale, b.TimeScale}, {"seed", c.Seed, b.Seed},
	} {
		if c.Set[flag.name] && flag.want != flag.have {
			return fmt.Errorf("the fleet there has --%s %v, not %v: leave the flag out to resume it, or choose another --data-dir", flag.name, flag.have, flag.want)
		}
	}
	return nil
}

// unpack returns the shipped traces as CSV.
func unpack() ([]byte, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(traces.AzureV1))
	if err != nil {
		return nil, fmt.Errorf("shipped traces: %w", err)
	}
	data, err := io.ReadAll(unpacked)
	if err != nil {
		return nil, fmt.Errorf("shipped traces: %w", err)
	}
	return data, nil
}

func readTraces() ([]trace.Trace, error) {
	data, err := unpack()
	if err != nil {
		return nil, err
	}
	return trace.ReadColumns(bytes.NewReader(data), trace.Options{})
}

// traces writes the recorded load where agents and workloads read it once.
func (d *dataDir) traces() error {
	if _, err := os.Stat(d.file(tracesFile)); err == nil {
		return nil
	}
	data, err := unpack()
	if err != nil {
		return err
	}
	return d.write(tracesFile, data, 0o600)
}

// startAgents starts one agent per host.
func (f *devFleet) startAgents() error {
	for _, h := range f.blueprint.Hosts {
		a, err := startAgent(f.cfg.Binary, h, f.data.file(h.Name, "config.hcl"), f.data.file(h.Name, "agent.log"))
		if err != nil {
			return err
		}
		f.agents = append(f.agents, a)
	}
	return nil
}

// stop ends the agents first, so that none of them mistakes a saved workload for
// a dead one, then saves every region and ends the workloads and the proxies.
func (f *devFleet) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	ended := make(chan error, len(f.agents))
	for _, a := range f.agents {
		go func() { ended <- a.stop(ctx) }() // bounded by ctx, waited for below
	}
	var errs []error
	for range f.agents {
		errs = append(errs, <-ended)
	}
	for _, h := range f.blueprint.Hosts {
		errs = append(errs, stopByHand(ctx, h, f.data.file(h.Name, "data", "agent.lock")))
	}
	saving, cancelSave := context.WithTimeout(context.Background(), saveTime)
	defer cancelSave()
	for _, h := range f.blueprint.Hosts {
		cmd := exec.CommandContext(saving, f.cfg.Binary, "local", "save", "--config", f.data.file(h.Name, "config.hcl"))
		if out, err := cmd.CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("saving the workloads of %s: %w: %s", h.Name, err, bytes.TrimSpace(out)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err // the next run finds the fleet as a killed one
	}
	f.blueprint.LoadTime, f.blueprint.Running = f.clock.At(time.Now()), false
	return f.data.writeBlueprint(f.blueprint)
}

// logTail returns the last lines of an agent's log, for a start that failed.
func logTail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	if len(lines) > 5 {
		lines = lines[len(lines)-5:]
	}
	return filepath.Base(filepath.Dir(path)) + ": " + string(bytes.Join(lines, []byte("\n  ")))
}
