package region

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	hclog "github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fleet"
)

// Name is the word in driver.Spec.Driver.
const Name = "region"

// Names of trackers.
const (
	TrackerPagemapScan = "pagemap-scan"
	TrackerCompare     = "compare"
)

// Keys of driver.Spec.Settings. All are optional; a workload without a trace
// has no load. trace_file must be readable where the workload is first started:
// its values travel in the state.
const (
	SettingTraceFile   = "trace_file"
	SettingTraceColumn = "trace_column" // name, or "#n" from 0
	SettingTraceFrom   = "trace_from"   // first row
	SettingTraceTo     = "trace_to"     // row after the last
	SettingTraceOrigin = "trace_origin" // load time of the first row, RFC 3339
	SettingScale       = "scale"        // thousandths of a core per percent
	SettingSeed        = "seed"
	SettingDirtyRate   = "dirty_rate" // pages per core and second of demand
	SettingCPULimit    = "cpu_limit"  // cores; it needs the driver's option cgroup
)

// Config of the driver.
type Config struct {
	// Dir holds one directory per workload.
	Dir string
	// Command is the argument vector that starts a workload process; flags
	// are appended.
	Command []string
	// ListenIP is where workloads serve the proxy; each takes a free port.
	ListenIP string
	// Clock is the load clock that workloads replay their traces by.
	Clock fleet.LoadClock
	// ForceTracker takes this tracker or fails; empty takes the best one.
	ForceTracker string
	// Cgroup is a directory of the kernel's cpu controller, version 2 or 1, that
	// the agent may write: each workload gets one of its own below it, and its
	// cpu weight and limit can be changed. Empty: they cannot.
	Cgroup string
	Logger hclog.Logger
	// Timeout bounds every start, control request and end; 0 means 10 s. One
	// workload that does not answer delays an inventory by a fifth of it.
	Timeout time.Duration
}

func (c *Config) complete() error {
	if c.Dir == "" || len(c.Command) == 0 {
		return errors.New("region driver: Dir and Command must be set")
	}
	if c.ListenIP == "" {
		c.ListenIP = "127.0.0.1"
	}
	if _, err := netip.ParseAddr(c.ListenIP); err != nil {
		return fmt.Errorf("region driver: listen ip: %w", err)
	}
	switch c.ForceTracker {
	case "", TrackerCompare, TrackerPagemapScan:
	default:
		return fmt.Errorf("region driver: tracker %q: want %s or %s", c.ForceTracker, TrackerPagemapScan, TrackerCompare)
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("region driver: %w", err)
	}
	c.Dir = dir
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return nil
}
