package virtual

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"time"
)

// disk is one host's disk. What a sync has returned for survives a power cut; of
// the rest a random beginning does, and its last bytes may be torn. Safe for
// concurrent use.
type disk struct {
	mu    sync.Mutex // guards everything below
	dice  *rand.Rand
	files map[string]*file
	mount *mount
	pace  time.Duration // mean cost of a sync
	hang  chan struct{} // not nil: syncs wait until it is closed
	fail  bool          // writes return an error
	torn  int           // power cuts that lost or tore something
}

type file struct {
	data   []byte
	synced int
}

var errIO = errors.New("input/output error")

const usualPace = 2 * time.Millisecond

func newDisk(seed uint64) *disk {
	return &disk{dice: rand.New(rand.NewPCG(seed, 0x6469736b)), files: map[string]*file{}, pace: usualPace}
}

// mount is the disk as one process sees it. After the power cut that ended the
// process its writes go nowhere.
type mount struct {
	d    *disk
	gone chan struct{}
}

func (d *disk) open() *mount {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mount = &mount{d: d, gone: make(chan struct{})}
	return d.mount
}

// cut ends the mount, as a loss of power does.
func (d *disk) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mount == nil {
		return
	}
	close(d.mount.gone)
	d.mount = nil
	for _, name := range []string{logFile, voteFile, snapshotFile} {
		f := d.files[name]
		if f == nil || f.synced == len(f.data) {
			continue
		}
		d.torn++
		keep := f.synced + d.dice.IntN(len(f.data)-f.synced+1)
		f.data = f.data[:keep]
		if keep > f.synced && d.dice.IntN(2) == 0 {
			f.data[keep-1] ^= 0xff
		}
		f.synced = keep
	}
}

// moment is drawn evenly from [low, high).
func (d *disk) moment(low, high time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return low + time.Duration(d.dice.Int64N(int64(high-low)))
}

// set changes how the disk behaves until the next set; hung syncs go on.
func (d *disk) set(pace time.Duration, hang, fail bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hang != nil {
		close(d.hang)
		d.hang = nil
	}
	if hang {
		d.hang = make(chan struct{})
	}
	d.pace, d.fail = pace, fail
}

// write appends and syncs; then the bytes are safe.
func (m *mount) write(name string, b []byte) error {
	d := m.d
	d.mu.Lock()
	if d.mount != m {
		d.mu.Unlock()
		return nil
	}
	if d.fail {
		d.mu.Unlock()
		return errIO
	}
	f := d.files[name]
	if f == nil {
		f = &file{}
		d.files[name] = f
	}
	f.data = append(f.data, b...)
	end := len(f.data)
	cost, hang := d.pace/2+time.Duration(d.dice.Int64N(int64(d.pace))), d.hang
	d.mu.Unlock()

	timer := time.NewTimer(cost)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.gone:
		return nil
	}
	if hang != nil {
		select {
		case <-hang:
		case <-m.gone:
			return nil
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mount == m && end > f.synced {
		f.synced = end
	}
	return nil
}

// records returns the whole records of a file and drops a torn tail.
func (m *mount) records(name string) [][]byte {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	f := m.d.files[name]
	if f == nil {
		return nil
	}
	var out [][]byte
	rest := f.data
	for len(rest) >= 8 {
		n, sum := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
		if uint64(n) > uint64(len(rest)-8) || crc32.ChecksumIEEE(rest[8:8+n]) != sum {
			break
		}
		out = append(out, rest[8:8+n])
		rest = rest[8+n:]
	}
	f.data = f.data[:len(f.data)-len(rest)]
	f.synced = len(f.data)
	return out
}

// replace rewrites a file before anything else happens to it.
func (m *mount) replace(name string, data []byte) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	m.d.files[name] = &file{data: data, synced: len(data)}
}

func record(payload []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(payload))
	return append(out, payload...)
}
