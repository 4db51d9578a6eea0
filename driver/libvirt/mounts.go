package libvirt

import (
	"path/filepath"
	"strings"
)

// mount is one file system as a process sees it.
type mount struct{ point, kind string }

// networked are the file systems that several hosts can have at the same time. FUSE
// has many, of which these are served by others.
var networked = map[string]bool{"nfs": true, "nfs4": true, "ceph": true, "cifs": true, "smb3": true, "gfs2": true, "ocfs2": true, "lustre": true,
	"beegfs": true, "gpfs": true, "glusterfs": true, "fuse.glusterfs": true, "fuse.ceph": true, "fuse.ceph-fuse": true, "fuse.sshfs": true, "9p": true, "virtiofs": true}

// readMounts reads the form of /proc/PID/mountinfo (proc_pid_mountinfo(5)): the
// mount point is the fifth field, the kind the first one after the lone dash.
func readMounts(text string) (out []mount) {
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) == 0 {
			continue
		}
		out = append(out, mount{point: unescape(fields[4]), kind: kind[0]})
	}
	return out
}

// unescape reads the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// under returns the mount that a path lies in: of those whose point is above it the
// longest, and of equal ones the last, which covers the others.
func under(path string, mounts []mount) (best mount) {
	for _, m := range mounts {
		if (m.point == "/" || path == m.point || strings.HasPrefix(path, m.point+"/")) && len(m.point) >= len(best.point) {
			best = m
		}
	}
	return best
}

// sharedTops are the first directories below which this host has network file
// systems. Where some are mounted on demand nothing is known before they are.
func sharedTops(mounts []mount) (tops []string, known bool) {
	known, tops = true, []string{}
	for _, m := range mounts {
		switch {
		case m.kind == "autofs":
			known = false
		case networked[m.kind]:
			tops = append(tops, top(m.point))
		}
	}
	return tops, known
}

// top is the first directory of a path, "/srv" of "/srv/images/a". Hosts may mount
// one file server's trees at different depths, but hardly below different ones.
func top(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(filepath.Clean(path), "/"), "/")
	return "/" + first
}
