package workload

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// LoadConfig says how hard a Load works.
type LoadConfig struct {
	// Addrs of one workload.
	Addrs []string
	// Clients write at the same time, each to keys of its own; 0 means 1.
	Clients int
	// Keys per client, written in turn; 0 means 100.
	Keys int
	// Interval between two requests of one client; 0 means 20 ms.
	Interval time.Duration
	// Deadline of one request, attempts on all addresses included; 0 means
	// 10 s. A request whose connection broke is sent again, with the same
	// key and value, and counts as an error only after its deadline.
	Deadline time.Duration
	// Prefix of the keys, for several loads on one workload.
	Prefix string
}

// Summary is what a Load has seen so far.
type Summary struct {
	Requests int64
	// Errors are requests that failed after their deadline or were refused,
	// FirstError the first of them.
	Errors     int64
	FirstError error
	// Acked are acknowledged writes. LostWrites are keys whose last
	// acknowledged write ReadBack did not find; a key that could not be
	// read at all counts here too.
	Acked      int64
	LostWrites int64
	// Regressions are answers whose counter was not above the one of the
	// same client's answer before.
	Regressions int64
	// MaxGap is the longest machine time between two answers, of any client,
	// from the first one on.
	MaxGap time.Duration
}

// Load writes and reads one workload from outside, to prove that it lives and
// loses nothing.
type Load struct {
	config  LoadConfig
	writers []*writer

	mu      sync.Mutex // guards what follows
	summary Summary
	last    time.Time // of the newest answer
}

// writer is one client with the keys that only it writes.
type writer struct {
	name    string
	counter uint64
	next    uint64   // number of the next write, from 1
	acked   []uint64 // per key: number of the last acknowledged write
	sent    []uint64 // per key: number of the last write sent
}

// NewLoad returns a load that has done nothing yet.
func NewLoad(c LoadConfig) (*Load, error) {
	if len(c.Addrs) == 0 {
		return nil, errors.New("load: no addresses")
	}
	if c.Clients <= 0 {
		c.Clients = 1
	}
	if c.Keys <= 0 {
		c.Keys = 100
	}
	if c.Interval <= 0 {
		c.Interval = 20 * time.Millisecond
	}
	if c.Deadline <= 0 {
		c.Deadline = 10 * time.Second
	}
	l := &Load{config: c}
	for i := range c.Clients {
		name := c.Prefix + "c" + strconv.Itoa(i)
		if len(name)+8 > MaxKey || strings.ContainsAny(name, " \r\n") {
			return nil, fmt.Errorf("load: prefix %q is too long or has blanks", c.Prefix)
		}
		l.writers = append(l.writers, &writer{
			name: name, next: 1, acked: make([]uint64, c.Keys), sent: make([]uint64, c.Keys),
		})
	}
	return l, nil
}

// Run works until ctx ends and returns nil then: what went wrong is in the
// Summary. A request under way when ctx ends is finished within its deadline,
// so that the end itself causes no error.
func (l *Load) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	for i, w := range l.writers {
		wait.Go(func() {
			client := NewClient(l.rotated(i))
			defer client.Close()
			timer := time.NewTimer(0)
			defer timer.Stop()
			for {
				select {
				case <-timer.C:
				case <-ctx.Done():
					return
				}
				l.request(context.WithoutCancel(ctx), client, w)
				timer.Reset(l.config.Interval)
			}
		})
	}
	wait.Wait()
	return nil
}

// rotated spreads the clients over the addresses.
func (l *Load) rotated(i int) []string {
	n := len(l.config.Addrs)
	return append(append([]string(nil), l.config.Addrs[i%n:]...), l.config.Addrs[:i%n]...)
}

// request writes the next key; every fourth write is read back at once.
func (l *Load) request(ctx context.Context, client *Client, w *writer) {
	ctx, cancel := context.WithTimeout(ctx, l.config.Deadline)
	defer cancel()
	number := w.next
	w.next++
	key := int(number % uint64(len(w.sent)))
	w.sent[key] = number
	counter, err := client.Set(ctx, w.key(key), w.value(number))
	l.note(err, func(s *Summary) {
		s.Acked++
		if counter <= w.counter {
			s.Regressions++
		}
	})
	if err != nil {
		return
	}
	w.counter, w.acked[key] = counter, number
	if number%4 != 0 {
		return
	}
	value, _, err := client.Get(ctx, w.key(key))
	if err == nil && value != w.value(number) {
		err = fmt.Errorf("GET %s: %q, acknowledged was %q", w.key(key), value, w.value(number))
	}
	l.note(err, func(*Summary) {})
}

// note counts one request and its answer.
func (l *Load) note(err error, answered func(*Summary)) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.summary.Requests++
	if err != nil {
		l.summary.Errors++
		if l.summary.FirstError == nil {
			l.summary.FirstError = err
		}
		return
	}
	if !l.last.IsZero() {
		l.summary.MaxGap = max(l.summary.MaxGap, now.Sub(l.last))
	}
	l.last = now
	answered(&l.summary)
}

// ReadBack reads every acknowledged key and counts those whose value is older
// than the last acknowledged write. Call it after Run has returned.
func (l *Load) ReadBack(ctx context.Context) (Summary, error) {
	client := NewClient(l.config.Addrs)
	defer client.Close()
	var lost int64
	var failed error
	for _, w := range l.writers {
		for key, acked := range w.acked {
			if acked == 0 {
				continue
			}
			if err := l.readBack(ctx, client, w, key); err != nil {
				lost++
				failed = errors.Join(failed, err)
			}
			if ctx.Err() != nil {
				return l.Summary(), fmt.Errorf("read back acknowledged writes: %w", ctx.Err())
			}
		}
	}
	l.mu.Lock()
	l.summary.LostWrites = lost
	l.mu.Unlock()
	return l.Summary(), failed
}

func (l *Load) readBack(ctx context.Context, client *Client, w *writer, key int) error {
	ctx, cancel := context.WithTimeout(ctx, l.config.Deadline)
	defer cancel()
	value, found, err := client.Get(ctx, w.key(key))
	if err != nil {
		return fmt.Errorf("read back %s: %w", w.key(key), err)
	}
	var number uint64
	if found {
		number, err = w.parse(value)
	}
	// A write that was sent and never acknowledged may have been done.
	if !found || err != nil || number < w.acked[key] || number > w.sent[key] {
		return fmt.Errorf("read back %s: %q, acknowledged was %q", w.key(key), value, w.value(w.acked[key]))
	}
	return nil
}

// Summary returns what has been seen so far.
func (l *Load) Summary() Summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.summary
}

func (w *writer) key(i int) string           { return w.name + "." + strconv.Itoa(i) }
func (w *writer) value(number uint64) string { return w.name + "=" + strconv.FormatUint(number, 10) }

func (w *writer) parse(value string) (uint64, error) {
	text, ok := strings.CutPrefix(value, w.name+"=")
	if !ok {
		return 0, fmt.Errorf("value %q is not ours", value)
	}
	return strconv.ParseUint(text, 10, 64)
}
