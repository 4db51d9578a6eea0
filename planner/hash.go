package planner

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash"
	"math"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// InputHash names a view: the first 16 hex digits of the SHA-256 over its JSON
// with the series left out, followed by the series in binary. (As text, the
// series of a thousand workloads are 30 MB and cost more than the whole pass.)
// Two views with the same hash give the same plan.
func InputHash(view fleet.View) string {
	h := sha256.New()
	series := view.Workloads
	view.Workloads = slices.Clone(view.Workloads)
	for i := range view.Workloads {
		view.Workloads[i].Series = nil
	}
	text, err := json.Marshal(view)
	if err != nil {
		// Only a value without a name (an invalid enum) can do this; the
		// words of the error then stand for the view.
		text = []byte(err.Error())
	}
	h.Write(text)
	var buffer []byte
	for _, w := range series {
		for _, s := range w.Series {
			buffer = appendSeries(buffer[:0], s)
			writeSized(h, buffer)
		}
		writeSized(h, nil) // ends the workload's list
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func writeSized(h hash.Hash, b []byte) {
	h.Write(binary.AppendUvarint(nil, uint64(len(b))))
	h.Write(b)
}

func appendSeries(b []byte, s fleet.Series) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.Workload)))
	b = append(b, s.Workload...)
	b = binary.AppendUvarint(b, uint64(len(s.Resource)))
	b = append(b, s.Resource...)
	b = binary.AppendVarint(b, s.Tick)
	b = binary.AppendVarint(b, int64(s.FeatureVersion))
	b = appendFloats(b, s.Features)
	b = binary.AppendUvarint(b, uint64(len(s.Residuals)))
	for _, r := range s.Residuals {
		b = binary.AppendVarint(b, r.Tick)
		b = appendFloats(b, r.Errors)
	}
	if s.Together != "" {
		b = append(binary.AppendUvarint(append(b, 1), uint64(len(s.Together))), s.Together...)
	}
	if len(s.Rows) > 0 {
		b = append(binary.AppendUvarint(append(b, 2), uint64(len(s.Rows))), s.Rows...)
	}
	return appendBands(b, s.Bands)
}

// appendBands writes what the leader made of the series; the outlook and record
// that it comes from decide nothing themselves.
func appendBands(b []byte, bands *fleet.Bands) []byte {
	if bands == nil {
		return b // what is written has its length before it, so nothing is ambiguous
	}
	b = binary.AppendUvarint(b, uint64(len(bands.Model)))
	b = append(b, bands.Model...)
	if bands.Reactive {
		return append(b, 1)
	}
	b = append(b, 0)
	for _, side := range [][][]float64{bands.From, bands.To} {
		b = binary.AppendUvarint(b, uint64(len(side)))
		for _, step := range side {
			b = binary.AppendUvarint(b, uint64(len(step)))
			for _, v := range step {
				b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
			}
		}
	}
	return b
}

func appendFloats(b []byte, floats []float32) []byte {
	b = binary.AppendUvarint(b, uint64(len(floats)))
	for _, f := range floats {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}
