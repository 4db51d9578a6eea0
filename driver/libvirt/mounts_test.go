package libvirt

import (
	"slices"
	"testing"
)

const recordedMounts = `21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 21 0:35 / /srv/images rw,relatime shared:20 - nfs4 filer:/vol1 rw,vers=4.2
41 21 0:36 / /srv/my\040images rw - ceph mon:/x rw
42 21 8:2 / /srv/images/local rw master:3 - xfs /dev/sdb rw
nonsense
`

// TestMounts: a path lies in the deepest mount above it, and only file systems that
// other hosts can have too count as shared.
func TestMounts(t *testing.T) {
	list := readMounts(recordedMounts)
	for path, kind := range map[string]string{"/srv/images/a.qcow2": "nfs4", "/srv/images": "nfs4", "/srv/images2/a": "ext4",
		"/srv/images/local/a": "xfs", "/srv/my images/a": "ceph", "/etc": "ext4"} {
		if got := under(path, list).kind; got != kind {
			t.Errorf("%s lies in %s, want %s", path, got, kind)
		}
	}
	tops, known := sharedTops(list)
	if !known || !slices.Contains(tops, "/srv") || slices.Contains(tops, "/") {
		t.Errorf("shared below %v, known %v", tops, known)
	}
	if _, known := sharedTops(append(list, mount{"/home", "autofs"})); known {
		t.Error("what is mounted on demand was taken for known")
	}
}

func FuzzMounts(f *testing.F) {
	f.Add(recordedMounts)
	f.Fuzz(func(_ *testing.T, text string) {
		for _, m := range readMounts(text) {
			_ = under(m.point, []mount{m})
		}
	})
}
