package gossip

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/throttle"
)

// delegate is what memberlist calls. None of its methods blocks: they run inside
// memberlist's receive loop and under its locks.
type delegate struct {
	table    *table
	queue    *memberlist.TransmitLimitedQueue
	meta     atomic.Pointer[[]byte]
	logger   hclog.Logger
	throttle *throttle.Throttle
}

var (
	_ memberlist.Delegate         = (*delegate)(nil)
	_ memberlist.EventDelegate    = (*delegate)(nil)
	_ memberlist.ConflictDelegate = (*delegate)(nil)
	_ memberlist.PingDelegate     = (*delegate)(nil)
)

// NodeMeta returns the encoded Meta of this host.
func (d *delegate) NodeMeta(int) []byte { return *d.meta.Load() }

// NotifyMsg takes a load from another member and passes on what was news.
func (d *delegate) NotifyMsg(b []byte) {
	for _, h := range d.take(b) {
		d.queue.QueueBroadcast(loadBroadcast{host: h.host, message: encodeLoadMessage(h)})
	}
}

// take decodes into values, so nothing keeps memberlist's buffer.
func (d *delegate) take(b []byte) (news []hostLoad) {
	loads, err := decodeMessage(b)
	if err != nil {
		if skipped, say := d.throttle.Allow(time.Now(), "message"); say {
			d.logger.Warn("gossip message ignored", "error", err, "repeated", skipped)
		}
		return nil
	}
	return d.table.merge(loads)
}

// GetBroadcasts returns loads to send along.
func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.queue.GetBroadcasts(overhead, limit)
}

// LocalState returns every load known here, for a full exchange.
func (d *delegate) LocalState(bool) []byte { return encodeState(d.table.allLoads()) }

// MergeRemoteState takes every load known there. It is not passed on: full
// exchanges reach the others as well.
func (d *delegate) MergeRemoteState(b []byte, _ bool) { d.take(b) }

// NotifyJoin records a member that came or came back.
func (d *delegate) NotifyJoin(n *memberlist.Node) {
	d.record(n)
	d.logger.Info("member joined", "host", n.Name, "address", n.Address())
}

// NotifyUpdate records a member's new Meta.
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.record(n) }

func (d *delegate) record(n *memberlist.Node) {
	name, meta, err := decodeMeta(n.Meta)
	if err != nil {
		d.logger.Warn("a member's description cannot be read; it may be of a newer version", "host", n.Name, "error", err)
	}
	d.table.join(fleet.HostID(n.Name), n.Address(), name, meta)
}

// NotifyLeave records a member that died or left.
func (d *delegate) NotifyLeave(n *memberlist.Node) {
	if d.table.leave(fleet.HostID(n.Name)) {
		d.logger.Info("member left", "host", n.Name, "address", n.Address())
		return
	}
	d.logger.Warn("member does not answer and is taken for dead", "host", n.Name, "address", n.Address())
}

// NotifyConflict tells that two hosts use one id.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	subject := fmt.Sprintf("conflict %s %s", existing.Name, other.Address())
	if skipped, say := d.throttle.Allow(time.Now(), subject); say {
		d.logger.Error("two hosts gossip under one id; the second is ignored: if it is a copied machine, give it an id and certificates of its own; if the host changed its address, it is accepted 30 s after the old one is dead",
			"host", existing.Name, "address", existing.Address(), "other", other.Address(), "repeated", skipped)
	}
}

// AckPayload adds nothing to probes.
func (d *delegate) AckPayload() []byte { return nil }

// NotifyPingComplete records that a member answered.
func (d *delegate) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, _ []byte) {
	d.table.answered(fleet.HostID(n.Name), rtt)
}

// loadBroadcast is a load in the queue; a newer one of the same host replaces it.
type loadBroadcast struct {
	host    fleet.HostID
	message []byte
	sent    chan struct{} // closed when done with, if not nil
}

var _ memberlist.NamedBroadcast = loadBroadcast{}

// Name makes the queue replace older loads of the host.
func (b loadBroadcast) Name() string { return string(b.host) }

// Invalidates is the same rule for queues that do not use names.
func (b loadBroadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(loadBroadcast)
	return ok && o.host == b.host
}

// Message is what goes out.
func (b loadBroadcast) Message() []byte { return b.message }

// Finished tells whoever waits that it was sent often enough, or replaced.
func (b loadBroadcast) Finished() {
	if b.sent != nil {
		close(b.sent)
	}
}
