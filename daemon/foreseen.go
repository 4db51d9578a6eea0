package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/httpapi"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/transport"
)

// foresightRequest asks a voter, which hears the reports, for what is foreseen: of
// one workload, or of the zones when Workload is empty.
type foresightRequest struct {
	Workload fleet.WorkloadID `json:"workload,omitempty"`
}

type foresightAnswer struct {
	Forecasts []api.WorkloadForecast `json:"forecasts,omitempty"`
	Zones     []api.ZoneForecast     `json:"zones,omitempty"`
}

func (d *Daemon) serveForesight(_ context.Context, _ transport.Identity, r foresightRequest) (foresightAnswer, error) {
	if d.node == nil {
		return foresightAnswer{}, &peer.Error{Code: codeRefused, Message: "this host hears no reports: ask a voter"}
	}
	return d.foresightHere(r), nil
}

func (d *Daemon) foresightHere(r foresightRequest) foresightAnswer {
	view := d.sight.view()
	if r.Workload == "" {
		d.foresights.Fill(&view)
		return foresightAnswer{Zones: d.zones(view)}
	}
	i := slices.IndexFunc(view.Workloads, func(w fleet.WorkloadView) bool { return w.ID == r.Workload })
	if i < 0 {
		return foresightAnswer{}
	}
	w := view.Workloads[i]
	owner := fleet.Host{ID: w.Owner}
	if h := slices.IndexFunc(view.Hosts, func(h fleet.HostView) bool { return h.ID == w.Owner }); h >= 0 {
		owner = view.Hosts[h].Host
	}
	return foresightAnswer{Forecasts: shownForecasts(d.foresights.Of(w, fleet.TickOf(view.Now)-1), w.Workload, owner, predictor.NewCalendar(view.Calendar))}
}

// foresight answers from this host's reports, or from a voter's where it hears none.
func (d *Daemon) foresight(ctx context.Context, r foresightRequest) (foresightAnswer, error) {
	if d.node != nil {
		return d.foresightHere(r), nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return callLeader[foresightRequest, foresightAnswer](ctx, d.books, callForesight, r)
}

// shownForecasts are the calibrated quantiles as the calendar changes them.
func shownForecasts(all []controller.Shown, w fleet.Workload, owner fleet.Host, calendar predictor.Calendar) []api.WorkloadForecast {
	out := []api.WorkloadForecast{}
	for _, s := range all {
		f := api.WorkloadForecast{
			Resource: string(s.Resource), Unit: httpapi.UnitOf(s.Resource), At: fleet.TickStart(s.Tick + 1),
			Model: s.Foresight.Bands.Model, Reason: s.Foresight.Bands.Reason, Levels: predictor.Levels[:], Effects: []api.ForecastEffect{},
		}
		now := fleet.TickStart(s.Tick + 1)
		for _, e := range calendar.EffectsOn(w, owner, s.Resource, now, now.Add(24*time.Hour)) {
			f.Effects = append(f.Effects, api.ForecastEffect{Of: "load", From: e.From, Until: e.Until, Why: e.Why, Factor: e.Factor, Workloads: []string{string(w.ID)}})
		}
		for h, horizon := range predictor.Horizons {
			g := s.Foresight.Gates[h]
			shown := api.HorizonForecast{Horizon: horizon.String(), Open: g.Open, Reason: g.Reason, Judged: g.Judged, Coverage: g.Coverage, Skill: g.Skill}
			factor := calendar.Ahead(w, owner, s.Resource, s.Tick, horizon)
			for _, v := range s.Foresight.Quantiles[h] {
				shown.Quantiles = append(shown.Quantiles, httpapi.AmountOf(s.Resource, factor*v))
			}
			f.Horizons = append(f.Horizons, shown)
		}
		out = append(out, f)
	}
	return out
}

// categoryOf shows what the books say of a workload's load, nil before its first
// profile.
func categoryOf(s *fsm.State, id fleet.WorkloadID) *api.WorkloadCategory {
	have, ok := s.Profile(id)
	if !ok {
		return nil
	}
	var p predictor.Profile
	if err := p.UnmarshalBinary(have.Blob); err != nil {
		return &api.WorkloadCategory{Name: have.Category, Changes: []api.CategoryChange{}} // of a newer version
	}
	out := &api.WorkloadCategory{Name: string(p.Category), Confidence: p.Confidence, Diurnal: p.Diurnal,
		Candidate: string(p.Candidate), Days: p.Membership.Days, History: p.Days, Changes: []api.CategoryChange{}}
	for _, c := range p.Changes {
		out.Changes = append(out.Changes, api.CategoryChange{Day: time.Unix(c.Day*int64(24*time.Hour/time.Second), 0).UTC(), From: string(c.From), To: string(c.To)})
	}
	return out
}

var _ httpapi.ZoneForecaster = backend{}

// ZoneForecasts is what GET /v1/forecast/zones shows.
func (b backend) ZoneForecasts(ctx context.Context) ([]api.ZoneForecast, error) {
	answer, err := b.d.foresight(ctx, foresightRequest{})
	return answer.Zones, asHTTP(err)
}
