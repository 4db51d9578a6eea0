//go:build cgo && libvirt_dlopen

package libvirt

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

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
	Files    []string  `json:"files,omitempty"`  // disks and firmware that must be reachable under the same path
	Images   []image   `json:"images,omitempty"` // disks that travel, for which room is made
	// What follows is known of sources of this version on.
	//
	// Features and Vendor are what the CPU comes to for the guest; none until
	// libvirtd has said so.
	Features []string `json:"features,omitempty"`
	Vendor   string   `json:"vendor,omitempty"`
	// Devices by class, Pools of its volumes, and the directories below which
	// its files lie on storage that other hosts can have.
	Devices map[string][]string `json:"devices,omitempty"`
	Pools   []string            `json:"pools,omitempty"`
	Shared  []string            `json:"shared,omitempty"`
	// Pages are the memory it takes, by page size and NUMA cells.
	Pages []pageNeed `json:"pages,omitempty"`
	// Overhead is what is booked for its QEMU beside its memory, bytes.
	Overhead int64 `json:"overhead,omitempty"`
	// Unjudged classes decide nothing: see unjudged.
	Unjudged []string `json:"unjudged,omitempty"`
	// Sockets is where the sockets of a move lie at both ends.
	Sockets string `json:"sockets,omitempty"`
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

// needs are those of a domain on a host with these mounts.
func (d definition) needs(c Config, mounts []mount) needs {
	p := d.Wishes.policy(c.Policy)
	n := needs{Arch: d.Arch, Machine: d.Machine, Virt: d.Virt, Emulator: d.Emulator, CPU: d.CPU, Devices: d.Devices, Pages: d.Pages, Files: slices.Clone(d.Boot)}
	if c.Native == "" {
		n.Sockets = c.Sockets
	}
	for _, to := range d.Networks {
		if to.Kind == "bridge" {
			n.Bridges = append(n.Bridges, to.Name)
		}
	}
	n.Networks = c.Segments.declare(d.Networks)
	for _, k := range d.Disks {
		switch {
		case k.Kind == "block":
			n.Files = append(n.Files, k.Source)
		case k.Kind == "volume":
			pool, _, _ := strings.Cut(k.Source, "/")
			n.Pools = append(n.Pools, pool)
		case k.Kind != "file":
		case p.Storage == "shared" || !k.travels():
			n.Files = append(n.Files, k.Source)
			if at := under(k.Source, mounts); networked[at.kind] {
				n.Shared = append(n.Shared, top(k.Source))
			}
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

// lacks says which files this host does not have. They are looked at when a move is
// offered, for no host can tell the others all that it has.
func (n needs) lacks() (out []string) {
	for _, f := range n.Files {
		if _, err := os.Stat(f); err != nil {
			out = append(out, "file "+f+" (shared storage under the same path)")
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
