//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// lines are the listening ends of a move at its source. Each connection is passed
// on through the agents, so that it ends with them.
type lines struct {
	dir    string
	cancel context.CancelFunc
	open   []net.Listener
	wg     sync.WaitGroup
}

// openLines opens the sockets that libvirtd and QEMU connect to.
func (d *Driver) openLines(ctx context.Context, id fleet.WorkloadID, way driver.Way) (*lines, error) {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &lines{dir: d.socketDir(id, way.Token), cancel: cancel}
	if d.cfg.Native != "" {
		return l, nil
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		cancel()
		return nil, err
	}
	for _, channel := range []string{channelControl, channelMemory, channelDisks} {
		path := filepath.Join(l.dir, channel)
		_ = os.Remove(path) // left by an earlier life
		listener, err := net.Listen("unix", path)
		if err != nil {
			l.close()
			return nil, err
		}
		l.open = append(l.open, listener)
		l.wg.Go(func() { l.serve(run, listener, channel, way, d) })
	}
	return l, nil
}

func (l *lines) serve(ctx context.Context, listener net.Listener, channel string, way driver.Way, d *Driver) {
	for {
		local, err := listener.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() {
			defer local.Close()
			remote, err := way.Enter(ctx, channel)
			if err != nil {
				d.log.Warn("the other host does not open the move's channel", "channel", channel, "host", string(way.To), "error", err)
				return
			}
			defer remote.Close()
			stop := context.AfterFunc(ctx, func() { _, _ = local.Close(), remote.Close() })
			defer stop()
			join(local, remote)
		})
	}
}

func (l *lines) close() {
	l.cancel()
	for _, o := range l.open {
		_ = o.Close()
	}
	l.wg.Wait()
	_ = os.RemoveAll(l.dir)
}

// join copies both ways until both directions have ended or one has failed.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	copyAll := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
			if half.CloseWrite() == nil {
				return
			}
		}
		_, _ = a.Close(), b.Close()
	}
	wg.Go(func() { copyAll(a, b) })
	wg.Go(func() { copyAll(b, a) })
	wg.Wait()
}
