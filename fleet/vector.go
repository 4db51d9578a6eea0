package fleet

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Unknown marks an amount that nobody has declared or measured. It is a value
// of its own because zero would read as "none": an unknown capacity neither
// admits by accident nor refuses everything. Arithmetic keeps it unknown.
const Unknown int64 = math.MinInt64

// Amount is one custom resource of a Vector, in thousandths.
type Amount struct {
	Name   Resource
	Amount int64
}

// Vector is an amount per resource in base units (see Resource). The zero
// Vector is "nothing of anything". Vectors are values: every method returns a
// new one and never changes its receiver or argument. Sums saturate instead of
// wrapping round, so a huge request can only ever look too big.
type Vector struct {
	CPU    int64
	Memory int64
	Net    int64
	Disk   int64
	// Named holds the custom resources, sorted by name, without duplicates
	// and without zero amounts. Treat it as immutable: vectors share it.
	Named []Amount
}

// Get returns the amount of r, zero when the vector does not mention it.
func (v Vector) Get(r Resource) int64 {
	switch r {
	case CPU:
		return v.CPU
	case Memory:
		return v.Memory
	case Net:
		return v.Net
	case Disk:
		return v.Disk
	}
	i, ok := v.find(r)
	if !ok {
		return 0
	}
	return v.Named[i].Amount
}

// With returns a copy in which r has the given amount.
func (v Vector) With(r Resource, amount int64) Vector {
	switch r {
	case CPU:
		v.CPU = amount
	case Memory:
		v.Memory = amount
	case Net:
		v.Net = amount
	case Disk:
		v.Disk = amount
	default:
		i, ok := v.find(r)
		named := slices.Clone(v.Named)
		switch {
		case ok && amount == 0:
			named = slices.Delete(named, i, i+1)
		case ok:
			named[i].Amount = amount
		case amount != 0:
			named = slices.Insert(named, i, Amount{Name: r, Amount: amount})
		}
		if len(named) == 0 {
			named = nil
		}
		v.Named = named
	}
	return v
}

func (v Vector) find(r Resource) (int, bool) {
	return slices.BinarySearchFunc(v.Named, r, func(a Amount, r Resource) int {
		return strings.Compare(string(a.Name), string(r))
	})
}

// Add returns v + w.
func (v Vector) Add(w Vector) Vector { return v.zip(w, addSaturating) }

// Sub returns v - w. The result may be negative: a host whose free vector is
// negative is overbooked.
func (v Vector) Sub(w Vector) Vector { return v.zip(w, subSaturating) }

// Max returns the larger amount of each resource; Unknown loses against any
// known amount.
func (v Vector) Max(w Vector) Vector { return v.zip(w, func(a, b int64) int64 { return max(a, b) }) }

// ScaleMilli returns floor(v × thousandths / 1000) per resource, where a factor
// of zero means "not configured" and leaves the amount as it is.
func (v Vector) ScaleMilli(factor Vector) Vector {
	return v.zip(factor, func(a, f int64) int64 {
		if a == Unknown || f == 0 || f == 1000 {
			return a
		}
		return mulDivFloor(a, f)
	})
}

// IsZero reports whether every amount is zero.
func (v Vector) IsZero() bool {
	return v.CPU == 0 && v.Memory == 0 && v.Net == 0 && v.Disk == 0 && len(v.Named) == 0
}

// Equal reports whether both vectors hold the same amounts.
func (v Vector) Equal(w Vector) bool {
	return v.CPU == w.CPU && v.Memory == w.Memory && v.Net == w.Net && v.Disk == w.Disk &&
		slices.Equal(v.Named, w.Named)
}

// Lacks returns the first resource, in the order of Resources and then by name,
// of which v holds less than want asks for. An unknown amount in v lacks
// nothing: a limit that nobody declared is not enforced. A want of zero or less
// never lacks, so an overbooked resource does not block a move that needs none
// of it.
func (v Vector) Lacks(want Vector) (Resource, bool) {
	for _, r := range Resources() {
		if lacks(v.Get(r), want.Get(r)) {
			return r, true
		}
	}
	for _, a := range want.Named {
		if lacks(v.Get(a.Name), a.Amount) {
			return a.Name, true
		}
	}
	return "", false
}

func lacks(have, want int64) bool {
	return want > 0 && have != Unknown && have < want
}

// Each calls f for every built-in resource in order and then for every custom
// resource by name.
func (v Vector) Each(f func(r Resource, amount int64)) {
	for _, r := range Resources() {
		f(r, v.Get(r))
	}
	for _, a := range v.Named {
		f(a.Name, a.Amount)
	}
}

// Validate refuses negative and malformed amounts: it is for vectors that come
// from outside (files, API, commands), not for differences.
func (v Vector) Validate() error {
	var bad error
	previous := Resource("")
	v.Each(func(r Resource, amount int64) {
		if bad == nil && amount < 0 && amount != Unknown {
			bad = fmt.Errorf("%s: amount %d is negative", r, amount)
		}
	})
	for _, a := range v.Named {
		if bad != nil {
			break
		}
		if err := validateName("resource", string(a.Name)); err != nil {
			bad = err
		} else if a.Name <= previous || a.Name == CPU || a.Name == Memory || a.Name == Net || a.Name == Disk {
			bad = fmt.Errorf("custom resource %q is out of order, doubled or a built-in one", a.Name)
		}
		previous = a.Name
	}
	return bad
}

func (v Vector) zip(w Vector, f func(a, b int64) int64) Vector {
	out := Vector{
		CPU:    f(v.CPU, w.CPU),
		Memory: f(v.Memory, w.Memory),
		Net:    f(v.Net, w.Net),
		Disk:   f(v.Disk, w.Disk),
	}
	if len(v.Named) == 0 && len(w.Named) == 0 {
		return out
	}
	out.Named = zipNamed(v.Named, w.Named, f)
	return out
}

// zipNamed merges two sorted lists; a name missing on one side counts as zero.
func zipNamed(a, b []Amount, f func(a, b int64) int64) []Amount {
	out := make([]Amount, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		var name Resource
		var x, y int64
		switch {
		case len(b) == 0 || (len(a) > 0 && a[0].Name < b[0].Name):
			name, x, a = a[0].Name, a[0].Amount, a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			name, y, b = b[0].Name, b[0].Amount, b[1:]
		default:
			name, x, y, a, b = a[0].Name, a[0].Amount, b[0].Amount, a[1:], b[1:]
		}
		if sum := f(x, y); sum != 0 {
			out = append(out, Amount{Name: name, Amount: sum})
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func addSaturating(a, b int64) int64 {
	if a == Unknown || b == Unknown {
		return Unknown
	}
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0, sum == Unknown:
		return math.MinInt64 + 1
	}
	return sum
}

func subSaturating(a, b int64) int64 {
	if a == Unknown || b == Unknown {
		return Unknown
	}
	return addSaturating(a, -b)
}

// mulDivFloor returns floor(a × f / 1000) without overflowing in between.
func mulDivFloor(a, f int64) int64 {
	whole, rest := a/1000, a%1000
	if f != 0 && (whole > math.MaxInt64/max(f, 1) || whole < -(math.MaxInt64/max(f, 1))) {
		return math.MaxInt64
	}
	part := rest * f
	floor := part / 1000
	if part%1000 != 0 && part < 0 {
		floor--
	}
	return addSaturating(whole*f, floor)
}

// String prints the amounts that are not zero, as an operator reads them.
func (v Vector) String() string {
	var parts []string
	v.Each(func(r Resource, amount int64) {
		if amount != 0 {
			parts = append(parts, string(r)+" "+FormatAmount(r, amount))
		}
	})
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// FormatAmount prints an amount of r in the unit an operator thinks in: cores,
// KiB/MiB/GiB, bytes per second.
func FormatAmount(r Resource, amount int64) string {
	if amount == Unknown {
		return "unknown"
	}
	switch r {
	case CPU:
		return trimFloat(float64(amount)/1000) + " cores"
	case Memory:
		return formatBytes(amount)
	case Net, Disk:
		return formatBytes(amount) + "/s"
	}
	return trimFloat(float64(amount) / 1000)
}

func formatBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(n), 0
	for math.Abs(value) >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return trimFloat(value) + " " + units[unit]
}

func trimFloat(f float64) string {
	s := fmt.Sprintf("%.3f", f)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// vectorJSON is how files and the API show a vector: cores instead of
// millicores, null for unknown, custom resources under their names.
type vectorJSON struct {
	CPU    *float64             `json:"cpu"`
	Memory *int64               `json:"memory"`
	Net    *int64               `json:"net"`
	Disk   *int64               `json:"disk"`
	Custom map[Resource]float64 `json:"custom,omitempty"`
}

// MarshalJSON shows cpu and custom resources in whole units, unknown as null.
func (v Vector) MarshalJSON() ([]byte, error) {
	known := func(n int64) *int64 {
		if n == Unknown {
			return nil
		}
		return &n
	}
	out := vectorJSON{Memory: known(v.Memory), Net: known(v.Net), Disk: known(v.Disk)}
	if v.CPU != Unknown {
		cores := float64(v.CPU) / 1000
		out.CPU = &cores
	}
	for _, a := range v.Named {
		if out.Custom == nil {
			out.Custom = map[Resource]float64{}
		}
		out.Custom[a.Name] = float64(a.Amount) / 1000
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote. A key that is absent means zero,
// an explicit null means Unknown.
func (v *Vector) UnmarshalJSON(data []byte) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return fmt.Errorf("vector: %w", err)
	}
	var in vectorJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("vector: %w", err)
	}
	whole := func(key string, n *int64) int64 {
		if n != nil {
			return *n
		}
		if _, present := keys[key]; present {
			return Unknown
		}
		return 0
	}
	out := Vector{Memory: whole("memory", in.Memory), Net: whole("net", in.Net), Disk: whole("disk", in.Disk)}
	if in.CPU != nil {
		out.CPU = toMilli(*in.CPU)
	} else if _, present := keys["cpu"]; present {
		out.CPU = Unknown
	}
	for name, amount := range in.Custom {
		out = out.With(name, toMilli(amount))
	}
	*v = out
	return nil
}

// toMilli rounds to the nearest thousandth and saturates.
func toMilli(f float64) int64 {
	m := math.Round(f * 1000)
	switch {
	case math.IsNaN(m):
		return 0
	case m >= math.MaxInt64:
		return math.MaxInt64
	case m <= -math.MaxInt64:
		return -math.MaxInt64
	}
	return int64(m)
}
