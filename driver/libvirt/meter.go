package libvirt

import (
	"time"

	"github.com/placed-dev/placed/fleet"
)

// meter turns counters into rates. The groups are read at different paces, so each
// has its own last reading.
type meter struct {
	by map[fleet.WorkloadID]*metered
}

type metered struct{ net, disk counter }

// counter is a number of bytes that only grows, and how fast it last did.
type counter struct {
	at    time.Time
	bytes int64
	rate  int64 // per second; fleet.Unknown before a second reading
}

// take notes a reading. A counter that has gone back belongs to a new process, of
// which one reading says nothing.
func (c *counter) take(at time.Time, bytes int64) {
	elapsed := at.Sub(c.at)
	switch {
	case c.at.IsZero() || bytes < c.bytes:
		c.rate = fleet.Unknown
	case elapsed <= 0:
		return // the next interval will be longer
	default:
		c.rate = int64(float64(bytes-c.bytes) / elapsed.Seconds())
	}
	c.at, c.bytes = at, bytes
}

// recent is the rate, as long as its reading is younger than age.
func (c counter) recent(now time.Time, age time.Duration) int64 {
	if c.at.IsZero() || now.Sub(c.at) > age {
		return fleet.Unknown
	}
	return c.rate
}

// take notes what one reading of the groups has shown, and forgets every workload
// that it has not: its next reading will be the first of a new life.
func (m *meter) take(list []Statistics, groups Group) {
	next := make(map[fleet.WorkloadID]*metered, len(list))
	for _, s := range list {
		v := m.by[s.Workload]
		if v == nil {
			v = &metered{net: counter{rate: fleet.Unknown}, disk: counter{rate: fleet.Unknown}}
		}
		if groups&s.Have&GroupNet != 0 {
			v.net.take(s.At, s.Received+s.Sent)
		}
		if groups&s.Have&GroupDisk != 0 {
			v.disk.take(s.At, s.Read+s.Written)
		}
		next[s.Workload] = v
	}
	m.by = next
}

// rates lists what is known now; a reading older than age counts as none.
func (m *meter) rates(now time.Time, age time.Duration) map[fleet.WorkloadID]fleet.Vector {
	out := make(map[fleet.WorkloadID]fleet.Vector, len(m.by))
	for id, v := range m.by {
		out[id] = fleet.Vector{CPU: fleet.Unknown, Memory: fleet.Unknown, Net: v.net.recent(now, age), Disk: v.disk.recent(now, age)}
	}
	return out
}
