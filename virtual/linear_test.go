package virtual

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// step is one operation on the books of one host, as Porcupine sees it. What it
// did follows from its answer: a grant that was accepted added a workload, a
// refusal for want of capacity saw so much free, an end of a lease took one away.
type step struct {
	host     fleet.HostID
	kind     stepKind
	workload fleet.WorkloadID
	memory   int64 // of the workload
	free     int64 // as the refusal says
	books    books // as the read says
}

type stepKind uint8

const (
	add stepKind = iota
	remove
	short
	look
)

func (s step) String() string {
	switch s.kind {
	case add:
		return fmt.Sprintf("%s: + %s %d", s.host, s.workload, s.memory)
	case remove:
		return fmt.Sprintf("%s: - %s", s.host, s.workload)
	case short:
		return fmt.Sprintf("%s: no room for %s %d, %d free", s.host, s.workload, s.memory, s.free)
	}
	return fmt.Sprintf("%s: holds %v", s.host, s.books)
}

// model is the bookkeeping of one host: linearizable operations must agree with
// some order in which each takes effect between its call and its return.
func model(initial map[fleet.HostID]books) porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byHost := map[fleet.HostID][]porcupine.Operation{}
			for _, op := range all {
				h := op.Input.(step).host
				byHost[h] = append(byHost[h], op)
			}
			var out [][]porcupine.Operation
			for _, ops := range byHost {
				out = append(out, ops)
			}
			return out
		},
		Init: func() any { return books(nil) },
		Step: func(state, input, _ any) (bool, any) {
			b, s := state.(books), input.(step)
			if b == nil {
				b = initial[s.host]
			}
			switch s.kind {
			case add:
				return !b.has(s.workload) && b.sum()+s.memory <= roomPerHost, b.with(held{s.workload, s.memory})
			case remove:
				return true, b.without(s.workload)
			case short:
				return b.sum()+s.memory > roomPerHost && s.free == roomPerHost-b.sum(), b
			}
			return slices.Equal(b, s.books), b
		},
		Equal: func(a, b any) bool { return slices.Equal(a.(books), b.(books)) },
		Hash: func(state any) uint64 {
			var sum uint64
			for _, h := range state.(books) {
				sum = sum*31 + digest([]byte(h.Workload))
			}
			return sum
		},
		DescribeOperation: func(input, _ any) string { return input.(step).String() },
	}
}

// operations are the history of every host. An entry without an answer counts
// from its call on, for ever, if it took effect; otherwise it never was.
func (h *history) operations() []porcupine.Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []porcupine.Operation
	clients := map[string]int{}
	client := func(name string) int {
		if _, ok := clients[name]; !ok {
			clients[name] = len(clients)
		}
		return clients[name]
	}
	for _, r := range h.reads {
		out = append(out, porcupine.Operation{ClientId: client(r.Client), Input: step{host: r.Host, kind: look, books: r.Books}, Call: r.Call, Return: r.Return})
	}
	for _, p := range h.proposals {
		result, end := p.Result, p.Return
		if p.Outcome == unknown {
			if r, ok := h.judge.result(p.ID); ok {
				result, end = &r, math.MaxInt64
			}
		}
		if result == nil {
			continue
		}
		for i, op := range p.ops {
			if i >= len(result.Ops) {
				break
			}
			for _, s := range effects(result.Index, p.From, op, result.Ops[i]) {
				if s.kind == short && len(p.ops) > 1 {
					continue // what it saw free counts the grants beside it
				}
				out = append(out, porcupine.Operation{ClientId: client(p.Client), Input: s, Call: p.Call, Return: end})
			}
		}
	}
	return out
}

// effects of one host's operation on the books of hosts, from its answer.
func effects(index uint64, from fleet.HostID, op fsm.Operation, r fsm.OpResult) []step {
	grant, isGrant := op.(fsm.Grant)
	switch {
	case isGrant && r.Err == nil && r.Lease != nil:
		return []step{{host: grant.Destination, kind: add, workload: grant.Workload, memory: r.Lease.Reservation.Memory}}
	case isGrant && r.Err != nil && r.Err.Code == fsm.CodeCapacity && r.Err.Resource == fleet.Memory:
		return []step{{host: grant.Destination, kind: short, workload: grant.Workload, memory: r.Err.Want, free: r.Err.Free}}
	case r.Err != nil || isGrant:
		return nil
	}
	if o, ok := op.(fsm.DeregisterWorkload); ok {
		return []step{{host: from, kind: remove, workload: o.Workload}}
	}
	l := r.Lease
	if l == nil || l.Changed != index || !ended(*l) {
		return nil // it changed nothing, or nobody holds more or less
	}
	if l.State == fleet.Released {
		if l.Kind == fleet.LeasePlacement {
			return nil
		}
		return []step{{host: l.Source, kind: remove, workload: l.Workload}}
	}
	return []step{{host: l.Destination, kind: remove, workload: l.Workload}}
}

// linearizable runs Porcupine, within the wall time.
func (h *history) linearizable(initial map[fleet.HostID]books, limit time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model(initial), h.operations(), limit)
}
