package api

import (
	"context"
	"net/http"
)

// Upgrade says which feature level the cluster is at and which its members know.
// Nothing above the level is written, so that an older version can be put back;
// after finalize it cannot.
type Upgrade struct {
	Level uint64 `json:"level"`
	// Newest is the level that every host that must know it does know; it can
	// be raised to that.
	Newest uint64 `json:"newest"`
	// Ready: Newest is above Level and nothing stands in the way.
	Ready   bool          `json:"ready"`
	Members []UpgradeHost `json:"members"`
	// Obstacles name what keeps the level from being raised, and what to do.
	Obstacles []string `json:"obstacles"`
}

// UpgradeHost is one host's part in an upgrade.
type UpgradeHost struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Voter bool   `json:"voter"`
	// Version and Knows (the newest feature level) are what its agent says;
	// empty and 0 when it does not answer, or is older than the question.
	Version  string `json:"version"`
	Knows    uint64 `json:"knows"`
	Answered bool   `json:"answered"`
	Error    string `json:"error,omitempty"`
}

// Upgrade asks every host's agent what it knows.
func (c *Client) Upgrade(ctx context.Context) (Upgrade, error) {
	state, _, err := get[Upgrade](ctx, c, "/v1/operator/upgrade", nil, QueryOptions{Stale: true})
	return state, err
}

// FinalizeUpgrade raises the cluster to the newest level that its members know.
func (c *Client) FinalizeUpgrade(ctx context.Context) (Accepted, error) {
	return c.write(ctx, http.MethodPost, "/v1/operator/upgrade/finalize", struct{}{})
}
