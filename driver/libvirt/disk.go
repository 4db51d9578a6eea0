package libvirt

import (
	"fmt"
	"os"
	"strings"
)

// lock is what keeps two hosts from writing one disk at the same time.
type lock string

// Locks, the strongest first. They protect a disk, not a guest: one without a disk
// has none at all.
const (
	lockSanlock lock = "sanlock"   // libvirt's, by leases on the storage
	lockLockd   lock = "lockd"     // libvirt's, by files that all hosts see
	lockRBD     lock = "rbd"       // Ceph's exclusive lock
	lockQEMU    lock = "qemu lock" // QEMU's own, by locks of the file; across hosts as good as the file system's
	lockNone    lock = "none"      // nothing but the agents' words
)

// lockOf classifies a writable disk, given the lock manager of libvirt's qemu.conf.
// QEMU locks image files since 2.10; the lock of a block device is the host's own
// and says nothing to another host.
func (k disk) lockOf(manager string) lock {
	switch {
	case k.Shared:
		return lockNone // several writers are what it is for
	case manager == "sanlock":
		return lockSanlock
	case manager == "lockd":
		return lockLockd
	case k.Kind == "rbd":
		return lockRBD
	case k.Kind == "file":
		return lockQEMU
	}
	return lockNone
}

// lockManager reads which lock manager libvirt's qemu.conf names, "" for none. A file
// that cannot be read promises nothing.
func lockManager(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	manager := ""
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(key) == "lock_manager" {
			value, _, _ = strings.Cut(value, "#")
			manager = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return manager
}

// diskList shows a domain's writable disks: where, how they move, and what protects
// them.
func (d definition) diskList(p MovePolicy, manager string) []string {
	p = d.Wishes.policy(p)
	var out []string
	for _, k := range d.Disks {
		if k.Kind == "none" || k.ReadOnly {
			continue
		}
		way := "shared"
		if k.travels() && p.Storage != "shared" {
			way = p.Storage
		}
		out = append(out, fmt.Sprintf("%s: %s %s, storage %s, lock %s", k.Target, k.Kind, k.Source, way, k.lockOf(manager)))
	}
	return out
}
