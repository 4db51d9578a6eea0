//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	libvirt "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// makeImages makes the images that an expected domain's disks are copied into.
// libvirt itself makes some of them, but no overlays, and none where no storage
// pool covers the directory.
func (d *Driver) makeImages(ctx context.Context, spec driver.Spec, token fleet.Token) error {
	n, known, err := readNeeds(spec)
	if err != nil || !known || len(n.Images) == 0 {
		return err
	}
	a := arrival{Token: token, UUID: spec.Settings["uuid"]}
	for _, i := range n.Images {
		if i.Size <= 0 {
			return fmt.Errorf("disk %s: its size is not known at the source", i.Path)
		}
		if err := d.clearWay(a.UUID, i.Path); err != nil {
			return err
		}
		a.Made = append(a.Made, i.Path)
	}
	// The note first: whatever happens then, somebody knows what to remove.
	if err := d.cfg.writeArrival(spec.ID, a); err != nil {
		return err
	}
	err = d.checks.call(ctx, func(c *libvirt.Connect) error {
		for k, i := range n.Images {
			if err := makeImage(c, fmt.Sprintf("placed-%s-%d", passage(spec.ID, token), k), i); err != nil {
				return fmt.Errorf("making disk %s: %w", i.Path, err)
			}
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, d.cfg.dropArrival(spec.ID, token))
	}
	return nil
}

// clearWay removes what the domain itself has left here when it went away; another
// file in its way stays, and with it the domain where it is.
func (d *Driver) clearWay(uuid, path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	ours, err := mayReplace(d.cfg.Dir, uuid, path)
	if err != nil {
		return err
	}
	if !ours {
		return fmt.Errorf("disk %s exists here already, and this domain did not leave it behind: move it away, or use storage = \"shared\" if it is the same storage", path)
	}
	return os.Remove(path)
}

// makeImage lets libvirt make one image, in a storage pool that exists or in one
// for the moment: so it gets the owner and the label that libvirt gives.
func makeImage(c *libvirt.Connect, pool string, i image) error {
	volume := libvirtxml.StorageVolume{Name: filepath.Base(i.Path),
		Capacity:   &libvirtxml.StorageVolumeSize{Unit: "bytes", Value: uint64(i.Size)},
		Allocation: &libvirtxml.StorageVolumeSize{Unit: "bytes", Value: 0},
		Target:     &libvirtxml.StorageVolumeTarget{Format: &libvirtxml.StorageVolumeTargetFormat{Type: i.Format}}}
	if i.Backing != "" {
		volume.BackingStore = &libvirtxml.StorageVolumeBackingStore{Path: i.Backing,
			Format: &libvirtxml.StorageVolumeTargetFormat{Type: i.BackingFormat}}
	}
	text, err := volume.Marshal()
	if err != nil {
		return err
	}
	p, done, err := poolOf(c, pool, filepath.Dir(i.Path))
	if err != nil {
		return err
	}
	defer done()
	v, err := p.StorageVolCreateXML(text, 0)
	if err != nil {
		return err
	}
	return v.Free()
}

// poolOf returns the storage pool of a directory; done lets go of it.
func poolOf(c *libvirt.Connect, name, dir string) (p *libvirt.StoragePool, done func(), err error) {
	if p, err = c.LookupStoragePoolByTargetPath(dir); err == nil {
		if active, err := p.IsActive(); err == nil && active {
			// A file was removed behind its back.
			return p, func() { _ = p.Free() }, p.Refresh(0)
		}
		_ = p.Free() // not in use: its operator's own matter
	}
	var path struct {
		XMLName xml.Name `xml:"path"`
		Text    string   `xml:",chardata"`
	}
	path.Text = dir
	text, err := xml.Marshal(path)
	if err != nil {
		return nil, nil, err
	}
	p, err = c.StoragePoolCreateXML(fmt.Sprintf("<pool type='dir'><name>%s</name><target>%s</target></pool>", name, text), 0)
	if err != nil {
		return nil, nil, fmt.Errorf("directory %s: %w", dir, err)
	}
	return p, func() { _, _ = p.Destroy(), p.Free() }, nil // the pool goes, its files stay
}

// sweepArrivals removes what was made for domains that never came.
func (d *Driver) sweepArrivals(ctx context.Context) {
	for _, id := range d.cfg.arrivals(time.Now()) {
		d.mu.Lock()
		expected := d.doors[id] != nil
		d.mu.Unlock()
		a, ok, err := d.cfg.readArrival(id)
		if expected || !ok || err != nil {
			continue
		}
		if _, err := d.Look(ctx, id); !errors.Is(err, driver.ErrNotFound) {
			continue // it came, or it cannot be told
		}
		if err := d.cfg.dropArrival(id, a.Token); err != nil {
			d.complain(err)
		}
	}
}
