package simulator

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// Pool makes a fleet of equal hosts for recorded loads of which only percentages
// are known: sizes are drawn, and the hosts are as large as the training part
// asks for.
type Pool struct {
	// Names and Percent of cpu per workload and tick.
	Names   []string
	Percent [][]float64
	Seed    uint64
	// Cores that a workload may have, and how likely each is.
	Cores       []float64
	Probability []float64
	// MemoryPerCore in bytes.
	MemoryPerCore int64
	// PerHost is how many workloads there are per host.
	PerHost int
	// The Quantile of the fleet's total demand over the first Training ticks
	// is the share Fill of all capacity.
	Training       int
	Quantile, Fill float64
	// MemoryRoom is a host's memory as a multiple of the mean need.
	MemoryRoom float64
}

// Build draws the sizes and places the workloads by reservation, the largest
// first, each on the host with the least.
func (p Pool) Build() ([]fleet.Host, []Workload, error) {
	n := len(p.Percent)
	count := int(math.Round(float64(n) / float64(max(p.PerHost, 1))))
	switch {
	case n == 0 || len(p.Names) != n:
		return nil, nil, fmt.Errorf("pool: %d names for %d loads: want one each", len(p.Names), n)
	case count == 0:
		return nil, nil, fmt.Errorf("pool: %d workloads at %d per host are no host", n, p.PerHost)
	case len(p.Cores) == 0 || len(p.Cores) != len(p.Probability):
		return nil, nil, fmt.Errorf("pool: %d sizes with %d probabilities: want as many", len(p.Cores), len(p.Probability))
	case p.Training <= 0 || p.Quantile <= 0 || p.Quantile >= 1 || p.Fill <= 0 || p.MemoryRoom < 1:
		return nil, nil, fmt.Errorf("pool: training %d, quantile %g, fill %g, memory room %g: want positive ones, a quantile below 1 and room of at least 1", p.Training, p.Quantile, p.Fill, p.MemoryRoom)
	}
	random := rand.New(rand.NewPCG(p.Seed, 0x706c61636564))
	workloads := make([]Workload, n)
	total := make([]float64, p.Training)
	memory := int64(0)
	size := make([]float64, n)
	for i, percent := range p.Percent {
		if len(percent) < p.Training {
			return nil, nil, fmt.Errorf("pool: %s has %d ticks: the training part alone has %d", p.Names[i], len(percent), p.Training)
		}
		size[i] = p.draw(random)
		w := &workloads[i]
		w.ID, w.Driver, w.Tolerance = fleet.WorkloadID(p.Names[i]), "recorded", 500
		w.Reservation.Memory = int64(size[i]) * p.MemoryPerCore
		memory += w.Reservation.Memory
		w.Demand = make([]float64, len(percent))
		for t, v := range percent {
			w.Demand[t] = v / 100 * size[i]
			if t < p.Training {
				total[t] += w.Demand[t]
			}
		}
	}
	slices.Sort(total)
	capacity := quantile(total, p.Quantile) / p.Fill / float64(count)
	hosts := make([]fleet.Host, count)
	for h := range hosts {
		name := fmt.Sprintf("host-%02d", h+1)
		hosts[h] = fleet.Host{ID: fleet.HostID(name), Name: name, Zone: "zone-1", Address: fmt.Sprintf("192.0.2.%d:7070", h+1)}
		hosts[h].Capacity = fleet.Vector{CPU: int64(math.Round(capacity * 1000)), Net: fleet.Unknown, Disk: fleet.Unknown}
		hosts[h].Capacity.Memory = int64(p.MemoryRoom * float64(memory) / float64(count))
	}
	order := random.Perm(n)
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(size[b], size[a]) })
	reserved := make([]float64, count)
	for _, w := range order {
		least := 0
		for h := range reserved {
			if reserved[h] < reserved[least] {
				least = h
			}
		}
		workloads[w].Owner = hosts[least].ID
		reserved[least] += size[w]
	}
	return hosts, workloads, nil
}

func (p Pool) draw(random *rand.Rand) float64 {
	total := 0.0
	for _, q := range p.Probability {
		total += q
	}
	at := random.Float64() * total
	for i, q := range p.Probability {
		if at -= q; at < 0 {
			return p.Cores[i]
		}
	}
	return p.Cores[len(p.Cores)-1]
}

// quantile of ascending values, linear between them.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[low] + (sorted[low+1]-sorted[low])*(at-float64(low))
}

// Filled closes gaps of up to limit ticks by straight lines and longer ones with
// the nearest known value; a load without any known value is zero.
func Filled(values []float64, limit int) []float64 {
	out := slices.Clone(values)
	last := -1
	for t := 0; t <= len(out); t++ {
		if t < len(out) && math.IsNaN(out[t]) {
			continue
		}
		for k := last + 1; k < t; k++ {
			switch {
			case last < 0 && t == len(out):
				out[k] = 0
			case last < 0:
				out[k] = out[t]
			case t == len(out):
				out[k] = out[last]
			case k-last <= limit:
				out[k] = out[last] + (values[t]-out[last])*float64(k-last)/float64(t-last)
			default:
				out[k] = out[k-1]
			}
		}
		last = t
	}
	return out
}
