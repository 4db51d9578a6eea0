package daemon

import (
	"context"
	"time"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/predictor"
)

// train runs the trainer. It is a part of its own, and not of the leader's loop, so
// that a term ends at once.
func (d *Daemon) train(ctx context.Context) error { return d.trainer.Run(ctx) }

// askExamples asks a host for rows of a workload's history.
func (d *Daemon) askExamples(ctx context.Context, host fleet.Host, of fleet.WorkloadID, l predictor.Lesson) ([]predictor.Example, error) {
	if host.ID == d.self {
		return d.series.examples(of, l), nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	answer, err := peer.Call[lessonRequest, lessonAnswer](ctx, d.peers, addressOf(host), callExamples, lessonRequest{of, l}, peer.MaxAnswer(8<<20))
	if err != nil {
		return nil, err
	}
	return predictor.DecodeExamples(answer.Examples)
}

// answer notes what a report describes; the leader says what category follows.
func (d *Daemon) answer(r controller.Report) (members map[fleet.WorkloadID]predictor.Membership) {
	if d.categories == nil {
		return nil // only the transport of reports has been built
	}
	d.categories.Hear(r)
	if d.controller.Leading() {
		d.books.Read(func(s *fsm.State) {
			members = d.categories.Members(r, func(id fleet.WorkloadID) predictor.Membership { return membershipIn(s, id) })
		})
	}
	return members
}
