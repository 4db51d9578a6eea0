package daemon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/httpapi"
	"github.com/placed-dev/placed/transport"
)

// leaseBatch carries the operations of an operator from a host without the log
// to a voter: what is granted, a voter says.
type leaseBatch struct {
	Write      httpapi.Write        `json:"write"`
	Operations []api.LeaseOperation `json:"operations"`
}

// LeaseOperations commits reserves and releases in one entry.
func (b backend) LeaseOperations(ctx context.Context, w httpapi.Write, operations []api.LeaseOperation) (api.LeaseBatch, error) {
	if b.d.node == nil {
		batch, err := callLeader[leaseBatch, api.LeaseBatch](ctx, b.d.books, callLeases, leaseBatch{Write: w, Operations: operations})
		return batch, asHTTP(err)
	}
	ops, err := b.leaseOperations(operations)
	if err != nil {
		return api.LeaseBatch{}, err
	}
	result, err := b.d.books.ProposeAs(ctx, "api:"+w.ID, ops...)
	if err != nil {
		return api.LeaseBatch{}, asHTTP(err)
	}
	return leaseBatchOf(result), nil
}

// leaseOperations looks at the books once for all of them: a reader waits for the
// entries that are being applied.
func (b backend) leaseOperations(operations []api.LeaseOperation) (ops []fsm.Operation, err error) {
	ops = make([]fsm.Operation, len(operations))
	b.d.replica.Read(func(s *fsm.State) {
		for i, o := range operations {
			if l, known := s.Lease(fleet.LeaseID(o.Lease)); o.Op == "release" && known && l.Kind == fleet.LeaseStandby {
				// Its copy is discarded first; until then its room stays taken.
				ops[i] = fsm.Abort{Lease: l.ID, Reason: o.Reason}
				continue
			}
			if o.Op == "release" {
				ops[i] = fsm.Release{Lease: fleet.LeaseID(o.Lease), Reason: o.Reason}
				continue
			}
			destination, known := bookedHost(s, o.Destination)
			if !known && err == nil {
				err = httpapi.WithHint(fmt.Errorf("host %s: %w", o.Destination, httpapi.ErrNotFound), "`placed host list` shows the hosts")
			}
			ops[i] = fsm.Grant{Workload: fleet.WorkloadID(o.Workload), Destination: destination, Kind: fleet.LeasePlacement, Type: fleet.Requested,
				Reason: o.Reason, Reservation: fleet.Vector{CPU: int64(math.Ceil(o.CPU * 1000)), Memory: o.Memory}}
		}
	})
	return ops, err
}

// bookedHost finds a host of the books by id or name.
func bookedHost(s *fsm.State, text string) (fleet.HostID, bool) {
	if h, ok := s.Host(fleet.HostID(text)); ok {
		return h.ID, true
	}
	for _, h := range s.Hosts() {
		if h.Name == text {
			return h.ID, true
		}
	}
	return "", false
}

func leaseBatchOf(result fsm.Result) api.LeaseBatch {
	out := api.LeaseBatch{Index: result.Index, Replayed: result.Replayed, Results: make([]api.LeaseResult, len(result.Ops))}
	for i, op := range result.Ops {
		r := &out.Results[i]
		if op.Lease != nil {
			r.Lease, r.State = string(op.Lease.ID), op.Lease.State.String()
			if op.Lease.Token.Index == result.Index {
				out.Token = api.Token{Cluster: op.Lease.Token.Cluster, Generation: op.Lease.Token.Generation, Index: op.Lease.Token.Index}
			}
		}
		if op.Err != nil {
			r.Error = httpapi.ErrorOf(asHTTP(op.Err))
		}
	}
	return out
}

func (d *Daemon) serveLeases(ctx context.Context, _ transport.Identity, r leaseBatch) (api.LeaseBatch, error) {
	if d.node == nil {
		return api.LeaseBatch{}, notLeader{}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	batch, err := backend{d}.LeaseOperations(ctx, r.Write, r.Operations)
	if errors.Is(err, httpapi.ErrNoLeader) {
		return batch, notLeader{}
	}
	return batch, err
}
