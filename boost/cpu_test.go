package boost

import (
	"syscall"
	"time"
)

// cpuTime of this process so far: the clock of figures on a machine that has
// other work.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
