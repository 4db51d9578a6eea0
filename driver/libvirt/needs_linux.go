//go:build cgo && libvirt_dlopen

package libvirt

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/placed-dev/placed/driver"
)

// needs is what a host must have for a domain to go on there. It travels with the
// workload's specification, so that the destination decides by what it is asked
// for and by what it sees, before a byte moves.
type needs struct {
	Arch     string   `json:"arch"`
	Machine  string   `json:"machine"`
	Virt     string   `json:"virt"`
	Emulator string   `json:"emulator"`
	CPU      string   `json:"cpu,omitempty"` // the domain's cpu element, as it runs
	Bridges  []string `json:"bridges,omitempty"`
	// Networks with the segment that the source declares; none from a source of
	// an older version.
	Networks []network `json:"networks,omitempty"`
	Files    []string  `json:"files,omitempty"`  // disks that must be reachable under the same path
	Images   []image   `json:"images,omitempty"` // disks that travel, for which room is made
}

// image is a disk that travels with its domain. The destination makes an empty one
// of the same form; the hypervisor fills it.
type image struct {
	Path   string `json:"path"`
	Format string `json:"format"`
	Size   int64  `json:"size"` // as the guest sees it, bytes
	// Backing is the base of an overlay, which is at both ends.
	Backing       string `json:"backing,omitempty"`
	BackingFormat string `json:"backing_format,omitempty"`
}

func (d definition) needs(c Config) needs {
	p := d.Wishes.policy(c.Policy)
	n := needs{Arch: d.Arch, Machine: d.Machine, Virt: d.Virt, Emulator: d.Emulator, CPU: d.CPU}
	for _, to := range d.Networks {
		if to.Kind == "bridge" {
			n.Bridges = append(n.Bridges, to.Name)
		}
	}
	n.Networks = c.Segments.declare(d.Networks)
	for _, k := range d.Disks {
		switch {
		case k.Kind != "file":
		case p.Storage == "shared" || !k.travels():
			n.Files = append(n.Files, k.Source)
		default:
			i := image{Path: k.Source, Format: k.Format, Size: imageSize(k.Source, k.Format)}
			if p.Storage == "copy-inc" {
				i.Backing, i.BackingFormat = k.Backing, k.BackingFormat
			}
			n.Images = append(n.Images, i)
		}
	}
	return n
}

func (n needs) text() string {
	data, err := json.Marshal(n)
	if err != nil {
		return "" // strings alone: it cannot fail
	}
	return string(data)
}

// readNeeds reads what a specification asks for; none, if its source is older.
func readNeeds(s driver.Spec) (n needs, known bool, err error) {
	text := s.Settings["needs"]
	if text == "" {
		return needs{}, false, nil
	}
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return needs{}, false, fmt.Errorf("what the workload needs: %w", err)
	}
	return n, true, nil
}

// classNet is where the kernel shows network devices of the agent's namespace.
const classNet = "/sys/class/net"

// lacks says what this host does not have of what can be seen without libvirt.
func (n needs) lacks(here segments) []string {
	out := here.differ(n.Networks)
	for _, b := range n.Bridges {
		if _, err := os.Stat(filepath.Join(classNet, filepath.Base(b), "bridge")); err != nil {
			out = append(out, "bridge "+b)
		}
	}
	for _, f := range n.Files {
		if _, err := os.Stat(f); err != nil {
			out = append(out, "disk "+f+" (shared storage under the same path)")
		}
	}
	for _, i := range n.Images {
		if i.Backing == "" {
			continue
		}
		if _, err := os.Stat(i.Backing); err != nil {
			out = append(out, "base "+i.Backing+" of disk "+i.Path+" (only the overlay travels)")
		}
	}
	return out
}
