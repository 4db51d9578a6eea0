package httpapi

import (
	"context"
	"net/http"

	"github.com/placed-dev/placed/api"
)

// UpgradeBackend raises the feature level when every member knows the next one.
type UpgradeBackend interface {
	// Upgrade needs no leader; without one it says what this agent can find out.
	Upgrade(ctx context.Context) (api.Upgrade, error)
	FinalizeUpgrade(ctx context.Context, w Write) (api.Accepted, error)
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Timeout)
	defer cancel()
	state, err := s.backend.Upgrade(ctx)
	s.backend.Meta().Write(w.Header())
	if err != nil {
		return err
	}
	s.writeJSON(w, r, http.StatusOK, state)
	return nil
}

func (s *Server) finalizeUpgrade(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, decode func(any) error) (api.Accepted, error) {
		var none struct{}
		if err := decode(&none); err != nil {
			return api.Accepted{}, err
		}
		return s.backend.FinalizeUpgrade(ctx, id)
	})
}
