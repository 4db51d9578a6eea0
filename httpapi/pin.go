package httpapi

import (
	"context"
	"net/http"

	"github.com/placed-dev/placed/api"
)

// pin keeps a workload where it is, or lets it move again. Which of the two must
// be said: an empty body is more likely a mistake than a wish.
func (s *Server) pin(w http.ResponseWriter, r *http.Request) error {
	return s.write(w, r, func(ctx context.Context, id Write, decode func(any) error) (api.Accepted, error) {
		var request api.PinRequest
		if err := decode(&request); err != nil {
			return api.Accepted{}, err
		}
		switch {
		case request.Workload == "":
			return api.Accepted{}, invalid(`add "workload"`, "pin: workload is missing")
		case request.Pinned == nil:
			return api.Accepted{}, invalid(`send "pinned": true or false`, "pin of %s: pinned is missing", request.Workload)
		}
		return s.backend.Pin(ctx, id, request.Workload, *request.Pinned)
	})
}
