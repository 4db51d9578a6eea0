package workload

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"runtime"
	"syscall"
)

// Run is the whole life of a workload process: it returns when an agent asked
// it to exit or ctx ended, with the state gone. It changes the process it runs
// in: SIGINT, SIGTERM, SIGHUP and SIGPIPE are ignored and the Go scheduler is
// given three threads, so that the control socket is answered while two burn.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE}
	for _, s := range signals {
		signal.Ignore(s)
		defer signal.Reset(s)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))

	p, err := newProcess(c)
	if err != nil {
		return err
	}
	defer p.close()
	fmt.Fprintf(c.Log, "workload %s: pid %d, mode %s, %d bytes, clients at %s\n", c.ID, p.pid, c.Mode, c.Size, p.clients.Addr())
	if p.uffdError != "" {
		fmt.Fprintf(c.Log, "workload %s: no change tracking by the kernel: %s\n", c.ID, p.uffdError)
	}
	p.run(ctx)
	fmt.Fprintf(c.Log, "workload %s: ends as asked\n", c.ID)
	return nil
}
