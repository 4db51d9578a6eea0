package planner

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/scorer"
)

// board is a fleet in dense tables, for plans of many moves: usage as it is,
// reservations, rules. A move is applied and taken back in a few additions.
//
// Hosts and workloads are known by their place in the lists, both sorted by id.
type board struct {
	hosts []fleet.HostView
	works []fleet.WorkloadView
	kinds []fleet.Resource
	ways  scorer.Ways

	// Per host and kind, at host*len(kinds)+kind. serve is the usage that a
	// host can serve, 0 when nobody declared it; give is what may be reserved,
	// fleet.Unknown when nobody declared it.
	serve, give, used, held []int64
	// Per workload and kind.
	use, want []int64
	// size is what a move of the workload copies, bytes.
	size []int64
	// home is where a workload was at the start, at where it is; -1 = pending.
	home, at []int
	// on lists the workloads of each host in no particular, but reproducible,
	// order; slot is a workload's place in its host's list.
	on   [][]int
	slot []int
	// fixed says why a workload may not move; "" = it may.
	fixed []string
	// closed says why a host takes nothing; "" = it does.
	closed []string
	// silent hosts cannot send anything away.
	silent []bool
	rules  []boundRule
	// ruled lists the hard and soft rules that speak about a workload.
	ruled [][]int
	// choosy workloads have requirements or come over barred links.
	choosy bool
}

func newBoard(view fleet.View, drained map[fleet.HostID]bool) *board {
	b := &board{hosts: slices.Clone(view.Hosts), works: slices.Clone(view.Workloads), ways: scorer.NewWays(view.Links)}
	slices.SortFunc(b.hosts, func(x, y fleet.HostView) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(b.works, func(x, y fleet.WorkloadView) int { return cmp.Compare(x.ID, y.ID) })
	b.kinds = resourceKinds(b.hosts, b.works)
	n, m, r := len(b.hosts), len(b.works), len(b.kinds)
	b.serve, b.give, b.used, b.held = make([]int64, n*r), make([]int64, n*r), make([]int64, n*r), make([]int64, n*r)
	b.use, b.want, b.size = make([]int64, m*r), make([]int64, m*r), make([]int64, m)
	b.home, b.at, b.slot, b.fixed = make([]int, m), make([]int, m), make([]int, m), make([]string, m)
	b.on, b.closed, b.ruled = make([][]int, n), make([]string, n), make([][]int, m)
	b.silent = make([]bool, n)
	index := make(map[fleet.HostID]int, n)
	for h := range b.hosts {
		host := &b.hosts[h]
		index[host.ID] = h
		if drained[host.ID] && host.State == fleet.HostActive {
			host.State = fleet.HostDraining
		}
		if ok, why := scorer.Takes(*host); !ok {
			b.closed[h] = why
		}
		b.silent[h] = host.Liveness != fleet.Alive
		give := host.Allocatable()
		serve := host.Capacity.Sub(host.Reserve)
		for k, kind := range b.kinds {
			at := h*r + k
			b.give[at] = give.Get(kind)
			b.serve[at] = int64(known(serve.Get(kind)))
			b.used[at] = int64(known(host.Foreign.Get(kind)))
			b.held[at] = int64(known(host.Held.Get(kind)))
		}
	}
	for w := range b.works {
		b.addWorkload(w, index)
	}
	for _, l := range view.Leases {
		if w, found := slices.BinarySearchFunc(b.works, l.Workload, func(x fleet.WorkloadView, id fleet.WorkloadID) int { return cmp.Compare(x.ID, id) }); found && l.Active() {
			b.fixed[w] = fmt.Sprintf("lease %s (%s) holds it", l.ID, l.State)
		}
	}
	b.bindRules(view.Rules, index)
	b.choosy = b.ways.Barred() || slices.ContainsFunc(b.works, func(w fleet.WorkloadView) bool { return !w.Requires.IsZero() })
	return b
}

func (b *board) addWorkload(w int, index map[fleet.HostID]int) {
	work := &b.works[w]
	for k, kind := range b.kinds {
		b.use[w*len(b.kinds)+k] = int64(known(work.Usage.Get(kind)))
		b.want[w*len(b.kinds)+k] = int64(known(work.Reservation.Get(kind)))
	}
	b.size[w] = work.Size
	if b.size[w] <= 0 {
		b.size[w] = int64(known(work.Reservation.Memory))
	}
	if ok, why := work.Movable(); !ok {
		b.fixed[w] = why
	}
	b.home[w], b.at[w] = -1, -1
	h, ok := index[work.Owner]
	if !ok {
		return
	}
	b.home[w], b.at[w] = h, h
	b.slot[w] = len(b.on[h])
	b.on[h] = append(b.on[h], w)
	for k := range b.kinds {
		b.used[h*len(b.kinds)+k] += b.use[w*len(b.kinds)+k]
	}
	if b.hosts[h].Liveness != fleet.Alive {
		b.fixed[w] = fmt.Sprintf("its host %s is %s and cannot send it away: bring its agent back", b.hostName(h), b.hosts[h].Liveness)
	}
}

// resourceKinds are the built-in resources and the custom ones in use, by name.
func resourceKinds(hosts []fleet.HostView, works []fleet.WorkloadView) []fleet.Resource {
	builtIn := fleet.Resources()
	kinds := builtIn[:]
	custom := map[fleet.Resource]bool{}
	for _, h := range hosts {
		for _, a := range h.Capacity.Named {
			custom[a.Name] = true
		}
	}
	for _, w := range works {
		for _, v := range []fleet.Vector{w.Reservation, w.Usage} {
			for _, a := range v.Named {
				custom[a.Name] = true
			}
		}
	}
	var names []fleet.Resource
	for name := range custom {
		names = append(names, name)
	}
	slices.Sort(names)
	return append(slices.Clone(kinds), names...)
}

// The places of the built-in resources in kinds.
const (
	kindCPU    = 0
	kindMemory = 1
)

func (b *board) hostName(h int) string { return cmp.Or(b.hosts[h].Name, string(b.hosts[h].ID)) }

// put moves a workload to a host, or off all of them (-1).
func (b *board) put(w, to int) {
	r := len(b.kinds)
	if from := b.at[w]; from >= 0 {
		list := b.on[from]
		last := list[len(list)-1]
		list[b.slot[w]], b.slot[last] = last, b.slot[w]
		b.on[from] = list[:len(list)-1]
		for k := range r {
			b.used[from*r+k] -= b.use[w*r+k]
			b.held[from*r+k] -= b.want[w*r+k]
		}
		b.countRules(w, from, -1)
	}
	b.at[w] = to
	if to >= 0 {
		b.slot[w] = len(b.on[to])
		b.on[to] = append(b.on[to], w)
		for k := range r {
			b.used[to*r+k] += b.use[w*r+k]
			b.held[to*r+k] += b.want[w*r+k]
		}
		b.countRules(w, to, 1)
	}
}

// fits says whether the reservation of the workload fits into what the host may
// still give. A resource that is short already may be given no more of.
func (b *board) fits(w, to int) bool {
	r := len(b.kinds)
	want, give, held := b.want[w*r:w*r+r], b.give[to*r:to*r+r], b.held[to*r:to*r+r]
	for k, amount := range want {
		if amount > 0 && give[k] != fleet.Unknown && held[k]+amount > give[k] {
			return false
		}
	}
	return true
}

// may says whether the workload may go to the host now: everything but the load.
func (b *board) may(w, to int) bool {
	if b.closed[to] != "" || b.at[w] == to || !b.fits(w, to) || len(b.ruled[w]) > 0 && b.breaks(w, to) != nil {
		return false
	}
	if !b.choosy {
		return true
	}
	ok, _ := b.compatible(w, to)
	return ok
}

// compatible judges the way from where the workload is on the board, and the one
// from its home: a search takes it off the board or moves it twice, and what it
// will do in the end is to go from home to its last place.
func (b *board) compatible(w, to int) (bool, string) {
	ok, why := b.wayFrom(b.at[w], w, to)
	if ok && b.home[w] != b.at[w] && b.home[w] >= 0 && b.home[w] != to {
		ok, why = b.wayFrom(b.home[w], w, to)
	}
	return ok, why
}

func (b *board) wayFrom(at, w, to int) (bool, string) {
	var from *fleet.Host
	if at >= 0 {
		from = &b.hosts[at].Host
	}
	return scorer.Compatible(b.works[w], from, b.hosts[to], b.ways)
}

// why says what keeps the workload from the host; "" when nothing does.
func (b *board) why(w, to int) string {
	if b.closed[to] != "" {
		return b.closed[to]
	}
	if b.at[w] == to {
		return "the workload runs there already"
	}
	if ok, why := b.compatible(w, to); !ok {
		return why
	}
	if rule := b.breaks(w, to); rule != nil {
		return "it would break the hard " + rule.String()
	}
	r := len(b.kinds)
	for k, kind := range b.kinds {
		amount, give, held := b.want[w*r+k], b.give[to*r+k], b.held[to*r+k]
		if amount > 0 && give != fleet.Unknown && held+amount > give {
			return fmt.Sprintf("the reservation of %s %s does not fit: %s are free of %s", fleet.FormatAmount(kind, amount), kind,
				fleet.FormatAmount(kind, max(give-held, 0)), fleet.FormatAmount(kind, give))
		}
	}
	return ""
}

// load is the usage of a kind by what the host can serve; 0 when undeclared.
func (b *board) load(h, kind int) float64 {
	at := h*len(b.kinds) + kind
	if b.serve[at] <= 0 {
		return 0
	}
	return float64(b.used[at]) / float64(b.serve[at])
}

// picture sums the fleet up; limits say what counts as overloaded.
func (b *board) picture(limits limits) Picture {
	var p Picture
	for h := range b.hosts {
		p.MaxCPU, p.MaxMemory = max(p.MaxCPU, b.load(h, kindCPU)), max(p.MaxMemory, b.load(h, kindMemory))
		if degree, _ := limits.degree(b, h); degree > 1 {
			p.Overloaded++
		}
	}
	return p
}

// limits are the usages per host and kind above which a host counts as
// overloaded; 0 = none.
type limits []int64

// newLimits are the ceiling, in thousandths, of what is served, except for
// memory: memory at 90 % is well used and hurts nobody, memory above what there
// is does.
func newLimits(b *board, ceiling int64) limits {
	out := make(limits, len(b.serve))
	for i, serve := range b.serve {
		if i%len(b.kinds) == kindMemory {
			out[i] = serve
		} else {
			out[i] = mulDiv(serve, ceiling, 1000)
		}
	}
	return out
}

// degree is the usage of the kind that is worst off, by its limit: above 1 the
// host is overloaded. Reservations above what may be given count like usage.
func (l limits) degree(b *board, h int) (worst float64, kind int) {
	r := len(b.kinds)
	for k := range r {
		at := h*r + k
		share := 0.0
		if l[at] > 0 {
			share = float64(b.used[at]) / float64(l[at])
		}
		if k == kindMemory && b.give[at] > 0 && b.held[at] > b.give[at] {
			share = max(share, float64(b.held[at])/float64(b.give[at]))
		}
		if share > worst {
			worst, kind = share, k
		}
	}
	return worst, kind
}

// with is the degree of a host with a workload more on it.
func (l limits) with(b *board, h, w int) float64 {
	r := len(b.kinds)
	worst := 0.0
	for k := range r {
		if at := h*r + k; l[at] > 0 {
			worst = max(worst, float64(b.used[at]+b.use[w*r+k])/float64(l[at]))
		}
	}
	return worst
}

// without is the degree of a host with a workload less on it.
func (l limits) without(b *board, h, w int) float64 {
	r := len(b.kinds)
	worst := 0.0
	for k := range r {
		if at := h*r + k; l[at] > 0 {
			worst = max(worst, float64(b.used[at]-b.use[w*r+k])/float64(l[at]))
		}
	}
	return worst
}

func mulDiv(a, f, d int64) int64 { return a/d*f + a%d*f/d }
