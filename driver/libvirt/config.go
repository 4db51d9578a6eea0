package libvirt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	// Pacemaker is where a host that is a member of its cluster keeps the
	// cluster's configuration.
	Pacemaker string
	// QEMUConf is libvirt's configuration of QEMU, which names its lock manager.
	QEMUConf string
	// Segments say which networks of this host are the same as those of others.
	Segments segments
	// Native lets the hypervisors connect to each other directly ("tcp" or
	// "tls") instead of through the agents' port.
	Native string
	// Policy of moves.
	Policy MovePolicy
	// Overhead is QEMU's own memory per domain in bytes, beside the guest's.
	Overhead int64
	// NoticeCommand is a program in the guests that is told of moves, where Policy
	// or a domain's metadata gives notice of them.
	NoticeCommand string
	// StatsEvery is the pace at which the hypervisor's counters are read.
	StatsEvery time.Duration
	Logger     hclog.Logger
}

// MovePolicy says what a move may cost the workload.
type MovePolicy struct {
	// Bandwidth a move begins with, MaxBandwidth what it may be raised to, in
	// bytes per second; 0 = no limit.
	Bandwidth, MaxBandwidth int64
	// Downtime the last pass aims at, MaxDowntime what it may be raised to.
	Downtime, MaxDowntime time.Duration
	// AutoConverge lets the hypervisor slow the workload down. It is asked for
	// by configuration only.
	AutoConverge bool
	// Compress is "", "xbzrle" (changes of pages sent before) or, with several
	// streams, "zlib" or "zstd"; Parallel the number of streams, 0 = one. What
	// either end's libvirt does not know is left away.
	Compress string
	Parallel int
	// Notice is how long a guest may take to get ready before a move; 0: it is not
	// told.
	Notice time.Duration
	// Storage is one of storages.
	Storage string
	// Unsafe lets a disk move whose cache mode libvirt does not trust.
	Unsafe bool
	// Deadline ends a move that does not converge, as AtDeadline says: "abort",
	// the workload stays and was never stopped, or "stop", it is stopped until
	// the rest is there. After as long again a move that did not even stop it
	// is aborted.
	Deadline   time.Duration
	AtDeadline string
}

// storages: disks lie on storage that both hosts see; they travel too; or only the
// overlay does, whose base is at both ends.
var storages = []string{"shared", "copy", "copy-inc"}

// maxNotice bounds what a guest may take: its lease is held meanwhile, and others wait.
const maxNotice = 5 * time.Minute

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
	set(&c.QEMUConf, "/etc/libvirt/qemu.conf")
	set(&c.Pacemaker, "/var/lib/pacemaker/cib/cib.xml")
	set(&c.Policy.Storage, "shared")
	set(&c.NoticeCommand, "/etc/placed/notice")
	set(&c.Policy.AtDeadline, "abort")
	if c.Overhead == 0 {
		c.Overhead = defaultOverhead
	}
	if c.StatsEvery <= 0 {
		c.StatsEvery = 5 * time.Second
	}
	if c.Policy.Downtime == 0 {
		c.Policy.Downtime = hypervisorDowntime
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
	case c.Policy.Notice < 0 || c.Policy.Notice > maxNotice:
		return c, fmt.Errorf("libvirt driver: option notice: %s is outside 0..%s", c.Policy.Notice, maxNotice)
	case c.Native != "" && c.Native != "tcp" && c.Native != "tls":
		return c, fmt.Errorf("libvirt driver: option native: %q is neither tcp nor tls", c.Native)
	case !slices.Contains(storages, c.Policy.Storage):
		return c, fmt.Errorf("libvirt driver: option storage: %q is none of %s", c.Policy.Storage, strings.Join(storages, ", "))
	case c.Policy.AtDeadline != "abort" && c.Policy.AtDeadline != "stop":
		return c, fmt.Errorf("libvirt driver: option at_deadline: %q is neither abort nor stop", c.Policy.AtDeadline)
	case !slices.Contains([]string{"", "xbzrle", "zlib", "zstd"}, c.Policy.Compress):
		return c, fmt.Errorf("libvirt driver: option compress: %q is none of xbzrle, zlib, zstd", c.Policy.Compress)
	case (c.Policy.Compress == "zlib" || c.Policy.Compress == "zstd") && c.Policy.Parallel < 2:
		return c, fmt.Errorf("libvirt driver: option compress = %q needs several streams: set parallel to 2 or more", c.Policy.Compress)
	case c.Policy.Compress == "xbzrle" && c.Policy.Parallel > 1:
		return c, errors.New("libvirt driver: option compress = \"xbzrle\" works with one stream only: remove parallel, or compress with zstd")
	}
	return c, nil
}

// simplify leaves away what a libvirt may not offer; false: there is nothing of it.
func (p *MovePolicy) simplify() bool {
	some := p.Compress != "" || p.Parallel > 1
	p.Compress, p.Parallel = "", 0
	return some
}

// defaultOverhead is what QEMU 7.2 uses beside the guest's memory with a few
// virtio devices, rounded up: a guest of 128 MiB whose working set was touched
// showed 240 MB resident with software emulation, whose translation cache (32 MiB
// and more) is the larger part; with KVM it is less.
const defaultOverhead = 128 << 20

// Options fills a Config from the driver block's options.
func (c *Config) Options(options map[string]string) error {
	text := map[string]*string{"uri": &c.URI, "socket": &c.Socket, "sockets": &c.Sockets, "pids": &c.PIDs,
		"native": &c.Native, "pacemaker": &c.Pacemaker, "qemu_conf": &c.QEMUConf, "compress": &c.Policy.Compress, "storage": &c.Policy.Storage, "at_deadline": &c.Policy.AtDeadline}
	bytes := map[string]*int64{"overhead": &c.Overhead, "bandwidth": &c.Policy.Bandwidth, "max_bandwidth": &c.Policy.MaxBandwidth}
	durations := map[string]*time.Duration{"downtime": &c.Policy.Downtime, "max_downtime": &c.Policy.MaxDowntime, "deadline": &c.Policy.Deadline, "statistics": &c.StatsEvery, "notice": &c.Policy.Notice}
	flags := map[string]*bool{"auto_converge": &c.Policy.AutoConverge, "unsafe": &c.Policy.Unsafe}
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
		case key == "segments":
			c.Segments, err = parseSegments(value)
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
