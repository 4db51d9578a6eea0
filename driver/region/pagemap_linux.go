package region

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/driver"
)

// From linux/fs.h and linux/userfaultfd.h (kernel 6.7); x/sys has no names for
// them.
const (
	pagemapScan         = 0xc0606610 // PAGEMAP_SCAN, _IOWR('f', 16, struct pm_scan_arg)
	pmScanWPMatching    = 1 << 0     // PM_SCAN_WP_MATCHING
	pmScanCheckWPAsync  = 1 << 1     // PM_SCAN_CHECK_WPASYNC
	pageIsWritten       = 1 << 1     // PAGE_IS_WRITTEN
	uffdioRegister      = 0xc020aa00 // _IOWR(0xAA, 0, struct uffdio_register)
	uffdioUnregister    = 0x8010aa01 // _IOR(0xAA, 1, struct uffdio_range)
	uffdioRegisterModWP = 1 << 1     // UFFDIO_REGISTER_MODE_WP
)

// pmScanArg is struct pm_scan_arg.
type pmScanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages            uint64
	categoryInverted, categoryMask, categoryAnyofMask, categoryReturns uint64
}

// pageRegion is struct page_region.
type pageRegion struct{ start, end, categories uint64 }

// pagemap has the kernel track changes: the mapping of the workload is write
// protected page by page, the first write to a page lifts that without anybody
// being woken, and one ioctl lists such pages and protects them again.
type pagemap struct {
	memory  *memory
	pid     int
	file    *os.File // /proc/PID/pagemap
	address uint64   // of the mapping in the process
	armed   bool
	found   []pageRegion
}

// newPagemap says why not when the kernel, or a security policy, does not allow
// it.
func newPagemap(pid int, m *memory) (*pagemap, error) {
	if m.uffd < 0 {
		return nil, fmt.Errorf("workload has no userfaultfd: %s", m.why)
	}
	file, err := os.Open("/proc/" + strconv.Itoa(pid) + "/pagemap")
	if err != nil {
		return nil, err
	}
	t := &pagemap{memory: m, pid: pid, file: file, found: make([]pageRegion, 512)}
	if err := t.register(); err != nil {
		file.Close()
		return nil, err
	}
	// Look without protecting: does this kernel know the call?
	if _, _, err := t.scan(t.address, t.address+pageSize, 0); err != nil {
		t.close()
		return nil, fmt.Errorf("PAGEMAP_SCAN (kernel older than 6.7?): %w", err)
	}
	return t, nil
}

func (t *pagemap) name() string { return TrackerPagemapScan }

func (t *pagemap) readAt(p []byte, off int64) (int, error) { return t.memory.file.ReadAt(p, off) }

func (t *pagemap) dirty(ctx context.Context) ([]driver.Range, error) {
	runs, err := t.sweep(ctx)
	if err != nil {
		t.armed = false
		if errors.Is(err, unix.EPERM) {
			return nil, errLost(fmt.Errorf("the mapping is no longer tracked: %w", err))
		}
		return nil, err
	}
	if t.armed {
		return runs, nil
	}
	// Everything is protected now. What is allocated at this moment is what
	// was ever touched; the page tables of the process are not asked, because
	// what an agent filled in is not in them.
	t.armed = true
	return t.memory.allocated()
}

// sweep lists the written pages and protects them again.
func (t *pagemap) sweep(ctx context.Context) ([]driver.Range, error) {
	var runs []driver.Range
	end := t.address + uint64(t.memory.size)
	for at := t.address; at < end; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		found, next, err := t.scan(at, end, pmScanWPMatching|pmScanCheckWPAsync)
		if err != nil {
			return nil, fmt.Errorf("PAGEMAP_SCAN of process %d: %w", t.pid, err)
		}
		for _, r := range found {
			runs = addRange(runs, int64(r.start-t.address), int64(r.end-r.start))
		}
		if next <= at {
			return nil, fmt.Errorf("PAGEMAP_SCAN of process %d made no progress at %#x", t.pid, at)
		}
		at = next
	}
	return runs, nil
}

// scan returns written pages from start on, and where it stopped.
func (t *pagemap) scan(start, end, flags uint64) ([]pageRegion, uint64, error) {
	arg := pmScanArg{
		flags: flags, start: start, end: end,
		vec: uint64(uintptr(unsafe.Pointer(&t.found[0]))), vecLen: uint64(len(t.found)),
		categoryMask: pageIsWritten, categoryReturns: pageIsWritten,
	}
	arg.size = uint64(unsafe.Sizeof(arg))
	for {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, t.file.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
		runtime.KeepAlive(t.found)
		if errno == unix.EINTR {
			continue // nothing was taken: the call reports what it protected
		}
		if errno != 0 {
			return nil, 0, errno
		}
		return t.found[:n], arg.walkEnd, nil
	}
}

// register finds the mapping and has its write faults tracked. Registering what
// is registered does nothing.
func (t *pagemap) register() error {
	address, err := findMapping(t.pid, t.memory)
	if err != nil {
		return err
	}
	t.address, t.armed = address, false
	arg := struct{ start, length, mode, ioctls uint64 }{address, uint64(t.memory.size), uffdioRegisterModWP, 0}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.memory.uffd), uffdioRegister, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return fmt.Errorf("track the mapping of process %d: %w", t.pid, errno)
	}
	return nil
}

// unregister lifts the protection, so that writes cost nothing again.
func (t *pagemap) unregister() error {
	arg := struct{ start, length uint64 }{t.address, uint64(t.memory.size)}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.memory.uffd), uffdioUnregister, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return errno
	}
	return nil
}

func (t *pagemap) close() {
	_ = t.unregister() // the process may be gone, and its protection with it
	t.file.Close()
}

// findMapping returns where the process has mapped the whole memory, shared. It
// is found by the file behind it, not by what the process says.
func findMapping(pid int, m *memory) (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(m.file.Fd()), &stat); err != nil {
		return 0, err
	}
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/maps")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var start, end, offset, inode uint64
		var major, minor uint32
		var mode string
		if _, err := fmt.Fscanf(bytes.NewReader(lines.Bytes()), "%x-%x %s %x %x:%x %d", &start, &end, &mode, &offset, &major, &minor, &inode); err != nil {
			continue
		}
		same := inode == stat.Ino && major == unix.Major(stat.Dev) && minor == unix.Minor(stat.Dev)
		if same && offset == 0 && end-start == uint64(m.size) && mode[len(mode)-1] == 's' {
			return start, nil
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("process %d has not mapped its %d bytes of state in one piece", pid, m.size)
}
