package telemetry

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Column is the history of one resource of a series: times in milliseconds since
// 1970, ascending, and amounts in base units (fleet.Unknown where nobody knew).
type Column struct {
	Times, Amounts []int64
}

// ReadColumn returns one built-in resource of a series with from <= time < to. It is what a
// month is read with: nothing but the wanted numbers is unpacked. Days that cannot
// be read are left out and named in the error, as in Read.
func (h *History) ReadColumn(series string, r fleet.Resource, from, to time.Time) (Column, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return Column{}, ErrClosed
	}
	var out Column
	damaged, err := h.eachDay(series, from, to, func(day int64, block []byte) error {
		first := len(out.Times) == 0
		err := h.codec.unpackColumn(block, string(r), &out)
		if first {
			// The other days will be about as large.
			days := int(min(dayNumber(to)-day, int64(h.config.RetentionDays)))
			out.Times = slices.Grow(out.Times, days*len(out.Times))
			out.Amounts = slices.Grow(out.Amounts, days*len(out.Amounts))
		}
		return err
	})
	if err != nil {
		return Column{}, err
	}
	out.add(h.waiting[series], r)
	low, _ := slices.BinarySearch(out.Times, from.UnixMilli())
	high, _ := slices.BinarySearch(out.Times, to.UnixMilli())
	return Column{out.Times[low:high], out.Amounts[low:high]}, damaged
}

// add merges samples that are not on disk yet; of equal times the later one wins.
func (c *Column) add(waiting []fleet.Sample, r fleet.Resource) {
	if len(waiting) == 0 {
		return
	}
	type point struct{ at, amount int64 }
	points := make([]point, 0, len(c.Times)+len(waiting))
	for i, at := range c.Times {
		points = append(points, point{at, c.Amounts[i]})
	}
	for _, s := range waiting {
		points = append(points, point{s.At.UnixMilli(), s.Usage.Get(r)})
	}
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.at, b.at) })
	c.Times, c.Amounts = c.Times[:0], c.Amounts[:0]
	for i, p := range points {
		if i+1 < len(points) && points[i+1].at == p.at {
			continue
		}
		c.Times, c.Amounts = append(c.Times, p.at), append(c.Amounts, p.amount)
	}
}

// unpackColumn appends one column of a block; a block without it has zeros.
func (c *blockCodec) unpackColumn(data []byte, name string, out *Column) error {
	if len(data) == 0 || data[0] != blockVersion {
		return fmt.Errorf("%w: its version is unknown, this build reads %d", errBlock, blockVersion)
	}
	var err error
	if c.raw, err = c.decoder.DecodeAll(data[1:], c.raw[:0]); err != nil {
		return fmt.Errorf("%w: %w", errBlock, err)
	}
	r := reader{rest: c.raw}
	count, before := r.length(), len(out.Times)
	out.Times, out.Amounts = slices.Grow(out.Times, count), slices.Grow(out.Amounts, count)
	times, amounts := out.Times[before:before+count], out.Amounts[before:before+count]
	r.differences(times)
	sums(times)
	sums(times)
	clear(amounts)
	for range r.length() {
		if string(r.take(r.length())) != name {
			r.skip(count)
			continue
		}
		r.differences(amounts)
		sums(amounts)
	}
	if r.bad || len(r.rest) != 0 {
		return fmt.Errorf("%w: its lengths do not add up", errBlock)
	}
	out.Times, out.Amounts = out.Times[:before+count], out.Amounts[:before+count]
	return nil
}

func sums(values []int64) {
	var sum int64
	for i, v := range values {
		sum += v
		values[i] = sum
	}
}

// differences reads so many signed numbers. Most fit into two bytes, and a month has
// tens of thousands: the place stays in a register.
func (r *reader) differences(out []int64) {
	rest, at := r.rest, 0
	for i := range out {
		if at+1 < len(rest) {
			if a := rest[at]; a < 0x80 {
				out[i] = int64(a>>1) ^ -int64(a&1)
				at++
				continue
			} else if b := rest[at+1]; b < 0x80 {
				v := uint64(a&0x7f) | uint64(b)<<7
				out[i] = int64(v>>1) ^ -int64(v&1)
				at += 2
				continue
			}
		}
		v, n := binary.Varint(rest[at:])
		if n <= 0 {
			r.bad, r.rest = true, nil
			return
		}
		out[i] = v
		at += n
	}
	r.rest = rest[at:]
}

// skip passes over so many numbers.
func (r *reader) skip(n int) {
	for i, b := range r.rest {
		if n == 0 {
			r.rest = r.rest[i:]
			return
		}
		if b < 0x80 {
			n--
		}
	}
	r.rest = nil
	r.bad = r.bad || n > 0
}
