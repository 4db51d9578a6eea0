package libvirt

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// TestMeterRates: counters that grow steadily give their rate whatever the pace of
// the readings and of the groups, and nothing before a second reading.
func TestMeterRates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		net, disk := rapid.Int64Range(0, 1<<30).Draw(t, "net"), rapid.Int64Range(0, 1<<30).Draw(t, "disk")
		start := time.Unix(1e9, 0)
		m, seen := meter{}, map[Group]int{}
		elapsed := time.Duration(0)
		for range rapid.IntRange(1, 20).Draw(t, "readings") {
			elapsed += time.Duration(rapid.IntRange(1, 10).Draw(t, "pause")) * time.Second
			groups := Group(rapid.SampledFrom([]Group{GroupNet, GroupDisk, GroupNet | GroupDisk, GroupCPU}).Draw(t, "groups"))
			s := Statistics{Workload: "w", At: start.Add(elapsed), Have: groups}
			if groups&GroupNet != 0 {
				s.Received, s.Sent = net*int64(elapsed/time.Second), 7
				seen[GroupNet]++
			}
			if groups&GroupDisk != 0 {
				s.Read, s.Written = 9, disk*int64(elapsed/time.Second)
				seen[GroupDisk]++
			}
			m.take([]Statistics{s}, groups)
			v := m.rates(s.At, time.Hour)["w"]
			want := func(group Group, rate int64) int64 {
				if seen[group] < 2 {
					return fleet.Unknown
				}
				return rate
			}
			if v.Net != want(GroupNet, net) || v.Disk != want(GroupDisk, disk) {
				t.Fatalf("after %v: net %d, disk %d, want %d, %d", seen, v.Net, v.Disk, want(GroupNet, net), want(GroupDisk, disk))
			}
		}
	})
}

// TestMeterForgets: a process that began anew, a workload that was not there, and a
// reading that is too old give no rate.
func TestMeterForgets(t *testing.T) {
	start := time.Unix(1e9, 0)
	at := func(s int, received int64) []Statistics {
		return []Statistics{{Workload: "w", At: start.Add(time.Duration(s) * time.Second), Have: GroupNet, Received: received}}
	}
	rate := func(m *meter, s int) int64 {
		v, ok := m.rates(start.Add(time.Duration(s)*time.Second), 15*time.Second)["w"]
		if !ok {
			return fleet.Unknown
		}
		return v.Net
	}
	m := &meter{}
	m.take(at(0, 1000), GroupNet)
	m.take(at(10, 3000), GroupNet)
	if have := rate(m, 10); have != 200 {
		t.Fatalf("rate %d, want 200", have)
	}
	if have := rate(m, 26); have != fleet.Unknown {
		t.Errorf("an old reading gives %d", have)
	}
	m.take([]Statistics{{Workload: "w", At: start.Add(12 * time.Second)}}, GroupNet)
	if have := rate(m, 12); have != 200 {
		t.Errorf("a reading without the counters gives %d", have)
	}
	m.take(at(20, 50), GroupNet)
	if have := rate(m, 20); have != fleet.Unknown {
		t.Errorf("a counter that went back gives %d", have)
	}
	m.take(at(30, 1050), GroupNet)
	if have := rate(m, 30); have != 100 {
		t.Errorf("after the restart %d, want 100", have)
	}
	m.take(nil, GroupNet)
	m.take(at(50, 9999), GroupNet)
	if have := rate(m, 50); have != fleet.Unknown {
		t.Errorf("a workload that was away gives %d", have)
	}
}
