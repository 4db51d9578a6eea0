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
	"github.com/placed-dev/placed/fleet"
)

// suits says whether a workload can go on here: what the leader has held against
// this host's report, against what is so now, the files it needs, and the CPU by the
// word of libvirtd, which knows more of CPUs than their features.
func (d *Driver) suits(ctx context.Context, spec driver.Spec) error {
	n, known, err := readNeeds(spec)
	if err != nil || !known {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, suitsTime)
	defer cancel()
	local, err := d.lookAround(limited)
	d.mu.Lock()
	now := surveyed{model: d.survey.model, local: local}
	d.mu.Unlock()
	if missing := append(fleet.Lacking(now.has(), n.requires()), n.lacks()...); len(missing) > 0 {
		return fmt.Errorf("this host has no %s", strings.Join(missing, ", no "))
	}
	if err == nil {
		err = d.checks.call(limited, n.compare)
	}
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
	if _, err := c.GetDomainCapabilities(n.Emulator, n.Arch, n.Machine, n.Virt, 0); isCode(err, libvirt.ERR_NO_SUPPORT) {
		return nil // this hypervisor cannot tell
	} else if err != nil {
		return fmt.Errorf("machine type %s (%s): %w", n.Machine, n.Virt, err)
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
