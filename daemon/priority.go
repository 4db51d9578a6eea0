package daemon

import (
	"runtime"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Priorities below the normal one. Who takes locks that reports wait for must not
// be starved while it holds them.
const (
	nicePatient = 19
	niceBrief   = 5
)

// yieldThread keeps the calling goroutine on a thread of its own with a lower
// priority, for the rest of its life: learning must not take the processor from
// leases and moves. The thread ends with the goroutine.
func yieldThread(log hclog.Logger, nice int) {
	runtime.LockOSThread()
	if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice); err != nil {
		log.Debug("learning runs at normal priority", "error", err)
	}
}
