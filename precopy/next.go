package precopy

import (
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Action is what a migration does after a round.
type Action uint8

// Actions.
const (
	Copy  Action = iota // one more round while the workload runs
	Cut                 // freeze, send the rest, cut over
	Abort               // give up; the source keeps the workload
)

func (a Action) String() string {
	switch a {
	case Copy:
		return "copy"
	case Cut:
		return "cut"
	case Abort:
		return "abort"
	}
	return fmt.Sprintf("invalid(%d)", uint8(a))
}

// Verdict says what to do next and why.
type Verdict struct {
	Action Action
	// Reason is for an operator.
	Reason string
	// Predicted downtime if the workload were frozen now; zero before the
	// first round.
	Predicted time.Duration
}

// Next decides after each round of a running migration. It cuts when the
// predicted downtime meets the target. When a round shrank by less than 5 % or
// the budget is spent, more copying does not pay: it cuts if the downtime stays
// within target.Limit and aborts otherwise.
//
// What the rounds show of the link replaces the caller's figures (see Observed).
func Next(rounds []fleet.Checkpoint, target Target, link Link) Verdict {
	if len(rounds) == 0 {
		return Verdict{Action: Copy, Reason: "nothing is copied yet"}
	}
	link = Observed(rounds, link)
	last := rounds[len(rounds)-1]
	target = target.withDefaults(float64(rounds[0].Dirty), link)
	left := outstanding(rounds)
	v := Verdict{Predicted: link.downtimeFor(left)}
	if v.Predicted <= target.Downtime {
		v.Action = Cut
		v.Reason = fmt.Sprintf("predicted downtime %s meets the target of %s", short(v.Predicted), short(target.Downtime))
		return v
	}
	var why string
	var wire int64
	for _, r := range rounds {
		wire += r.Wire
	}
	rest := v.Predicted - link.FixedCutover
	switch {
	case len(rounds) >= 2 && rest*smallRest <= link.FixedCutover:
		why = fmt.Sprintf("what is left to send takes %s of it, which no further round would shorten", short(rest))
	case len(rounds) >= 3 && float64(last.Dirty) > minShrink*float64(rounds[len(rounds)-2].Dirty):
		// The second round is not compared with the first: the first sends
		// everything ever written, which says nothing about the writes now.
		why = fmt.Sprintf("round %d sent %s after %s: it writes about as fast as the link sends", len(rounds),
			bytesText(last.Dirty), bytesText(rounds[len(rounds)-2].Dirty))
	case len(rounds) >= target.MaxRounds:
		why = fmt.Sprintf("%d rounds are spent", len(rounds))
	case wire >= target.MaxBytes || len(rounds) > 1 && float64(wire)+left*link.ratio() > float64(target.MaxBytes):
		why = fmt.Sprintf("another round would exceed the budget of %s on the wire", bytesText(target.MaxBytes))
	default:
		v.Action = Copy
		v.Reason = fmt.Sprintf("predicted downtime %s is above the target of %s", short(v.Predicted), short(target.Downtime))
		return v
	}
	if v.Predicted <= target.Limit {
		v.Action = Cut
		v.Reason = fmt.Sprintf("%s; cutting with a predicted downtime of %s (target %s)", why, short(v.Predicted), short(target.Downtime))
		return v
	}
	v.Action = Abort
	v.Reason = fmt.Sprintf("%s; the predicted downtime of %s is above the limit of %s: use a faster link or move it when it writes less",
		why, short(v.Predicted), short(target.Limit))
	return v
}

// smallRest: when copying is less than a tenth of the fixed part of the cutover,
// the target is out of reach by copying.
const smallRest = 10

// outstanding predicts the bytes written while the last round ran, and errs on
// the side of too many while little is known: after one round everything may be
// dirty again, and after two a small hot set may have filled long before the
// first round ended, so a shorter round may leave as much behind.
func outstanding(rounds []fleet.Checkpoint) float64 {
	all, last := float64(rounds[0].Dirty), rounds[len(rounds)-1]
	switch len(rounds) {
	case 1:
		return all
	case 2:
		if last.Took <= rounds[0].Took {
			return min(float64(last.Dirty), all)
		}
	}
	return min(Estimate(rounds).Dirty(last.Took), all)
}

const (
	// minSample: a smaller round shows the cost of a scan, not the link.
	minSample = 256 << 10
	// newest rounds that speak for the link now.
	newest = 4
)

// Observed returns the link as the rounds show it: of the newest four rounds
// that carried 256 KiB of state or more, the slowest counts, because a mean
// promised 9 ms where 55 came. Without such a round the prior stands.
func Observed(rounds []fleet.Checkpoint, prior Link) Link {
	slowest, seen := 0.0, 0
	link := prior
	for i := len(rounds) - 1; i >= 0 && seen < newest; i-- {
		r := rounds[i]
		if r.Dirty < minSample || r.Took <= 0 || r.Wire <= 0 {
			continue
		}
		seen++
		if pace := r.Took.Seconds() / float64(r.Dirty); pace > slowest {
			slowest = pace
			link.Bandwidth = float64(r.Wire) / r.Took.Seconds()
			link.WireRatio = float64(r.Wire) / float64(r.Dirty)
		}
	}
	return link
}

func bytesText(n int64) string { return fleet.FormatAmount(fleet.Memory, n) }

// short rounds for reading: three significant digits are enough at 3 a.m.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
