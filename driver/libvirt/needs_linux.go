//go:build cgo && libvirt_dlopen

package libvirt

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
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
	Files    []string `json:"files,omitempty"` // disks that must be reachable under the same path
}

func (d definition) needs(p MovePolicy) needs {
	n := needs{Arch: d.Arch, Machine: d.Machine, Virt: d.Virt, Emulator: d.Emulator, CPU: d.CPU}
	for _, name := range d.Networks {
		if bridge, ok := strings.CutPrefix(name, "bridge "); ok {
			n.Bridges = append(n.Bridges, bridge)
		}
	}
	for _, k := range d.Disks {
		if k.Kind == "file" && p.Storage == "shared" {
			n.Files = append(n.Files, k.Source)
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
func (n needs) lacks() []string {
	var out []string
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
	return out
}
