package migrator

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/zeebo/xxh3"
)

const pagesPerBlock = blockSize / pageSize

// digest follows the content of a state as it is sent or written: a hash per
// page, one per 64 KiB block over its pages' hashes, and the digest over the
// blocks'. Inside the frozen window only what changed last is hashed again.
//
// Both ends begin from a state of zeros, which is what a fresh copy holds.
type digest struct {
	pages  []uint64
	blocks []uint64
	stale  []bool // by block
}

func newDigest(size int64) *digest {
	pages := int((size + pageSize - 1) / pageSize)
	blocks := (pages + pagesPerBlock - 1) / pagesPerBlock
	d := &digest{pages: make([]uint64, pages), blocks: make([]uint64, blocks), stale: make([]bool, blocks)}
	for n := range d.pages {
		d.pages[n] = zeroHash
	}
	if pages > 0 {
		d.pages[pages-1] = xxh3.Hash(zeroPage[:pageLength(int64(pages-1), size)])
	}
	for i := range d.stale {
		d.stale[i] = true
	}
	return d
}

var zeroHash = xxh3.Hash(zeroPage[:])

func (d *digest) set(page int64, content []byte) {
	d.pages[page] = xxh3.Hash(content)
	d.stale[page/pagesPerBlock] = true
}

// settle brings the block hashes up to date; called between rounds so that
// little is left to do at the end.
func (d *digest) settle() {
	var buf [pagesPerBlock * 8]byte
	for i, stale := range d.stale {
		if !stale {
			continue
		}
		pages := d.pages[i*pagesPerBlock : min(len(d.pages), (i+1)*pagesPerBlock)]
		for j, h := range pages {
			binary.LittleEndian.PutUint64(buf[j*8:], h)
		}
		d.blocks[i] = xxh3.Hash(buf[:len(pages)*8])
		d.stale[i] = false
	}
}

// sum returns the digest as it stands in the books.
func (d *digest) sum() string {
	d.settle()
	h := xxh3.New()
	var buf [8]byte
	for _, b := range d.blocks {
		binary.LittleEndian.PutUint64(buf[:], b)
		_, _ = h.Write(buf[:]) // never fails
	}
	sum := h.Sum128().Bytes()
	return "xxh3:" + hex.EncodeToString(sum[:])
}
