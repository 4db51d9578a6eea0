package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/consensus"
	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/driver/libvirt"
	"github.com/placed-dev/placed/driver/region"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/gossip"
	"github.com/placed-dev/placed/httpapi"
	"github.com/placed-dev/placed/migrator"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/predictor"
	"github.com/placed-dev/placed/telemetry"
	"github.com/placed-dev/placed/traffic"
	"github.com/placed-dev/placed/transport"
)

// Daemon is one agent.
type Daemon struct {
	cfg   Config
	self  fleet.HostID
	clock fleet.LoadClock
	log   hclog.Logger

	transport  *transport.Transport
	peers      *peer.Client
	server     *peer.Server
	replica    *fsm.Replica
	node       *consensus.Node // nil without the log
	mirror     *mirror         // nil with the log
	books      *books
	gossip     *gossip.Gossip
	history    *telemetry.History
	series     *seriesSet
	drivers    map[string]driver.Driver
	inventory  *inventory
	proxy      *proxy // nil without traffic
	migrator   *migrator.Migrator
	moves      *moves
	histories  *histories
	reports    *controller.Reports
	categories *controller.Categories
	foresights *controller.Foresights
	warnings   *controller.Warnings
	library    *library
	models     *models
	trainer    *controller.Trainer
	reporter   *reporter
	controller *controller.Controller
	adjuster   *adjuster
	measured   *measured
	sight      *sight
	starts     starts
	http       *httpapi.Server
	listener   net.Listener
	operator   net.Listener // placed local

	clockOffset clockCell     // of this leader to the voters' median
	fatal       chan error    // first error that must end the process
	knows       uint64        // newest feature level of this build
	look        time.Duration // between two looks at this host
	intervals   atomic.Pointer[intervals]
	closers     []func() // undo of New, last first
}

type intervals struct{ sample, report time.Duration }

// New builds every part in order and opens every file and port, so that an
// error in the configuration is an error of New. It starts nothing; a Daemon
// that is not Run must be Closed. A failed New leaves nothing open.
func New(cfg Config) (_ *Daemon, err error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d := &Daemon{cfg: cfg, self: cfg.Host.ID, clock: cfg.Clock, log: cfg.Logger.Named("agent"), fatal: make(chan error, 1), knows: fsm.FeatureLevel, look: observeEvery, measured: newMeasured()}
	d.intervals.Store(&intervals{cfg.Sample, cfg.Report})
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	steps := []struct {
		what  string
		build func() error
	}{
		{"data directory", d.openDataDir},
		{"mTLS port", d.openTransport},
		{"replicated state", d.openConsensus},
		{"gossip", d.openGossip},
		{"history", d.openTelemetry},
		{"drivers", d.openDrivers},
		{"migrations", d.openMigrations},
		{"leader's loop", d.buildController},
		{"HTTP API", d.openAPI},
		{"operator's socket", d.openOperator},
	}
	for _, s := range steps {
		if err := s.build(); err != nil {
			return nil, fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return d, nil
}

// Close undoes New. It may be called twice and after Run.
func (d *Daemon) Close() {
	for i := len(d.closers) - 1; i >= 0; i-- {
		d.closers[i]()
	}
	d.closers = nil
}

func (d *Daemon) atClose(f func()) { d.closers = append(d.closers, f) }

// Fail ends Run with an error, from any goroutine, without blocking. The first
// error counts.
func (d *Daemon) fail(err error) {
	select {
	case d.fatal <- err:
	default:
	}
}

func (d *Daemon) path(parts ...string) string {
	return filepath.Join(append([]string{d.cfg.DataDir}, parts...)...)
}

func (d *Daemon) openDataDir() error {
	lock, err := lockDataDir(d.cfg.DataDir)
	if err != nil {
		return err
	}
	d.atClose(func() { lock.Close() })
	d.starts = starts{dir: d.path("starts")}
	return nil
}

func (d *Daemon) openTransport() (err error) {
	cfg := d.cfg.Transport
	cfg.Logger = d.cfg.Logger.Named("transport")
	if d.transport, err = transport.New(cfg); err != nil {
		return err
	}
	d.atClose(func() { d.transport.Close() })
	self := d.transport.Self()
	switch {
	case self.Cluster != d.cfg.Cluster:
		return fmt.Errorf("certificate %s is of cluster %s, this host is configured for %s", cfg.CertFile, self.Cluster, d.cfg.Cluster)
	case self.ID != d.self:
		return fmt.Errorf("certificate %s is of host %s, node.id is %s: use the host's own certificate", cfg.CertFile, self.ID, d.self)
	case d.cfg.Host.Voter && self.Role != transport.RoleVoter:
		return fmt.Errorf("certificate %s has the role %s: a host that holds the log needs one of role voter (or set server { enabled = false })", cfg.CertFile, self.Role)
	}
	d.peers = peer.NewClient(peer.ClientConfig{Dial: func(ctx context.Context, addr string, want fleet.HostID) (net.Conn, error) {
		return d.transport.Dial(ctx, addr, want, transport.RPC)
	}})
	d.atClose(d.peers.Close)
	d.server = peer.NewServer(peer.ServerConfig{Listener: d.transport.Listen(transport.RPC), Logger: d.cfg.Logger.Named("peer")})
	d.register(d.server)
	return nil
}

// logSize is what the log sets aside: the file in use and the next. The 18,000 newest
// entries, as many as there are before older ones go, fit into it if each is one
// grant.
const logSize = 32 << 20

func (d *Daemon) openConsensus() (err error) {
	d.replica = fsm.NewReplica(d.fail)
	d.books = &books{self: d.self, replica: d.replica, peers: d.peers, voters: d.cfg.voters, clock: d.clock, log: d.cfg.Logger.Named("books")}
	if !d.cfg.Host.Voter {
		d.mirror = &mirror{replica: d.replica, peers: d.peers, voters: d.cfg.voters, log: d.cfg.Logger.Named("mirror")}
		return nil
	}
	d.node, err = consensus.New(consensus.Config{
		ID: string(d.self), Cluster: d.cfg.Cluster, Dir: d.cfg.raftDir(), LogSize: logSize, Advertise: d.cfg.Host.Address,
		Stream: raftStream{d.transport.Listen(transport.Raft), d.transport}, Replica: d.replica,
		Verify: fsm.Verify, Bundle: (&stamper{d: d}).bundle,
		Bootstrap: d.cfg.Servers, Timeouts: d.cfg.Timeouts, OnFatal: d.fail, Logger: d.cfg.Logger.Named("consensus"),
	})
	if err != nil {
		return err
	}
	d.atClose(func() { d.node.Close() })
	d.books.node = d.node
	return nil
}

// raftStream is the transport as Raft sees it.
type raftStream struct {
	net.Listener
	transport *transport.Transport
}

func (s raftStream) Dial(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.transport.Dial(ctx, address, "", transport.Raft)
}

func (d *Daemon) openGossip() (err error) {
	role := gossip.RoleHost
	if d.cfg.Host.Voter {
		role = gossip.RoleVoter
	}
	d.gossip, err = gossip.New(gossip.Config{
		ID: d.self, Name: d.cfg.Host.Name, Cluster: d.cfg.Cluster, BindAddr: d.cfg.GossipAddr, BindPort: d.cfg.GossipPort,
		Keyring: d.cfg.Keyring, Join: d.cfg.Join, Preset: d.cfg.GossipPreset, Logger: d.cfg.Logger.Named("gossip"),
		Meta: gossip.Meta{ProtocolMin: 1, ProtocolMax: 1, Role: role, RPC: d.cfg.Host.Address},
	})
	if err != nil {
		return err
	}
	d.atClose(func() { d.gossip.Close() })
	return nil
}

func (d *Daemon) openTelemetry() (err error) {
	d.history, err = telemetry.OpenHistory(telemetry.Config{Path: d.path("history.db"), RetentionDays: int(d.cfg.History / (24 * time.Hour)), Logger: d.cfg.Logger.Named("history")})
	if err != nil {
		return err
	}
	d.atClose(func() {
		if err := d.history.Close(); err != nil {
			d.log.Error("the last minutes of history could not be written", "error", err)
		}
	})
	d.series = newSeriesSet(d.history, d.cfg.Logger.Named("history"))
	d.reports, d.categories = controller.NewReports(), controller.NewCategories()
	d.library = &library{blobs: &blobs{dir: d.path("models")}, d: d, log: d.cfg.Logger.Named("models")}
	d.models = &models{library: d.library, books: d.books, series: d.series, categories: d.categories, log: d.cfg.Logger.Named("models")}
	d.foresights, d.warnings = controller.NewForesights(d.models.pool, d.books.Read), controller.NewWarnings()
	return nil
}

func (d *Daemon) openDrivers() error {
	d.drivers = map[string]driver.Driver{}
	for _, c := range d.cfg.Drivers {
		switch c.Name {
		case region.Name:
			dir := c.Dir
			if dir == "" {
				dir = d.path("region")
			}
			listen := d.cfg.TrafficIP
			if listen == "" {
				listen = "127.0.0.1"
			}
			built, err := region.New(region.Config{Dir: dir, Command: c.Command, ListenIP: listen, Clock: d.clock,
				ForceTracker: c.Options["tracker"], Cgroup: c.Options["cgroup"], Logger: d.cfg.Logger.Named("region")})
			if err != nil {
				return err
			}
			d.drivers[c.Name] = built
			d.atClose(func() {
				if err := built.Close(); err != nil {
					d.log.Error("letting go of the workloads", "error", err)
				}
			})
		case libvirt.Name:
			built, err := d.openLibvirt(c)
			if err != nil {
				return err
			}
			d.drivers[c.Name] = built
		default:
			return fmt.Errorf("driver %q: this build has the drivers %s and %s", c.Name, libvirt.Name, region.Name)
		}
	}
	d.inventory = &inventory{drivers: d.drivers, log: d.cfg.Logger.Named("inventory"), sick: map[string]bool{}}
	for _, w := range d.cfg.Declared {
		if d.drivers[w.Spec.Driver] == nil {
			return fmt.Errorf("workload %s wants driver %q, which is not configured: add a driver block", w.Spec.ID, w.Spec.Driver)
		}
	}
	return nil
}

func (d *Daemon) openMigrations() (err error) {
	d.histories = newHistories(d)
	var redirect migrator.Traffic = noTraffic{moved: d.histories.moved}
	if d.cfg.TrafficIP != "" {
		d.proxy = &proxy{
			ensure: traffic.EnsureConfig{Dir: d.path("proxy"), Command: append(d.cfg.ProxyCommand,
				"--dir", d.path("proxy"), "--address", d.cfg.TrafficIP, "--peer-port", fmt.Sprint(d.cfg.TrafficPort)),
				Address: d.cfg.TrafficIP, PeerPort: d.cfg.TrafficPort, Logger: d.cfg.Logger.Named("traffic")},
			self: d.self, books: d.books, inventory: d.inventory, moved: d.histories.moved, log: d.cfg.Logger.Named("traffic"),
			wake: make(chan struct{}, 1), ready: make(chan struct{}), adopted: map[fleet.WorkloadID]traffic.Route{},
		}
		redirect = d.proxy
	}
	d.migrator, err = migrator.New(migrator.Config{
		Host: d.self, Cluster: d.cfg.Cluster, Dir: d.path("tokens"), Drivers: d.drivers, Books: leaseBooks{d.books}, Traffic: redirect,
		Dial: func(ctx context.Context, to fleet.Host) (net.Conn, error) {
			return d.transport.Dial(ctx, to.Address, to.ID, transport.Migrate)
		},
		Ask: func(ctx context.Context, to fleet.Host, q migrator.Question) (migrator.Answer, error) {
			return peer.Call[migrator.Question, migrator.Answer](ctx, d.peers, addressOf(to), callAsk, q)
		},
		Check: d.hasRoom, TTL: controller.LeaseTTL, RenewEvery: controller.RenewEvery, Logger: d.cfg.Logger.Named("migrator"),
	})
	if err != nil {
		return err
	}
	d.atClose(func() {
		if err := d.migrator.Close(); err != nil {
			d.log.Error("closing the token store", "error", err)
		}
	})
	d.adjuster = newAdjuster(d)
	d.moves = newMoves(d.migrator, d.books, d.cfg.Logger.Named("moves"))
	d.moves.prepare = d.adjuster.settle
	return nil
}

func (d *Daemon) buildController() error {
	sampler, err := telemetry.NewSampler(telemetry.SamplerConfig{Logger: d.cfg.Logger.Named("sampler")})
	if err != nil {
		return err
	}
	d.reporter = &reporter{
		self: d.self, boot: rand.Text(), clock: d.clock, inventory: d.inventory, sampler: sampler, ticks: telemetry.NewAccumulator(),
		series: d.series, books: d.books, peers: d.peers, reports: d.reports, answer: d.answer, progress: d.ownMoves, alone: d.cfg.Measured.CPU, trips: d.zoneTrips, knobs: d.adjuster.knobs, copies: d.copies, pushed: d.measured.add,
		intervals: func() (time.Duration, time.Duration) { i := d.intervals.Load(); return i.sample, i.report },
		log:       d.cfg.Logger.Named("reporter"),
	}
	d.controller = controller.New(controller.Config{
		Books: d.books, Agents: agents{d}, Reports: d.reports, Liveness: d.liveness, Model: predictor.Baseline{}, Foresights: d.foresights, Clock: d.clock,
		Pass: d.cfg.Pass, StaleAfter: d.cfg.staleAfter(), Now: time.Now, Logger: d.cfg.Logger,
	})
	d.trainer = controller.NewTrainer(controller.TrainerConfig{
		Books: d.books, Examples: d.askExamples, Keep: d.library.spread, Held: d.library.has, Leading: d.controller.Leading,
		Categories: d.categories, Clock: d.clock, Now: time.Now, Logger: d.cfg.Logger,
	})
	d.sight = &sight{d: d}
	return nil
}

// copies says that a driver lets placed copy its workloads itself: one whose
// hypervisor hands them over cannot keep a copy up to date.
func (d *Daemon) copies(name string) bool {
	known, ok := d.drivers[name]
	_, hands := known.(driver.Handover)
	return ok && !hands
}

// ownMoves are the migrations that this host is the source of.
func (d *Daemon) ownMoves() []fleet.Progress {
	var out []fleet.Progress
	for _, p := range d.migrator.Progress() {
		if p.Source == d.self {
			out = append(out, p)
		}
	}
	return out
}

// agents lets the leader's loop reach the other agents, and this one.
type agents struct{ d *Daemon }

func (a agents) Migrate(ctx context.Context, source fleet.Host, lease fleet.Lease) error {
	if source.ID == a.d.self {
		return a.d.moves.start(lease)
	}
	_, err := peer.Call[leaseAnswer, empty](ctx, a.d.peers, addressOf(source), callMigrate, leaseAnswer{Lease: lease})
	return err
}

func (d *Daemon) openAPI() (err error) {
	registry := prometheus.NewRegistry()
	if err := errors.Join(registry.Register(newGateCollector(d.series)), registry.Register(newWarningCollector(d.warnings))); err != nil {
		return err
	}
	d.http, err = httpapi.New(httpapi.Config{Backend: backend{d}, Registry: registry, Logger: d.cfg.Logger.Named("http"), Version: d.cfg.Version})
	if err != nil {
		return err
	}
	d.listener, err = listenAPI(d.cfg)
	if err != nil {
		return err
	}
	d.atClose(func() { d.listener.Close() })
	return nil
}

// leadership is who leads as this host knows it.
func (d *Daemon) leadership() (leader fleet.HostID, term uint64, contact time.Duration, known bool) {
	if d.node == nil {
		id, term, age := d.mirror.known()
		return fleet.HostID(id), term, age, id != "" && age < 2*mirrorWait
	}
	id, _ := d.node.Leader()
	contact, _ = d.node.LastContact()
	return fleet.HostID(id), d.node.Term(), contact, id != ""
}

// found makes a new cluster out of an empty log, with the configured policy.
func (d *Daemon) found(ctx context.Context) error {
	known := ""
	d.books.Read(func(s *fsm.State) { known = s.Cluster() })
	if known != "" {
		return nil
	}
	result, err := d.books.Propose(ctx, fsm.InitCluster{Cluster: d.cfg.Cluster, Level: fsm.FeatureLevel}, fsm.SetPolicy{Policy: d.cfg.Policy, By: "configuration of " + d.cfg.Host.Name})
	if err != nil {
		return fmt.Errorf("founding cluster %s: %w", d.cfg.Cluster, err)
	}
	for _, op := range result.Ops {
		if op.Err != nil {
			return fmt.Errorf("founding cluster %s: %w", d.cfg.Cluster, op.Err)
		}
	}
	d.log.Info("cluster founded", "cluster", d.cfg.Cluster, "automation", d.cfg.Policy.Automation)
	return nil
}

// lead runs the leader's loop for one term.
func (d *Daemon) lead(ctx context.Context) error {
	d.log.Info("this host leads", "term", d.node.Term())
	defer d.log.Info("this host no longer leads")
	if err := d.found(ctx); err != nil {
		return err
	}
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return d.controller.Run(ctx) })
	work.Go(func() error { return d.autopilot(ctx) })
	work.Go(func() error { return d.watchClock(ctx) })
	work.Go(func() error { return d.compareBooks(ctx) })
	work.Go(func() error { return d.expandCalendar(ctx) })
	return work.Wait()
}

// steerProxy lets the traffic table follow the books from now on. It is called
// once per agent.
func (d *Daemon) steerProxy(context.Context) error {
	if d.proxy != nil {
		close(d.proxy.ready)
		d.proxy.nudge()
	}
	return nil
}

func (d *Daemon) proxyNudge() {
	if d.proxy != nil {
		d.proxy.nudge()
	}
}

// Reload takes over what may change while the agent runs.
func (d *Daemon) Reload(cfg Config) error {
	if cfg.Sample <= 0 || cfg.Report <= 0 {
		return errors.New("the intervals sample and report must be positive")
	}
	d.intervals.Store(&intervals{cfg.Sample, cfg.Report})
	if err := d.transport.Reload(); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	return nil
}

// PID file and the like are the service manager's; the lock keeps a second agent
// off the same data.
func lockDataDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: make it writable for this user, or set node.data_dir", err)
	}
	return flock(filepath.Join(dir, "agent.lock"))
}
