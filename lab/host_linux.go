package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Host is one host of the lab: a network, a mount and a UTS namespace, held by a
// sleeping process, so that libvirtd can die and come back while QEMU lives on.
type Host struct {
	lab       *Lab
	n         int
	Name      string // "h1"
	Address   string // on the management network
	dir       string
	namespace string
}

func newHost(l *Lab, n int) *Host {
	name := "h" + strconv.Itoa(n)
	return &Host{lab: l, n: n, Name: name, Address: fmt.Sprintf("%s.%d", managementNet, n),
		dir: filepath.Join(l.cfg.Dir, name), namespace: l.cfg.namespace(name)}
}

// UUID of the host, as libvirt knows it.
func (h *Host) UUID() string { return fmt.Sprintf("00000000-0000-4000-8000-0000000000%02x", h.n) }

// Namespace is the name of the host's network namespace.
func (h *Host) Namespace() string { return h.namespace }

// private lists the directories each host has for itself, as seen inside.
var private = []string{"/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt", "/run/libvirt", "/run/placed", "/etc/pki"}

// Path returns where a path inside the host lies on the machine.
func (h *Host) Path(inside string) string { return filepath.Join(h.dir, inside) }

// Socket is libvirtd's socket, reachable from anywhere on the machine.
func (h *Host) Socket() string { return h.Path("/run/libvirt/libvirt-sock") }

// URI reaches the host's libvirtd from anywhere on the machine.
func (h *Host) URI() string { return "qemu+unix:///system?socket=" + h.Socket() }

func (h *Host) build(ctx context.Context) error {
	if err := h.buildNetwork(ctx); err != nil {
		return err
	}
	if err := h.buildFiles(); err != nil {
		return err
	}
	return h.hold(ctx)
}

func (h *Host) buildNetwork(ctx context.Context) error {
	if err := run(ctx, "ip", "netns", "add", h.namespace); err != nil {
		return err
	}
	sw := h.lab.SwitchNamespace()
	for _, link := range []struct{ inside, port, bridge string }{{"mgmt0", "m" + strconv.Itoa(h.n), "mgmt"}, {"uplink", h.port(), "guests"}} {
		if err := run(ctx, "ip", "link", "add", link.inside, "netns", h.namespace, "type", "veth", "peer", "name", link.port, "netns", sw); err != nil {
			return err
		}
		if err := ip(ctx, sw, "link set "+link.port+" master "+link.bridge, "link set "+link.port+" up"); err != nil {
			return err
		}
	}
	return ip(ctx, h.namespace, "link set lo up",
		"address add "+h.Address+"/24 dev mgmt0", "link set mgmt0 up",
		"link add guests type bridge forward_delay 0 mcast_snooping 0", "link set uplink master guests",
		"link set uplink up", "link set guests up")
}

// port is the name of the host's guest link at the switch.
func (h *Host) port() string { return "g" + strconv.Itoa(h.n) }

func (h *Host) buildFiles() error {
	for _, dir := range private {
		if err := os.MkdirAll(h.Path(dir), 0o755); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil { // what is mounted over
			return err
		}
	}
	hosts := "127.0.0.1 localhost\n"
	for n := 1; n <= h.lab.cfg.Hosts; n++ {
		hosts += fmt.Sprintf("%s.%d h%d\n", managementNet, n, n)
	}
	files := map[string]string{
		"/etc/hosts":                 hosts,
		"/etc/machine-id":            strings.ReplaceAll(h.UUID(), "-", "") + "\n",
		"/etc/libvirt/libvirtd.conf": h.libvirtdConf(),
		"/etc/libvirt/qemu.conf":     h.qemuConf(),
		"/etc/libvirt/libvirt.conf":  "",
	}
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(h.Path(path)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(h.Path(path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// keepalive of 1 s × 3 finds a cut in about 4 s; libvirt's own 5 × 5 would make
// every fault test wait for half a minute.
func (h *Host) libvirtdConf() string {
	return fmt.Sprintf(`listen_tls = 1
listen_tcp = 1
auth_tcp = "none"
auth_tls = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
listen_addr = %q
host_uuid = %q
keepalive_interval = 1
keepalive_count = 3
`, h.Address, h.UUID())
}

func (h *Host) qemuConf() string {
	return fmt.Sprintf(`user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
seccomp_sandbox = 0
migration_address = %q
migration_host = %q
migration_port_min = 49152
migration_port_max = 49215
migrate_tls_x509_verify = 1
keepalive_interval = 1
keepalive_count = 3
`, h.Address, h.Address)
}

// hold starts the process that keeps the host's namespaces. It does not belong to
// whoever started the lab: only Down, or a power cut, ends it.
func (h *Host) hold(ctx context.Context) error {
	script := "set -e\nmount --make-rprivate /\n"
	for _, dir := range private {
		script += fmt.Sprintf("mount --bind %q %q\n", h.Path(dir), dir)
	}
	for _, file := range []string{"/etc/hosts", "/etc/machine-id"} {
		script += fmt.Sprintf("[ -e %q ] || : > %q\nmount --bind %q %q\n", file, file, h.Path(file), file)
	}
	script += fmt.Sprintf("hostname %s\necho $$ > %q\nexec sleep infinity\n", h.Name, h.Path("/holder"))
	cmd := exec.Command("ip", "netns", "exec", h.namespace, "unshare", "-m", "-u", "sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	log, err := os.Create(h.Path("/holder.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // no zombie while this process lives
	return poll(ctx, patience, "the holder of its namespaces", func() error {
		if _, err := h.holder(); err != nil {
			text, _ := os.ReadFile(h.Path("/holder.log"))
			return fmt.Errorf("%w: %s", err, text)
		}
		return nil
	})
}

// holder returns the process that keeps the namespaces.
func (h *Host) holder() (int, error) {
	text, err := os.ReadFile(h.Path("/holder"))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, err
	}
	argv := commandOf(pid)
	if lives, _ := livesIn(pid, filepath.Join(netnsDir, h.namespace)); !lives || len(argv) == 0 || argv[0] != "sleep" {
		return 0, fmt.Errorf("host %s is without power: process %d does not hold its namespaces", h.Name, pid)
	}
	return pid, nil
}

// Command makes a command that runs inside the host. It is not ended with the
// caller; Kill or Down ends it.
func (h *Host) Command(argv ...string) (*exec.Cmd, error) {
	pid, err := h.holder()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(pid), "-m", "-u", "-n", "--"}, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, nil
}

// Spawn runs a command inside the host, its output in a file of that name.
func (h *Host) Spawn(name string, argv ...string) (pid int, err error) {
	cmd, err := h.Command(argv...)
	if err != nil {
		return 0, err
	}
	log, err := os.OpenFile(h.Path("/"+name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() { _ = cmd.Wait() }() // no zombie while this process lives
	return cmd.Process.Pid, nil
}

const libvirtdPid = "/run/libvirt/libvirtd.pid"

// StartLibvirtd starts the host's libvirtd and returns when it answers. One that does
// not come up is started again, as systemd would: what was killed just before may hold
// the lock of its pid file until the kernel has ended it.
func (h *Host) StartLibvirtd(ctx context.Context) error {
	return poll(ctx, patience, "libvirtd of "+h.Name, func() error {
		running, err := h.Pids("libvirtd --listen")
		if err == nil && len(running) == 0 {
			_, err = h.Spawn("libvirtd", "libvirtd", "--listen", "-p", libvirtdPid)
		}
		if err != nil {
			return err
		}
		out, err := exec.CommandContext(ctx, "virsh", "-c", h.URI(), "uri").CombinedOutput()
		if err != nil {
			text, _ := os.ReadFile(h.Path("/libvirtd.log"))
			return fmt.Errorf("%s%s", out, tail(text))
		}
		return nil
	})
}

// Pids lists the host's processes whose command contains word.
func (h *Host) Pids(word string) ([]int, error) {
	all, err := inNamespace(filepath.Join(netnsDir, h.namespace))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, pid := range all {
		if strings.Contains(strings.Join(commandOf(pid), " "), word) {
			out = append(out, pid)
		}
	}
	return out, nil
}

// Signal sends a signal to the host's processes whose command contains word, and
// says how many there were.
func (h *Host) Signal(word string, s unix.Signal) (int, error) {
	pids, err := h.Pids(word)
	for _, pid := range pids {
		if e := unix.Kill(pid, s); e != nil && !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("signal process %d of %s: %w", pid, h.Name, e))
		}
	}
	return len(pids), err
}

// KillLibvirtd ends libvirtd as a crash would; its guests live on.
func (h *Host) KillLibvirtd() error {
	n, err := h.Signal("libvirtd --listen", unix.SIGKILL)
	if err == nil && n == 0 {
		err = fmt.Errorf("no libvirtd runs on %s", h.Name)
	}
	return err
}

// PowerCut ends everything on the host at once. Its disks stay.
func (h *Host) PowerCut(ctx context.Context) error {
	return endNamespace(ctx, filepath.Join(netnsDir, h.namespace))
}

// Boot brings a host back after a power cut: /run is empty, the disks are as they
// were.
func (h *Host) Boot(ctx context.Context) error {
	for _, dir := range []string{"/run/libvirt", "/run/placed"} {
		if err := os.RemoveAll(h.Path(dir)); err != nil {
			return err
		}
		if err := os.MkdirAll(h.Path(dir), 0o755); err != nil {
			return err
		}
	}
	if err := h.hold(ctx); err != nil {
		return err
	}
	return h.StartLibvirtd(ctx)
}

// Cut takes the host off the management network, Heal brings it back. The guests
// are reachable all the time: a cut of the hosts is the dangerous one.
func (h *Host) Cut(ctx context.Context) error { return ip(ctx, h.namespace, "link set mgmt0 down") }

// Heal undoes Cut.
func (h *Host) Heal(ctx context.Context) error { return ip(ctx, h.namespace, "link set mgmt0 up") }

// patience is how long the lab waits for what is only a matter of time on a machine
// that is busy with other work; nothing is judged by it.
const patience = 2 * time.Minute

// poll tries until it works, the limit is over or ctx ends.
func poll(ctx context.Context, limit time.Duration, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not there: %w: %w", what, ctx.Err(), err)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func tail(text []byte) string {
	if len(text) > 400 {
		text = text[len(text)-400:]
	}
	return strings.TrimSpace(string(text))
}
