package libvirt

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// What a QEMU uses beside its guest's memory is measured, for it depends on devices,
// on how much is asked of them, and on how the guest is virtualized: between 30 MiB
// and more than 1 GiB have been seen. The books need one number per domain that is
// not exceeded: the highest reading of the last day with a margin, for the readings
// are samples. It rises with the first reading that comes near it. It falls only when
// a whole day was read, and only by what is worth an entry in the books.
const (
	// peaksKept are the hours whose highest readings count.
	peaksKept = 24
	// leastOverhead is below what any QEMU with a display and a network card uses.
	leastOverhead = 32 << 20
	// overheadMargin is added to the highest reading, in percent.
	overheadMargin = 25
	// overheadStep rounds what is booked, upwards; a fall of less than fallSteps is
	// none.
	overheadStep = 16 << 20
	fallSteps    = 4
)

// overhead is what is known of one domain's QEMU.
type overhead struct {
	Booked int64 `json:"booked"` // bytes
	// Peaks are the highest readings per hour, bytes, the newest last; Hour is the
	// newest one's, since 1970.
	Peaks []int64 `json:"peaks,omitempty"`
	Hour  int64   `json:"hour,omitempty"`
	// Counted are the hours with readings since the number last changed.
	Counted int `json:"counted,omitempty"`
}

// take notes a reading and says whether another amount is booked now.
func (o *overhead) take(now time.Time, used int64) (changed bool) {
	hour := now.Unix() / 3600
	switch n := len(o.Peaks); {
	case n > 0 && hour == o.Hour:
		o.Peaks[n-1] = max(o.Peaks[n-1], used)
	default:
		o.Peaks, o.Hour = append(o.Peaks, used), hour
		o.Counted++
		if n+1 > peaksKept {
			o.Peaks = slices.Delete(o.Peaks, 0, n+1-peaksKept)
		}
	}
	highest := slices.Max(o.Peaks)
	want := max(highest+highest*overheadMargin/100, leastOverhead)
	want = (want + overheadStep - 1) / overheadStep * overheadStep
	switch {
	case used > o.Booked-overheadStep && want > o.Booked: // near enough to be exceeded soon
	case want <= o.Booked-fallSteps*overheadStep && o.Counted > peaksKept:
	default:
		return false
	}
	o.Booked, o.Counted = want, 0
	return true
}

// overheads are those of all domains, by UUID.
type overheads map[string]*overhead

func overheadFile(dir string) string { return filepath.Join(dir, "overheads.json") }

// readOverheads returns what an earlier life has measured. What cannot be read is
// measured anew, from the option's amount on.
func readOverheads(dir string) overheads {
	out := overheads{}
	data, err := os.ReadFile(overheadFile(dir))
	if err != nil || json.Unmarshal(data, &out) != nil {
		return overheads{}
	}
	for uuid, o := range out {
		if o == nil || o.Booked < 0 || len(o.Peaks) > peaksKept {
			delete(out, uuid)
		}
	}
	return out
}

// write keeps what was measured for the next life.
func (o overheads) write(dir string) error {
	if len(o) == 0 {
		if err := os.Remove(overheadFile(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return putRecord(overheadFile(dir), o)
}

// of is what is booked for a domain, first when it was not measured yet.
func (o overheads) of(uuid string, first int64) int64 {
	if known := o[uuid]; known != nil {
		return known.Booked
	}
	return first
}

// begin takes over what another host has measured of a domain that comes here: it runs
// on with the same devices.
func (o overheads) begin(uuid string, booked int64) {
	if booked > 0 && uuid != "" && o[uuid] == nil {
		o[uuid] = &overhead{Booked: booked}
	}
}

// keep forgets domains that are not there any more.
func (o overheads) keep(there map[string]bool) (changed bool) {
	for uuid := range o {
		if !there[uuid] {
			delete(o, uuid)
			changed = true
		}
	}
	return changed
}
