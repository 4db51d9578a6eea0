package fsm

import (
	"errors"
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// Code says in one word why a command was refused.
type Code string

// Codes of refusals; part of the API and of the replicated results.
const (
	CodeCapacity   Code = "capacity"
	CodeLeaseHeld  Code = "lease_held"
	CodeStaleToken Code = "stale_token"
	CodeRule       Code = "rule"
	CodeState      Code = "state"
	CodeNotFound   Code = "not_found"
	CodeProposer   Code = "proposer"
	CodePaused     Code = "paused"
	CodeLevel      Code = "feature_level"
)

// Sentinels for errors.Is on a *Refusal.
var (
	ErrCapacity   = errors.New("not enough capacity")
	ErrLeaseHeld  = errors.New("the workload has an active lease")
	ErrStaleToken = errors.New("stale token")
	ErrRule       = errors.New("against a rule")
	ErrState      = errors.New("not possible in this state")
	ErrNotFound   = errors.New("not in the books")
	ErrProposer   = errors.New("not for this proposer to say")
	ErrPaused     = errors.New("moves are paused")
	ErrLevel      = errors.New("above the cluster's feature level")
)

var sentinels = map[Code]error{
	CodeCapacity: ErrCapacity, CodeLeaseHeld: ErrLeaseHeld, CodeStaleToken: ErrStaleToken, CodeRule: ErrRule,
	CodeState: ErrState, CodeNotFound: ErrNotFound, CodeProposer: ErrProposer, CodePaused: ErrPaused,
	CodeLevel: ErrLevel,
}

// Refusal is why one operation changed nothing, with the figures an operator
// needs. Want and Free are in the base unit of Resource and set for
// CodeCapacity only; Holders are the leases that hold capacity there, or the
// lease that is in the way. Rule is the id of the hard rule that forbids it.
type Refusal struct {
	Code     Code             `json:"code"`
	Host     fleet.HostID     `json:"host,omitempty"`
	Workload fleet.WorkloadID `json:"workload,omitempty"`
	Lease    fleet.LeaseID    `json:"lease,omitempty"`
	Resource fleet.Resource   `json:"resource,omitempty"`
	Want     int64            `json:"want,omitempty"`
	Free     int64            `json:"free,omitempty"`
	Message  string           `json:"message"`
	Holders  []fleet.LeaseID  `json:"holders,omitempty"`
	Rule     string           `json:"rule,omitempty"`
}

func (r *Refusal) Error() string { return r.Message }

// Is makes errors.Is(err, ErrCapacity) and the like work.
func (r *Refusal) Is(target error) bool { return sentinels[r.Code] == target }

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (c *coder) refusal(r *Refusal) {
	c.message(func() {
		str(c, &r.Code)
		str(c, &r.Host)
		str(c, &r.Workload)
		str(c, &r.Lease)
		str(c, &r.Resource)
		c.int(&r.Want)
		c.int(&r.Free)
		str(c, &r.Message)
		list(c, &r.Holders, func(l *fleet.LeaseID) { str(c, l) })
		c.late(r.Rule != "", func() { str(c, &r.Rule) })
	})
}
