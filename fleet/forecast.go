package fleet

import "time"

// Tick is the grid of the load clock on which features, forecasts and plans
// stand. Loads inside a tick are averaged.
const Tick = 5 * time.Minute

// TickOf returns the number of the tick that contains t.
func TickOf(t time.Time) int64 { return floorDiv(t.Unix(), int64(Tick/time.Second)) }

// TickStart is the inverse of TickOf.
func TickStart(tick int64) time.Time { return time.Unix(tick*int64(Tick/time.Second), 0).UTC() }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// LoadClock maps machine wall time to load time: the time that samples, ticks,
// horizons, hold and cool-down are measured in. In production Scale is 1 and
// both are the same; in `placed dev` load time runs Scale times faster.
type LoadClock struct {
	// Wall and Load are the same instant on the two clocks.
	Wall  time.Time `json:"wall"`
	Load  time.Time `json:"load"`
	Scale float64   `json:"scale"`
}

// At returns the load time at the wall time.
func (c LoadClock) At(wall time.Time) time.Time {
	if c.Scale == 0 || c.Scale == 1 && c.Wall.Equal(c.Load) {
		return wall
	}
	return c.Load.Add(time.Duration(float64(wall.Sub(c.Wall)) * c.Scale))
}

// Load returns how much load time passes in a machine duration.
func (c LoadClock) LoadOf(machine time.Duration) time.Duration {
	if c.Scale == 0 {
		return machine
	}
	return time.Duration(float64(machine) * c.Scale)
}

// Machine returns how much machine time passes in a load duration.
func (c LoadClock) Machine(load time.Duration) time.Duration {
	if c.Scale == 0 {
		return load
	}
	return time.Duration(float64(load) / c.Scale)
}

// Sample is what one workload used over one sampling interval that ended at At
// (load time). CPU is in millicores, Wait is the run-queue wait in millicores.
type Sample struct {
	At    time.Time `json:"at"`
	Usage Vector    `json:"usage"`
	Wait  int64     `json:"wait"`
}

// Series is what the leader holds of one workload and resource: the newest
// features, from which it predicts, and a day of past errors, from which it
// takes the joint uncertainty of a host.
type Series struct {
	Workload WorkloadID `json:"workload"`
	Resource Resource   `json:"resource"`
	// Tick of the newest complete tick, whose features these are.
	Tick int64 `json:"tick"`
	// Features in the layout of predictor's FeatureVersion; base units.
	Features       []float32 `json:"features,omitempty"`
	FeatureVersion int       `json:"feature_version,omitempty"`
	// Packed holds features and residuals in predictor's bytes on the way to a
	// voter, which unpacks them; nil elsewhere.
	Packed []byte `json:"packed,omitempty"`
	// Outlook is what pooled models forecast from and Record what the host has
	// seen of past forecasts, both in predictor's bytes; nil when not reported, or
	// on the way to a voter that has that very record already.
	Outlook []byte `json:"outlook,omitempty"`
	Record  []byte `json:"record,omitempty"`
	// Whole: the residuals are all that the host has of the last day, not only
	// those that are new to the voter.
	Whole bool `json:"whole,omitempty"`
	// Bands are added by the leader, never reported; nil = the plain forecast.
	Bands *Bands `json:"bands,omitempty"`
	// Together is added by the leader: series of one name depend on each other, so
	// where their errors are too few to show it, they rise together. Empty = no
	// dependency is declared.
	Together string `json:"together,omitempty"`
	// Residuals, oldest first, at most one per tick.
	Residuals []Residual `json:"residuals,omitempty"`
	// Rows stand for Residuals in a quarter of the room, in predictor's bytes.
	Rows []byte `json:"rows,omitempty"`
}

// Residual holds the errors of the past forecasts for one tick: Errors[k] is
// the observed value minus the centre that was forecast k+1 ticks before.
type Residual struct {
	Tick   int64     `json:"tick"`
	Errors []float32 `json:"errors"`
}

// Forecast is a distribution of demand over the coming ticks for one workload,
// host or zone and one resource, in base units.
type Forecast struct {
	Of       string   `json:"of"` // workload id, host id or zone
	Resource Resource `json:"resource"`
	// Tick is the last observed tick; Steps[k] is for Tick+k+1.
	Tick int64 `json:"tick"`
	// Quantiles, ascending, are the levels of every step's values.
	Quantiles []float64   `json:"quantiles"`
	Steps     [][]float64 `json:"steps"` // Steps[k][q]
	// Model names what produced it ("baseline", later a model version).
	Model string `json:"model"`
	// Over[k] is the probability that demand is above what can be served at a step,
	// Excess[k] by how much it is expected to be, in base units; nil when nobody has
	// declared that amount.
	Over   []float64 `json:"over,omitempty"`
	Excess []float64 `json:"excess,omitempty"`
}

// At returns the forecast for one step and quantile level; levels between two
// known ones are interpolated, levels outside are clamped.
func (f Forecast) At(step int, level float64) float64 {
	values := f.Steps[step]
	for i, q := range f.Quantiles {
		if level <= q {
			if i == 0 || q == level {
				return values[i]
			}
			low := f.Quantiles[i-1]
			return values[i-1] + (values[i]-values[i-1])*(level-low)/(q-low)
		}
	}
	return values[len(values)-1]
}

// Contention is a predicted shortage: the demand quantile of a host crosses its
// allocatable capacity.
type Contention struct {
	Host     HostID   `json:"host"`
	Zone     string   `json:"zone"`
	Resource Resource `json:"resource"`
	// Probability that demand exceeds allocatable at the worst step.
	Probability float64 `json:"probability"`
	// Breach is the load time of the first step whose quantile crosses.
	Breach time.Time `json:"breach"`
	// Steps counts the ticks from now to the breach (1 = next tick).
	Steps int `json:"steps"`
	// Demand at the policy's quantile at the worst step, Allocatable the line
	// it crosses; base units.
	Demand      float64 `json:"demand"`
	Allocatable int64   `json:"allocatable"`
	// Now is set when the host is already contended.
	Now bool `json:"now"`
}
