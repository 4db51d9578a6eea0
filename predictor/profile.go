package predictor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// Category names what kind of load a workload is, by the rule of Categorise.
type Category string

// Categories, in the order in which the rule asks for them.
const (
	CategoryUnknown Category = "unknown"   // less than a day of cpu history
	CategoryIdle    Category = "idle"      // q.95 below 1/20 of the reservation or of a core
	CategoryCPU     Category = "cpu-bound" // median above 7/10 of the reservation
	CategoryDiurnal Category = "diurnal"   // correlates with itself a day before by 1/2 or more, over 3 days or more
	CategoryBursty  Category = "bursty"    // q.99 at least four times the median
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
// category, and per resource how much it uses at which hour of the day.
type Profile struct {
	Category Category
	// Days of history it was made from, of at most SeriesDays.
	Days      int
	Resources []ResourceProfile // built-in resources, in the order of fleet.Resources
}

// ResourceProfile holds the median and the 95 % quantile per hour of the day
// (UTC), in base units, exact to 1/65535 of the largest.
type ResourceProfile struct {
	Resource fleet.Resource
	Q50, Q95 [24]float64
}

// ProfileOf makes a profile of the histories of one workload. reservation is
// its reserved cpu in millicores, 0 when unknown. Custom resources are left out:
// their names could outgrow MaxProfileBytes.
func ProfileOf(histories map[fleet.Resource]*Series, reservation int64) Profile {
	p := Profile{Category: CategoryUnknown}
	for _, r := range fleet.Resources() {
		s := histories[r]
		if s == nil || s.Empty() {
			continue
		}
		p.Days = max(p.Days, int(math.Round(float64(s.features[FeatureHistory])/ticksPerDay)))
		p.Resources = append(p.Resources, s.hours(r))
		if r == fleet.CPU {
			p.Category = Categorise(s, reservation)
		}
	}
	return p
}

// hours sorts the values by hour of the day; an hour never seen takes the
// quantiles of the whole history.
func (s *Series) hours(r fleet.Resource) ResourceProfile {
	first, values := s.Values(ringTicks)
	var byHour [24][]float32
	var all []float32
	for i, v := range values {
		if v == v {
			hour := slot(first+int64(i), ticksPerDay) / Steps
			byHour[hour], all = append(byHour[hour], v), append(all, v)
		}
	}
	slices.Sort(all)
	out := ResourceProfile{Resource: r}
	for h, of := range byHour {
		if slices.Sort(of); len(of) == 0 {
			of = all
		}
		out.Q50[h], out.Q95[h] = rank(of, 0.5), rank(of, 0.95)
	}
	return out
}

// rank returns the value at the quantile of ascending values.
func rank(sorted []float32, level float64) float64 {
	return float64(sorted[min(int(level*float64(len(sorted))), len(sorted)-1)])
}

// Categorise tells the category of a cpu history (millicores). The first rule
// that holds wins, in the order of the constants: an operator can check each by
// hand.
func Categorise(s *Series, reservation int64) Category {
	_, values := s.Values(ringTicks)
	known := slices.DeleteFunc(slices.Clone(values), func(v float32) bool { return v != v })
	if len(known) < ticksPerDay {
		return CategoryUnknown
	}
	slices.Sort(known)
	median := rank(known, 0.5)
	core := 1000.0
	if reservation > 0 {
		core = float64(reservation)
	}
	switch {
	case rank(known, 0.95) < core/20:
		return CategoryIdle
	case reservation > 0 && median > 0.7*float64(reservation):
		return CategoryCPU
	case dailyCorrelation(values) >= 0.5:
		return CategoryDiurnal
	case rank(known, 0.99) >= 4*median:
		return CategoryBursty
	}
	return CategorySteady
}

// dailyCorrelation is the autocorrelation at a lag of one day, 0 with fewer than
// two days of pairs (three days of history) or without variation.
func dailyCorrelation(values []float32) float64 {
	var n, sx, sy, sxx, syy, sxy float64
	for i := ticksPerDay; i < len(values); i++ {
		if a, b := values[i-ticksPerDay], values[i]; a == a && b == b {
			x, y := float64(a), float64(b)
			n, sx, sy, sxx, syy, sxy = n+1, sx+x, sy+y, sxx+x*x, syy+y*y, sxy+x*y
		}
	}
	if n < 2*ticksPerDay {
		return 0
	}
	vx, vy := sxx-sx*sx/n, syy-sy*sy/n
	if vx <= 1e-9*sxx || vy <= 1e-9*syy {
		return 0
	}
	return (sxy - sx*sy/n) / math.Sqrt(vx*vy)
}

const profileVersion = 1

// MarshalBinary encodes the profile in at most MaxProfileBytes: version,
// category, days, number of resources; per resource its number, its largest
// value (float32) and 24 pairs of quantiles as shares of it.
func (p Profile) MarshalBinary() ([]byte, error) {
	category := slices.Index(categories, p.Category)
	if category < 0 {
		return nil, fmt.Errorf("encode a profile: category %q is unknown", p.Category)
	}
	out := []byte{profileVersion, byte(category), byte(min(max(p.Days, 0), 255)), byte(len(p.Resources))}
	builtIn := fleet.Resources()
	for i, r := range p.Resources {
		number := slices.Index(builtIn[:], r.Resource)
		if number < 0 || i > 0 && number <= slices.Index(builtIn[:], p.Resources[i-1].Resource) {
			return nil, fmt.Errorf("encode a profile: resource %q is custom, doubled or out of order", r.Resource)
		}
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
	}
	return out, nil
}

// UnmarshalBinary decodes what MarshalBinary wrote and leaves the profile
// untouched when it cannot.
func (p *Profile) UnmarshalBinary(data []byte) error {
	const each = 1 + 4 + 24*4
	switch {
	case len(data) < 4:
		return errors.New("decode a profile: too short")
	case data[0] != profileVersion:
		return fmt.Errorf("decode a profile: version %d is unknown, this build reads %d", data[0], profileVersion)
	case int(data[1]) >= len(categories):
		return fmt.Errorf("decode a profile: category %d is unknown", data[1])
	case len(data) != 4+int(data[3])*each:
		return fmt.Errorf("decode a profile: %d bytes for %d resources", len(data), data[3])
	}
	out := Profile{Category: categories[data[1]], Days: int(data[2])}
	builtIn := fleet.Resources()
	previous := -1
	for rest := data[4:]; len(rest) > 0; rest = rest[each:] {
		number := int(rest[0])
		if number >= len(builtIn) || number <= previous {
			return fmt.Errorf("decode a profile: resource number %d after %d", number, previous)
		}
		previous = number
		largest := float64(math.Float32frombits(binary.LittleEndian.Uint32(rest[1:])))
		if !(largest >= 0 && largest <= math.MaxFloat32) {
			return fmt.Errorf("decode a profile: the largest %s is %v", builtIn[number], largest)
		}
		r := ResourceProfile{Resource: builtIn[number]}
		for h := range 24 {
			r.Q50[h] = float64(binary.LittleEndian.Uint16(rest[5+4*h:])) / math.MaxUint16 * largest
			r.Q95[h] = float64(binary.LittleEndian.Uint16(rest[7+4*h:])) / math.MaxUint16 * largest
		}
		out.Resources = append(out.Resources, r)
	}
	*p = out
	return nil
}

func share(v float64, largest float32) uint16 {
	if largest == 0 {
		return 0
	}
	return uint16(math.Round(min(v/float64(largest), 1) * math.MaxUint16))
}
