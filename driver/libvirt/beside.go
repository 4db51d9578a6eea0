package libvirt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mapping is one range of a process's memory, as /proc/PID/maps shows it.
type mapping struct {
	start, end uint64
	perms      string
	inode      uint64
	path       string
}

func (m mapping) size() int64 { return int64(m.end - m.start) }

// ram says whether it may be memory of a guest: QEMU maps that writable and never runs
// from it, as it does from the buffer of its translator.
func (m mapping) ram() bool {
	return strings.HasPrefix(m.perms, "rw-") && m.path != "[heap]" && !strings.HasPrefix(m.path, "[stack")
}

// own says whether its pages are the process's own: a library's code is there once for
// all QEMUs of the host, and what may not be touched was not.
func (m mapping) own() bool {
	return m.perms != "---p" && (m.inode == 0 || m.perms[1] == 'w') && !strings.HasPrefix(m.path, "[v") // vdso, vvar, vsyscall
}

// readMaps reads the form of /proc/PID/maps (proc_pid_maps(5)).
func readMaps(text string) (out []mapping) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || len(f[1]) != 4 {
			continue
		}
		from, to, ok := strings.Cut(f[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		inode, err3 := strconv.ParseUint(f[4], 10, 64)
		if !ok || errors.Join(err1, err2, err3) != nil || end <= start {
			continue
		}
		m := mapping{start: start, end: end, perms: f[1], inode: inode}
		if len(f) > 5 {
			m.path = f[5]
		}
		out = append(out, m)
	}
	return out
}

var errNoRAM = errors.New("its guest's memory is not found among its mappings")

// beside returns the mappings that are not the guest's memory of so many bytes. The
// guest's is the one of just that size, else the smallest that holds it, else the
// largest ones together, one per cell.
func beside(maps []mapping, guest int64) ([]mapping, error) {
	var ram []mapping
	for _, m := range maps {
		if m.ram() {
			ram = append(ram, m)
		}
	}
	slices.SortStableFunc(ram, func(a, b mapping) int { return cmp.Compare(a.size(), b.size()) })
	taken := map[uint64]bool{}
	if i := slices.IndexFunc(ram, func(m mapping) bool { return m.size() >= guest }); i >= 0 {
		taken[ram[i].start] = true
	} else {
		left := guest
		for _, m := range slices.Backward(ram) {
			if left <= 0 {
				break
			}
			taken[m.start] = true
			left -= m.size()
		}
		if left > 0 {
			return nil, errNoRAM
		}
	}
	return slices.DeleteFunc(slices.Clone(maps), func(m mapping) bool { return taken[m.start] || !m.own() }), nil
}

// usedBeside measures what a process uses beside its guest's memory, in bytes: pages of
// its own that are in memory or swapped out, and what the kernel keeps for it. The
// guest's pages are not looked at: walking through them would hold up the guest.
func usedBeside(proc string, pid int, guest int64) (int64, error) {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(dir, "maps"))
	if err != nil {
		return 0, err
	}
	rest, err := beside(readMaps(string(text)), guest)
	if err != nil {
		return 0, err
	}
	pages, err := os.Open(filepath.Join(dir, "pagemap"))
	if err != nil {
		return 0, err
	}
	defer pages.Close()
	page := int64(os.Getpagesize())
	var used int64
	for _, m := range rest {
		n, err := countPages(pages, int64(m.start)/page, m.size()/page)
		if err != nil {
			return 0, fmt.Errorf("pages of process %d: %w", pid, err)
		}
		used += n * page
	}
	kernel, err := kernelMemory(dir)
	return used + kernel, err
}

// pageThere are the bits of an entry that say that a page is in memory or swapped out
// (Documentation/admin-guide/mm/pagemap.rst of Linux).
const pageThere = 1<<63 | 1<<62

// countPages counts those that are there, of n from the first on.
func countPages(pagemap io.ReaderAt, first, n int64) (there int64, err error) {
	buffer := make([]byte, 64<<10)
	for n > 0 {
		part := buffer[:min(n*8, int64(len(buffer)))]
		got, err := pagemap.ReadAt(part, first*8)
		if err != nil && !errors.Is(err, io.EOF) {
			return there, err
		}
		if got < 8 {
			return there, nil // beyond the end there is nothing: the range went meanwhile
		}
		got -= got % 8
		for at := 0; at < got; at += 8 {
			if binary.NativeEndian.Uint64(part[at:])&pageThere != 0 {
				there++
			}
		}
		first, n = first+int64(got/8), n-int64(got/8)
	}
	return there, nil
}

// kernelMemory is what the kernel keeps for a process: its page tables, or, where
// libvirt has given it a control group of its own, all that is accounted there.
func kernelMemory(dir string) (int64, error) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, err
	}
	used := int64(0)
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "VmPTE:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", dir, err)
			}
			used = kib << 10
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "cgroup")); err == nil {
		used = max(used, groupKernel("/sys/fs/cgroup", string(text)))
	}
	return used, nil
}

// groupKernel reads what the kernel accounts to a machine's own group (cgroup v2), 0
// where there is none.
func groupKernel(root, cgroup string) int64 {
	_, path, ok := strings.Cut(strings.TrimSpace(cgroup), "0::")
	at := strings.Index(path, "machine-qemu")
	if !ok || at < 0 {
		return 0
	}
	if end := strings.Index(path[at:], "/"); end >= 0 {
		path = path[:at+end] // the scope: helpers of the machine are in other parts of it
	}
	text, err := os.ReadFile(filepath.Join(root, path, "memory.stat"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "kernel" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}
