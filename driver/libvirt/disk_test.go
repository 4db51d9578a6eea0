package libvirt

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestDiskList: each writable disk is shown with what protects it from a second
// writer.
func TestDiskList(t *testing.T) {
	d, err := readDefinition(`<domain type='kvm'><name>d</name><devices>
		<disk type='file' device='disk'><driver type='qcow2' cache='none'/><source file='/nfs/a'/><target dev='vda'/></disk>
		<disk type='block' device='disk'><driver type='raw' cache='none'/><source dev='/dev/vg/b'/><target dev='vdb'/></disk>
		<disk type='network' device='disk'><source protocol='rbd' name='pool/c'/><target dev='vdc'/></disk>
		<disk type='file' device='disk'><driver type='raw'/><source file='/nfs/cluster'/><target dev='vdd'/><shareable/></disk>
		<disk type='file' device='cdrom'><source file='/cd.iso'/><target dev='sda'/><readonly/></disk>
		<disk type='file' device='cdrom'><target dev='sdb'/></disk></devices></domain>`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"vda: file /nfs/a, storage shared, lock qemu lock", "vdb: block /dev/vg/b, storage shared, lock none",
		"vdc: rbd pool/c, storage shared, lock rbd", "vdd: file /nfs/cluster, storage shared, lock none"}
	if have := d.diskList(MovePolicy{Storage: "shared"}, ""); !slices.Equal(have, want) {
		t.Errorf("%q", have)
	}
	want[0], want[1], want[2] = "vda: file /nfs/a, storage copy, lock lockd", "vdb: block /dev/vg/b, storage shared, lock lockd", "vdc: rbd pool/c, storage shared, lock lockd"
	if have := d.diskList(MovePolicy{Storage: "copy"}, "lockd"); !slices.Equal(have, want) {
		t.Errorf("with libvirt's lock manager %q", have)
	}
}

// TestLockManager: the last word of qemu.conf counts, comments do not.
func TestLockManager(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qemu.conf")
	for text, want := range map[string]string{
		"":                            "",
		"#lock_manager = \"lockd\"\n": "",
		"lock_manager = \"lockd\"\n":  "lockd",
		"user = \"root\"\nlock_manager='sanlock' # ours":         "sanlock",
		"lock_manager = \"lockd\"\nlock_manager = \"sanlock\"\n": "sanlock",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if have := lockManager(path); have != want {
			t.Errorf("%q: %q, want %q", text, have, want)
		}
	}
	if have := lockManager(filepath.Join(t.TempDir(), "absent")); have != "" {
		t.Errorf("without a file: %q", have)
	}
}
