package daemon

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/transport"
)

// Config of an agent, in the terms of the packages it builds. FromFile makes one
// from the configuration files.
type Config struct {
	Version string
	Cluster string
	// Host is what this host registers as. Host.Voter says that it holds a
	// copy of the log.
	Host fleet.Host
	// Measured amounts of its capacity follow the machine.
	Measured Measured
	DataDir  string

	Transport transport.Config
	// Servers are the first voters; an agent that holds the log bootstraps
	// with them, others look for a voter among them.
	Servers []consensus.Server

	GossipAddr   string
	GossipPort   int
	GossipPreset string
	Keyring      [][]byte
	Join         []string

	// API is where the HTTP API listens; APITLS, when set, asks operators for
	// a certificate of the given CA.
	API         string
	APIClientCA string

	// TrafficIP is where the proxy serves clients, empty for none.
	TrafficIP   string
	TrafficPort int
	// ProxyCommand is the argv that runs the proxy; flags are appended.
	ProxyCommand []string

	Drivers  []DriverConfig
	Declared []Declared
	Clock    fleet.LoadClock

	Sample, Report, Pass time.Duration
	Policy               fleet.Policy // of a new cluster
	History              time.Duration
	Timeouts             consensus.Timeouts

	Logger hclog.Logger
}

// DriverConfig of one driver.
type DriverConfig struct {
	Name    string
	Command []string
	Dir     string
	Options map[string]string
}

// raftDir holds the log, the vote and the snapshots.
func (c Config) raftDir() string { return filepath.Join(c.DataDir, "raft") }

// staleAfter is how old a report may be before its host counts as stale.
func (c Config) staleAfter() time.Duration { return max(4*c.Report, 3*time.Second) }

// voters are the addresses of the first voters but this host.
func (c Config) voters() []peer.Address {
	var out []peer.Address
	for _, s := range c.Servers {
		if s.ID != string(c.Host.ID) {
			out = append(out, peer.Address{ID: fleet.HostID(s.ID), Addr: s.Address})
		}
	}
	return out
}

func (c Config) validate() error {
	switch {
	case c.Cluster == "":
		return errors.New("cluster id is empty")
	case c.DataDir == "":
		return errors.New("data directory is not set")
	case len(c.Servers) == 0:
		return errors.New("no servers are named: set cluster.servers to the first voters")
	case c.Sample <= 0 || c.Report <= 0 || c.Pass <= 0:
		return errors.New("the intervals sample, report and pass must be positive")
	case c.Logger == nil:
		return errors.New("no logger")
	}
	if err := c.Policy.Validate(); err != nil {
		return err
	}
	if err := c.Host.Validate(); err != nil {
		return fmt.Errorf("this host: %w", err)
	}
	return nil
}
