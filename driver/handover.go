package driver

import (
	"context"
	"net"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// States that only a Handover driver shows, by Look. Inventory shows Sending as
// Running or Frozen and Whole as Incoming.
const (
	Sending State = "sending" // an outgoing job is under way: it runs, or is stopped by the job
	Whole   State = "whole"   // arrived, complete and stopped, has never run here
	Off     State = "off"     // defined on this host, without a process
)

// Handover is a Driver whose hypervisor moves a workload's state itself, from
// process to process. The migrator then copies nothing; it opens the way, watches,
// and decides which of the two processes goes on. Every method tells what was
// done, none what it means: who holds the workload is found by Look alone.
type Handover interface {
	Driver
	// Look observes one workload without waiting for its process: ErrNotFound
	// only when the hypervisor does not know it and its process, as it was
	// when a move began, is proved gone.
	Look(ctx context.Context, id fleet.WorkloadID) (Found, error)
	// Send hands the workload over and returns when the hypervisor's part is
	// over, whatever came of it. The end of ctx aborts the job.
	Send(ctx context.Context, id fleet.WorkloadID, way Way) error
	// Await returns when the job that an earlier life began is over; the end
	// of ctx aborts it.
	Await(ctx context.Context, id fleet.WorkloadID, way Way) error
	// Finish ends the copy here, which stands still and will never run again,
	// and returns once its process is proved gone. It fails if the copy runs
	// or has run since it was stopped for the move.
	Finish(ctx context.Context, id fleet.WorkloadID, token fleet.Token) error
	// Keep lets the workload go on here after a move that failed: a copy that
	// stands still runs again, and what was taken from it for the move
	// (autostart) is given back.
	Keep(ctx context.Context, id fleet.WorkloadID, token fleet.Token) error
	// Leave removes what is left here of a workload that runs elsewhere now.
	Leave(ctx context.Context, id fleet.WorkloadID, token fleet.Token) error

	// Expect makes the entrance for a workload under a token; Enter connects
	// to one of its channels; Shut closes it to what is not connected yet.
	Expect(ctx context.Context, spec Spec, token fleet.Token) error
	Enter(ctx context.Context, id fleet.WorkloadID, token fleet.Token, channel string) (net.Conn, error)
	Shut(id fleet.WorkloadID, token fleet.Token)
	// Activate makes what arrived under the token run. It is idempotent.
	Activate(ctx context.Context, id fleet.WorkloadID, token fleet.Token) (Found, error)
	// Discard ends what arrived under the token; it never ran here.
	Discard(ctx context.Context, id fleet.WorkloadID, token fleet.Token) error
}

// Way is how a workload travels.
type Way struct {
	Token fleet.Token
	// To is the destination; Address an IP of it, for a driver that is
	// configured to let the hypervisor connect by itself.
	To      fleet.HostID
	Address string
	// Enter opens one of the driver's channels at the destination, through
	// the agents.
	Enter func(ctx context.Context, channel string) (net.Conn, error)
	// Progress is told how the job goes; it must not block. May be nil.
	Progress func(Progress)
}

// Progress of a job, as the hypervisor reports it.
type Progress struct {
	// Total, Remaining and Sent in bytes; Sent counts every pass.
	Total, Remaining, Sent int64
	// Pass over the memory, DirtyRate in bytes per second, 0 unknown.
	Pass      int
	DirtyRate int64
	// Throttle of the workload's CPUs in percent.
	Throttle int
	// Stopped is set once the hypervisor has stopped the workload.
	Stopped bool
	// Note tells what the driver has just changed to make the job end.
	Note    string
	Elapsed time.Duration
}
