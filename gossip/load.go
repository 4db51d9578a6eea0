package gossip

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// UnknownShare marks a share that was not measured.
const UnknownShare = 0xFFFF

// Load is the small summary of a host that everybody hears. Shares are
// thousandths of the host's allocatable amount and may exceed 1000.
type Load struct {
	// Seq orders the loads of one host; gossip sets it.
	Seq    uint64 `json:"seq"`
	CPU    uint16 `json:"cpu"`
	Memory uint16 `json:"memory"`
	Net    uint16 `json:"net"`
	Disk   uint16 `json:"disk"`
	// Wait is the run-queue wait, in thousandths of the allocatable cpu.
	Wait uint16 `json:"wait"`
	// Workloads counts what runs on the host.
	Workloads uint16 `json:"workloads"`
	// Leaving is set by gossip in the last load of a host that ends on purpose.
	Leaving bool `json:"leaving,omitempty"`
}

// The encoding of a load: version, flags, seq (8 bytes), six values (2 bytes
// each), big endian. A later version may append up to maxLoadBytes.
const (
	loadVersion  = 1
	loadBytes    = 22
	maxLoadBytes = 32
	flagLeaving  = 1
	// maxSeq leaves room to step over a sequence that others remember of us.
	maxSeq = 1 << 62
)

func (l Load) appendTo(b []byte) []byte {
	var flags byte
	if l.Leaving {
		flags |= flagLeaving
	}
	b = append(b, loadVersion, flags)
	b = binary.BigEndian.AppendUint64(b, l.Seq)
	for _, v := range []uint16{l.CPU, l.Memory, l.Net, l.Disk, l.Wait, l.Workloads} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

func decodeLoad(b []byte) (Load, error) {
	if len(b) < loadBytes || len(b) > maxLoadBytes {
		return Load{}, fmt.Errorf("load has %d bytes: want %d to %d", len(b), loadBytes, maxLoadBytes)
	}
	if b[0] < loadVersion {
		return Load{}, fmt.Errorf("load has version %d: want %d or later", b[0], loadVersion)
	}
	l := Load{Leaving: b[1]&flagLeaving != 0, Seq: binary.BigEndian.Uint64(b[2:])}
	if l.Seq > maxSeq {
		return Load{}, fmt.Errorf("load has sequence %d: too large", l.Seq)
	}
	for i, v := range []*uint16{&l.CPU, &l.Memory, &l.Net, &l.Disk, &l.Wait, &l.Workloads} {
		*v = binary.BigEndian.Uint16(b[10+2*i:])
	}
	return l, nil
}

// newer returns the load that wins. It is commutative, associative and
// idempotent, so the order and number of deliveries do not matter: equal
// sequences (a host restarted with a clock set back) are told apart by content.
func newer(a, b Load) Load {
	if c := cmp.Compare(a.Seq, b.Seq); c != 0 {
		if c < 0 {
			return b
		}
		return a
	}
	if bytes.Compare(a.appendTo(nil), b.appendTo(nil)) < 0 {
		return b
	}
	return a
}

// minChange is what a share must change by to be worth a message before its
// time; measurement noise is below.
const minChange = 20

// differs says whether l is worth telling to those who know old.
func (l Load) differs(old Load) bool {
	pairs := [][2]uint16{{l.CPU, old.CPU}, {l.Memory, old.Memory}, {l.Net, old.Net}, {l.Disk, old.Disk}, {l.Wait, old.Wait}}
	for _, p := range pairs {
		if max(p[0], p[1])-min(p[0], p[1]) >= minChange {
			return true
		}
	}
	return l.Workloads != old.Workloads
}

// hostLoad is a load with the host it is of.
type hostLoad struct {
	host fleet.HostID
	load Load
}

// Messages: a kind byte, then for kindLoad one host load, for kindState many.
const (
	kindLoad  = 1
	kindState = 2
	// maxHosts bounds what one state exchange, and the table, may hold.
	maxHosts = 4096
)

func appendHostLoad(b []byte, h hostLoad) []byte {
	b = append(b, byte(len(h.host)))
	b = append(b, h.host...)
	b = append(b, loadBytes)
	return h.load.appendTo(b)
}

// cutHostLoad reads one host load off the front of b.
func cutHostLoad(b []byte) (h hostLoad, rest []byte, err error) {
	id, b, err := cutBytes(b)
	if err != nil {
		return h, nil, fmt.Errorf("host id of a load: %w", err)
	}
	text, b, err := cutBytes(b)
	if err != nil {
		return h, nil, fmt.Errorf("load of %q: %w", id, err)
	}
	h.host = fleet.HostID(id)
	if err := h.host.Validate(); err != nil {
		return h, nil, err
	}
	h.load, err = decodeLoad(text)
	return h, b, err
}

// cutBytes reads a length byte and that many bytes.
func cutBytes(b []byte) (field, rest []byte, err error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return nil, nil, fmt.Errorf("cut short after %d bytes", len(b))
	}
	return b[1 : 1+b[0]], b[1+b[0]:], nil
}

func encodeLoadMessage(h hostLoad) []byte { return appendHostLoad([]byte{kindLoad}, h) }

func encodeState(loads []hostLoad) []byte {
	b := make([]byte, 1, 1+len(loads)*64)
	b[0] = kindState
	for _, h := range loads {
		b = appendHostLoad(b, h)
	}
	return b
}

// decodeMessage reads either kind. A message is taken whole or not at all.
func decodeMessage(b []byte) ([]hostLoad, error) {
	if len(b) == 0 {
		return nil, nil
	}
	kind, b := b[0], b[1:]
	if kind != kindLoad && kind != kindState {
		return nil, fmt.Errorf("message kind %d is unknown: sent by a newer version", kind)
	}
	var loads []hostLoad
	for len(b) > 0 {
		if len(loads) == maxHosts || kind == kindLoad && len(loads) == 1 {
			return nil, fmt.Errorf("message of kind %d holds too many loads", kind)
		}
		h, rest, err := cutHostLoad(b)
		if err != nil {
			return nil, err
		}
		loads, b = append(loads, h), rest
	}
	return loads, nil
}
