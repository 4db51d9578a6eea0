package fsm

import (
	"encoding/binary"
	"fmt"
)

// A bundle is one log entry that carries the proposals of several callers, each
// of them exactly as Encode made it: magic, version, then length and bytes of
// each. The log pays for one append, one fsync and one round of replication;
// every proposal keeps its own idempotency id, proposer and result. Version 2
// has a Stamp in front of the proposals.
const (
	bundleMagic    = "plcb"
	bundlePlain    = 1
	bundleStamped  = 2
	bundleHead     = len(bundleMagic) + 1
	maxBundleStamp = 1 + 2*(1+2*binary.MaxVarintLen64)
)

// BundleOverhead is what a bundle of n proposals adds to their bytes, at most.
func BundleOverhead(n int) int { return bundleHead + maxBundleStamp + n*binary.MaxVarintLen32 }

// Bundle joins proposals that Encode made. Their order is the order in which
// they are applied.
func Bundle(proposals [][]byte) []byte { return bundle(proposals, bundlePlain, nil) }

// BundleStamped is Bundle with the leader's bound on the time; for a cluster at
// feature level 2 or above.
func BundleStamped(stamp Stamp, proposals [][]byte) []byte {
	c := writer()
	c.stamp(&stamp)
	return bundle(proposals, bundleStamped, c.buf)
}

func bundle(proposals [][]byte, version byte, head []byte) []byte {
	size := BundleOverhead(len(proposals))
	for _, p := range proposals {
		size += len(p)
	}
	out := append(make([]byte, 0, size), bundleMagic...)
	out = append(append(out, version), head...)
	for _, p := range proposals {
		out = binary.AppendUvarint(out, uint64(len(p)))
		out = append(out, p...)
	}
	return out
}

// IsBundle tells a bundle from a single proposal.
func IsBundle(data []byte) bool {
	return len(data) >= bundleHead && string(data[:len(bundleMagic)]) == bundleMagic
}

// split takes a bundle apart.
func split(data []byte) (stamp Stamp, proposals [][]byte, err error) {
	rest := data[bundleHead:]
	switch version := data[bundleHead-1]; version {
	case bundlePlain:
	case bundleStamped:
		c := reader(rest)
		c.stamp(&stamp)
		if c.err != nil {
			return stamp, nil, fmt.Errorf("bundle: stamp: %w", c.err)
		}
		rest = rest[c.pos:]
	default:
		return stamp, nil, fmt.Errorf("%w: bundle of version %d: this member knows up to %d; install the newer version", ErrUnknownCommand, version, bundleStamped)
	}
	for len(rest) > 0 {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) {
			return stamp, nil, fmt.Errorf("bundle: %w: byte %d: a proposal is cut short", ErrCorrupt, len(data)-len(rest))
		}
		proposals = append(proposals, rest[size:size+int(n)])
		rest = rest[size+int(n):]
	}
	if len(proposals) == 0 || len(proposals) > MaxOperations {
		return stamp, nil, fmt.Errorf("bundle: %w: %d proposals: 1 to %d are allowed", ErrCorrupt, len(proposals), MaxOperations)
	}
	return stamp, proposals, nil
}

func decodeBundle(data []byte) (Stamp, []decoded, error) {
	if len(data) > MaxEntry {
		return Stamp{}, nil, fmt.Errorf("bundle: %w: %d bytes: at most %d are allowed", ErrCorrupt, len(data), MaxEntry)
	}
	stamp, proposals, err := split(data)
	if err != nil {
		return stamp, nil, err
	}
	out := make([]decoded, len(proposals))
	for i, p := range proposals {
		if out[i], err = decode(p); err != nil {
			return stamp, nil, fmt.Errorf("proposal %d of a bundle: %w", i, err)
		}
	}
	return stamp, out, nil
}

// ApplyBundle applies a bundle and returns the result of each proposal. With an
// error nothing was applied, and the process must stop, as after Result.Fatal.
func (s *State) ApplyBundle(index uint64, data []byte) ([]Result, error) {
	results, err := s.applyBundleShared(index, data)
	for i := range results {
		results[i] = results[i].own()
	}
	return results, err
}

// applyBundleShared is to ApplyBundle what applyShared is to Apply.
func (s *State) applyBundleShared(index uint64, data []byte) ([]Result, error) {
	if index <= s.index {
		return nil, fmt.Errorf("entry %d comes after entry %d was applied: %w", index, s.index, ErrCorrupt)
	}
	stamp, proposals, err := decodeBundle(data)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	results, err := s.commit(index, stamp, proposals...)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	return results, nil
}

// Verify reads an entry of the log, a single proposal or a bundle, and reports
// what would stop every replica.
func Verify(data []byte) error {
	if IsBundle(data) {
		_, _, err := decodeBundle(data)
		return err
	}
	_, err := decode(data)
	return err
}
