package devfleet

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/trace"
)

// historyRows is the part of every trace that agents may learn from: days 1-21
// at one row per five minutes. What follows is replayed.
const (
	rowsPerDay  = 24 * 60 / 5
	historyRows = 21 * rowsPerDay
)

// capacityQuantile of a host's own demand in the history is its cpu capacity. It
// is fixed by what real fleets look like (a busy host is full 1.5 % of the
// time), not by what makes a demonstration pass.
const capacityQuantile = 0.985

// Blueprint is everything that a seed decides about a fleet: which recorded VM
// each workload replays, how big it is, where it starts, and how big the hosts
// are. It is stored in the data directory, so that a second run resumes the same
// fleet.
type Blueprint struct {
	Version   int        `json:"version"`
	Cluster   string     `json:"cluster"`
	Seed      uint64     `json:"seed"`
	TimeScale float64    `json:"time_scale"`
	Hosts     []Host     `json:"hosts"`
	Workloads []Workload `json:"workloads"`
	// LoadTime is where the load clock stood when the fleet last stopped;
	// Epoch is the load time of the first replayed row.
	LoadTime time.Time `json:"load_time"`
	Epoch    time.Time `json:"epoch"`
	// Running says that the last run has not ended in order: its workloads
	// may live on, by its Clock.
	Running bool            `json:"running"`
	Clock   fleet.LoadClock `json:"clock"`
}

const blueprintVersion = 1

// processMemory is what a sample process takes beyond the state that it serves: hosts
// have it, so that what is used and what is declared can be compared.
const processMemory = 32 << 20

// Host of the blueprint. Capacities are declared: all agents share one machine.
type Host struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Zone   string `json:"zone"`
	IP     string `json:"ip"`
	Voter  bool   `json:"voter"`
	CPU    int64  `json:"cpu_millicores"`
	Memory int64  `json:"memory_bytes"`
}

// Workload of the blueprint.
type Workload struct {
	ID   string `json:"id"`
	Host int    `json:"host"` // index of the host it starts on
	// Column of the trace file it replays; Scale is millicores per percent.
	Column    string  `json:"column"`
	Scale     float64 `json:"scale"`
	Size      int64   `json:"size_bytes"`
	Port      int     `json:"port"`
	Priority  int64   `json:"priority"`
	Tolerance int64   `json:"tolerance"`
	// CPU is the reservation in millicores: the mean of the history.
	CPU int64 `json:"cpu_millicores"`
}

// Shape is what the flags of `placed dev` ask for.
type Shape struct {
	Hosts     int
	Workloads int
	TimeScale float64
	Seed      uint64
	// Cores that all declared capacities sum to.
	Cores float64
}

// maxVoters is how many hosts hold the log; the others are its clients.
const maxVoters = 5

// firstPort is the first workload's stable TCP port.
const firstPort = 21001

// Design draws a fleet from recorded traces. The same shape and traces give the
// same fleet. Only the history part of a trace is looked at.
func Design(shape Shape, traces []trace.Trace, now time.Time) (Blueprint, error) {
	if shape.Hosts < 1 || shape.Hosts > 64 {
		return Blueprint{}, fmt.Errorf("--hosts %d: want 1 to 64", shape.Hosts)
	}
	if shape.Workloads < shape.Hosts || shape.Workloads > 400 {
		return Blueprint{}, fmt.Errorf("--workloads %d: want at least one for each of the %d hosts, at most 400", shape.Workloads, shape.Hosts)
	}
	if !(shape.TimeScale >= 1 && shape.TimeScale <= 3000) {
		return Blueprint{}, fmt.Errorf("--time-scale %g: want 1 to 3000 load seconds per second", shape.TimeScale)
	}
	if !(shape.Cores > 0) {
		return Blueprint{}, fmt.Errorf("--cores %g: want more than 0", shape.Cores)
	}
	for _, t := range traces {
		if len(t.Values) <= historyRows {
			return Blueprint{}, fmt.Errorf("trace %s has %d rows: want more than the %d of its 21 days of history", t.Name, len(t.Values), historyRows)
		}
	}
	if len(traces) == 0 {
		return Blueprint{}, fmt.Errorf("no traces to replay")
	}
	random := rand.New(rand.NewPCG(shape.Seed, 0x706c61636564))
	epoch := now.UTC().Truncate(24 * time.Hour)
	b := Blueprint{Version: blueprintVersion, Cluster: fmt.Sprintf("dev-%08x", random.Uint32()),
		Seed: shape.Seed, TimeScale: shape.TimeScale, Epoch: epoch, LoadTime: epoch}
	voters := shape.Hosts
	if voters > maxVoters {
		voters = maxVoters
	}
	if voters%2 == 0 {
		voters-- // an even voter adds a way to fail and none to survive
	}
	for i := range shape.Hosts {
		b.Hosts = append(b.Hosts, Host{ID: uuid(random), Name: fmt.Sprintf("host-%d", i+1), Zone: fmt.Sprintf("zone-%d", i%3+1),
			Voter: i < voters})
	}
	weights := b.drawWorkloads(shape.Workloads, traces, random)
	b.size(shape.Cores, traces, weights)
	return b, nil
}

// drawWorkloads gives every workload a recorded VM, a weight of 1 to 8 vCPUs, a
// size of 16 to 64 MiB and a first host.
func (b *Blueprint) drawWorkloads(n int, traces []trace.Trace, random *rand.Rand) (weights []float64) {
	order := random.Perm(len(traces))
	vcpus := []float64{1, 2, 2, 4, 4, 8}
	for i := range n {
		b.Workloads = append(b.Workloads, Workload{
			ID:        fmt.Sprintf("web-%02d", i+1),
			Host:      i % len(b.Hosts),
			Column:    traces[order[i%len(order)]].Name,
			Size:      int64(16+16*random.IntN(4)) << 20,
			Port:      firstPort + i,
			Priority:  int64(random.IntN(3)),
			Tolerance: int64(random.IntN(11)) * 100,
		})
		weights = append(weights, vcpus[random.IntN(len(vcpus))])
	}
	return weights
}

// size sets the hosts' capacities and with them the scale of every workload, so
// that the declared capacities sum to the given cores.
func (b *Blueprint) size(cores float64, traces []trace.Trace, weights []float64) {
	byName := map[string][]float64{}
	for _, t := range traces {
		byName[t.Name] = t.Values[:historyRows]
	}
	demand := make([][]float64, len(b.Hosts)) // percent × vCPUs per row
	memory := make([]int64, len(b.Hosts))
	for i, w := range b.Workloads {
		if demand[w.Host] == nil {
			demand[w.Host] = make([]float64, historyRows)
		}
		for row, v := range byName[w.Column] {
			if !math.IsNaN(v) {
				demand[w.Host][row] += v * weights[i]
			}
		}
		memory[w.Host] += w.Size + processMemory
	}
	total := 0.0
	capacity := make([]float64, len(b.Hosts))
	for i, d := range demand {
		slices.Sort(d)
		capacity[i] = d[int(capacityQuantile*float64(len(d)-1))]
		total += capacity[i]
	}
	scale := cores * 1000 / total // millicores per percent of one vCPU
	for i := range b.Hosts {
		b.Hosts[i].CPU = int64(capacity[i] * scale)
		// Room for the host's own workloads and half as much again, and at
		// least for the largest that may come.
		b.Hosts[i].Memory = max(memory[i]*3/2, memory[i]+64<<20)
	}
	for i := range b.Workloads {
		w := &b.Workloads[i]
		w.Scale = scale * weights[i]
		mean := trace.Trace{Values: byName[w.Column]}.Mean()
		w.CPU = int64(mean * w.Scale)
	}
}

// uuid draws a version 4 UUID from the fleet's own seeded source.
func uuid(random *rand.Rand) string {
	a, b := random.Uint64(), random.Uint64()
	a = a&^0xf000 | 0x4000
	b = b&^(0xc000<<48) | 0x8000<<48
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff)
}
