package predictor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// Category names what kind of load a workload is.
type Category string

// Categories. The order is that of their numbers in a profile: append only.
const (
	CategoryUnknown Category = "unknown"   // less than three days of history
	CategoryIdle    Category = "idle"      // hardly anything, most of the time
	CategoryCPU     Category = "cpu-bound" // most of what it may use, on average
	CategoryDiurnal Category = "diurnal"   // by day or by night
	CategoryBursty  Category = "bursty"    // peaks far above the mean
	CategorySteady  Category = "steady"    // none of these
)

var categories = []Category{
	CategoryUnknown, CategoryIdle, CategoryCPU, CategoryDiurnal, CategoryBursty, CategorySteady,
	CategoryMemory, CategoryIO, CategoryNet, CategoryLight,
}

// MaxProfileBytes bounds an encoded Profile, because it enters the replicated
// state.
const MaxProfileBytes = 512

// Profile is what remains of a workload's history when its host is gone: its
// category and how it came to it, and per resource how much it uses at which hour
// of the day and where its peaks are going.
type Profile struct {
	Membership
	// Days of history it was made from, at most 255.
	Days      int
	Resources []ResourceProfile // built-in resources, in the order of fleet.Resources
}

// ResourceProfile holds the median and the 95 % quantile per hour of the day
// (UTC), in base units, exact to 1/65535 of the largest, and the trend of the
// daily peaks.
type ResourceProfile struct {
	Resource fleet.Resource
	Q50, Q95 [24]float64
	Trend    Trend
}

// NewProfile makes a profile of habits and of the category a leader has found.
func NewProfile(h *Habits, m Membership) Profile {
	p := Profile{Membership: m, Resources: h.Resources()}
	if p.Category == "" {
		p.Category = CategoryUnknown
	}
	for _, r := range p.Resources {
		p.Days = max(p.Days, h.Days(r.Resource))
	}
	return p
}

// profileVersion 1 had no trends and of the category no more than its name.
const profileVersion = 2

const (
	profileHead     = 12
	profileChange   = 6
	profileResource = 1 + 4 + 24*4 + 12
)

// MarshalBinary encodes the profile in at most MaxProfileBytes. Head: version,
// category, days, number of resources, confidence (0..255), candidate, days of the
// candidate with a bit for diurnal, day (uint32), number of changes; per change its
// day and both categories; per resource its number, its largest value (float32), 24
// pairs of quantiles as shares of it, and the trend (three float32).
func (p Profile) MarshalBinary() ([]byte, error) {
	category, candidate := slices.Index(categories, p.Category), slices.Index(categories, p.Candidate)
	if category < 0 || candidate < 0 && p.Candidate != "" {
		return nil, fmt.Errorf("encode a profile: category %q or candidate %q is unknown", p.Category, p.Candidate)
	}
	diurnal := byte(0)
	if p.Diurnal {
		diurnal = 0x80
	}
	changes := p.Changes[max(len(p.Changes)-maxCategoryChanges, 0):]
	out := []byte{profileVersion, byte(category), byte(min(max(p.Days, 0), 255)), byte(len(p.Resources)),
		byte(math.Round(min(max(p.Confidence, 0), 1) * 255)), byte(max(candidate, 0)), byte(min(max(p.Membership.Days, 0), 127)) | diurnal}
	out = append(binary.LittleEndian.AppendUint32(out, uint32(max(p.Day, 0))), byte(len(changes)))
	for _, c := range changes {
		from, to := slices.Index(categories, c.From), slices.Index(categories, c.To)
		if from < 0 || to < 0 {
			return nil, fmt.Errorf("encode a profile: a change from %q to %q is unknown", c.From, c.To)
		}
		out = append(binary.LittleEndian.AppendUint32(out, uint32(max(c.Day, 0))), byte(from), byte(to))
	}
	for i, r := range p.Resources {
		number := slices.Index(builtin[:], r.Resource)
		if number < 0 || i > 0 && number <= slices.Index(builtin[:], p.Resources[i-1].Resource) {
			return nil, fmt.Errorf("encode a profile: resource %q is custom, doubled or out of order", r.Resource)
		}
		var err error
		if out, err = r.append(out, number); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r ResourceProfile) append(out []byte, number int) ([]byte, error) {
	largest := float32(0)
	for h := range 24 {
		for _, v := range []float64{r.Q50[h], r.Q95[h]} {
			if !(v >= 0 && v <= math.MaxFloat32) {
				return nil, fmt.Errorf("encode a profile: %s at hour %d is %v", r.Resource, h, v)
			}
			largest = max(largest, float32(v))
		}
	}
	out = appendFloat(append(out, byte(number)), largest)
	for h := range 24 {
		out = binary.LittleEndian.AppendUint16(out, share(r.Q50[h], largest))
		out = binary.LittleEndian.AppendUint16(out, share(r.Q95[h], largest))
	}
	for _, v := range []float64{r.Trend.Level, r.Trend.Slope, r.Trend.Error} {
		if !(math.Abs(v) <= math.MaxFloat32) {
			return nil, fmt.Errorf("encode a profile: the trend of %s is %v", r.Resource, v)
		}
		out = appendFloat(out, float32(v))
	}
	return out, nil
}

// UnmarshalBinary decodes what MarshalBinary wrote, of this version or the one
// before, and leaves the profile untouched when it cannot.
func (p *Profile) UnmarshalBinary(data []byte) error {
	if len(data) < 4 {
		return errors.New("decode a profile: too short")
	}
	var out Profile
	var err error
	switch data[0] {
	case profileVersion:
		err = out.decode(data)
	case 1:
		err = out.decodeFirst(data)
	default:
		err = fmt.Errorf("version %d is unknown, this build reads up to %d", data[0], profileVersion)
	}
	if err != nil {
		return fmt.Errorf("decode a profile: %w", err)
	}
	*p = out
	return nil
}

// decodeFirst reads version 1.
func (p *Profile) decodeFirst(data []byte) error {
	const each = profileResource - 12
	if int(data[1]) >= len(categories) || len(data) != 4+int(data[3])*each {
		return fmt.Errorf("%d bytes for %d resources and category %d", len(data), data[3], data[1])
	}
	p.Category, p.Days = categories[data[1]], int(data[2])
	return p.resources(data[4:], each)
}

func (p *Profile) decode(data []byte) error {
	if len(data) < profileHead {
		return errors.New("too short")
	}
	changes := int(data[11])
	want := profileHead + changes*profileChange + int(data[3])*profileResource
	if changes > maxCategoryChanges || len(data) != want {
		return fmt.Errorf("%d bytes for %d resources and %d changes", len(data), data[3], changes)
	}
	for _, n := range []byte{data[1], data[5]} {
		if int(n) >= len(categories) {
			return fmt.Errorf("category %d is unknown", n)
		}
	}
	p.Category, p.Days = categories[data[1]], int(data[2])
	p.Confidence = float64(data[4]) / 255
	if p.Membership.Days = int(data[6] & 0x7f); p.Membership.Days > 0 || data[5] > 0 {
		p.Candidate = categories[data[5]]
	}
	p.Diurnal, p.Day = data[6]&0x80 != 0, int64(binary.LittleEndian.Uint32(data[7:]))
	rest := data[profileHead:]
	for range changes {
		if int(rest[4]) >= len(categories) || int(rest[5]) >= len(categories) {
			return fmt.Errorf("a change from category %d to %d", rest[4], rest[5])
		}
		p.Changes = append(p.Changes, CategoryChange{Day: int64(binary.LittleEndian.Uint32(rest)), From: categories[rest[4]], To: categories[rest[5]]})
		rest = rest[profileChange:]
	}
	return p.resources(rest, profileResource)
}

func (p *Profile) resources(rest []byte, each int) error {
	previous := -1
	for ; len(rest) > 0; rest = rest[each:] {
		number := int(rest[0])
		if number >= len(builtin) || number <= previous {
			return fmt.Errorf("resource number %d after %d", number, previous)
		}
		previous = number
		largest := float64(math.Float32frombits(binary.LittleEndian.Uint32(rest[1:])))
		if !(largest >= 0 && largest <= math.MaxFloat32) {
			return fmt.Errorf("the largest %s is %v", builtin[number], largest)
		}
		r := ResourceProfile{Resource: builtin[number]}
		for h := range 24 {
			r.Q50[h] = float64(binary.LittleEndian.Uint16(rest[5+4*h:])) / math.MaxUint16 * largest
			r.Q95[h] = float64(binary.LittleEndian.Uint16(rest[7+4*h:])) / math.MaxUint16 * largest
		}
		if each == profileResource {
			at := byteReader{rest: rest[profileResource-12:]}
			for _, v := range []*float64{&r.Trend.Level, &r.Trend.Slope, &r.Trend.Error} {
				if *v = float64(at.float32()); !(math.Abs(*v) <= math.MaxFloat32) {
					return fmt.Errorf("the trend of %s is %v", builtin[number], *v)
				}
			}
		}
		p.Resources = append(p.Resources, r)
	}
	return nil
}

func share(v float64, largest float32) uint16 {
	if largest == 0 {
		return 0
	}
	return uint16(math.Round(min(v/float64(largest), 1) * math.MaxUint16))
}
