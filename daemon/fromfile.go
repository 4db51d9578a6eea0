package daemon

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/config"
	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/telemetry"
	"github.com/placed-dev/placed/transport"
)

// FromFile maps the configuration files to what the packages take. The files
// have been checked by config.Load; what is wrong here only the machine knows.
func FromFile(f config.Config, version string, log hclog.Logger) (Config, error) {
	c := Config{
		Version: version, Cluster: f.Cluster.ID, DataDir: f.Node.DataDir,
		Transport: transport.Config{Bind: f.RPC.Bind, CAFile: f.TLS.CA, CertFile: f.TLS.Cert, KeyFile: f.TLS.Key, MaxConns: f.Limits.Connections},
		Join:      f.Cluster.Join, GossipPreset: f.Gossip.Preset,
		API: f.API.Bind, APIClientCA: f.API.ClientCA,
		Sample: f.Intervals.Sample.Value(), Report: f.Intervals.Report.Value(), Pass: f.Intervals.Pass.Value(),
		History: f.Limits.History.Value(), Logger: log,
	}
	heartbeat := f.Server.Heartbeat.Value()
	c.Timeouts = consensus.Timeouts{Heartbeat: heartbeat, Election: heartbeat, LeaderLease: heartbeat / 2}
	rpc, err := netip.ParseAddrPort(f.RPC.Bind)
	if err != nil {
		return Config{}, fmt.Errorf("rpc.bind: %w", err)
	}
	if !rpc.Addr().IsUnspecified() {
		c.Transport.LocalIP = rpc.Addr().String()
	}
	gossip, err := netip.ParseAddrPort(f.Gossip.Bind)
	if err != nil {
		return Config{}, fmt.Errorf("gossip.bind: %w", err)
	}
	c.GossipAddr, c.GossipPort = gossip.Addr().String(), int(gossip.Port())
	if f.Traffic.Enabled {
		c.TrafficIP, c.TrafficPort = f.Traffic.Address, f.Traffic.PeerPort
	}
	for _, step := range []func(config.Config) error{c.servers, c.keys, c.host, c.clock, c.policy, c.workloads} {
		if err := step(f); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// binary is this program, which also is the proxy and the sample process.
func binary() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("where is this program: %w", err)
	}
	return path, nil
}

func (c *Config) servers(f config.Config) error {
	for _, s := range f.Cluster.Servers {
		id, address, _ := strings.Cut(s, "@") // config.Load has checked the form
		c.Servers = append(c.Servers, consensus.Server{ID: id, Address: address})
	}
	if len(c.Servers) == 0 {
		return errors.New("cluster.servers names no server: write the first voters as \"<host-id>@<ip>:<port>\"")
	}
	return nil
}

func (c *Config) keys(f config.Config) (err error) {
	if c.Keyring, err = f.Gossip.Keys(); err != nil {
		return err
	}
	if len(c.Keyring) == 0 {
		return errors.New("gossip.keyring: gossip has no key: make one with `placed keygen` and give every host the same")
	}
	return nil
}

// host is what this host registers as. An amount that is not configured is
// measured (cpu, memory) or unlimited (net, disk).
func (c *Config) host(f config.Config) error {
	name := f.Node.Name
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return fmt.Errorf("node.name is not set and the host has none: %w", err)
		}
	}
	capacity := fleet.Vector{CPU: milli(f.Capacity.CPU), Memory: f.Capacity.Memory.Value(), Net: f.Capacity.Net.Value(), Disk: f.Capacity.Disk.Value()}
	c.Measured = Measured{CPU: capacity.CPU == 0, Memory: capacity.Memory == 0}
	if capacity.CPU == 0 {
		capacity.CPU = int64(runtime.NumCPU()) * 1000
	}
	if capacity.Memory == 0 {
		total, err := telemetry.TotalMemory()
		if err != nil {
			return err
		}
		capacity.Memory = total
	}
	if capacity.Net == 0 {
		capacity.Net = fleet.Unknown
	}
	if capacity.Disk == 0 {
		capacity.Disk = fleet.Unknown
	}
	c.Host = fleet.Host{
		ID: fleet.HostID(f.Node.ID), Name: name, Zone: f.Node.Zone, Class: f.Node.Class, Voter: f.Server.Enabled,
		Address: f.RPC.Bind, API: f.API.Bind, Capacity: capacity,
		Reserve:    fleet.Vector{CPU: milli(f.Reserve.CPU), Memory: f.Reserve.Memory.Value(), Net: f.Reserve.Net.Value(), Disk: f.Reserve.Disk.Value()},
		Overcommit: fleet.Vector{CPU: milli(f.Overcommit.CPU), Memory: milli(f.Overcommit.Memory)},
	}
	if f.Traffic.Enabled {
		c.Host.Traffic = net.JoinHostPort(f.Traffic.Address, strconv.Itoa(f.Traffic.PeerPort))
	}
	// An unspecified address tells nobody where to call.
	if bind, err := netip.ParseAddrPort(f.RPC.Bind); err == nil && bind.Addr().IsUnspecified() {
		for _, s := range c.Servers {
			if s.ID == f.Node.ID {
				c.Host.Address = s.Address
			}
		}
		if c.Host.Address == f.RPC.Bind {
			return fmt.Errorf("rpc.bind %s tells the other hosts nothing: bind to the host's own address, or name this host in cluster.servers", f.RPC.Bind)
		}
	}
	return nil
}

// grouped keeps a workload's group beside its driver's settings: both travel with
// it, and drivers pass over what they do not know.
func grouped(settings map[string]string, group string) map[string]string {
	if group == "" {
		return settings
	}
	out := maps.Clone(settings)
	if out == nil {
		out = map[string]string{}
	}
	out[groupSetting] = group
	return out
}

func milli(f float64) int64 { return int64(math.Round(f * 1000)) }

func (c *Config) clock(f config.Config) error {
	wall, load := f.LoadClock.Times()
	if f.LoadClock.Scale == 1 && wall.IsZero() && load.IsZero() {
		c.Clock = fleet.LoadClock{Scale: 1}
		return nil
	}
	if wall.IsZero() {
		wall = time.Now().Round(0)
	}
	if load.IsZero() {
		load = wall
	}
	c.Clock = fleet.LoadClock{Wall: wall, Load: load, Scale: f.LoadClock.Scale}
	return nil
}

func (c *Config) policy(f config.Config) error {
	p := f.Policy
	c.Policy = fleet.Policy{
		Quantile: milli(p.Quantile), Horizon: p.Horizon.Value(), HoldPasses: int64(p.HoldPasses), Margin: p.Margin.Value(),
		Headroom: milli(p.Headroom), Cooldown: p.Cooldown.Value(), CooldownReset: p.CooldownReset.Value(),
		MovesPerPass: int64(p.MovesPerPass), MovesInFlight: int64(p.MovesInFlight), ChurnPerHour: int64(p.ChurnPerHour),
		ReserveHosts: int64(p.ReserveHosts), MovesPerHost: int64(p.MovesPerHost), BandwidthInFlight: p.BandwidthInFlight.Value(), Consolidate: p.Consolidate,
		MovesPerLink: int64(p.MovesPerLink), BandwidthPerLink: p.BandwidthPerLink.Value(),
		InPlace:  fleet.InPlace{CPUWeight: p.InPlaceCPUWeight, CPUQuota: p.InPlaceCPUQuota, VCPUs: p.InPlaceVCPUs, Balloon: p.InPlaceBalloon},
		Standbys: int64(p.Standbys),
	}
	return c.Policy.Automation.UnmarshalText([]byte(p.Automation))
}

func (c *Config) workloads(f config.Config) error {
	self, err := binary()
	if err != nil {
		return err
	}
	c.ProxyCommand = []string{self, "proxy"}
	for _, d := range f.Drivers {
		command := d.Command
		if len(command) == 0 {
			command = []string{self, "workload"}
		}
		c.Drivers = append(c.Drivers, DriverConfig{Name: d.Name, Command: command, Dir: d.Dir, Options: d.Options})
	}
	for _, w := range f.Workloads {
		size := w.Size.Value()
		declared := Declared{Spec: driver.Spec{
			ID: fleet.WorkloadID(w.ID), Driver: w.Driver, Size: size, Port: int64(w.Port), Priority: int64(w.Priority), Tolerant: milli(w.Tolerance),
			Reserve: fleet.Vector{CPU: milli(w.CPU), Memory: size}, Settings: grouped(w.Settings, w.Group),
		}}
		if w.HistoryFile != "" {
			end, err := time.Parse(time.RFC3339Nano, w.HistoryEnd)
			if err != nil {
				return fmt.Errorf("workload %s: history_end: %w", w.ID, err)
			}
			declared.History = &History{File: w.HistoryFile, Column: w.HistoryColumn, To: w.HistoryRows, End: end, Scale: w.HistoryScale}
		}
		c.Declared = append(c.Declared, declared)
	}
	return nil
}
