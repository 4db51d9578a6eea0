package controller

import (
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// recorder chooses which decisions go into the replicated books: those that act,
// and those that refuse or only observe an action when they say something new.
// A pass that repeats itself every few seconds must not fill the log.
type recorder struct {
	last map[string]recorded
}

type recorded struct {
	at   time.Time // load time
	text string
}

// repeatAfter (load time) is when an unchanged refusal is recorded again.
const repeatAfter = time.Hour

func newRecorder() *recorder { return &recorder{last: map[string]recorded{}} }

// acting are the outcomes of decisions that change something.
var acting = []fleet.Outcome{fleet.OutcomeMove, fleet.OutcomeAdjust, fleet.OutcomeUndo, fleet.OutcomeStandby, fleet.OutcomeCancel}

// choose returns the decisions to record, in their order.
func (r *recorder) choose(decisions []fleet.Decision) []fleet.Decision {
	var out []fleet.Decision
	for _, d := range decisions {
		if d.Outcome == fleet.OutcomeNone {
			continue
		}
		key := fmt.Sprintf("%s %s %s", d.Workload, d.From, d.Outcome)
		// The reason carries figures that change with every tick; what makes
		// a decision new is what it would do.
		text := fmt.Sprintf("%s %s", d.To, d.Type)
		last, seen := r.last[key]
		if !slices.Contains(acting, d.Outcome) && seen && last.text == text && d.At.Sub(last.at) < repeatAfter {
			continue
		}
		r.last[key] = recorded{at: d.At, text: text}
		out = append(out, d)
	}
	for key, last := range r.last {
		if len(decisions) > 0 && decisions[0].At.Sub(last.at) > 2*repeatAfter {
			delete(r.last, key)
		}
	}
	return out
}
