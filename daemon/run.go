package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/migrator"
	"github.com/placed-dev/placed/transport"
)

// part is one long-running piece of the agent.
type part struct {
	name string
	run  func(context.Context) error
	// once: returning nil is its normal end, not the agent's.
	once bool
}

// parts in the order of their start; they are stopped in reverse, each before
// what it needs: no new requests, then no new decisions, then the moves are
// brought to an end while books, proxy and network still work.
func (d *Daemon) parts() []part {
	list := []part{
		{name: "transport", run: d.transport.Run},
		{name: "peer calls", run: d.server.Run},
	}
	if d.node != nil {
		list = append(list, part{name: "consensus", run: d.node.Run})
	} else {
		list = append(list, part{name: "mirror", run: d.mirror.Run})
	}
	list = append(list,
		part{name: "gossip", run: d.gossip.Run},
		part{name: "history", run: d.history.Run},
	)
	if d.proxy != nil {
		list = append(list, part{name: "traffic", run: d.proxy.Run})
	}
	list = append(list,
		part{name: "migrator", run: d.migrator.Run},
		part{name: "incoming migrations", run: d.acceptMigrations},
		part{name: "adjustments", run: d.adjuster.Run},
		part{name: "moves", run: d.moves.Run},
		part{name: "histories", run: d.histories.Run},
		part{name: "reporter", run: d.reporter.Run},
		part{name: "models", run: d.models.Run},
		part{name: "newcomers", run: d.followOperators},
		part{name: "observation", run: d.observeHost},
		part{name: "reservations", run: d.followReservations},
	)
	list = append(list, d.meterParts()...)
	list = append(list, d.heraldParts()...)
	if d.node != nil {
		list = append(list, part{name: "trainer", run: d.train})
		list = append(list, part{name: "warnings", run: d.judgeWarnings})
		list = append(list, part{name: "leader", run: func(ctx context.Context) error { return d.node.Leadership(ctx, d.lead) }})
	}
	return append(list,
		part{name: "HTTP API", run: func(ctx context.Context) error { return d.http.Serve(ctx, d.listener) }},
		part{name: "operator's socket", run: d.serveOperator},
		part{name: "start", run: d.bring, once: true},
		part{name: "generation", run: d.followGeneration},
	)
}

// stopEach bounds the end of each part.
const stopEach = 15 * time.Second

// Run runs the agent until ctx ends or a part fails, and then stops every part in
// reverse. Workloads and the traffic proxy go on without it.
func (d *Daemon) Run(ctx context.Context) error {
	type ended struct {
		part int
		err  error
	}
	tuneCollector(d.node != nil)
	parts := d.parts()
	ends := make(chan ended, len(parts))
	cancels := make([]context.CancelFunc, len(parts))
	done := make([]chan struct{}, len(parts))
	base := context.WithoutCancel(ctx)
	for i, p := range parts {
		partCtx, cancel := context.WithCancel(base)
		cancels[i], done[i] = cancel, make(chan struct{})
		go func() { // owned by Run, which waits for done[i]
			defer close(done[i])
			ends <- ended{i, p.run(partCtx)}
		}()
	}
	d.log.Info("agent runs", "host", d.cfg.Host.Name, "address", d.cfg.Host.Address, "api", d.listener.Addr(), "version", d.cfg.Version)

	var cause error
	for running := true; running; {
		select {
		case <-ctx.Done():
			running = false
		case err := <-d.fatal:
			cause, running = fmt.Errorf("the agent must stop: %w", err), false
		case e := <-ends:
			p := parts[e.part]
			if e.err == nil && p.once {
				continue
			}
			cause, running = fmt.Errorf("%s ended: %w", p.name, orUnexpected(e.err)), false
		}
	}
	if cause == nil {
		d.log.Info("stopping; workloads go on")
	}
	var late []error
	for i := len(parts) - 1; i >= 0; i-- {
		cancels[i]()
		select {
		case <-done[i]:
		case <-time.After(stopEach):
			late = append(late, fmt.Errorf("%s did not end within %s", parts[i].name, stopEach))
		}
	}
	return errors.Join(append([]error{cause}, late...)...)
}

func orUnexpected(err error) error {
	if err != nil {
		return err
	}
	return errors.New("it returned although nobody asked it to")
}

// acceptMigrations serves the connections of sources that send workloads here.
func (d *Daemon) acceptMigrations(ctx context.Context) error {
	listener := d.transport.Listen(transport.Migrate)
	defer listener.Close()
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	var group errgroup.Group
	group.SetLimit(maxIncoming)
	defer func() { _ = group.Wait() }() // errors are logged where they happen
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if !group.TryGo(func() error { d.serveMigration(ctx, conn); return nil }) {
			d.log.Warn("a migration was turned away: too many come in at once", "limit", maxIncoming)
			conn.Close()
		}
	}
}

// maxIncoming bounds the connections of sources at one time.
const maxIncoming = 16

func (d *Daemon) serveMigration(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	from, ok := transport.PeerOf(conn)
	if !ok {
		return
	}
	err := d.migrator.Serve(ctx, conn, from.ID)
	level := hclog.Warn
	if errors.Is(err, migrator.ErrStopped) || ctx.Err() != nil {
		level = hclog.Info
	}
	if err != nil {
		d.log.Log(level, "incoming migration ended early; the source keeps the workload unless its lease says otherwise", "host", from.ID, "error", err)
	}
}
