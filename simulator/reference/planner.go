package reference

import (
	"cmp"
	"slices"
)

// move is one entry of a plan. A machine may be in it twice.
type move struct {
	vm *vm
	to *host
}

// plan is a host as the plan being made would leave it.
type plan struct {
	vms              []*vm
	allocated, free  float64 // MIPS
	demand, ram, big float64 // MIPS; MB, and of the largest machine
	sum              []float64
	over             bool // taken as a source of overload in this plan
	noSource         bool
	noTarget         bool
}

// begin copies the present state into the plan.
func (w *world) begin() {
	for _, v := range w.vms {
		v.vectors = [len(classes)][]float64{}
	}
	for _, h := range w.hosts {
		h.plan = plan{sum: h.plan.sum[:0], vms: append(h.plan.vms[:0], h.vms...)}
		w.recount(h)
	}
}

// recount shares the host's MIPS in the plan among its machines, in their order:
// what is allocated is the sum of what each one gets, never the total minus what
// is free, which may differ in the last bit.
func (w *world) recount(h *host) {
	p := &h.plan
	p.free, p.demand, p.ram, p.big = h.total, 0, 0, 0
	required, overflow := 0.0, false
	p.sum = p.sum[:0]
	for _, v := range p.vms {
		r := min(v.demand, h.mips)
		required += r
		p.demand += v.demand
		p.ram += v.ram
		p.big = max(p.big, v.ram)
		p.sum = accumulate(p.sum, w.vector(v, h.kind))
		v.simulated = r
		if overflow || p.free < r {
			overflow = true
			continue
		}
		p.free -= r
	}
	if overflow {
		p.free = 0
		share := h.total / required
		for _, v := range p.vms {
			v.simulated = floor(min(v.demand, h.mips) * share)
		}
	}
	p.allocated = 0
	for _, v := range p.vms {
		p.allocated += v.simulated
	}
}

// add puts a machine that fits onto the host in the plan.
func (w *world) add(h *host, v *vm) {
	p := &h.plan
	r := min(v.demand, h.mips)
	p.vms = append(p.vms, v)
	p.free -= r
	p.allocated += r
	p.demand += v.demand
	p.ram += v.ram
	p.big = max(p.big, v.ram)
	p.sum = accumulate(p.sum, w.vector(v, h.kind))
}

// remove takes a machine from the host in the plan.
func (w *world) remove(h *host, v *vm) {
	h.plan.vms = slices.DeleteFunc(h.plan.vms, func(o *vm) bool { return o == v })
	w.recount(h)
}

func accumulate(sum, more []float64) []float64 {
	for len(sum) < len(more) {
		sum = append(sum, 0)
	}
	for i, x := range more {
		sum[i] += x
	}
	return sum
}

// vector is what the detector wants summed over a host's machines.
func (w *world) vector(v *vm, kind int) []float64 {
	if w.detector == nil {
		return nil
	}
	if v.vectors[kind] == nil {
		v.vectors[kind] = w.detector.vector(w, v, &classes[kind])
	}
	return v.vectors[kind]
}

// over asks the detector about a host as the plan leaves it.
func (w *world) over(h *host) bool {
	p := &h.plan
	return w.detector.over(load{total: h.total, demand: p.demand, sum: p.sum, largest: p.big})
}

// overWith asks it with one machine more.
func (w *world) overWith(h *host, v *vm, scratch *[]float64) bool {
	p := &h.plan
	*scratch = accumulate(append((*scratch)[:0], p.sum...), w.vector(v, h.kind))
	return w.detector.over(load{total: h.total, demand: p.demand + v.demand, sum: *scratch, largest: max(p.big, v.ram)})
}

// planMoves makes the plan of this instant.
func (w *world) planMoves() ([]move, error) {
	if w.planner != nil {
		return w.foreignPlan()
	}
	w.detector.observe(w)
	w.begin()
	var taken []*vm
	for _, h := range w.hosts {
		h.plan.over = w.over(h)
	}
	for _, h := range w.hosts {
		if !h.plan.over {
			continue
		}
		h.plan.noSource, h.plan.noTarget = true, true
		for v := smallest(h); v != nil; v = smallest(h) {
			taken = append(taken, v)
			w.remove(h, v)
			if !w.over(h) {
				break
			}
		}
	}
	slices.SortStableFunc(taken, func(a, b *vm) int { return cmp.Compare(b.demand, a.demand) })
	var moves []move
	for _, v := range taken {
		if to := w.find(v); to != nil {
			w.add(to, v)
			moves = append(moves, move{v, to})
		}
	}
	return append(moves, w.empty()...), nil
}

// smallest returns the machine with the least memory, the first of equals.
func smallest(h *host) *vm {
	var least *vm
	for _, v := range h.plan.vms {
		if least == nil || v.ram < least.ram {
			least = v
		}
	}
	return least
}

// find returns the host on which the machine raises the power least.
func (w *world) find(v *vm) *host {
	var best *host
	least := 0.0
	var scratch []float64
	for _, h := range w.hosts {
		p := &h.plan
		if p.noTarget || h.mips < v.demand || p.free < v.demand {
			continue
		}
		if w.rules.EnforceRAM && w.rules.HostRAM-p.ram < v.ram {
			continue
		}
		more := h.power(w.clamp((p.allocated+v.demand)/h.total)) - h.power(w.clamp(h.used/h.total))
		if best != nil && more >= least {
			continue // it could not win: the test may be spared
		}
		// A host whose machines all idle counts as an empty one here.
		if p.allocated != 0 && w.overWith(h, v, &scratch) {
			continue
		}
		best, least = h, more
	}
	return best
}

// empty tries to switch hosts off, the least used first.
func (w *world) empty() []move {
	var all []move
	for _, h := range w.hosts {
		if h.used == 0 {
			h.plan.noSource, h.plan.noTarget = true, true
		}
	}
	for {
		var source *host
		least := 1.0
		for _, h := range w.hosts {
			if u := h.utilisation(); !h.plan.noSource && u > 0 && u < least {
				source, least = h, u
			}
		}
		if source == nil {
			return all
		}
		source.plan.noSource, source.plan.noTarget = true, true
		moves := w.evacuate(source)
		for _, m := range moves {
			m.to.plan.noSource = true
		}
		all = append(all, moves...)
	}
}

// evacuate finds a place for every machine of the host, or for none.
func (w *world) evacuate(h *host) []move {
	leaving := slices.Clone(h.plan.vms)
	slices.SortStableFunc(leaving, func(a, b *vm) int { return cmp.Compare(b.demand, a.demand) })
	var moves []move
	for _, v := range leaving {
		to := w.find(v)
		if to == nil {
			for _, m := range moves {
				w.remove(m.to, m.vm)
			}
			return nil
		}
		w.add(to, v)
		moves = append(moves, move{v, to})
	}
	return moves
}
