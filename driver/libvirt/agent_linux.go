//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

// Words that the guest's command is told after a move.
const (
	noticeArrived = "arrived" // it runs on this host now
	noticeStayed  = "stayed"  // the move came to nothing
)

const (
	// agentTime bounds one answer of a guest's agent, in libvirtd; agentSlack is what
	// libvirtd may take beside it.
	agentTime  = 2 * time.Second
	agentSlack = 3 * time.Second
	// noticeAfter bounds the command that follows a move; nobody waits for it.
	noticeAfter = 10 * time.Second
	// listeners are the guests that are listened for at the same time.
	listeners = 8
)

// agentOf asks the agent of a guest that runs here, on a connection of its own: a guest
// that hangs holds up nothing else.
func (d *Driver) agentOf(id fleet.WorkloadID) ask {
	return func(ctx context.Context, command string) (answer string, err error) {
		ctx, cancel := context.WithTimeout(ctx, agentTime+agentSlack)
		defer cancel()
		got := make(chan string, 1)
		err = d.agents.call(ctx, func(c *libvirt.Connect) error {
			dom, err := d.lookup(c, id)
			if err != nil {
				return err
			}
			defer dom.Free()
			text, err := dom.QemuAgentCommand(command, libvirt.DomainQemuAgentCommandTimeout(agentTime/time.Second), 0)
			got <- text
			return err
		})
		if err != nil {
			return "", err
		}
		return <-got, nil
	}
}

// giveNotice lets a guest know that it is about to move, if its operator wants that, and
// waits until it is ready or its time is over. It never fails.
func (d *Driver) giveNotice(ctx context.Context, id fleet.WorkloadID, way driver.Way, p MovePolicy) {
	if p.Notice <= 0 {
		return
	}
	d.mu.Lock()
	def := d.seen[id]
	d.mu.Unlock()
	said := fmt.Sprintf("the guest was not told %q: it has no agent (a channel %s)", noticeBefore, agentChannel)
	if def.Agent {
		said = d.agentOf(id).tell(ctx, p.Notice, d.cfg.NoticeCommand, noticeBefore, strconv.Itoa(int(p.Notice.Seconds())))
	}
	d.log.Info("notice before a move", "workload", string(id), "notice", said)
	if way.Progress != nil {
		way.Progress(driver.Progress{Note: said})
	}
}

// tellLater queues what follows a move: listening for a guest that has arrived, or the
// word to one that has stayed.
func (d *Driver) tellLater(g arrivedGuest) {
	select {
	case d.came <- g:
	default: // more have just come than anybody can listen for
	}
}

// listen makes sure that guests which have arrived run and are heard on their networks,
// until ctx ends.
func (d *Driver) listen(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	free := make(chan struct{}, listeners)
	for {
		select {
		case <-ctx.Done():
			return
		case g := <-d.came:
			select {
			case <-ctx.Done():
				return
			case free <- struct{}{}:
			}
			all.Go(func() {
				d.after(ctx, g)
				<-free
			})
		}
	}
}

// after is what follows a move at the host where the guest is now. What it finds decides
// nothing: who holds the guest was said by the protocol before.
func (d *Driver) after(ctx context.Context, g arrivedGuest) {
	ask := d.agentOf(g.Workload)
	if !g.Stayed {
		began := time.Now()
		found := g.probe(ctx, classNet, ask)
		if ctx.Err() != nil {
			return
		}
		said, well := found.verdict()
		log := d.log.Info
		if !well {
			log = d.log.Warn
		}
		log(said, "workload", string(g.Workload), "after", time.Since(began).String())
	}
	if g.Notice && g.Agent {
		word := noticeArrived
		if g.Stayed {
			word = noticeStayed
		}
		d.log.Info("notice after a move", "workload", string(g.Workload), "notice", ask.tell(ctx, noticeAfter, d.cfg.NoticeCommand, word))
	}
}
