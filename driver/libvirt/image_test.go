package libvirt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// TestImageSize: what the guest sees of an image, read from the file alone.
func TestImageSize(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, content []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	head := append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 16)...)
	head = append(head, 0, 0, 0, 2, 0x40, 0, 0, 0) // 9 GiB
	for _, c := range []struct {
		path, format string
		want         int64
	}{
		{put("sparse.qcow2", head), "qcow2", 9 << 30},
		{put("raw", make([]byte, 12345)), "raw", 12345},
		{put("short.qcow2", []byte("QFI")), "qcow2", 0},
		{put("other.qcow2", make([]byte, 64)), "qcow2", 0},
		{filepath.Join(dir, "absent"), "raw", 0},
	} {
		if have := imageSize(c.path, c.format); have != c.want {
			t.Errorf("%s (%s): %d, want %d", c.path, c.format, have, c.want)
		}
	}
}

// TestArrival: what was made for a domain that does not come is removed, and only
// that; what a domain has left behind when it went away may be replaced when it
// comes back, and nothing else.
func TestArrival(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	token := fleet.Token{Cluster: "c", Generation: 1, Index: 7}
	made, other := filepath.Join(cfg.Dir, "made"), filepath.Join(cfg.Dir, "other")
	for _, path := range []string{made, other} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := cfg.writeArrival("shop/db", arrival{Token: token, UUID: "u", Made: []string{made, filepath.Join(cfg.Dir, "never")}}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if early, late := cfg.arrivals(now), cfg.arrivals(now.Add(2*arrivalAge)); len(early) != 0 || !slices.Equal(late, []fleet.WorkloadID{"shop/db"}) {
		t.Errorf("remainders now %v, later %v", early, late)
	}
	if err := cfg.dropArrival("shop/db", fleet.Token{Cluster: "c", Generation: 1, Index: 8}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(made); err != nil {
		t.Errorf("another token's image was removed: %v", err)
	}
	left := leftovers([]string{made, filepath.Join(cfg.Dir, "never")})
	if len(left) != 1 {
		t.Fatalf("left behind %v", left)
	}
	if err := cfg.dropArrival("shop/db", token); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(made); err == nil {
		t.Error("an image made for a move that came to nothing stays")
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	if _, ok, err := cfg.readArrival("shop/db"); ok || err != nil {
		t.Errorf("its note stays: %v", err)
	}

	left = leftovers([]string{other})
	if err := putGuard(elsewhereFile(cfg.Dir, "u"), elsewhere{UUID: "u", Left: left}); err != nil {
		t.Fatal(err)
	}
	may := func(why, uuid, path string, want bool) {
		t.Helper()
		if have, err := mayReplace(cfg.Dir, uuid, path); have != want || err != nil {
			t.Errorf("%s: domain %s may replace %s: %v, %v", why, uuid, path, have, err)
		}
	}
	may("what it left", "u", other, true)
	may("what another domain left", "v", other, false)
	may("what is not there", "u", made, false)
	if err := os.WriteFile(other, []byte("another storage, the same path"), 0o600); err != nil {
		t.Fatal(err)
	}
	may("what has changed since", "u", other, false)
}

// TestStorageWish: the operator's word on one domain decides what stays behind,
// what travels and what blocks.
func TestStorageWish(t *testing.T) {
	read := func(wish, backing string) definition {
		t.Helper()
		d, err := readDefinition(`<domain type='kvm'><name>d</name><uuid>00000000-0000-4000-9000-00000000000b</uuid>
			<metadata><p:wishes xmlns:p="` + wishesURI + `" ` + wish + `/></metadata>
			<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='/images/d.qcow2'/>` + backing + `
			<target dev='vda' bus='virtio'/></disk>
			<disk type='file' device='cdrom'><source file='/images/cd.iso'/><target dev='sda' bus='sata'/><readonly/></disk></devices></domain>`)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	base := `<backingStore type='file'><format type='raw'/><source file='/images/base'/></backingStore>`
	option := MovePolicy{Storage: "shared", Downtime: hypervisorDowntime, MaxDowntime: 2 * time.Second}

	shared := read("", "")
	if disks, left := shared.writable(shared.Wishes.policy(option)); !slices.Equal(disks, []string{"file /images/d.qcow2"}) || len(left) != 0 {
		t.Errorf("shared: %v, %v", disks, left)
	}
	copied := read(`storage="copy" downtime="3s"`, "")
	p := copied.Wishes.policy(option)
	if disks, left := copied.writable(p); len(disks) != 0 || !slices.Equal(left, []string{"/images/d.qcow2"}) {
		t.Errorf("copied: %v, %v", disks, left)
	}
	if p.Downtime != 3*time.Second || p.MaxDowntime != 3*time.Second {
		t.Errorf("downtime %s to %s", p.Downtime, p.MaxDowntime)
	}
	if why := read(`storage="copy-inc"`, "").movable(option); len(why) != 1 || !strings.Contains(why[0].Reason, "no overlay") {
		t.Errorf("a disk without a base: %v", why)
	}
	overlay := read(`storage="copy-inc"`, base)
	if why := overlay.movable(option); len(why) != 0 {
		t.Errorf("an overlay: %v", why)
	}
	if k := overlay.Disks[0]; k.Backing != "/images/base" || k.BackingFormat != "raw" {
		t.Errorf("overlay %+v", k)
	}
}

// TestPolicyWithout: what libvirt does not offer is left away once.
func TestPolicyWithout(t *testing.T) {
	p := MovePolicy{Compress: "zstd", Parallel: 4, Storage: "copy"}
	if !p.simplify() || p != (MovePolicy{Storage: "copy"}) {
		t.Errorf("left %+v", p)
	}
	if p.simplify() {
		t.Error("nothing is left to be left away")
	}
}
