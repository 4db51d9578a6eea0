package libvirt

import (
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/placed-dev/placed/driver"
)

// TestControl tells stories of moves: what is done in which pass, and how each
// ends.
func TestControl(t *testing.T) {
	datadriven.RunTest(t, "testdata/control", func(t *testing.T, d *datadriven.TestData) string {
		p := MovePolicy{Deadline: time.Minute, Downtime: 300 * time.Millisecond, MaxDowntime: 300 * time.Millisecond}
		scan := func(key string, at any) {
			if d.HasArg(key) {
				d.ScanArgs(t, key, at)
			}
		}
		var bandwidth, most int64
		var longest, deadline, passes, stop int
		scan("bandwidth", &bandwidth)
		scan("most", &most)
		scan("downtime", &longest)
		scan("deadline", &deadline)
		scan("passes", &passes)
		scan("stops", &stop)
		var aim, fails int
		scan("aim", &aim)
		scan("fails", &fails) // so many ends that are ordered come to nothing
		p.Bandwidth, p.MaxBandwidth = bandwidth<<20, most<<20
		if aim > 0 {
			p.Downtime = time.Duration(aim) * time.Millisecond
			p.MaxDowntime = p.Downtime
		}
		if longest > 0 {
			p.MaxDowntime = time.Duration(longest) * time.Millisecond
		}
		if deadline > 0 {
			p.Deadline = time.Duration(deadline) * time.Second
		}
		p.AutoConverge = d.HasArg("auto-converge")
		if p.AtDeadline = "abort"; d.HasArg("stop-then") {
			p.AtDeadline = "stop"
		}
		c, out, throttle := newControl(p), "", 0
		for pass := 1; pass <= passes; pass++ {
			if p.AutoConverge && pass > 3 {
				throttle = min(20+10*(pass-4), 99)
			}
			// Two readings per pass: the second must change nothing more.
			for half := range 2 {
				s := c.next(driver.Progress{Pass: pass, Throttle: throttle, Stopped: stop > 0 && pass >= stop,
					Elapsed: time.Duration(2*pass+half) * time.Second})
				if s.note != "" {
					out += "pass " + strconv.Itoa(pass) + ": " + s.note + "\n"
				}
				if (s.abort || s.stop) && fails > 0 && c.failed(s) {
					fails--
				}
			}
		}
		if out == "" {
			out = "nothing was changed\n"
		}
		return out
	})
}
