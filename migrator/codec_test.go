package migrator

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// memory is a copy being filled, and a state being read.
type memory []byte

func (m memory) read(n int64, page []byte) error  { copy(page, m[n*pageSize:]); return nil }
func (m memory) write(n int64, page []byte) error { copy(m[n*pageSize:], page); return nil }

// TestPagesRoundTrip: any change to any pages, by any codec, arrives.
func TestPagesRoundTrip(t *testing.T) {
	t.Parallel()
	open, err := newDecompressor()
	if err != nil {
		t.Fatal(err)
	}
	defer open.close()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 40*pageSize).Draw(t, "size")
		old := make(memory, size)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for i := range old {
			old[i] = byte(r.Uint32() >> (8 * (i / pageSize % 4)))
		}
		now := bytes.Clone(old)
		for range rapid.IntRange(0, 30).Draw(t, "changes") {
			at := rapid.Int64Range(0, size-1).Draw(t, "at")
			length := rapid.Int64Range(1, 6000).Draw(t, "length")
			zero := rapid.Bool().Draw(t, "zero")
			for i := at; i < min(size, at+length); i++ {
				now[i] = byte(r.Uint32())
				if zero {
					now[i] = 0
				}
			}
		}
		known := rapid.Bool().Draw(t, "the other end is known")
		var b batch
		copied := bytes.Clone(old)
		pack, err := newCompressor([]codec{codec(rapid.IntRange(0, 2).Draw(t, "codec"))}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer pack.close()
		flush := func() {
			raw := appendFrame(nil, pack.pack(&b))
			f, err := readFrame(bytes.NewReader(raw), nil)
			if err != nil {
				t.Fatal(err)
			}
			pages, err := open.unpack(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := unpack(pages, size, memory(copied).read, memory(copied).write); err != nil {
				t.Fatal(err)
			}
			b.reset()
		}
		for n := int64(0); pageLength(n, size) > 0; n++ {
			at := n * pageSize
			end := at + int64(pageLength(n, size))
			if bytes.Equal(old[at:end], now[at:end]) {
				continue
			}
			if b.full() {
				flush()
			}
			var have []byte
			if known {
				have = old[at:end]
			}
			b.add(n, have, now[at:end])
			if len(b.buf) > maxBatch {
				t.Fatalf("a batch of %d bytes", len(b.buf))
			}
		}
		flush()
		if !bytes.Equal(copied, now) {
			t.Fatal("the copy differs")
		}
		if a, b := digestOf(now), digestOf(copied); a != b {
			t.Fatalf("digests %s and %s of equal states", a, b)
		}
	})
}

func digestOf(m []byte) string {
	d := newDigest(int64(len(m)))
	for n := int64(0); pageLength(n, int64(len(m))) > 0; n++ {
		d.set(n, m[n*pageSize:n*pageSize+int64(pageLength(n, int64(len(m))))])
	}
	return d.sum()
}

// TestDigest: zeros that were never sent count, every bit and every place count.
func TestDigest(t *testing.T) {
	t.Parallel()
	const size = 5*blockSize + 777
	if newDigest(size).sum() != digestOf(make([]byte, size)) {
		t.Error("pages that were never written differ from pages of zeros")
	}
	base := digestOf(make([]byte, size))
	for _, at := range []int{0, pageSize - 1, pageSize, blockSize, size - 1} {
		m := make([]byte, size)
		m[at] = 1
		if digestOf(m) == base {
			t.Errorf("a bit at %d does not count", at)
		}
	}
	if digestOf(make([]byte, size+1)) == base {
		t.Error("the size does not count")
	}
	d := newDigest(size)
	page := bytes.Repeat([]byte{7}, pageSize)
	d.set(3, page)
	first := d.sum()
	d.set(3, zeroPage[:])
	if d.sum() != base || first == base {
		t.Error("the digest does not follow the changes")
	}
}

// TestPageKinds: what is sparse is small.
func TestPageKinds(t *testing.T) {
	t.Parallel()
	old, now := make([]byte, pageSize), make([]byte, pageSize)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range old {
		old[i] = byte(r.Uint32())
	}
	copy(now, old)
	now[1000] ^= 5
	for _, c := range []struct {
		name      string
		old, page []byte
		most      int
	}{
		{"zeros", old, make([]byte, pageSize), 2},
		{"one word", old, now, 16},
		{"unknown", nil, now, pageSize + 2},
		{"all new", make([]byte, pageSize), old, pageSize + 2},
	} {
		var b batch
		b.add(0, c.old, c.page)
		if len(b.buf) > c.most {
			t.Errorf("%s: %d bytes, want at most %d", c.name, len(b.buf), c.most)
		}
	}
}

// TestBrokenFrames: whatever bit is wrong, the frame is refused.
func TestBrokenFrames(t *testing.T) {
	t.Parallel()
	good := appendFrame(nil, frame{kind: framePages, codec: codecS2, payload: []byte("some payload")})
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := readFrame(bytes.NewReader(bad), nil); err == nil {
			t.Errorf("bit %d of byte %d does not matter", i%8, i/8)
		}
	}
	huge := bytes.Clone(good)
	huge[4], huge[5], huge[6], huge[7] = 0xff, 0xff, 0xff, 0x7f
	if _, err := readFrame(bytes.NewReader(huge), nil); !errors.Is(err, errFrame) {
		t.Errorf("a frame of 2 GiB: %v", err)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, frame{kind: framePing}))
	var b batch
	b.add(3, nil, []byte("a short page"))
	pack, err := newCompressor([]codec{codecZstd}, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(appendFrame(nil, pack.pack(&b)))
	f.Add(appendFrame(nil, frame{kind: frameSay, payload: []byte(`{"kind":"heard","word":"refused"}`)}))
	open, err := newDecompressor()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		frame, err := readFrame(bytes.NewReader(raw), nil)
		if err != nil {
			return
		}
		var say Say
		if frame.decode(frameSay, &say) == nil {
			_, _ = say.event(true) // must not panic
		}
		if batch, err := open.unpack(frame); err == nil {
			_ = unpack(batch, 64*pageSize, make(memory, 64*pageSize).read, make(memory, 64*pageSize).write)
		}
	})
}

// FuzzBatch goes past the checksum and the compression.
func FuzzBatch(f *testing.F) {
	var b batch
	old := bytes.Repeat([]byte{1}, pageSize)
	now := bytes.Clone(old)
	now[77] = 2
	b.add(0, old, now)
	b.add(5, nil, old)
	b.add(6, nil, make([]byte, pageSize))
	f.Add(bytes.Clone(b.buf))
	f.Add([]byte{0, pageXOR, 0x82, 0, 1, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		size := int64(20*pageSize + 5)
		last := int64(-1)
		_ = unpack(raw, size, make(memory, size).read, func(n int64, page []byte) error {
			if n <= last || len(page) != pageLength(n, size) {
				t.Fatalf("page %d of %d bytes after page %d", n, len(page), last)
			}
			last = n
			return nil
		})
	})
}

// TestChooser: a slow link wants the smallest, a fast one the quickest.
func TestChooser(t *testing.T) {
	t.Parallel()
	c, err := newCompressor([]codec{codecRaw, codecS2, codecZstd}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	c.seen[1] = [codecLimit]cost{{true, 1e-10, 1}, {true, 1e-9, 0.6}, {true, 4e-9, 0.3}}
	c.count = 7
	for bandwidth, want := range map[float64]codec{12.5e6: codecZstd, 2e8: codecS2, 2e10: codecRaw} {
		c.bandwidth, c.count = bandwidth, 7
		if got := c.choose(1); got != want {
			t.Errorf("at %.0f bytes/s: %s, want %s", bandwidth, got, want)
		}
	}
}

// TestHostileConnections: a peer that sends nonsense, too much, or nothing is
// turned away in bounded time, and nothing is left behind.
func TestHostileConnections(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string][]byte{
		"nonsense":       bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 100),
		"nothing":        nil,
		"another kind":   appendFrame(nil, frame{kind: framePing}),
		"an empty offer": appendFrame(nil, frame{kind: frameOffer, payload: []byte("{}")}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNet(t, pageSize)
			near, far := net.Pipe()
			done := make(chan error, 1)
			go func() { done <- n.hosts["h2"].now().m.Serve(t.Context(), far, "h1") }()
			go func() {
				_, _ = near.Write(raw)
				_, _ = readFrame(near, nil) // a refusal, if it gets so far
			}()
			if err := <-done; err == nil {
				t.Error("it was served")
			}
			near.Close()
		})
	}
}

func BenchmarkSparsePages(b *testing.B) {
	old := make([]byte, pageSize)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range old {
		old[i] = byte(r.Uint32())
	}
	now := bytes.Clone(old)
	now[1000] ^= 5
	var batch batch
	b.SetBytes(pageSize)
	for i := int64(0); b.Loop(); i++ {
		if batch.full() {
			batch.reset()
			i = 0
		}
		batch.add(i, old, now)
	}
}
