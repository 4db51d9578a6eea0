package predictor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Calibrations is what one series has taught about its forecasts, per horizon.
// It follows the workload when it moves.
type Calibrations [HorizonCount]Calibration

// values lists everything of a calibration in a fixed order.
func (c *Calibration) values() []*float32 {
	out := []*float32{&c.Weight, &c.Own}
	for e := range c.Loss {
		for q := range c.Loss[e] {
			out = append(out, &c.Loss[e][q])
		}
	}
	for q := range LevelCount {
		out = append(out, &c.Shift[q], &c.Covered[q])
	}
	return out
}

// Merge adds what another calibration of the same horizon has seen: sums are
// added, shifts averaged by how much each has seen.
func (c *Calibration) Merge(other *Calibration) {
	total := c.Weight + other.Weight
	if !(total > 0) {
		return
	}
	shift := c.Shift
	for q := range shift {
		shift[q] = (c.Shift[q]*c.Weight + other.Shift[q]*other.Weight) / total
	}
	mine, theirs := c.values(), other.values()
	for i := range mine {
		*mine[i] += *theirs[i]
	}
	c.Shift = shift
}

const calibrationsVersion = 1

const calibrationValues = 2 + ExpertCount*LevelCount + 2*LevelCount

// calibrationsSize is the length of the encoding: version, floats, checksum.
const calibrationsSize = 1 + HorizonCount*calibrationValues*4 + 4

// MarshalBinary encodes all horizons: version, float32 values, CRC-32C; little
// endian.
func (c *Calibrations) MarshalBinary() ([]byte, error) {
	out := make([]byte, 0, calibrationsSize)
	out = append(out, calibrationsVersion)
	for h := range c {
		for _, v := range c[h].values() {
			out = appendFloat(out, *v)
		}
	}
	return binary.LittleEndian.AppendUint32(out, checksum(out)), nil
}

// UnmarshalBinary replaces the state by an encoded one and leaves it untouched
// when that cannot be read.
func (c *Calibrations) UnmarshalBinary(data []byte) error {
	switch {
	case len(data) == 0 || data[0] != calibrationsVersion:
		return fmt.Errorf("decode calibrations: the version is unknown, this build reads %d", calibrationsVersion)
	case len(data) != calibrationsSize:
		return fmt.Errorf("decode calibrations: %d bytes, want %d", len(data), calibrationsSize)
	case checksum(data[:len(data)-4]) != binary.LittleEndian.Uint32(data[len(data)-4:]):
		return errors.New("decode calibrations: the checksum does not match: it was damaged on its way")
	}
	var read Calibrations
	rest := data[1:]
	for h := range read {
		for _, v := range read[h].values() {
			*v = math.Float32frombits(binary.LittleEndian.Uint32(rest))
			if rest = rest[4:]; *v != *v || math.IsInf(float64(*v), 0) {
				return fmt.Errorf("decode calibrations: a value of %s is not finite", Horizons[h])
			}
		}
		if read[h].Weight < 0 {
			return fmt.Errorf("decode calibrations: the weight of %s is negative", Horizons[h])
		}
	}
	*c = read
	return nil
}

// Gate says whether a forecast may move workloads, and if not, why.
type Gate struct {
	Open   bool
	Reason string
	// Judged targets, discounted; Coverage of the level .95 and Skill against
	// persistence, 1 − loss/loss.
	Judged, Coverage, Skill float64
}

const (
	// gateTargets is how many judged targets a gate wants: with fewer, neither
	// figure says anything.
	gateTargets  = 96
	gateCoverage = 0.90
)

// Gate judges the forecasts that were blended for one horizon so far: it opens
// when they are no worse than repeating the newest value and their .95 covers at
// least nine tenths of what came.
func (c *Calibration) Gate() Gate {
	persistence := float32(0)
	for _, l := range c.Loss[expertPersistence] {
		persistence += l
	}
	return gateOf(c.Weight, c.Covered[2], c.Own, persistence)
}

// gateOf judges by discounted sums: of targets, of those at or below the level
// .95, and of the losses of a forecast and of persistence.
func gateOf(weight, covered, loss, persistence float32) Gate {
	g := Gate{Judged: float64(weight)}
	if weight > 0 {
		g.Coverage = float64(covered / weight)
	}
	if persistence > 0 {
		g.Skill = 1 - float64(loss/persistence)
	}
	switch {
	case weight < gateTargets:
		g.Reason = fmt.Sprintf("only %.0f forecasts have been judged, %d are wanted", weight, gateTargets)
	case g.Coverage < gateCoverage:
		g.Reason = fmt.Sprintf("its 0.95 quantile covered %.3f of what came, %.2f are wanted", g.Coverage, gateCoverage)
	case loss > persistence:
		g.Reason = fmt.Sprintf("its loss was %.2f of repeating the newest value", float64(loss/persistence))
	default:
		g.Open = true
	}
	return g
}
