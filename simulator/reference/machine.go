package reference

import (
	"math"
	"slices"
)

// historyLength is how many instants a virtual machine remembers.
const historyLength = 30

// vm is one virtual machine of the world, driven by one trace.
type vm struct {
	index   int
	mips    float64 // nominal, of its one core
	ram     float64 // MB
	data    []float64
	history []float64 // share of mips at the instants, newest first

	host      *host
	migrating bool
	demand    float64 // MIPS it asks for now
	got       float64 // MIPS it was given by its host at the last update
	simulated float64 // MIPS it would be given in the plan being made

	// vectors caches what the detector wants to know of it, per class.
	vectors [len(classes)][]float64

	record  record // last state, not yet charged
	lacking float64
	asked   float64
}

// at returns the share of its nominal MIPS that the machine asks for at a time
// in seconds.
func (v *vm) at(t float64) float64 {
	if math.Mod(t, interval) == 0 {
		return v.data[int(t)/int(interval)]
	}
	low, high := math.Floor(t/interval), math.Ceil(t/interval)
	a, b := v.data[int(low)], v.data[int(high)]
	delta := (b - a) / ((high - low) * interval)
	return a + float64(delta*(t-float64(low*interval)))
}

// record is the state of a machine or host since a moment.
type record struct {
	valid      bool
	at         float64
	got, asked float64
	flag       bool // host: active; machine: migrating out
}

// host is one physical machine.
type host struct {
	*class
	kind     int // index of its class
	index    int
	vms      []*vm // its own and, while they arrive, incoming ones, in the order of arrival
	incoming []*vm

	used, usedBefore float64 // MIPS at the last update and at the one before
	asked            float64 // MIPS of demand at the last update
	plan             plan

	record           record
	active, violated float64 // seconds
}

func (h *host) arrives(v *vm) bool { return len(h.incoming) > 0 && slices.Contains(h.incoming, v) }

// utilisation is the share of its MIPS in use at the last update.
func (h *host) utilisation() float64 { return h.used / h.total }

// update shares the host's MIPS among its machines at time t and notes the
// states. A machine that migrates in counts a tenth, one that migrates out loses
// a tenth.
func (h *host) update(t float64) {
	free, required, overflow := h.total, 0.0, false
	for _, v := range h.vms {
		r := min(v.demand, h.mips)
		counted := r
		in := h.arrives(v)
		if in {
			counted = float64(counted * 0.1)
		}
		required += counted
		if overflow || free < counted {
			overflow = true
			continue
		}
		free -= counted
	}
	share := 0.0
	if overflow {
		share = h.total / required
	}
	h.usedBefore, h.used, h.asked = h.used, 0, 0
	for _, v := range h.vms {
		r := min(v.demand, h.mips)
		in := h.arrives(v)
		out := v.migrating && !in
		got := r
		switch {
		case overflow && out:
			got = math.Floor(float64(r*share) * 0.9)
		case overflow && in:
			got = math.Floor(float64(r*0.1) * share)
		case overflow:
			got = math.Floor(r * share)
		case out:
			got = float64(r * 0.9)
		case in:
			got = float64(r * 0.1)
		}
		if !in {
			v.got = got
			v.note(record{valid: true, at: t, got: got, asked: v.demand, flag: v.migrating})
			if v.migrating {
				got /= 0.9
			}
		}
		h.used += got
		h.asked += v.demand
	}
	h.note(record{valid: true, at: t, got: h.used, asked: h.asked, flag: h.used > 0})
}

// note charges the time since the last state and remembers the new one. A second
// state at the same time replaces the first.
func (h *host) note(r record) {
	if last := h.record; last.valid && last.at != r.at && last.flag {
		dt := r.at - last.at
		h.active += dt
		if last.got < last.asked {
			h.violated += dt
		}
	}
	h.record = r
}

func (v *vm) note(r record) {
	if last := v.record; last.valid && last.at != r.at {
		dt := r.at - last.at
		v.asked += float64(last.asked * dt)
		if last.flag && last.got < last.asked {
			v.lacking += float64((last.asked - last.got) * dt)
		}
	}
	v.record = r
}
