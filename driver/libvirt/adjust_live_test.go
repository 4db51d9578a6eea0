//go:build linux && cgo && libvirt_dlopen

package libvirt

import (
	"errors"
	"slices"
	"testing"

	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// libvirt's own test hypervisor changes the vCPUs and the memory of a running domain.
func TestAdjustADomain(t *testing.T) {
	d := newTestDriver(t)
	found, err := d.Inventory(t.Context())
	if err != nil || len(found) == 0 {
		t.Fatalf("%+v, %v", found, err)
	}
	var id fleet.WorkloadID
	var vcpus fleet.Knob
	for _, f := range found {
		knobs, err := d.Knobs(t.Context(), f.Spec.ID)
		if err != nil && !errors.Is(err, driver.ErrNotFound) {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(knobs, func(k fleet.Knob) bool { return k.Kind == fleet.VCPUs }); i >= 0 {
			id, vcpus = f.Spec.ID, knobs[i]
		}
	}
	if id == "" {
		t.Skip("no domain of the test hypervisor has fewer vCPUs than it may")
	}
	for _, n := range []int64{vcpus.Now + 1, vcpus.Now} {
		if err := d.Adjust(t.Context(), id, fleet.VCPUs, n); err != nil {
			t.Fatal(err)
		}
		err := d.with(t.Context(), id, func(dom *libvirt.Domain) error {
			have, err := dom.GetVcpusFlags(libvirt.DOMAIN_VCPU_LIVE)
			if int64(have) != n {
				t.Errorf("it has %d vCPUs, asked for %d", have, n)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if err := d.Adjust(t.Context(), id, fleet.Balloon, 64*mib); err != nil {
		t.Error(err)
	}
	if err := d.Adjust(t.Context(), "nobody", fleet.VCPUs, 1); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("of a domain that is not there: %v", err)
	}
}
