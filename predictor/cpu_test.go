package predictor

import (
	"syscall"
	"time"
)

// cpuTime is what the process has used of a processor, so that figures do not
// depend on what else runs.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
