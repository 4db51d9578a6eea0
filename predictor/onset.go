package predictor

import (
	"fmt"
	"math"

	"github.com/placed-dev/placed/boost"
)

// OnsetWindow is how long after its lead an onset may come and still count: what
// is predicted is demand above allocatable within (lead, lead + OnsetWindow].
const OnsetWindow = 3

// HostView is what is known of one host and resource at one tick, the ground that
// the probability of contention is predicted on.
type HostView struct {
	// Outlook of the host's demand as a share of what it can give: 1 is full.
	Outlook []float32
	// Over is how many ticks ago the demand last stood above 1, NaN = not in the
	// remembered days; Share how much of the last day and week it did.
	Over, Day, Week float32
	// Windows are the largest demands of the window that the lead points to, on
	// each of the last seven days, newest first.
	Windows [7]float32
	// Joint is what the forecasts of the workloads add up to.
	Joint JointView
}

// JointView is the sum of the forecasts of a host's workloads, as shares of what
// the host can give, with the errors that such sums made of late: the workloads'
// errors of one moment are taken together, because loads rise together.
type JointView struct {
	// Centre at 15 min and at 1 h; Upper their .9 quantile by past errors of the
	// sum; Above the share of past errors that would take it over 1.
	Centre, Upper, Above [2]float32
	// Peak is the sum of the q.95 of the peaks of an hour: an upper bound.
	Peak float32
	// Alone is the root of the summed squares of the workloads' deviations in a
	// day, Largest the largest of them.
	Alone, Largest float32
}

const onsetCols = outlookTargets + 4*outlookPerTarget + 3 + 12 + 9 + 3

// row writes what the trees see.
func (v *HostView) row(x []float32) {
	n := copy(x, v.Outlook[:outlookTargets])
	for _, h := range [...]int{0, 1, 4, 5} {
		n += copy(x[n:], v.Outlook[outlookTargets+h*outlookPerTarget:][:outlookPerTarget])
	}
	put := func(f float32) {
		x[n] = f
		n++
	}
	put(v.Over)
	put(v.Day)
	put(v.Week)
	var count, above, sum, largest float32
	smallest := float32(math.Inf(1))
	for _, w := range v.Windows {
		put(w)
		if w == w {
			count, sum = count+1, sum+w
			largest, smallest = max(largest, w), min(smallest, w)
			if w > 1 {
				above++
			}
		}
	}
	put(sum / count)
	put(largest)
	put(smallest)
	put(above / count)
	put(v.Windows[0] - v.Outlook[outlookDays])
	j := v.Joint
	for i := range j.Centre {
		put(j.Centre[i])
		put(j.Upper[i])
		put(j.Above[i])
	}
	put(j.Peak)
	put(j.Alone)
	put(j.Largest)
	// How far from full, in units of how far it usually moves.
	room := 1 - v.Outlook[outlookLags]
	put(room / (v.Outlook[outlookTargets+targetRough] + 1e-4))
	put(room / (v.Outlook[outlookTargets+outlookPerTarget+targetRough] + 1e-4))
	put(v.Outlook[outlookLags] - v.Outlook[outlookLags+7])
}

// OnsetRow is one past moment of a host: its view then, and whether demand went
// above what it can give in the window.
type OnsetRow struct {
	View  HostView
	Above bool
	// Calibrates keeps the row away from the trees: it teaches how often what
	// they say comes true.
	Calibrates bool
}

// Onset predicts the probability of contention at one lead. It is read-only.
type Onset struct {
	models      [onsetBag]*boost.Model
	calibration *boost.Calibration
}

// onsetBag models that differ by their seeds give a mean: contention is rare, and
// what one of them says of it depends much on which rows it happened to draw.
const onsetBag = 3

// TrainOnset trains it on rows of many hosts; rows that calibrate must be later
// than the others. It fails when contention never or always came.
func TrainOnset(rows []OnsetRow, seed uint64, par boost.Par) (*Onset, error) {
	m := boost.Matrix{Cols: onsetCols}
	var target []float32
	positives := 0
	for i := range rows {
		if rows[i].Calibrates {
			continue
		}
		at := len(m.Data)
		m.Data = append(m.Data, make([]float32, onsetCols)...)
		rows[i].View.row(m.Data[at:])
		y := float32(0)
		if rows[i].Above {
			y = 1
			positives++
		}
		target = append(target, y)
	}
	if m.Rows = len(target); positives < 20 || positives > m.Rows-20 {
		return nil, fmt.Errorf("train the onset of contention: %d of %d moments are contended: too few on one side to learn from", positives, m.Rows)
	}
	o := &Onset{}
	binned := boost.Bin(m, 0)
	for i := range o.models {
		var err error
		if o.models[i], err = boost.Train(binned, target, nil, boost.Config{
			Loss: boost.Loss{Kind: boost.Logistic}, Trees: 200, Leaves: 12, Rate: 0.05, MinLeaf: 80, L2: 4,
			RowFraction: 0.5, ColFraction: 0.3, Seed: seed + uint64(i),
		}, par); err != nil {
			return nil, fmt.Errorf("train the onset of contention: %w", err)
		}
	}
	var score, outcome []float64
	for i := range rows {
		if rows[i].Calibrates {
			score = append(score, o.Raw(&rows[i].View))
			outcome = append(outcome, boolean(rows[i].Above))
		}
	}
	if len(score) > 0 {
		o.calibration = boost.Isotonic(score, outcome, nil)
	}
	return o, nil
}

// Raw is the trees' own probability, which ranks finer than the calibrated one.
func (o *Onset) Raw(v *HostView) float64 {
	var x [onsetCols]float32
	v.row(x[:])
	sum := 0.0
	for _, m := range o.models {
		sum += m.Predict(x[:])
	}
	return sum / onsetBag
}

// Probability of contention in the window, calibrated.
func (o *Onset) Probability(v *HostView) float64 {
	p := o.Raw(v)
	if o.calibration == nil {
		return p
	}
	// What a week of rare events teaches is half luck: halfway is right more often
	// than either, and it keeps the order between equal steps.
	return (o.calibration.At(p) + p) / 2
}
