package fsm

import (
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// resultLog remembers the results of recent entries by idempotency id. Whoever
// does not know whether a proposal was applied proposes it again under the same
// id, within maxResultAge.
type resultLog struct {
	ring[*storedResult]
	byID map[string]*storedResult
}

type storedResult struct {
	id      string
	index   uint64
	at      time.Time // the state's wall time
	content uint32
	ops     []OpResult
}

func (r *storedResult) weigh() int { return 1 + len(r.ops) }

func (l *resultLog) remember(r *storedResult) {
	l.byID[r.id] = r
	l.items = append(l.items, r)
	l.weight += r.weigh()
	for len(l.items) > maxResults || l.weight > maxResultWeight {
		l.dropOldest()
	}
}

func (l *resultLog) forget(now time.Time) {
	for len(l.items) > 0 && now.Sub(l.items[0].at) > maxResultAge {
		l.dropOldest()
	}
}

func (l *resultLog) dropOldest() {
	delete(l.byID, l.drop((*storedResult).weigh).id)
}

// replay answers an entry whose id was used before.
func (r *storedResult) replay(d decoded) Result {
	if r.content == d.content {
		return Result{Index: r.index, Ops: r.ops, Replayed: true}
	}
	out := Result{Index: r.index, Replayed: true, Ops: make([]OpResult, len(d.ops))}
	for i := range out.Ops {
		out.Ops[i].Err = refuse(CodeRule, "idempotency id %s was used for other operations at index %d: use a new id", r.id, r.index)
	}
	return out
}

// own returns the result with leases and refusals that its reader may change.
func (r Result) own() Result {
	r.Ops = cloneResults(r.Ops)
	return r
}

// cloneResults protects the remembered results from their readers.
func cloneResults(ops []OpResult) []OpResult {
	out := slices.Clone(ops)
	for i := range out {
		if l := out[i].Lease; l != nil {
			clone := *l
			out[i].Lease = &clone
		}
		if r := out[i].Err; r != nil {
			clone := *r
			clone.Holders = slices.Clone(r.Holders)
			out[i].Err = &clone
		}
	}
	return out
}

func (c *coder) result(r *storedResult) {
	c.message(func() {
		str(c, &r.id)
		c.uint(&r.index)
		c.time(&r.at)
		content := uint64(r.content)
		c.uint(&content)
		if c.reading {
			r.content = uint32(content)
		}
		list(c, &r.ops, func(o *OpResult) {
			c.message(func() {
				optional(c, &o.Err, c.refusal)
				optional(c, &o.Lease, func(l *fleet.Lease) { c.lease(l) })
				c.bool(&o.Skipped)
			})
		})
	})
}
