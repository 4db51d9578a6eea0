//go:build cgo && libvirt_dlopen

package libvirt

import (
	"sync"
	"sync/atomic"

	libvirt "libvirt.org/go/libvirt"
)

// eventLoop is libvirt's: there is one in a process, however many drivers use it. It
// runs while anybody does.
type eventLoop struct {
	once       sync.Once
	registered error // set by once

	mu    sync.Mutex // guards all below
	users int
	timer int
	quit  *atomic.Bool
	ended chan struct{}
}

var events eventLoop

// register must come before the connections whose events are to be heard.
func (l *eventLoop) register() error {
	l.once.Do(func() { l.registered = libvirt.EventRegisterDefaultImpl() })
	return l.registered
}

// use runs the loop until release is called, which returns once it has ended or others
// go on with it. Callbacks run in the loop and must not block.
func (l *eventLoop) use() (release func(), err error) {
	if err := l.register(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users++; l.users > 1 {
		return l.release, nil
	}
	// The timer is what makes the loop return when it is told to end.
	if l.timer, err = libvirt.EventAddTimeout(-1, func(int) {}); err != nil {
		l.users--
		return nil, err
	}
	l.quit, l.ended = &atomic.Bool{}, make(chan struct{})
	go func(quit *atomic.Bool, ended chan struct{}) { // release waits for it
		defer close(ended)
		for !quit.Load() {
			if libvirt.EventRunDefaultImpl() != nil {
				return // it cannot poll at all; inventories go on without news
			}
		}
	}(l.quit, l.ended)
	return l.release, nil
}

func (l *eventLoop) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users > 0 {
		return
	}
	l.quit.Store(true)
	libvirt.EventUpdateTimeout(l.timer, 0)
	<-l.ended
	_ = libvirt.EventRemoveTimeout(l.timer) // it only frees memory
}
