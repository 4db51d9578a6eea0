package migrator

import (
	"context"
	"net"
	"time"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// testTraffic notes the gap that clients would see.
type testTraffic struct{ life *life }

func (f testTraffic) Hold(context.Context, fleet.WorkloadID) error {
	f.life.host.net.mu.Lock()
	f.life.host.net.held = time.Now()
	f.life.host.net.mu.Unlock()
	return f.pass("hold")
}

func (f testTraffic) Resume(context.Context, fleet.WorkloadID) error {
	return f.pass("resume")
}

func (f testTraffic) Switch(_ context.Context, _ fleet.WorkloadID, to fleet.Host) (time.Duration, error) {
	if to.ID != "h2" {
		f.life.host.net.complain("clients were switched to %q", to.ID)
	}
	n := f.life.host.net
	n.mu.Lock()
	n.gap = time.Since(n.held)
	n.mu.Unlock()
	return 5 * time.Millisecond, f.pass("switch")
}

func (f testTraffic) Adopt(_ context.Context, found driver.Found) error {
	if found.Spec.ID != workload || found.State != driver.Running {
		f.life.host.net.complain("adopted %s in state %s", found.Spec.ID, found.State)
	}
	return f.pass("adopt")
}

func (f testTraffic) pass(op string) error {
	if err := f.life.gate(op, true); err != nil {
		return err
	}
	return f.life.gate(op, false)
}

// spoiledConn flips one bit after the first 20,000 bytes: the connection is not
// to be trusted, so the copy must be refused.
type spoiledConn struct {
	net.Conn
	seen int
	done bool
}

func (c *spoiledConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if at := 20_000 - c.seen; !c.done && at >= 0 && at < n {
		p[at] ^= 1
		c.done = true
	}
	c.seen += n
	return n, err
}
