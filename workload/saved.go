package workload

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// A saved state is the bytes of the region followed by a trailer, all little
// endian:
//
//	 0  8  "placedSV"
//	 8  4  version, 1
//	12  4  CRC-32C of the region's bytes
//	16  8  size of the region in bytes
//	24  8  wall time of saving, nanoseconds since 1970
//	32  4  CRC-32C of the trailer's bytes before this field
//	36  4  zero
//
// The agent writes it, and may leave pages that are zero as holes.
const (
	savedTrailer = 40
	savedVersion = 1
)

var savedMagic = [8]byte{'p', 'l', 'a', 'c', 'e', 'd', 'S', 'V'}

// loadSaved fills mem from a saved state. A page of zeros is not written, so
// that what was never written stays unallocated.
func loadSaved(path string, mem []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("saved state: %w", err)
	}
	defer f.Close()
	if err := readSaved(f, mem); err != nil {
		return fmt.Errorf("saved state %s is damaged: %w; put back a good copy, or move it away to start empty", path, err)
	}
	return nil
}

func readSaved(f *os.File, mem []byte) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if want := int64(len(mem)) + savedTrailer; info.Size() != want {
		return fmt.Errorf("it has %d bytes, a region of %d bytes makes %d", info.Size(), len(mem), want)
	}
	trailer := make([]byte, savedTrailer)
	if _, err := f.ReadAt(trailer, int64(len(mem))); err != nil {
		return err
	}
	sum, err := decodeSavedTrailer(trailer, int64(len(mem)))
	if err != nil {
		return err
	}
	got := uint32(0)
	block := make([]byte, 1<<20)
	for off := 0; off < len(mem); off += len(block) {
		part := block[:min(len(block), len(mem)-off)]
		if _, err := io.ReadFull(io.NewSectionReader(f, int64(off), int64(len(part))), part); err != nil {
			return err
		}
		got = crc32.Update(got, castagnoli, part)
		for p := 0; p < len(part); p += pageSize {
			if page := part[p : p+pageSize]; !isZero(page) {
				copy(mem[off+p:], page)
			}
		}
	}
	if got != sum {
		return fmt.Errorf("checksum is %08x, the trailer says %08x", got, sum)
	}
	return nil
}

func decodeSavedTrailer(t []byte, size int64) (sum uint32, err error) {
	switch {
	case len(t) != savedTrailer || [8]byte(t[:8]) != savedMagic:
		return 0, errors.New("the trailer has no magic word")
	case order.Uint32(t[32:]) != crc32.Checksum(t[:32], castagnoli):
		return 0, errors.New("the checksum of the trailer is wrong")
	case order.Uint32(t[8:]) != savedVersion:
		return 0, fmt.Errorf("version %d, this program reads %d", order.Uint32(t[8:]), savedVersion)
	case order.Uint64(t[16:]) != uint64(size):
		return 0, fmt.Errorf("it holds a region of %d bytes, want %d", order.Uint64(t[16:]), size)
	}
	return order.Uint32(t[12:]), nil
}

func isZero(p []byte) bool {
	for i := 0; i+8 <= len(p); i += 8 {
		if order.Uint64(p[i:]) != 0 {
			return false
		}
	}
	return true
}
