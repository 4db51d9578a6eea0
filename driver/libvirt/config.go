package libvirt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fleet"
)

// Name is the word in Spec.Driver.
const Name = "libvirt"

// ErrNotBuilt: this binary was built without cgo.
var ErrNotBuilt = errors.New("this build has no libvirt driver: use a release build, or build with CGO_ENABLED=1 -tags libvirt_dlopen (gcc is enough)")

// Config of a Driver. Zero values take the defaults.
type Config struct {
	// URI of the local libvirtd.
	URI string
	// Socket is where that libvirtd listens; streams of a move end there.
	Socket string
	// Host is this host's id in the cluster.
	Host fleet.HostID
	// Dir keeps what must survive the agent about a move: small, fsynced.
	Dir string
	// Sockets is a directory for the sockets of moves, the same path on every
	// host, for the hypervisor uses one name at both ends. Keep it short.
	Sockets string
	// PIDs is where libvirt writes the numbers of its QEMU processes.
	PIDs string
	// Native lets the hypervisors connect to each other directly ("tcp" or
	// "tls") instead of through the agents' port.
	Native string
	// Policy of moves.
	Policy MovePolicy
	// Overhead is QEMU's own memory per domain in bytes, beside the guest's.
	Overhead int64
	Logger   hclog.Logger
}

// MovePolicy says what a move may cost the workload.
type MovePolicy struct {
	// Bandwidth a move begins with, MaxBandwidth what it may be raised to, in
	// bytes per second; 0 = no limit.
	Bandwidth, MaxBandwidth int64
	// Downtime the last pass aims at, MaxDowntime what it may be raised to.
	Downtime, MaxDowntime time.Duration
	// AutoConverge lets the hypervisor slow the workload down, PostCopy lets
	// it run at the destination before all of it is there: from then on
	// neither side alone holds it. Both are asked for by configuration only.
	AutoConverge, PostCopy bool
	// Compress is "" or "xbzrle"; Parallel the number of streams, 0 = one.
	Compress string
	Parallel int
	// Storage is "shared", "copy" (disks travel too) or "copy-inc" (only the
	// overlay does; its base is at both ends).
	Storage string
	// Unsafe lets a disk move whose cache mode libvirt does not trust.
	Unsafe bool
	// Deadline ends a move that does not converge.
	Deadline time.Duration
}

func (c Config) withDefaults() (Config, error) {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&c.URI, "qemu:///system")
	set(&c.Socket, "/run/libvirt/libvirt-sock")
	set(&c.Sockets, "/run/placed/moves")
	set(&c.PIDs, "/run/libvirt/qemu")
	set(&c.Policy.Storage, "shared")
	if c.Overhead == 0 {
		c.Overhead = defaultOverhead
	}
	if c.Policy.Downtime == 0 {
		c.Policy.Downtime = 300 * time.Millisecond
	}
	if c.Policy.MaxDowntime == 0 {
		c.Policy.MaxDowntime = 2 * time.Second
	}
	if c.Policy.Deadline == 0 {
		c.Policy.Deadline = 10 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	switch {
	case c.Host == "":
		return c, errors.New("libvirt driver: the host id is empty")
	case c.Dir == "":
		return c, errors.New("libvirt driver: no directory for the state of moves")
	case len(c.Sockets) > 40:
		return c, fmt.Errorf("libvirt driver: option sockets: %s is longer than 40 characters, sockets in it would not fit", c.Sockets)
	case c.Native != "" && c.Native != "tcp" && c.Native != "tls":
		return c, fmt.Errorf("libvirt driver: option native: %q is neither tcp nor tls", c.Native)
	case c.Policy.Storage != "shared" && c.Policy.Storage != "copy" && c.Policy.Storage != "copy-inc":
		return c, fmt.Errorf("libvirt driver: option storage: %q is none of shared, copy, copy-inc", c.Policy.Storage)
	case c.Policy.Compress != "" && c.Policy.Compress != "xbzrle":
		return c, fmt.Errorf("libvirt driver: option compress: %q is not xbzrle", c.Policy.Compress)
	}
	return c, nil
}

// defaultOverhead is what QEMU 7.2 uses beside the guest's memory with a few
// virtio devices, rounded up: a guest of 128 MiB whose working set was touched
// showed 240 MB resident with software emulation, whose translation cache (32 MiB
// and more) is the larger part; with KVM it is less.
const defaultOverhead = 128 << 20

// Options fills a Config from the driver block's options.
func (c *Config) Options(options map[string]string) error {
	text := map[string]*string{"uri": &c.URI, "socket": &c.Socket, "sockets": &c.Sockets, "pids": &c.PIDs,
		"native": &c.Native, "compress": &c.Policy.Compress, "storage": &c.Policy.Storage}
	bytes := map[string]*int64{"overhead": &c.Overhead, "bandwidth": &c.Policy.Bandwidth, "max_bandwidth": &c.Policy.MaxBandwidth}
	durations := map[string]*time.Duration{"downtime": &c.Policy.Downtime, "max_downtime": &c.Policy.MaxDowntime, "deadline": &c.Policy.Deadline}
	flags := map[string]*bool{"auto_converge": &c.Policy.AutoConverge, "post_copy": &c.Policy.PostCopy, "unsafe": &c.Policy.Unsafe}
	for key, value := range options {
		var err error
		switch {
		case text[key] != nil:
			*text[key] = value
		case bytes[key] != nil:
			*bytes[key], err = parseBytes(value)
		case durations[key] != nil:
			*durations[key], err = time.ParseDuration(value)
		case flags[key] != nil:
			*flags[key], err = strconv.ParseBool(value)
		case key == "parallel":
			c.Policy.Parallel, err = strconv.Atoi(value)
		default:
			err = errors.New("the driver has no such option")
		}
		if err != nil {
			return fmt.Errorf("libvirt driver: option %s = %q: %w", key, value, err)
		}
	}
	return nil
}

func parseBytes(text string) (int64, error) {
	factor := int64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			text, factor = number, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		return 0, errors.New("want a number of bytes, KiB, MiB or GiB")
	}
	return n * factor, nil
}

// bootID tells one life of the machine from the next.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (c Config) noteFile(id fleet.WorkloadID) string {
	return filepath.Join(c.Dir, "moves", strings.ReplaceAll(string(id), "/", "%2F"))
}
