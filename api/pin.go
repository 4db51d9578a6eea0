package api

import (
	"context"
	"net/http"
)

// PinRequest keeps a workload where it is (Pinned true), or lets it move again. A
// pin binds passes, drains and requests alike: to move the workload, unpin it.
type PinRequest struct {
	Workload string `json:"workload"`
	Pinned   *bool  `json:"pinned"`
}

// Pin keeps a workload where it is, or lets it move again.
func (c *Client) Pin(ctx context.Context, workload string, pinned bool) (Accepted, error) {
	return c.write(ctx, http.MethodPost, "/v1/pin", PinRequest{Workload: workload, Pinned: &pinned})
}
