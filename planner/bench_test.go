package planner

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func BenchmarkPlan(b *testing.B) {
	for _, size := range []struct{ hosts, workloads int }{{10, 100}, {100, 1000}} {
		b.Run(fmt.Sprintf("%dx%d", size.hosts, size.workloads), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			policy := autoPolicy()
			policy.HoldPasses, policy.MovesPerPass, policy.MovesInFlight, policy.ChurnPerHour = 1, 20, 20, 20
			f := randomFleet(r, policy, size.hosts, size.workloads, 0.6, 0.2)
			f.model = yesterday{}
			f.advance(300)
			moves := 0
			for b.Loop() {
				plan, _ := Plan(f.view, f.model, nil)
				moves = len(plan.Moves)
			}
			b.ReportMetric(float64(moves), "moves")
		})
	}
}
