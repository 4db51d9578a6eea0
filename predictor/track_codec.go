package predictor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

const (
	trackVersion = 1
	// recordVersion 1 had four bytes for each number instead of three.
	recordVersion = 2
	// maxWaiting bounds what a damaged count can ask for: a horizon of a day
	// has 96 opinions on their way.
	maxWaiting = 4096
)

// opinionValues is the number of floats of one waiting opinion.
const opinionValues = ExpertCount*LevelCount + 1

// MarshalBinary encodes the track, so that it can follow the workload: version,
// whether a pool has spoken, the length and bytes of Calibrations, the plain
// records, per horizon and plain step the waiting opinions with their ticks,
// CRC-32C; little endian.
func (t *Track) MarshalBinary() ([]byte, error) {
	learned, err := t.learned.MarshalBinary()
	if err != nil {
		return nil, err
	}
	out := []byte{trackVersion, byte(boolean(t.pooled))}
	out = append(binary.LittleEndian.AppendUint32(out, uint32(len(learned))), learned...)
	for i := range t.plain {
		for _, v := range t.plain[i].values() {
			out = appendFloat(out, *v)
		}
	}
	for h := range t.waiting {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(t.waiting[h])))
		for i := range t.waiting[h] {
			o := &t.waiting[h][i]
			out = binary.LittleEndian.AppendUint64(out, uint64(o.tick))
			for _, v := range o.said.values() {
				out = binary.LittleEndian.AppendUint64(out, math.Float64bits(*v))
			}
		}
	}
	for i := range t.pending {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(t.pending[i])))
		for _, p := range t.pending[i] {
			out = binary.LittleEndian.AppendUint64(out, uint64(p.due))
			for _, v := range append(p.quantiles[:], p.repeats[:]...) {
				out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
			}
		}
	}
	return binary.LittleEndian.AppendUint32(out, checksum(out)), nil
}

func (r *PlainRecord) values() []*float32 {
	return []*float32{&r.Weight, &r.Loss, &r.Persistence, &r.Covered}
}

func (o *Opinions) values() []*float64 {
	out := make([]*float64, 0, opinionValues)
	for e := range o.Of {
		for q := range o.Of[e] {
			out = append(out, &o.Of[e][q])
		}
	}
	return append(out, &o.Scale)
}

// UnmarshalBinary replaces the track by an encoded one and leaves it untouched
// when that cannot be read.
func (t *Track) UnmarshalBinary(data []byte) error {
	read, err := decodeTrack(data)
	if err != nil {
		return fmt.Errorf("decode the record of past forecasts: %w", err)
	}
	*t = *read
	return nil
}

func decodeTrack(data []byte) (*Track, error) {
	if len(data) < 10 || data[0] != trackVersion {
		return nil, fmt.Errorf("the version is unknown, this build reads %d: upgrade the host that receives it", trackVersion)
	}
	body := data[:len(data)-4]
	if checksum(body) != binary.LittleEndian.Uint32(data[len(data)-4:]) {
		return nil, errors.New("the checksum does not match: it was damaged on its way")
	}
	r := byteReader{rest: body[1:]}
	t := &Track{pooled: r.take(1)[0] == 1}
	if err := t.learned.UnmarshalBinary(r.take(int(r.uint32()))); err != nil {
		return nil, err
	}
	for i := range t.plain {
		for _, v := range t.plain[i].values() {
			*v = r.float32()
		}
		if !(t.plain[i].Weight >= 0) {
			return nil, errors.New("the weight of the plain forecast is not a weight")
		}
	}
	for h := range t.waiting {
		n := r.count(maxWaiting)
		for range n {
			o := opinion{tick: int64(r.uint64())}
			for _, v := range o.said.values() {
				*v = math.Float64frombits(r.uint64())
			}
			if last := len(t.waiting[h]) - 1; !finiteOpinions(&o.said) || !sensibleTick(o.tick) || last >= 0 && t.waiting[h][last].tick >= o.tick {
				return nil, fmt.Errorf("an opinion on %s is no forecast", Horizons[h])
			}
			t.waiting[h] = append(t.waiting[h], o)
		}
	}
	for i := range t.pending {
		for range r.count(maxWaiting) {
			p := plainOpinion{due: int64(r.uint64())}
			for k := range p.quantiles {
				p.quantiles[k] = math.Float64frombits(r.uint64())
			}
			for k := range p.repeats {
				p.repeats[k] = math.Float64frombits(r.uint64())
			}
			if !sensibleTick(p.due) || !finitePlain(&p) {
				return nil, errors.New("a plain forecast is no forecast")
			}
			t.pending[i] = append(t.pending[i], p)
		}
	}
	if r.short || len(r.rest) > 0 {
		return nil, errors.New("its lengths do not add up")
	}
	return t, nil
}

func sensibleTick(tick int64) bool { return tick <= maxTick && tick >= -maxTick }

func finitePlain(p *plainOpinion) bool {
	sum := 0.0
	for k := range p.quantiles {
		sum += p.quantiles[k] + p.repeats[k]
	}
	return !math.IsNaN(sum) && !math.IsInf(sum, 0)
}

// byteReader takes numbers off an encoding; what is not there reads as zero, and
// short sticks.
type byteReader struct {
	rest  []byte
	short bool
}

func (r *byteReader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.short, r.rest = true, nil
		return make([]byte, min(max(n, 1), 16))
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *byteReader) uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }

func (r *byteReader) uint64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

func (r *byteReader) float32() float32 { return math.Float32frombits(r.uint32()) }

// count reads how many items follow, none when that is out of bounds.
func (r *byteReader) count(most int) int {
	n := int(r.uint32())
	if n > most {
		r.short, r.rest = true, nil
		return 0
	}
	return n
}

// Record is what a leader needs of a track to forecast as its host would: per
// horizon what the experts lost, the shifts and the gate's figures. It goes into
// every report that carries features.
type Record struct {
	Learned Calibrations // losses summed over the levels, coverage of .95 only
	Plain   [len(plainSteps)]PlainRecord
}

// recordValues: eleven numbers per horizon, four per plain step.
const recordValues = HorizonCount*(3+ExpertCount+LevelCount) + len(plainSteps)*4

// Record encodes what the track has learned, with the shifts that all series of
// the host have in common: version, then the upper three bytes of each float32,
// rounded; 223 bytes.
func (t *Track) Record(all *SharedShifts) []byte {
	out := append(make([]byte, 0, 1+3*recordValues), recordVersion)
	for h := range t.learned {
		c := &t.learned[h]
		out = appendShort(appendShort(appendShort(out, c.Weight), c.Own), c.Covered[2])
		for e := range c.Loss {
			sum := float32(0)
			for _, l := range c.Loss[e] {
				sum += l
			}
			out = appendShort(out, sum)
		}
		for q := range LevelCount {
			shift := c.Shift[q]
			if guardOf(Horizons[h]).shared() {
				shift += all[h].Shift[q]
			}
			out = appendShort(out, shift)
		}
	}
	for i := range t.plain {
		for _, v := range t.plain[i].values() {
			out = appendShort(out, *v)
		}
	}
	return out
}

// appendShort writes a finite number with 16 bits of fraction.
func appendShort(out []byte, v float32) []byte {
	bits := math.Float32bits(v)
	if bits&0x7fffffff < 0x7f7fff80 { // rounding up does not make it infinite
		bits += 0x80
	}
	return append(out, byte(bits>>8), byte(bits>>16), byte(bits>>24))
}

// DecodeRecord reads what Record wrote, and version 1.
func DecodeRecord(data []byte) (*Record, error) {
	version := 0
	if len(data) > 0 {
		version = int(data[0])
	}
	if !(version == recordVersion && len(data) == 1+3*recordValues || version == 1 && len(data) == 1+4*recordValues) {
		return nil, fmt.Errorf("decode a record: %d bytes of a version that this build does not read: upgrade the voters first", len(data))
	}
	r := byteReader{rest: data[1:]}
	out := &Record{}
	var read []*float32
	for h := range out.Learned {
		c := &out.Learned[h]
		read = append(read, &c.Weight, &c.Own, &c.Covered[2])
		for e := range c.Loss {
			read = append(read, &c.Loss[e][0])
		}
		for q := range c.Shift {
			read = append(read, &c.Shift[q])
		}
	}
	for i := range out.Plain {
		read = append(read, out.Plain[i].values()...)
	}
	for _, v := range read {
		if version == 1 {
			*v = r.float32()
		} else {
			b := r.take(3)
			*v = math.Float32frombits(uint32(b[0])<<8 | uint32(b[1])<<16 | uint32(b[2])<<24)
		}
		if *v != *v || math.IsInf(float64(*v), 0) {
			return nil, errors.New("decode a record: a value is not finite")
		}
	}
	return out, nil
}

// outlookPacked marks an outlook with packed numbers; without it they are float32.
const outlookPacked = 0x80

const outlookSize = 1 + 4 + packSize*OutlookCount

// OutlookBytes encodes an outlook for a report: version, the newest value (float32),
// then packed numbers counted from it; 253 bytes. Nil stays nil.
func OutlookBytes(outlook []float32) []byte {
	if len(outlook) != OutlookCount {
		return nil
	}
	origin := outlook[outlookLags]
	out := append(make([]byte, 0, outlookSize), outlookPacked|OutlookVersion)
	return appendPacked(appendFloat(out, origin), outlook, origin)
}

// DecodeOutlook reads what OutlookBytes wrote, and what it wrote before it packed
// numbers.
func DecodeOutlook(data []byte) ([]float32, error) {
	out := make([]float32, OutlookCount)
	switch {
	case len(data) == outlookSize && data[0] == outlookPacked|OutlookVersion:
		readPacked(data[5:], out, math.Float32frombits(binary.LittleEndian.Uint32(data[1:])))
	case len(data) == 1+4*OutlookCount && data[0] == OutlookVersion:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[1+4*i:]))
		}
	default:
		return nil, fmt.Errorf("decode an outlook: %d bytes of a version that this build does not read: upgrade the voters first", len(data))
	}
	for i, v := range out {
		if math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("decode an outlook: value %d is not finite", i)
		}
	}
	return out, nil
}
