package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/telemetry"
	"github.com/placed-dev/placed/transport"
	"github.com/placed-dev/placed/transport/memnet"
)

// standing is a driver with workloads that only stand there.
type standing struct {
	driver.Driver
	found []driver.Found
}

func (s standing) Inventory(context.Context) ([]driver.Found, error) { return s.found, nil }

// crowd is a fleet of reporters and the voters that hear them, in virtual time:
// agents as they are, without certificates, on a network in memory.
type crowd struct {
	t       *testing.T
	net     *memnet.Network
	replica *fsm.Replica
	hosts   []fleet.Host
	heard   map[fleet.HostID]*controller.Reports // per voter
	drive   func(standing) driver.Driver         // nil: as it is
}

const (
	crowdVoters = 3
	crowdZones  = 4
)

func newCrowd(t *testing.T, n int, link memnet.Link) *crowd {
	t.Helper()
	c := &crowd{t: t, net: memnet.New(1, link), heard: map[fleet.HostID]*controller.Reports{}}
	c.replica = fsm.NewReplica(func(err error) { t.Errorf("the books stop: %v", err) })
	index := uint64(0)
	apply := func(from fleet.HostID, op fsm.Operation) {
		index++
		data, err := fsm.Encode(fsm.Header{ID: fmt.Sprint(index), Proposer: from, At: time.Now(), LoadAt: time.Now()}, op)
		if err != nil {
			t.Fatal(err)
		}
		if result, ok := c.replica.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: data}).(fsm.Result); !ok || result.Refused() != nil {
			t.Fatalf("%T: %+v", op, result)
		}
	}
	for i := range n {
		id := fleet.HostID(fmt.Sprintf("host-%03d", i))
		if i == 0 {
			apply(id, fsm.InitCluster{Cluster: "crowd"})
		}
		h := fleet.Host{ID: id, Name: string(id), Zone: fmt.Sprintf("zone-%d", i%crowdZones), Voter: i < crowdVoters, Address: string(id) + ":7700",
			Capacity: fleet.Vector{CPU: 32000, Memory: 64 << 30, Net: fleet.Unknown, Disk: fleet.Unknown}}
		apply(id, fsm.RegisterHost{Host: h})
		c.hosts = append(c.hosts, h)
		if h.Voter {
			c.heard[id] = controller.NewReports()
		}
	}
	return c
}

// run starts every host and returns what ends them all.
func (c *crowd) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	history, err := telemetry.OpenHistory(telemetry.Config{Path: filepath.Join(c.t.TempDir(), "history.db")})
	if err != nil {
		c.t.Fatal(err)
	}
	var running sync.WaitGroup
	var closers []func()
	for i, h := range c.hosts {
		on := c.net.Boot(string(h.ID))
		clients := peer.NewClient(peer.ClientConfig{Dial: func(ctx context.Context, addr string, _ fleet.HostID) (net.Conn, error) { return on.Dial(ctx, addr) }})
		closers = append(closers, clients.Close)
		if h.Voter {
			closers = append(closers, c.listen(on, &Daemon{self: h.ID, reports: c.heard[h.ID]}, &running))
		}
		r := c.reporter(h, clients, history)
		running.Go(func() {
			time.Sleep(time.Duration(i) * 43 * time.Millisecond) // virtual: they are not started in one instant
			if err := r.Run(ctx); err != nil {
				c.t.Errorf("host %s: %v", h.ID, err)
			}
		})
	}
	return func() {
		cancel()
		for _, end := range closers {
			end()
		}
		running.Wait()
		if err := history.Close(); err != nil {
			c.t.Error(err)
		}
	}
}

// trips are 3 ms to each zone.
func (c *crowd) trips() (out []controller.ZoneTrip) {
	for i := range crowdZones {
		out = append(out, controller.ZoneTrip{Zone: fmt.Sprintf("zone-%d", i), Micros: 3000, Hosts: 1})
	}
	return out
}

// reporter is the one that an agent runs, with its default intervals.
func (c *crowd) reporter(h fleet.Host, clients *peer.Client, history *telemetry.History) *reporter {
	sampler, err := telemetry.NewSampler(telemetry.SamplerConfig{})
	if err != nil {
		c.t.Fatal(err)
	}
	log := hclog.NewNullLogger()
	own := standing{}
	for i := range 20 {
		own.found = append(own.found, driver.Found{State: driver.Running, Spec: driver.Spec{ID: fleet.WorkloadID(fmt.Sprintf("%s-w%d", h.ID, i)), Driver: "standing", Size: 4 << 30}})
	}
	drivers := map[string]driver.Driver{"standing": own}
	if c.drive != nil {
		drivers["standing"] = c.drive(own)
	}
	return &reporter{
		self: h.ID, boot: "b", clock: fleet.LoadClock{Scale: 1}, inventory: &inventory{drivers: drivers, log: log, sick: map[string]bool{}},
		sampler: sampler, ticks: telemetry.NewAccumulator(), series: newSeriesSet(history, log),
		books: &books{self: h.ID, replica: c.replica}, peers: clients, reports: c.heard[h.ID],
		progress:  func() []fleet.Progress { return nil },
		trips:     c.trips,
		intervals: func() (sample, report time.Duration) { return 5 * time.Second, 5 * time.Second },
		log:       log,
	}
}

// listen serves reports as the agent does, to callers that say who they are.
func (c *crowd) listen(on *memnet.Host, d *Daemon, running *sync.WaitGroup) (end func()) {
	listener, err := on.Listen("7700")
	if err != nil {
		c.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var report controller.Report
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ack, err := d.serveReport(r.Context(), transport.Identity{ID: report.Host}, report)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(ack) // the caller may be gone
	})}
	running.Go(func() { _ = server.Serve(listener) }) // it ends with Close
	return func() { _ = server.Close() }
}

// ages reads the reports as passes of a leader do, for a while, and returns how
// old the load of each host but one was, ascending.
func (c *crowd) ages(leader, not fleet.HostID, during time.Duration) []time.Duration {
	c.t.Helper()
	var out []time.Duration
	for until := time.Now().Add(during); time.Now().Before(until); time.Sleep(1017 * time.Millisecond) { // virtual
		var view fleet.View
		c.replica.Read(func(s *fsm.State) { view = s.View() })
		now := time.Now()
		c.heard[leader].Fill(&view, now, 20*time.Second)
		for _, h := range view.Hosts {
			if h.ID != not {
				out = append(out, now.Sub(h.Reported))
			}
		}
		if len(view.Links) != crowdZones*crowdZones || view.Links[1] != (fleet.Link{From: "zone-0", To: "zone-1", LatencyMS: 3}) {
			c.t.Fatalf("the pass sees the ways %+v between %d zones", view.Links, crowdZones)
		}
	}
	slices.SortFunc(out, cmp.Compare)
	return out
}

// TestReportsAreYoung: a leader's pass sees no load older than 6 s (p99) of a
// hundred hosts, over links that lose one transmission in twenty, and not while
// another voter is away either: who does not take reports keeps them from nobody.
// The round-trip times in the reports are there as well.
func TestReportsAreYoung(t *testing.T) {
	n, during := 100, 5*time.Minute
	if testing.Short() {
		n, during = 20, 2*time.Minute
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, n, memnet.Link{Latency: time.Millisecond, Jitter: 4 * time.Millisecond, Loss: 0.05})
		stop := c.run()
		defer stop()
		time.Sleep(20 * time.Second) // virtual: everybody has reported once
		leader, away := c.hosts[0].ID, c.hosts[crowdVoters-1].ID
		check := func(what string, not fleet.HostID) {
			ages := c.ages(leader, not, during)
			p99 := ages[len(ages)*99/100]
			t.Logf("FIGURE reports: %d hosts, 5 %% loss, %s: age at the leader's pass %s (median), %s (p99), %s (oldest of %d); want p99 below 6 s",
				n, what, ages[len(ages)/2].Round(time.Millisecond), p99.Round(time.Millisecond), ages[len(ages)-1].Round(time.Millisecond), len(ages))
			if p99 >= 6*time.Second {
				t.Errorf("%s: reports are %s old (p99)", what, p99)
			}
		}
		check("all voters there", "")
		for _, h := range c.hosts {
			if h.ID != away {
				c.net.Cut(string(h.ID), string(away))
				c.net.Cut(string(away), string(h.ID))
			}
		}
		check("another voter cut off", away)
		c.net.Mend()
		time.Sleep(time.Minute) // virtual
		if ages := c.ages(away, "", 10*time.Second); ages[len(ages)-1] >= 20*time.Second {
			t.Errorf("a voter that is back for a minute has a report of %s ago", ages[len(ages)-1])
		}
	})
}
