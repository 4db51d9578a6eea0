package boost

import (
	"fmt"
	"math"
)

// Matrix holds Rows × Cols features, row after row. NaN means missing.
type Matrix struct {
	Rows, Cols int
	Data       []float32
}

// Row returns one row; it shares memory with the matrix.
func (m Matrix) Row(i int) []float32 { return m.Data[i*m.Cols : (i+1)*m.Cols : (i+1)*m.Cols] }

// Par runs do(0) … do(n-1), in any order and on as many threads as the caller
// likes, and returns when all have ended. Nil means one after the other.
type Par = func(n int, do func(i int))

func each(par Par, n int, do func(i int)) {
	if par != nil {
		par(n, do)
		return
	}
	for i := range n {
		do(i)
	}
}

// LossKind names what a model minimises.
type LossKind uint8

// Kinds of loss. Numbers are part of the model's bytes.
const (
	Squared  LossKind = iota // the mean
	Absolute                 // the median
	Quantile                 // the quantile Alpha, by pinball loss
	Logistic                 // the probability of a target within 0..1
)

func (k LossKind) String() string {
	if names := [...]string{"squared", "absolute", "quantile", "logistic"}; int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("invalid(%d)", uint8(k))
}

// Loss is a kind with its parameter: Alpha is the level of Quantile, within
// (0,1), and zero for every other kind.
type Loss struct {
	Kind  LossKind
	Alpha float64
}

func (l Loss) validate() error {
	switch {
	case l.Kind > Logistic:
		return fmt.Errorf("loss %s is unknown", l.Kind)
	case l.Kind == Quantile && !(l.Alpha > 0 && l.Alpha < 1):
		return fmt.Errorf("quantile level %v is outside (0,1)", l.Alpha)
	case l.Kind != Quantile && l.Alpha != 0:
		return fmt.Errorf("loss %s takes no alpha, got %v", l.Kind, l.Alpha)
	}
	return nil
}

// level is the quantile that a leaf takes for the losses whose curvature says
// nothing, ok false for the others.
func (l Loss) level() (level float64, ok bool) {
	switch l.Kind {
	case Absolute:
		return 0.5, true
	case Quantile:
		return l.Alpha, true
	}
	return 0, false
}

// Bounds of a model; the decoder refuses what lies beyond them.
const (
	MaxCols   = 1 << 14
	MaxTrees  = 1 << 14
	MaxLeaves = 1 << 12
	// MaxRows is what the 24-bit counter inside a histogram word can count.
	MaxRows = 1<<24 - 1
	// MaxBins of values per feature; one more holds the missing ones.
	MaxBins = 255
)

// Config says how to grow a model. Zero takes the default in brackets.
type Config struct {
	Loss Loss
	// Trees [100], Leaves of each [31], MinLeaf rows in each leaf [20].
	Trees, Leaves, MinLeaf int
	// Bins, if not zero, must be those of the Binned that is trained on.
	Bins int
	// Rate is the share of each tree's answer that counts [0.1], L2 the
	// penalty on the squares of leaf values [0]; where leaves take a quantile
	// it bears on the choice of splits alone.
	Rate, L2 float64
	// RowFraction and ColFraction of rows and features that each tree sees
	// [1], drawn from Seed.
	RowFraction, ColFraction float64
	Seed                     uint64
	// Monotone, if not nil, has one entry per feature: +1 = the prediction
	// never falls when the feature rises, -1 = never rises, 0 = free. It says
	// nothing about missing values.
	Monotone []int8
	// EarlyStop, if not zero, ends training after so many trees that did not
	// lower the loss on the validation part, and drops them.
	EarlyStop int
	// Validation is how many of the LAST rows are that part and not trained
	// on [a tenth]. Rows in order of time are thus judged on the newest. It is
	// refused without EarlyStop.
	Validation int
	// Stop, if not nil, is asked before every tree; when it says yes, training
	// ends with ErrStopped.
	Stop func() bool
}

// withDefaults fills in and checks a configuration for b.
func (c Config) withDefaults(b *Binned) (Config, error) {
	ints := []struct {
		name            string
		at              *int
		otherwise, most int
	}{
		{"trees", &c.Trees, 100, MaxTrees}, {"leaves", &c.Leaves, 31, MaxLeaves}, {"min leaf", &c.MinLeaf, 20, MaxRows},
		{"bins", &c.Bins, b.bins, b.bins},
	}
	for _, f := range ints {
		if *f.at == 0 {
			*f.at = f.otherwise
		}
		if *f.at < 1 || *f.at > f.most {
			return c, fmt.Errorf("%s %d is outside 1..%d", f.name, *f.at, f.most)
		}
	}
	for _, f := range []struct {
		name      string
		at        *float64
		otherwise float64
	}{{"rate", &c.Rate, 0.1}, {"row fraction", &c.RowFraction, 1}, {"column fraction", &c.ColFraction, 1}} {
		if *f.at == 0 {
			*f.at = f.otherwise
		}
		if !(*f.at > 0 && *f.at <= 1) {
			return c, fmt.Errorf("%s %v is outside (0,1]", f.name, *f.at)
		}
	}
	switch {
	case c.Bins != b.bins:
		return c, fmt.Errorf("%d bins are configured, the rows were binned with %d", c.Bins, b.bins)
	case !(c.L2 >= 0) || math.IsInf(c.L2, 1):
		return c, fmt.Errorf("l2 %v is not a penalty", c.L2)
	case c.Monotone != nil && len(c.Monotone) != b.Cols:
		return c, fmt.Errorf("%d monotone constraints for %d features", len(c.Monotone), b.Cols)
	case c.EarlyStop < 0 || c.Validation < 0:
		return c, fmt.Errorf("early stop %d and validation %d must not be negative", c.EarlyStop, c.Validation)
	case c.EarlyStop == 0 && c.Validation > 0:
		return c, fmt.Errorf("%d validation rows without early stop would be wasted", c.Validation)
	}
	for i, sign := range c.Monotone {
		if sign < -1 || sign > 1 {
			return c, fmt.Errorf("monotone constraint %d of feature %d is not -1, 0 or 1", sign, i)
		}
	}
	if c.EarlyStop > 0 {
		if c.Validation == 0 {
			c.Validation = b.Rows / 10
		}
		if c.Validation < 1 || c.Validation >= b.Rows {
			return c, fmt.Errorf("%d of %d rows cannot be the validation part", c.Validation, b.Rows)
		}
	}
	return c, c.Loss.validate()
}
