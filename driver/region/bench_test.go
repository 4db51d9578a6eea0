package region

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/placed-dev/placed/driver"
)

const benchSize = 64 << 20

func benchSpec(b *testing.B, settings map[string]string) driver.Spec {
	spec := testSpec("w", settings)
	spec.Size = benchSize
	return spec
}

// BenchmarkDirty costs one look for changes in 64 MiB of which little changed.
func BenchmarkDirty(b *testing.B) {
	for _, tracker := range trackers {
		b.Run(tracker, func(b *testing.B) {
			d := newHost(b, tracker)
			start(b, d, benchSpec(b, nil))
			src := openSource(b, d, tracker)
			dirty(b, src)
			b.SetBytes(benchSize)
			for b.Loop() {
				if _, err := src.Dirty(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFreezeThaw costs one pair of control requests to a busy workload.
func BenchmarkFreezeThaw(b *testing.B) {
	d := newHost(b, "")
	start(b, d, benchSpec(b, map[string]string{SettingTraceFile: busyTrace(b), SettingScale: "10"}))
	src := openSource(b, d, "")
	var frozen time.Duration
	for b.Loop() {
		begin := time.Now()
		if err := src.Freeze(context.Background()); err != nil {
			b.Fatal(err)
		}
		frozen += time.Since(begin)
		if err := src.Thaw(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(frozen.Microseconds())/float64(b.N), "us/freeze")
}

// BenchmarkDowntime moves 64 MiB between two directories of this machine while
// the workload writes pages, and reports freeze to activated.
func BenchmarkDowntime(b *testing.B) {
	for _, tracker := range trackers {
		for _, rate := range []int{5_000, 50_000} { // page writes per second at 0.1 cores
			b.Run(fmt.Sprintf("%s/%d-pages-per-s", tracker, rate), func(b *testing.B) {
				from, to := newHost(b, tracker), newHost(b, tracker)
				start(b, from, benchSpec(b, map[string]string{
					SettingTraceFile: busyTrace(b), SettingScale: "10", SettingDirtyRate: strconv.Itoa(rate * 10)}))
				var still time.Duration
				for b.Loop() {
					_, downtime := move(b, from, to, tracker)
					still += downtime
					from, to = to, from
				}
				b.ReportMetric(float64(still.Microseconds())/1000/float64(b.N), "ms-downtime/op")
			})
		}
	}
}
