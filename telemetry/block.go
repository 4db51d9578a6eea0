package telemetry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/placed-dev/placed/fleet"
)

// A block is one day of one series: a version byte, then a zstd frame with its
// checksum. Inside: the number of samples, their times (milliseconds; first
// value, first step, then changes of the step), the number of columns, and per
// column its name and its values as differences. All numbers are varints, signed
// ones zigzagged. A column of zeros only is left out.
const blockVersion = 1

// Names of the columns that are no custom resource; "/" cannot begin one.
const waitColumn = "/wait"

// maxBlock bounds what a damaged frame may unpack to: a day of samples every
// 100 ms in ten columns.
const maxBlock = 64 << 20

var errBlock = errors.New("the block is damaged")

// blockCodec holds the compressors, which are costly to make. It starts no
// goroutine and is not safe for concurrent use of pack.
type blockCodec struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	raw     []byte // of the block that is read, used again for the next one
}

func newBlockCodec() (*blockCodec, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true), zstd.WithWindowSize(1<<17))
	if err != nil {
		return nil, fmt.Errorf("make the compressor of the history: %w", err)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock))
	if err != nil {
		return nil, fmt.Errorf("make the decompressor of the history: %w", err)
	}
	return &blockCodec{encoder: encoder, decoder: decoder}, nil
}

// pack encodes samples in the order of their times.
func (c *blockCodec) pack(samples []fleet.Sample) []byte {
	raw := binary.AppendUvarint(nil, uint64(len(samples)))
	var last, step int64
	for _, s := range samples {
		at := s.At.UnixMilli()
		raw = binary.AppendVarint(raw, at-last-step)
		step, last = at-last, at
	}
	columns := columnsOf(samples)
	names := slices.Sorted(maps.Keys(columns))
	raw = binary.AppendUvarint(raw, uint64(len(names)))
	for _, name := range names {
		raw = binary.AppendUvarint(raw, uint64(len(name)))
		raw = append(raw, name...)
		last = 0
		for _, v := range columns[name] {
			raw = binary.AppendVarint(raw, v-last) // wraps round for Unknown, and back
			last = v
		}
	}
	return c.encoder.EncodeAll(raw, []byte{blockVersion})
}

func columnsOf(samples []fleet.Sample) map[string][]int64 {
	columns := map[string][]int64{}
	put := func(i int, name string, v int64) {
		if v == 0 {
			return
		}
		if columns[name] == nil {
			columns[name] = make([]int64, len(samples))
		}
		columns[name][i] = v
	}
	for i, s := range samples {
		s.Usage.Each(func(r fleet.Resource, amount int64) { put(i, string(r), amount) })
		put(i, waitColumn, s.Wait)
	}
	return columns
}

// unpack is the inverse of pack. It checks every length against what is there,
// so a damaged block costs an error and no memory.
func (c *blockCodec) unpack(data []byte) ([]fleet.Sample, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: it is empty", errBlock)
	}
	if data[0] != blockVersion {
		return nil, fmt.Errorf("%w: version %d is unknown, this build reads %d", errBlock, data[0], blockVersion)
	}
	raw, err := c.decoder.DecodeAll(data[1:], nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBlock, err)
	}
	r := reader{rest: raw}
	count := r.length()
	samples := make([]fleet.Sample, count)
	var last, step int64
	for i := range samples {
		step += r.signed()
		last += step
		samples[i].At = time.UnixMilli(last).UTC()
	}
	for range r.length() {
		name := string(r.take(r.length()))
		var v int64
		for i := range samples {
			v += r.signed()
			if name == waitColumn {
				samples[i].Wait = v
			} else {
				samples[i].Usage = samples[i].Usage.With(fleet.Resource(name), v)
			}
		}
		if r.bad {
			break
		}
	}
	if r.bad || len(r.rest) != 0 {
		return nil, fmt.Errorf("%w: its lengths do not add up", errBlock)
	}
	return samples, nil
}

// reader takes numbers off a block; bad sticks.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) signed() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// length reads a count of things of at least one byte each.
func (r *reader) length() int {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > uint64(len(r.rest)-n) {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}

func (r *reader) take(n int) []byte {
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}
