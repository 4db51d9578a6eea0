//go:build cgo && libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"time"

	libvirt "libvirt.org/go/libvirt"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
)

var (
	_ driver.Herald = (*Driver)(nil)
	_ driver.Usher  = (*Driver)(nil)
)

// A libvirtd that says nothing for silence, asked every keepalive, is taken for lost.
const (
	keepalive = 5 // seconds
	silence   = 3 // questions in a row without an answer
	// resubscribe is the pause before another attempt.
	resubscribe = time.Second
	// unsubscribeTime bounds how long a connection may take to let go.
	unsubscribeTime = 5 * time.Second
)

// News receives after libvirt has spoken of a domain, and after every new
// subscription, before which events may have been missed.
func (d *Driver) News() <-chan struct{} { return d.news }

func (d *Driver) ring() { wake(d.news) }

// hear keeps a subscription to libvirt's events until ctx ends. It decides nothing:
// an inventory follows each event, and goes on at its pace when there are none.
func (d *Driver) hear(ctx context.Context) {
	release, err := events.use()
	if err != nil {
		d.log.Warn("libvirt's events cannot be heard; domains that come and go are seen by the next inventory", "error", err)
		return
	}
	defer release()
	told := ""
	for ctx.Err() == nil {
		err := d.subscribed(ctx)
		if ctx.Err() != nil {
			return
		}
		if text := err.Error(); text != told {
			told = text
			d.log.Warn("libvirt's events are not heard; another subscription is tried", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(resubscribe):
		}
	}
}

// subscribed returns when the subscription is lost, or with ctx.
func (d *Driver) subscribed(ctx context.Context) error {
	lost := make(chan libvirt.ConnectCloseReason, 1)
	type attempt struct {
		s   *subscription
		err error
	}
	// One attempt at a time: a libvirtd that accepts and does not answer may hold
	// it for ever, and with it a thread.
	tried := make(chan attempt, 1)
	go func() {
		s, err := d.subscribe(lost)
		tried <- attempt{s, err}
	}()
	var s *subscription
	select {
	case a := <-tried:
		if a.err != nil {
			return a.err
		}
		s = a.s
	case <-ctx.Done():
		go func() { // whenever it comes back
			if a := <-tried; a.s != nil {
				a.s.end()
			}
		}()
		return ctx.Err()
	}
	d.log.Debug("libvirt's events are heard")
	d.forgetModel()
	d.ring()
	var err error
	select {
	case reason := <-lost:
		err = closedError(reason)
	case <-ctx.Done():
		err = ctx.Err()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.end()
	}()
	select {
	case <-done:
	case <-time.After(unsubscribeTime): // it ends by itself, or hangs with its libvirtd
	}
	return err
}

func closedError(reason libvirt.ConnectCloseReason) error {
	if reason == libvirt.CONNECT_CLOSE_REASON_KEEPALIVE {
		return errors.New("libvirtd has not answered for 15 s")
	}
	return errors.New("libvirtd has closed the connection")
}

// forgetModel: a libvirtd that was restarted may be another one, with another QEMU.
func (d *Driver) forgetModel() {
	d.mu.Lock()
	d.survey.at = time.Time{}
	d.mu.Unlock()
	d.surveyAgain()
}

// subscription is a connection with callbacks. Each of them holds the connection, so
// they are taken back before it is closed.
type subscription struct {
	c   *libvirt.Connect
	ids []int
}

func (s *subscription) end() {
	for _, id := range s.ids {
		_ = s.c.DomainEventDeregister(id) // of a connection that is lost, this is local
	}
	_ = s.c.UnregisterCloseCallback()
	_, _ = s.c.Close()
}

func (d *Driver) subscribe(lost chan<- libvirt.ConnectCloseReason) (*subscription, error) {
	c, err := libvirt.NewConnect(d.cfg.URI)
	if err != nil {
		return nil, err
	}
	s := &subscription{c: c}
	err = c.RegisterCloseCallback(func(_ *libvirt.Connect, reason libvirt.ConnectCloseReason) {
		select {
		case lost <- reason:
		default: // told already
		}
	})
	if unlessUnsupported(err) == nil {
		err = unlessUnsupported(c.SetKeepAlive(keepalive, silence))
	}
	if err != nil {
		s.end()
		return nil, err
	}
	for _, register := range []func() (int, error){
		func() (int, error) { return c.DomainEventLifecycleRegister(nil, d.lifecycle) },
		func() (int, error) { return c.DomainEventRebootRegister(nil, d.rebooted) },
		func() (int, error) { return c.DomainEventMigrationIterationRegister(nil, d.iterated) },
		func() (int, error) { return c.DomainEventJobCompletedRegister(nil, d.completed) },
		func() (int, error) { return c.DomainEventBlockJob2Register(nil, d.blockJob) },
		func() (int, error) { return c.DomainEventDeviceRemovedRegister(nil, d.removed) },
	} {
		id, err := register()
		switch {
		case err == nil:
			s.ids = append(s.ids, id)
		case unlessUnsupported(err) != nil:
			s.end()
			return nil, err
		} // else this libvirt has no such event
	}
	return s, nil
}

// who names the workload of a domain in an event; it does not ask libvirtd.
func (d *Driver) who(dom *libvirt.Domain) fleet.WorkloadID {
	uuid, err := dom.GetUUIDString()
	if err != nil {
		return ""
	}
	return d.idOf(dom, uuid)
}

func (d *Driver) lifecycle(_ *libvirt.Connect, dom *libvirt.Domain, e *libvirt.DomainEventLifecycle) {
	d.ring()
	id := string(d.who(dom))
	d.stir(fleet.WorkloadID(id), e)
	crashed := e.Event == libvirt.DOMAIN_EVENT_CRASHED ||
		e.Event == libvirt.DOMAIN_EVENT_STOPPED && (libvirt.DomainEventStoppedDetailType(e.Detail) == libvirt.DOMAIN_EVENT_STOPPED_CRASHED ||
			libvirt.DomainEventStoppedDetailType(e.Detail) == libvirt.DOMAIN_EVENT_STOPPED_FAILED)
	if crashed {
		d.log.Warn("a domain has crashed, or its QEMU has: see /var/log/libvirt/qemu", "workload", id, "event", e.String())
		return
	}
	d.log.Debug("domain event", "workload", id, "event", e.String())
}

func (d *Driver) rebooted(_ *libvirt.Connect, dom *libvirt.Domain) {
	d.ring()
	d.log.Info("a guest has rebooted", "workload", string(d.who(dom)))
}

// stir wakes up whoever moves the domain.
func (d *Driver) stir(id fleet.WorkloadID, e *libvirt.DomainEventLifecycle) {
	d.mu.Lock()
	o, at := d.outs[id], d.doors[id]
	d.mu.Unlock()
	if o != nil && e.Event == libvirt.DOMAIN_EVENT_SUSPENDED {
		wake(o.halt)
	}
	if at != nil {
		wake(at.stirred)
	}
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has not looked since the last time
	}
}

// Stirred rings when the workload that is expected here has come or changed.
func (d *Driver) Stirred(id fleet.WorkloadID) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := d.doors[id]; at != nil {
		return at.stirred
	}
	return nil
}

// iterated wakes the move up: its statistics are new.
func (d *Driver) iterated(_ *libvirt.Connect, dom *libvirt.Domain, _ *libvirt.DomainEventMigrationIteration) {
	id := d.who(dom)
	d.mu.Lock()
	o := d.outs[id]
	d.mu.Unlock()
	if o != nil { // else it is not a move of ours
		wake(o.turn)
	}
}

// completed tells how a move went as the hypervisor has measured it, which nobody can
// ask any more once the domain is gone from here.
func (d *Driver) completed(_ *libvirt.Connect, dom *libvirt.Domain, e *libvirt.DomainEventJobCompleted) {
	d.ring()
	d.log.Info("a job on a domain is complete", "workload", string(d.who(dom)), "took", time.Duration(e.Info.TimeElapsed)*time.Millisecond,
		"downtime", time.Duration(e.Info.Downtime)*time.Millisecond, "passes", e.Info.MemIteration, "sent", e.Info.MemProcessed+e.Info.DiskProcessed)
}

func (d *Driver) blockJob(_ *libvirt.Connect, dom *libvirt.Domain, e *libvirt.DomainEventBlockJob) {
	d.ring()
	if e.Status == libvirt.DOMAIN_BLOCK_JOB_FAILED {
		d.log.Warn("a block job has failed", "workload", string(d.who(dom)), "disk", e.Disk)
	}
}

func (d *Driver) removed(_ *libvirt.Connect, dom *libvirt.Domain, e *libvirt.DomainEventDeviceRemoved) {
	d.ring()
	d.log.Debug("a device was removed", "workload", string(d.who(dom)), "device", e.DevAlias)
}
