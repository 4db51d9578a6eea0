package gossip

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"

	"github.com/placed-dev/placed/fleet"
)

// Presets of the failure detector.
const (
	PresetLAN   = "lan"   // a killed host is known everywhere after 10 to 12 s
	PresetLocal = "local" // hosts on one machine: after 5 s at most
)

// Config of a Gossip.
type Config struct {
	// ID is the UUID of the host, its name in gossip. Name is for people.
	ID   fleet.HostID
	Name string
	// Cluster labels every packet: hosts of another cluster are not heard.
	Cluster string
	// BindAddr is an IP address; the port, for TCP and UDP, is 0 for any. Calls
	// go out from the same address.
	BindAddr string
	BindPort int
	// Advertise is the IP others reach this host at; needed when BindAddr is
	// 0.0.0.0 or ::.
	Advertise string
	// Keyring holds AES-256 keys (32 bytes): the first encrypts, all decrypt.
	Keyring [][]byte
	// Join lists "host:port" of other members. It may be incomplete, and may
	// hold this host.
	Join []string
	Meta Meta
	// Preset is lan (default) or local.
	Preset string
	Logger hclog.Logger
}

func (c Config) validate() error {
	if err := c.ID.Validate(); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	if c.Cluster == "" || len(c.Cluster) > memberlist.LabelMaxSize {
		return fmt.Errorf("gossip: the cluster name has %d characters: 1 to %d are allowed", len(c.Cluster), memberlist.LabelMaxSize)
	}
	ip, err := netip.ParseAddr(c.BindAddr)
	if err != nil {
		return fmt.Errorf("gossip: bind address %q is not an IP address", c.BindAddr)
	}
	if c.Advertise != "" {
		if _, err := netip.ParseAddr(c.Advertise); err != nil {
			return fmt.Errorf("gossip: advertise address %q is not an IP address", c.Advertise)
		}
	} else if ip.IsUnspecified() {
		return fmt.Errorf("gossip: bind address %s stands for every address: set the advertise address, at which other hosts reach this one", c.BindAddr)
	}
	for _, seed := range c.Join {
		host, port, err := net.SplitHostPort(seed)
		if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || portErr != nil || n == 0 {
			return fmt.Errorf("gossip: join address %q is not of the form host:port", seed)
		}
	}
	return c.validateKeys()
}

func (c Config) validateKeys() error {
	if len(c.Keyring) == 0 {
		return errors.New("gossip: the keyring is empty: make a key with `placed keygen` and give the same one to every host")
	}
	for i, key := range c.Keyring {
		if len(key) != 32 {
			return fmt.Errorf("gossip: key %d of the keyring has %d bytes: 32 are needed, as `placed keygen` makes", i+1, len(key))
		}
	}
	return nil
}

// settings translates the config for memberlist.
func (c Config) settings() (*memberlist.Config, error) {
	var s *memberlist.Config
	switch c.Preset {
	case "", PresetLAN:
		s = memberlist.DefaultLANConfig()
		// Among 100 members a dead host is first probed after 1 s on average, and
		// after 4.6 s in one case of a hundred; the probe takes 1 s, and then it
		// stays a suspect. With memberlist's 8 s (and up to six times as long
		// without a witness) the hundredth case comes close to 15 s; with 6 s, at
		// most 12, it is known after 12 s. A host that was only mute is back with
		// its first word: being dead here takes nothing from it.
		s.SuspicionMult = 3
		s.SuspicionMaxTimeoutMult = 2
	case PresetLocal:
		s = memberlist.DefaultLocalConfig()
		// Probe twice a second and believe the worst after 2 s, or 4 s when
		// nobody confirms; 200 ms without an answer would already suspect a
		// process that merely waits for a busy machine.
		s.ProbeInterval = 500 * time.Millisecond
		s.ProbeTimeout = 300 * time.Millisecond
		s.SuspicionMult = 4
		s.SuspicionMaxTimeoutMult = 2
		s.RetransmitMult = 4
	default:
		return nil, fmt.Errorf("gossip: preset %q is unknown: want %s or %s", c.Preset, PresetLAN, PresetLocal)
	}
	keyring, err := memberlist.NewKeyring(c.Keyring[1:], c.Keyring[0])
	if err != nil {
		return nil, fmt.Errorf("gossip: keyring: %w", err)
	}
	s.Name = string(c.ID)
	s.Label = c.Cluster
	s.Keyring = keyring
	s.BindAddr, s.BindPort = c.BindAddr, c.BindPort
	s.AdvertiseAddr = c.Advertise
	// Loads are too small to gain from it, and a decompressor is one more thing
	// to attack.
	s.EnableCompression = false
	// A host that comes back after a reboot hears at once that it was dead.
	s.GossipToTheDeadTime = deadTime
	// A host that was reinstalled at another address gets its name back.
	s.DeadNodeReclaimTime = 30 * time.Second
	s.LogOutput = nil
	return s, nil
}

// maxSuspicion is the longest time between memberlist's suspicion and its
// verdict among n members, with some air.
func maxSuspicion(s *memberlist.Config, n int) time.Duration {
	scale := math.Max(1, math.Log10(math.Max(1, float64(n))))
	base := float64(s.SuspicionMult) * scale * float64(s.ProbeInterval)
	return time.Duration(float64(s.SuspicionMaxTimeoutMult)*base) + 5*s.ProbeInterval
}
