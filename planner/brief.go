package planner

import (
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// PlanBrief is Plan without what only people read of it, the hosts' forecasts and
// the hash of the view: the same decisions, for passes that are played by the
// thousand.
func PlanBrief(view fleet.View, model predictor.Model, par Par) (fleet.Plan, []fleet.BreachStreak) {
	p := newPass(view, model, par)
	return p.run(p.relieve)
}
