package libvirt

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lockThread gives the goroutine a thread of its own.
func lockThread() { runtime.LockOSThread() }

// prctlName names the calling thread.
func prctlName(name *byte) error {
	return unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0)
}
