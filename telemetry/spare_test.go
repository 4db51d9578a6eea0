package telemetry

import (
	"testing"

	"github.com/prometheus/procfs"
)

// Pools of huge pages are taken from the available memory when they are made, not
// when they are used; counted as used they would look like somebody's load.
func TestUsedMemory(t *testing.T) {
	n := func(v uint64) *uint64 { return &v }
	for name, c := range map[string]struct {
		info procfs.Meminfo
		want int64
		bad  bool
	}{
		"plain":      {procfs.Meminfo{MemTotalBytes: n(1000), MemAvailableBytes: n(300)}, 700, false},
		"huge pages": {procfs.Meminfo{MemTotalBytes: n(1000), MemAvailableBytes: n(300), HugePagesTotal: n(5), HugepagesizeBytes: n(100)}, 200, false},
		"more pool":  {procfs.Meminfo{MemTotalBytes: n(1000), MemAvailableBytes: n(600), HugePagesTotal: n(5), HugepagesizeBytes: n(100)}, 0, false},
		"old kernel": {procfs.Meminfo{MemTotalBytes: n(1000)}, 0, true},
	} {
		if got, err := usedMemory(c.info); got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	if got, err := UsedMemory(); err != nil || got <= 0 {
		t.Errorf("of this machine: %d, %v", got, err)
	}
}
