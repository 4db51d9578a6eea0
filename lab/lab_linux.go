package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config of a lab.
type Config struct {
	// Name tells labs on one machine apart: letters and digits, short.
	Name string
	// Dir holds everything the lab writes; empty: /var/lib/placed-lab/NAME.
	// Sockets lie in it, so its path must be short.
	Dir string
	// Hosts is how many hosts there are, 1 to 9.
	Hosts int
}

// Lab is a running lab. Its record is the machine itself: a process belongs to
// the lab if it lives in one of its network namespaces, which have the lab's name
// and outlive every process. So a crash leaves nothing that Down cannot find, and
// Down ends nothing else.
type Lab struct {
	cfg   Config
	Hosts []*Host
}

// Addresses of the lab's two networks: hosts talk on the first, guests answer on
// the second, and the switch, where the prober sits, is .254 on both.
const (
	managementNet = "10.77.0"
	guestNet      = "10.78.0"
	switchHost    = 254
	gatewayMAC    = "52:54:00:78:00:fe"
)

// withDefaults fills the zero fields.
func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		c.Name = "lab"
	}
	if len(c.Name) > 8 || strings.Trim(c.Name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return c, fmt.Errorf("lab name %q: at most 8 small letters and digits", c.Name)
	}
	if c.Dir == "" {
		c.Dir = filepath.Join("/var/lib/placed-lab", c.Name)
	}
	if len(c.Dir) > 50 {
		return c, fmt.Errorf("lab directory %s is longer than 50 characters: sockets in it would not fit", c.Dir)
	}
	if c.Hosts == 0 {
		c.Hosts = 3
	}
	if c.Hosts < 1 || c.Hosts > 9 {
		return c, fmt.Errorf("a lab has 1 to 9 hosts, not %d", c.Hosts)
	}
	return c, nil
}

// namespace returns the name of a network namespace of the lab.
func (c Config) namespace(node string) string { return "placed-" + c.Name + "-" + node }

// Missing says why a lab cannot run on this machine, or "".
func Missing() string {
	if os.Geteuid() != 0 {
		return "needs root: a lab makes network namespaces"
	}
	for _, program := range []string{"libvirtd", "qemu-system-x86_64", "qemu-img", "ip", "nsenter", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			return "needs " + program + ": scripts/lab-tools installs it on Debian"
		}
	}
	if _, err := findKernel(); err != nil {
		return err.Error()
	}
	return ""
}

// Up starts a lab. What an earlier lab of that name left behind is removed first.
func Up(ctx context.Context, cfg Config) (*Lab, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if why := Missing(); why != "" {
		return nil, errors.New(why)
	}
	if err := Down(ctx, cfg); err != nil {
		return nil, err
	}
	l := &Lab{cfg: cfg}
	if err := l.build(ctx); err != nil {
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("lab %s: %w", cfg.Name, err), Down(down, cfg))
	}
	return l, nil
}

// Attach finds a lab that another process has started.
func Attach(cfg Config) (*Lab, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Lab{cfg: cfg}
	for n := 1; n <= 9; n++ {
		h := newHost(l, n)
		if _, err := os.Stat(filepath.Join(netnsDir, h.namespace)); err != nil {
			break
		}
		l.Hosts = append(l.Hosts, h)
	}
	if len(l.Hosts) == 0 {
		return nil, fmt.Errorf("no lab %q runs here: start one with make lab", cfg.Name)
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context) error {
	if err := os.MkdirAll(l.cfg.Dir, 0o755); err != nil {
		return err
	}
	if err := l.buildGuest(ctx); err != nil {
		return err
	}
	if err := l.buildPKI(); err != nil {
		return err
	}
	if err := l.buildSwitch(ctx); err != nil {
		return err
	}
	for n := 1; n <= l.cfg.Hosts; n++ {
		h := newHost(l, n)
		l.Hosts = append(l.Hosts, h)
		if err := h.build(ctx); err != nil {
			return fmt.Errorf("host %s: %w", h.Name, err)
		}
	}
	var start errgroup.Group
	for _, h := range l.Hosts {
		start.Go(func() error { return h.StartLibvirtd(ctx) })
	}
	return start.Wait()
}

// Host returns the host of that name ("h1").
func (l *Lab) Host(name string) *Host {
	for _, h := range l.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// Dir is where the lab keeps its files.
func (l *Lab) Dir() string { return l.cfg.Dir }

// SwitchNamespace is the network namespace the prober runs in.
func (l *Lab) SwitchNamespace() string { return l.cfg.namespace("sw") }

// Down ends everything the lab runs and removes what it made.
func (l *Lab) Down(ctx context.Context) error { return Down(ctx, l.cfg) }

// buildSwitch makes the namespace in the middle, with a bridge per network.
func (l *Lab) buildSwitch(ctx context.Context) error {
	ns := l.SwitchNamespace()
	if err := run(ctx, "ip", "netns", "add", ns); err != nil {
		return err
	}
	for bridge, address := range map[string]string{"mgmt": managementNet, "guests": guestNet} {
		if err := ip(ctx, ns, "link add "+bridge+" type bridge forward_delay 0 mcast_snooping 0"); err != nil {
			return err
		}
		if bridge == "guests" {
			if err := ip(ctx, ns, "link set guests address "+gatewayMAC); err != nil {
				return err
			}
		}
		if err := ip(ctx, ns, fmt.Sprintf("address add %s.%d/24 dev %s", address, switchHost, bridge), "link set "+bridge+" up"); err != nil {
			return err
		}
	}
	return ip(ctx, ns, "link set lo up")
}

// ip runs commands of iproute2 in a network namespace.
func ip(ctx context.Context, ns string, commands ...string) error {
	for _, c := range commands {
		if err := run(ctx, "ip", append([]string{"-n", ns}, strings.Fields(c)...)...); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
