package migrator

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// codec compresses a batch. Numbers are on the wire.
type codec uint8

const (
	codecRaw codec = iota
	codecS2
	codecZstd
	codecLimit
)

var codecNames = [codecLimit]string{"raw", "s2", "zstd"}

func (c codec) String() string {
	if c < codecLimit {
		return codecNames[c]
	}
	return fmt.Sprintf("invalid(%d)", uint8(c))
}

// agree returns the codecs both ends have; raw always is one.
func agree(offered []string) []codec {
	out := []codec{codecRaw}
	for c := codecS2; c < codecLimit; c++ {
		for _, name := range offered {
			if name == c.String() {
				out = append(out, c)
				break
			}
		}
	}
	return out
}

// compressor picks a codec for each batch: the one whose time to encode plus
// time on the wire is shortest, as measured on this move. Sparse and full
// batches compress differently and are judged apart.
type compressor struct {
	allowed   []codec
	now       func() time.Time
	bandwidth float64 // bytes per second, 0 while unmeasured
	zstd      *zstd.Encoder
	seen      [2][codecLimit]cost
	count     int
	out       []byte
}

// cost of one codec, smoothed over the last batches.
type cost struct {
	tried   bool
	seconds float64 // per byte of batch
	ratio   float64 // bytes out per byte in
}

func newCompressor(allowed []codec, now func() time.Time) (*compressor, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(512<<10))
	if err != nil {
		return nil, err
	}
	return &compressor{allowed: allowed, now: now, zstd: z}, nil
}

func (c *compressor) close() error { return c.zstd.Close() }

// retryEvery batches the losers are measured again: contents and links change.
const retryEvery = 64

// pack returns the batch as a frame; its payload is valid until the next call.
func (c *compressor) pack(b *batch) frame {
	class := 0
	if b.whole*2 >= len(b.buf) {
		class = 1
	}
	choice := c.choose(class)
	began := c.now()
	c.out = binary.AppendUvarint(c.out[:0], uint64(len(b.buf)))
	head := len(c.out)
	switch choice {
	case codecS2:
		need := head + s2.MaxEncodedLen(len(b.buf))
		if cap(c.out) < need {
			c.out = append(make([]byte, 0, need), c.out...)
		}
		c.out = c.out[:head+len(s2.Encode(c.out[head:need], b.buf))]
	case codecZstd:
		c.out = c.zstd.EncodeAll(b.buf, c.out)
	default:
		c.out = append(c.out, b.buf...)
	}
	took := c.now().Sub(began).Seconds()
	c.learn(class, choice, took/float64(max(1, len(b.buf))), float64(len(c.out))/float64(max(1, len(b.buf))))
	if len(c.out) > len(b.buf)+head { // it grew: send it as it is
		choice, c.out = codecRaw, append(c.out[:head], b.buf...)
	}
	return frame{kind: framePages, codec: choice, payload: c.out}
}

func (c *compressor) choose(class int) codec {
	c.count++
	bandwidth := c.bandwidth
	if bandwidth <= 0 {
		bandwidth = 125e6
	}
	best, least := codecRaw, 0.0
	for i, k := range c.allowed {
		s := c.seen[class][k]
		if !s.tried || c.count%retryEvery == int(k) {
			return k
		}
		if t := s.seconds + s.ratio/bandwidth; i == 0 || t < least {
			best, least = k, t
		}
	}
	return best
}

func (c *compressor) learn(class int, k codec, seconds, ratio float64) {
	s := &c.seen[class][k]
	if !s.tried {
		*s = cost{true, seconds, ratio}
		return
	}
	s.seconds += (seconds - s.seconds) / 4
	s.ratio += (ratio - s.ratio) / 4
}

// decompressor undoes pack.
type decompressor struct {
	zstd *zstd.Decoder
	out  []byte
}

func newDecompressor() (*decompressor, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*maxBatch),
		zstd.WithDecoderMaxWindow(512<<10))
	if err != nil {
		return nil, err
	}
	return &decompressor{zstd: z}, nil
}

func (d *decompressor) close() { d.zstd.Close() }

// unpack returns the batch of a frame, valid until the next call. A frame that
// claims or yields more than a batch may hold is refused before memory is spent.
func (d *decompressor) unpack(f frame) ([]byte, error) {
	size, used := binary.Uvarint(f.payload)
	if used <= 0 || size > maxBatch {
		return nil, fmt.Errorf("%w: a batch of %d bytes", errBatch, size)
	}
	body := f.payload[used:]
	var err error
	switch f.codec {
	case codecRaw:
		d.out = append(d.out[:0], body...)
	case codecS2:
		if n, sizeErr := s2.DecodedLen(body); sizeErr != nil || uint64(n) != size {
			return nil, fmt.Errorf("%w: s2 length", errBatch)
		}
		if cap(d.out) < int(size) {
			d.out = make([]byte, size)
		}
		d.out, err = s2.Decode(d.out[:cap(d.out)], body)
	case codecZstd:
		d.out, err = d.zstd.DecodeAll(body, d.out[:0])
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errBatch, f.codec, err)
	}
	if uint64(len(d.out)) != size {
		return nil, fmt.Errorf("%w: %d bytes where %d were announced", errBatch, len(d.out), size)
	}
	return d.out, nil
}
