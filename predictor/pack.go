package predictor

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/placed-dev/placed/fleet"
)

// Reports carry numbers in 16 bits: a sign, whether it is counted from an origin
// that stands in front of the numbers, six bits of exponent and eight of fraction.
// A number is right to 0.2 % of itself or of its distance from the origin, whatever
// is less; so of a level that hardly moves the movement is still seen.
const (
	packedSign   = 1 << 15
	packedOrigin = 1 << 14
	packedNaN    = 0x3fff
	packedBias   = 17 // the smallest number is 2^-16, the largest almost 2^46
)

// packSize is the length of a number.
const packSize = 2

func pack(v float32) uint16 {
	switch {
	case v != v:
		return packedNaN
	case v < 0:
		return packedSign | pack(-v)
	}
	fraction, exponent := math.Frexp(float64(v)) // fraction in [.5, 1)
	mantissa := math.Round((fraction*2 - 1) * 256)
	exponent--
	if mantissa == 256 {
		mantissa, exponent = 0, exponent+1
	}
	switch e := exponent + packedBias; {
	case v == 0 || e < 1:
		return 0
	case e > 62:
		return 62<<8 | 0xff
	default:
		return uint16(e)<<8 | uint16(mantissa)
	}
}

func unpack(p uint16) float32 {
	bits := p & packedNaN
	switch {
	case bits == packedNaN:
		return float32(math.NaN())
	case bits == 0:
		return 0
	}
	v := float32(math.Ldexp(1+float64(bits&0xff)/256, int(bits>>8)-packedBias))
	if p&packedSign != 0 {
		return -v
	}
	return v
}

// appendPacked writes numbers, each the way that errs less.
func appendPacked(out []byte, values []float32, origin float32) []byte {
	for _, v := range values {
		p := pack(v)
		if far := pack(v - origin); math.Abs(float64(origin+unpack(far)-v)) < math.Abs(float64(unpack(p)-v)) {
			p = far | packedOrigin
		}
		out = binary.LittleEndian.AppendUint16(out, p)
	}
	return out
}

func readPacked(data []byte, out []float32, origin float32) {
	for i := range out {
		p := binary.LittleEndian.Uint16(data[packSize*i:])
		if out[i] = unpack(p); p&packedOrigin != 0 {
			out[i] += origin
		}
	}
}

const (
	packedVersion  = 1
	packedShort    = 2 // residuals in eight bits
	packedFeatures = 2 + 4 + packSize*FeatureCount
	packedResidual = 2 + packSize*Steps
	shortResidual  = 2 + packSize + Steps
)

// Packed moves the features and residuals of a series into its Packed bytes, for the
// way to a voter: version, feature version, the newest value (float32), features;
// per residual how many ticks it is older than the series (uint16) and its errors.
// Cpu has these in 16 bits each; the other resources, which share what room it leaves
// in a report, in a scale of 16 bits and eight bits each: right to 0.4 % of the
// residual's largest error. A series of another layout stays as it is.
func Packed(s fleet.Series) fleet.Series {
	if !Readable(s) {
		return s
	}
	origin := s.Features[FeatureLags]
	version := byte(packedVersion)
	if s.Resource != fleet.CPU {
		version = packedShort
	}
	out := append(make([]byte, 0, packedFeatures+packedResidual*len(s.Residuals)), version, byte(s.FeatureVersion))
	out = appendPacked(appendFloat(out, origin), s.Features, origin)
	for _, r := range s.Residuals {
		age := s.Tick - r.Tick
		if age < 0 || age >= Window || len(r.Errors) != Steps {
			continue // no forecast reads it
		}
		out = binary.LittleEndian.AppendUint16(out, uint16(age))
		if version == packedShort {
			out = appendErrors(out, r.Errors)
		} else {
			out = appendPacked(out, r.Errors, 0)
		}
	}
	s.Packed, s.Features, s.Residuals = out, nil, nil
	return s
}

// Unpacked undoes Packed, and leaves what is in eight bits in Rows; a series that carries nothing packed is returned as it is.
func Unpacked(s fleet.Series) (fleet.Series, error) {
	if len(s.Packed) == 0 {
		return s, nil
	}
	data := s.Packed
	s.Packed = nil
	row := packedResidual
	if len(data) > 0 && data[0] == packedShort {
		row = shortResidual
	}
	if len(data) < packedFeatures || data[0] != packedVersion && data[0] != packedShort || data[1] != FeatureVersion || (len(data)-packedFeatures)%row != 0 {
		return s, fmt.Errorf("unpack the series of %s: %d bytes of a version that this build does not read: upgrade the voters first", s.Workload, len(data))
	}
	origin := math.Float32frombits(binary.LittleEndian.Uint32(data[2:]))
	features := make([]float32, FeatureCount)
	readPacked(data[6:], features, origin)
	for i, v := range features {
		if v != v || math.IsInf(float64(v), 0) {
			return s, fmt.Errorf("unpack the series of %s: feature %d is not finite", s.Workload, i)
		}
	}
	s.Features, s.FeatureVersion = features, FeatureVersion
	for rest := data[packedFeatures:]; len(rest) > 0; rest = rest[row:] {
		tick := s.Tick - int64(binary.LittleEndian.Uint16(rest))
		if row == shortResidual {
			s.Rows = append(binary.LittleEndian.AppendUint64(s.Rows, uint64(tick)), rest[2:row]...)
			continue
		}
		r := fleet.Residual{Tick: tick, Errors: make([]float32, Steps)}
		readPacked(rest[2:], r.Errors, 0)
		s.Residuals = append(s.Residuals, r)
	}
	return s, nil
}

// largestShort is the largest number of eight bits; its negative is one, too.
const largestShort = 127

// appendErrors writes the errors of a residual as shares of the largest of them.
func appendErrors(out []byte, errors []float32) []byte {
	largest := float32(0)
	for _, e := range errors {
		if a := float32(math.Abs(float64(e))); a > largest {
			largest = a
		}
	}
	scale := pack(largest)
	unit := unpack(scale) / largestShort
	out = binary.LittleEndian.AppendUint16(out, scale)
	for _, e := range errors {
		share := int8(0)
		if unit > 0 && e == e {
			share = int8(max(min(math.Round(float64(e/unit)), largestShort), -largestShort))
		}
		out = append(out, byte(share))
	}
	return out
}

func readErrors(data []byte, out []float32) {
	unit := unpack(binary.LittleEndian.Uint16(data)) / largestShort
	for i := range out {
		out[i] = float32(int8(data[packSize+i])) * unit
	}
}
