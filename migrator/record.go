package migrator

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/placed-dev/placed/cutover"
	"github.com/placed-dev/placed/fleet"
)

// Record is what this host durably knows about one workload: the newest token it
// has seen for it and its own last word under that token.
type Record struct {
	Workload fleet.WorkloadID
	Token    fleet.Token
	Word     cutover.Word
	// Source: this host is the source of the lease, not its destination.
	Source bool
	Lease  fleet.LeaseID
	Peer   fleet.HostID
	Driver string
	// Digest of the prepared copy, once there is one.
	Digest string
}

const (
	recordVersion   = 1
	recordHeader    = 8 // length, CRC32C
	maxRecord       = 4 << 10
	maxRecordString = 512
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errShort = errors.New("record ends too early")

// appendRecord appends length, CRC32C over length and payload, and payload.
func appendRecord(dst []byte, r Record) ([]byte, error) {
	if !r.Word.Valid() {
		return dst, fmt.Errorf("record of %s: word %d is unknown", r.Workload, uint8(r.Word))
	}
	p := []byte{recordVersion, byte(r.Word), 0}
	if r.Source {
		p[2] = 1
	}
	p = binary.AppendUvarint(p, r.Token.Generation)
	p = binary.AppendUvarint(p, r.Token.Index)
	for _, s := range []string{string(r.Workload), r.Token.Cluster, string(r.Lease), string(r.Peer), r.Driver, r.Digest} {
		if len(s) > maxRecordString {
			return dst, fmt.Errorf("record of %.40s: %.40q… is longer than %d bytes", r.Workload, s, maxRecordString)
		}
		p = binary.AppendUvarint(p, uint64(len(s)))
		p = append(p, s...)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p)))
	dst = binary.LittleEndian.AppendUint32(dst, recordSum(p))
	return append(dst, p...), nil
}

// recordSum covers the length too, so that a length of garbage cannot pass.
func recordSum(payload []byte) uint32 {
	var length [4]byte
	binary.LittleEndian.PutUint32(length[:], uint32(len(payload)))
	return crc32.Update(crc32.Checksum(length[:], castagnoli), castagnoli, payload)
}

// readRecord takes one record off b and returns what is left.
func readRecord(b []byte) (Record, []byte, error) {
	if len(b) < recordHeader {
		return Record{}, b, errShort
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n > maxRecord {
		return Record{}, b, fmt.Errorf("record of %d bytes: at most %d are written", n, maxRecord)
	}
	if len(b) < recordHeader+n {
		return Record{}, b, errShort
	}
	payload := b[recordHeader : recordHeader+n]
	if recordSum(payload) != binary.LittleEndian.Uint32(b[4:]) {
		return Record{}, b, errors.New("record has a wrong checksum")
	}
	r, err := decodeRecord(payload)
	return r, b[recordHeader+n:], err
}

func decodeRecord(p []byte) (Record, error) {
	if len(p) < 3 {
		return Record{}, errShort
	}
	if p[0] != recordVersion {
		return Record{}, fmt.Errorf("record version %d is unknown: this placed is too old for the token store", p[0])
	}
	r := Record{Word: cutover.Word(p[1]), Source: p[2] == 1}
	if !r.Word.Valid() || p[2] > 1 {
		return Record{}, errors.New("record holds an unknown word or role")
	}
	p = p[3:]
	for _, n := range []*uint64{&r.Token.Generation, &r.Token.Index} {
		v, used := binary.Uvarint(p)
		if used <= 0 {
			return Record{}, errShort
		}
		*n, p = v, p[used:]
	}
	var workload, lease, peer string
	for _, s := range []*string{&workload, &r.Token.Cluster, &lease, &peer, &r.Driver, &r.Digest} {
		n, used := binary.Uvarint(p)
		if used <= 0 || n > maxRecordString || uint64(len(p)-used) < n {
			return Record{}, errShort
		}
		*s, p = string(p[used:used+int(n)]), p[used+int(n):]
	}
	if len(p) != 0 {
		return Record{}, fmt.Errorf("record has %d bytes too many", len(p))
	}
	r.Workload, r.Lease, r.Peer = fleet.WorkloadID(workload), fleet.LeaseID(lease), fleet.HostID(peer)
	return r, nil
}
