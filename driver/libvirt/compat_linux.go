//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
)

// suits says whether a workload can go on here: machine type, CPU, networks and
// storage. It asks libvirtd what its QEMU can do, not what the host's CPU is
// called.
func (d *Driver) suits(ctx context.Context, spec driver.Spec) error {
	n, known, err := readNeeds(spec)
	if err != nil || !known {
		return err
	}
	if missing := n.lacks(d.cfg.Segments); len(missing) > 0 {
		return fmt.Errorf("this host has no %s", strings.Join(missing, ", no "))
	}
	limited, cancel := context.WithTimeout(ctx, suitsTime)
	defer cancel()
	err = d.checks.call(limited, n.compare)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		d.log.Info("libvirtd takes long to say what its QEMU can do; it checks again itself when the copy begins", "workload", string(spec.ID), "error", err)
		return nil
	}
	return err
}

// suitsTime bounds the comparison: the source waits for an answer to its offer.
// The first question after a start or an update makes libvirtd run QEMU to find
// out, which takes seconds on a busy host; the next one is answered at once.
const suitsTime = 2 * time.Second

// compare asks libvirtd for the machine type and the CPU.
func (n needs) compare(c *libvirt.Connect) error {
	if _, err := c.GetDomainCapabilities(n.Emulator, n.Arch, n.Machine, n.Virt, 0); err != nil {
		return fmt.Errorf("machine type %s (%s): %w", n.Machine, n.Virt, err)
	}
	for _, to := range n.Networks {
		if to.Kind != "network" {
			continue
		}
		found, err := c.LookupNetworkByName(to.Name)
		if err != nil {
			return fmt.Errorf("network %s: %w", to.Name, err)
		}
		active, err := found.IsActive()
		_ = found.Free() // it only frees memory
		if err == nil && !active {
			err = errors.New("it is not active: virsh net-start " + to.Name)
		}
		if err != nil {
			return fmt.Errorf("network %s: %w", to.Name, err)
		}
	}
	if n.CPU == "" {
		return nil
	}
	result, err := c.CompareHypervisorCPU(n.Emulator, n.Arch, n.Machine, n.Virt, n.CPU, libvirt.CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE)
	switch {
	case isCode(err, libvirt.ERR_NO_SUPPORT):
		return nil // this hypervisor cannot tell; QEMU checks again when the copy begins
	case err != nil:
		return fmt.Errorf("CPU: %w", err)
	case result == libvirt.CPU_COMPARE_INCOMPATIBLE || result == libvirt.CPU_COMPARE_ERROR:
		return errors.New("CPU: this host lacks features that the domain runs with")
	}
	return nil
}
