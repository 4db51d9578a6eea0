package devfleet

import (
	"context"
	"fmt"
	"time"

	"github.com/placed-dev/placed/api"
)

// banner tells a newcomer where to look.
func (f *devFleet) banner() {
	b := f.blueprint
	out := f.cfg.Err
	word := "runs"
	if f.resumed {
		word = "is resumed"
	}
	fmt.Fprintf(out, "fleet %s %s: %d agents, %d workloads, %g load seconds per second, automation %s (seed %d)\n",
		b.Cluster, word, len(b.Hosts), len(b.Workloads), b.TimeScale, f.cfg.Automation, b.Seed)
	fmt.Fprintf(out, "data in %s\n", f.data.path)
	for _, a := range f.agents {
		fmt.Fprintf(out, "  %-8s pid %-7d http://%s/ui/   %.3f cores, %d MiB\n", a.host.Name, a.cmd.Process.Pid, a.host.address(portAPI),
			float64(a.host.CPU)/1000, a.host.Memory>>20)
	}
	first := b.Hosts[0].address(portAPI)
	fmt.Fprintf(out, "open http://%s/ui/ or try:\n", first)
	for _, line := range []string{"status", "host list", "events -f", "why " + b.Workloads[0].ID} {
		fmt.Fprintf(out, "  %s %s --addr %s\n", f.cfg.Binary, line, first)
	}
	if !f.cfg.Headless {
		fmt.Fprintln(out, "Ctrl-C saves the fleet and ends it")
	}
}

// narrate prints what happens until ctx ends. Every agent streams the same log;
// the first that lives serves, and when it ends the next one goes on behind the
// last event that was printed.
func (f *devFleet) narrate(ctx context.Context, c *client) {
	var after *api.Cursor
	for ctx.Err() == nil {
		for i, a := range f.agents {
			if !a.running() {
				continue
			}
			following, cancel := context.WithCancel(ctx)
			stop := make(chan struct{})
			go func() { // ends with following; waited for by stop
				defer close(stop)
				select {
				case <-a.ended:
					cancel()
				case <-following.Done():
				}
			}()
			// The stream ends with its agent or with ctx; both are looked at.
			_ = c.of[i].Events(following, api.StreamOptions{After: after, Topics: []string{"decision", "lease", "migration"}}, func(e api.Event) error {
				if e.Topic != api.TopicStream {
					fmt.Fprintf(f.cfg.Err, "%s  %s\n", e.At.Local().Format("15:04:05"), e.Message)
				}
				cursor := e.Cursor()
				after = &cursor
				return nil
			})
			cancel()
			<-stop
			if ctx.Err() != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
