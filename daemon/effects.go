package daemon

import (
	"fmt"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/predictor"
)

// effects lists what the calendar does to the forecast of a host: to its capacity,
// and to the load of what it owns.
func (b backend) effects(f fleet.Forecast, host fleet.Host) []api.ForecastEffect {
	out := []api.ForecastEffect{}
	from, until := fleet.TickStart(f.Tick+1), fleet.TickStart(f.Tick+1+int64(len(f.Steps)))
	b.d.replica.Read(func(s *fsm.State) {
		known := s.Calendar()
		if len(known) == 0 {
			return
		}
		calendar := predictor.NewCalendar(known).Within(from, until)
		for _, e := range calendar.EffectsOnHost(host, f.Resource, from, until) {
			out = append(out, api.ForecastEffect{Of: "capacity", From: e.From, Until: e.Until, Why: e.Why, Factor: e.Factor, Workloads: []string{}})
		}
		// An event is about many workloads; it is one line.
		at := map[string]int{}
		for _, w := range s.Workloads() {
			if w.Owner != host.ID {
				continue
			}
			for _, e := range calendar.EffectsOn(w, host, f.Resource, from, until) {
				key := fmt.Sprint(e)
				if _, seen := at[key]; !seen {
					at[key] = len(out)
					out = append(out, api.ForecastEffect{Of: "load", From: e.From, Until: e.Until, Why: e.Why, Factor: e.Factor, Workloads: []string{}})
				}
				out[at[key]].Workloads = append(out[at[key]].Workloads, string(w.ID))
			}
		}
	})
	return out
}
