package httpapi

import (
	"context"
	"net/http"

	"github.com/placed-dev/placed/api"
)

// maxBatchBody bounds a batch: 64 operations with the longest names and reasons
// would not fit into an entry of the log either.
const maxBatchBody = 160 << 10

// LeaseBackend changes the books on behalf of an operator or orchestrator.
type LeaseBackend interface {
	// LeaseOperations commits 1 to api.MaxLeaseOperations operations, checked
	// for form, in one entry of the log. Refusals stand in the results.
	LeaseOperations(ctx context.Context, w Write, operations []api.LeaseOperation) (api.LeaseBatch, error)
}

// leaseOperation is a batch of one whose refusal is the answer's status.
func (s *Server) leaseOperation(w http.ResponseWriter, r *http.Request) error {
	read := func(body []byte) ([]api.LeaseOperation, error) {
		operation, ok := readLeaseOperation(body)
		if !ok {
			if err := decodeBytes(body, &operation); err != nil {
				return nil, err
			}
		}
		return []api.LeaseOperation{operation}, nil
	}
	return s.writeLeases(w, r, maxBody, read, func(batch api.LeaseBatch) error {
		if refused := batch.Results[0].Error; refused != nil {
			return refused
		}
		return nil
	})
}

func (s *Server) leaseBatch(w http.ResponseWriter, r *http.Request) error {
	read := func(body []byte) ([]api.LeaseOperation, error) {
		if operations, ok := readLeaseBatch(body); ok {
			return operations, nil
		}
		var request api.LeaseBatchRequest
		err := decodeBytes(body, &request)
		return request.Operations, err
	}
	return s.writeLeases(w, r, maxBatchBody, read, func(api.LeaseBatch) error { return nil })
}

// writeLeases does for lease operations what write does for the others, but logs
// no line for each: an orchestrator makes thousands in a second.
func (s *Server) writeLeases(w http.ResponseWriter, r *http.Request, most int64,
	read func(body []byte) ([]api.LeaseOperation, error), judge func(api.LeaseBatch) error,
) error {
	if err := checkContentType(r); err != nil {
		return err
	}
	id, err := writeID(r)
	if err != nil {
		return err
	}
	body, err := readBounded(w, r, most)
	if err != nil {
		return err
	}
	asked, err := read(body)
	if err != nil {
		return err
	}
	if err := checkLeaseOperations(asked); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Timeout)
	defer cancel()
	batch, err := s.backend.LeaseOperations(ctx, id, asked)
	s.backend.Meta().Write(w.Header())
	if err == nil {
		err = judge(batch)
	}
	if err != nil {
		return err
	}
	s.writeJSON(w, r, http.StatusOK, batch)
	return nil
}

func checkLeaseOperations(operations []api.LeaseOperation) error {
	if n := len(operations); n == 0 || n > api.MaxLeaseOperations {
		return invalid("send several batches", "%d operations: 1 to %d are allowed", n, api.MaxLeaseOperations)
	}
	for i, o := range operations {
		switch {
		case o.Op != "reserve" && o.Op != "release":
			return invalid(`use "reserve" or "release"`, "operation %d: op %.40q is not known", i, o.Op)
		case o.Op == "release" && o.Lease == "":
			return invalid(`add "lease"`, "operation %d: lease is missing", i)
		case o.Op == "release":
		case o.Workload == "" || o.Destination == "":
			return invalid(`add "workload" and "destination"`, "operation %d: a reserve needs a workload and a destination", i)
		case !(o.CPU >= 0 && o.CPU <= 1e9) || o.Memory < 0 || o.CPU == 0 && o.Memory == 0:
			return invalid(`add "cpu" in cores and "memory" in bytes`, "operation %d: workload %.140s reserves %g cores and %d bytes", i, o.Workload, o.CPU, o.Memory)
		}
	}
	return nil
}
