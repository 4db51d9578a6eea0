package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// modules that a virtio network card on PCI needs, in the order of their needs.
var modules = []string{"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
	"failover", "net_failover", "virtio_net", "virtio_blk"}

// boot makes a system of the initrd: file systems, drivers, the network card.
func boot() (map[string]string, error) {
	for dir, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for _, name := range modules {
		if err := load(name); err != nil {
			fmt.Println("guest:", err)
		}
	}
	cmdline := map[string]string{}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	for _, word := range strings.Fields(string(text)) {
		key, value, _ := strings.Cut(word, "=")
		cmdline[key] = value
	}
	return cmdline, network(cmdline["guest.ip"], cmdline["guest.gw"], cmdline["guest.gwmac"])
}

func load(name string) error {
	f, err := os.Open("/modules/" + name + ".ko")
	if errors.Is(err, os.ErrNotExist) {
		return nil // built into this kernel
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("module %s: %w", name, err)
	}
	return nil
}

// network gives eth0 its address, and a fixed neighbour for the prober: nothing
// that is resolved later can be in the way of an answer.
func network(address, gateway, mac string) error {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return fmt.Errorf("guest.ip: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat("/sys/class/net/eth0"); err == nil {
			break
		}
		if time.Now().After(end) {
			return errors.New("no network card eth0")
		}
	}
	for _, name := range []string{"lo", "eth0"} {
		at := ip.As4()
		if name == "lo" {
			at = [4]byte{127, 0, 0, 1}
		}
		if err := address4(fd, unix.SIOCSIFADDR, name, at); err != nil {
			return err
		}
		if err := address4(fd, unix.SIOCSIFNETMASK, name, [4]byte{255, 255, 255, 0}); err != nil {
			return err
		}
		r, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
			return fmt.Errorf("up %s: %w", name, err)
		}
	}
	return neighbour(fd, gateway, mac)
}

func address4(fd int, request uint, name string, ip [4]byte) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := r.SetInet4Addr(ip[:]); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, request, r); err != nil {
		return fmt.Errorf("address of %s: %w", name, err)
	}
	return nil
}

// arpRequest is struct arpreq of <net/if_arp.h>.
type arpRequest struct {
	pa      unix.RawSockaddrInet4
	ha      unix.RawSockaddr
	flags   int32
	netmask unix.RawSockaddr
	device  [16]byte
}

func neighbour(fd int, gateway, mac string) error {
	ip, err := netip.ParseAddr(gateway)
	if err != nil {
		return fmt.Errorf("guest.gw: %w", err)
	}
	r := arpRequest{flags: 0x02 | 0x04} // complete, permanent
	r.pa.Family, r.pa.Addr = unix.AF_INET, ip.As4()
	r.ha.Family = 1 // Ethernet
	var b [6]byte
	if _, err := fmt.Sscanf(mac, "%02x:%02x:%02x:%02x:%02x:%02x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]); err != nil {
		return fmt.Errorf("guest.gwmac %q: %w", mac, err)
	}
	for i, x := range b {
		r.ha.Data[i] = int8(x)
	}
	copy(r.device[:], "eth0")
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSARP, uintptr(unsafe.Pointer(&r))); e != 0 {
		return fmt.Errorf("neighbour %s: %w", gateway, e)
	}
	return nil
}
