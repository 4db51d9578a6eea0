//go:build !linux || !cgo || !libvirt_dlopen

package libvirt

import "github.com/placed-dev/placed/driver"

// Built says whether this binary has the driver.
const Built = false

// Driver of a build without cgo: New never returns one.
type Driver struct{ driver.Handover }

// New says that this build has no libvirt driver.
func New(Config) (*Driver, error) { return nil, ErrNotBuilt }

// Close does nothing.
func (d *Driver) Close() error { return nil }
