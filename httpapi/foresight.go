package httpapi

import (
	"context"
	"net/http"

	"github.com/placed-dev/placed/api"
)

// ZoneForecaster is a Backend that forecasts zones as a whole.
type ZoneForecaster interface {
	// ZoneForecasts of every zone, by zone and resource.
	ZoneForecasts(ctx context.Context) ([]api.ZoneForecast, error)
}

func (s *Server) zoneForecasts(ctx context.Context, _ *http.Request) (any, error) {
	forecaster, ok := s.backend.(ZoneForecaster)
	if !ok {
		return []api.ZoneForecast{}, nil
	}
	zones, err := forecaster.ZoneForecasts(ctx)
	return list(zones), err
}
