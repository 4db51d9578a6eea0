package virtual

import (
	"context"
	"time"
)

// fault breaks something, holds it for a while and repairs it.
type fault struct {
	name string
	do   func(*injector)
}

// injector breaks one thing after the other. After each it repairs everything and
// wants a leader again, in the time that the promise gives.
type injector struct {
	*cluster
	clients []string
	deck    []int // of faults, still to come
}

// draw takes the faults from a shuffled deck: each comes once before any comes
// again, so that a run of ten minutes has seen all of them.
func (f *injector) draw() fault {
	if len(f.deck) == 0 {
		f.deck = f.dice.Perm(len(faults))
	}
	one := faults[f.deck[0]]
	f.deck = f.deck[1:]
	return one
}

var faults = []fault{
	{"isolate the leader", func(f *injector) { f.isolate(f.leading()) }},
	{"isolate a voter", func(f *injector) { f.isolate(f.any()) }},
	{"split", (*injector).split},
	{"cut one way", (*injector).cutOneWay},
	{"lose and delay messages", (*injector).lose},
	{"power cut of the leader", func(f *injector) { f.powerCut(f.leading()) }},
	{"power cut of a voter", func(f *injector) { f.powerCut(f.any()) }},
	{"power cut of all voters", func(f *injector) { f.powerCut(f.voters...) }},
	{"power cut during writes", (*injector).powerCutDuringWrites},
	{"kill the leader", func(f *injector) { f.kill(f.leading()) }},
	{"slow disk", (*injector).slowDisk},
	{"dead disk", func(f *injector) { f.brokenDisk(true, false) }},
	{"failing disk", func(f *injector) { f.brokenDisk(false, true) }},
	{"slow state machine", (*injector).slowState},
	{"transfer leadership", func(f *injector) { f.transfer(false) }},
	{"transfer leadership and isolate the old leader", func(f *injector) { f.transfer(true) }},
	{"transfer leadership and isolate the old leader", func(f *injector) { f.transfer(true) }}, // rarely bites: twice
	{"power cut just after a vote", (*injector).hub},
}

func (f *injector) run(ctx context.Context) {
	for ctx.Err() == nil {
		f.rest(ctx, 2*time.Second, 6*time.Second)
		if ctx.Err() != nil {
			return
		}
		one := f.draw()
		f.log.add("%s", one.name)
		one.do(f)
		f.repair()
		f.log.add("repaired")
		if l, took := f.steadyLeader(leaderWithin); l == nil && ctx.Err() == nil {
			f.judge.violated(healPromise, "after %q: no leader within %s", one.name, took)
		}
	}
}

const leaderWithin = 5 * time.Second

func (f *injector) between(low, high time.Duration) time.Duration {
	return low + time.Duration(f.dice.Int64N(int64(high-low)))
}

func (f *injector) rest(ctx context.Context, low, high time.Duration) {
	select {
	case <-time.After(f.between(low, high)):
	case <-ctx.Done():
	}
}

func (f *injector) hold(low, high time.Duration) { time.Sleep(f.between(low, high)) }

func (f *injector) any() *voter { return f.voters[f.dice.IntN(len(f.voters))] }

func (f *injector) leading() *voter {
	if l := f.leader(); l != nil {
		return l.voter
	}
	return f.any()
}

func (f *injector) others(v *voter) []*voter {
	var out []*voter
	for _, o := range f.voters {
		if o != v {
			out = append(out, o)
		}
	}
	return out
}

// repair mends every link and disk and starts every voter.
func (f *injector) repair() {
	f.net.Mend()
	for _, v := range f.voters {
		v.disk.set(usualPace, false, false)
		v.mu.Lock()
		v.slow, v.trap = 0, false
		v.mu.Unlock()
		f.restart(v)
	}
}

func (c *cluster) restart(v *voter) {
	c.boots.Lock()
	defer c.boots.Unlock()
	if v.running() == nil {
		c.log.add("%s starts", v.id)
		v.boot()
	}
}

func (f *injector) cutBoth(a, b string) {
	f.net.Cut(a, b)
	f.net.Cut(b, a)
}

// isolate cuts a voter off from the others, and half of the clients from it.
func (f *injector) isolate(v *voter) {
	f.log.add("cut off %s", v.id)
	for _, o := range f.others(v) {
		f.cutBoth(v.id, o.id)
	}
	for _, k := range f.clients {
		if f.dice.IntN(2) == 0 {
			f.cutBoth(v.id, k)
		}
	}
	f.hold(2*time.Second, 8*time.Second)
}

// split parts voters and clients in two.
func (f *injector) split() {
	side := map[string]bool{}
	for _, v := range f.voters {
		side[v.id] = f.dice.IntN(2) == 0
	}
	for _, k := range f.clients {
		side[k] = f.dice.IntN(2) == 0
	}
	f.log.add("sides %v", side)
	for a := range side {
		for b := range side {
			if side[a] != side[b] {
				f.net.Cut(a, b)
			}
		}
	}
	f.hold(2*time.Second, 6*time.Second)
}

// cutOneWay lets a voter hear and not speak, or speak and not hear, to one other
// or to all.
func (f *injector) cutOneWay() {
	v := f.any()
	if f.dice.IntN(2) == 0 {
		v = f.leading()
	}
	deaf, all := f.dice.IntN(2) == 0, f.dice.IntN(2) == 0
	for _, o := range f.others(v) {
		from, to := v.id, o.id
		if deaf {
			from, to = to, from
		}
		f.log.add("cut %s to %s", from, to)
		f.net.Cut(from, to)
		if !all {
			break
		}
	}
	f.hold(2*time.Second, 8*time.Second)
}

func (f *injector) lose() {
	link := linkOf(f.between(time.Millisecond, 30*time.Millisecond), f.between(time.Millisecond, 60*time.Millisecond), 0.02+0.15*f.dice.Float64())
	f.log.add("links %+v", link)
	for _, v := range f.voters {
		for _, o := range f.others(v) {
			f.net.SetLink(v.id, o.id, link)
		}
		for _, k := range f.clients {
			f.net.SetLink(v.id, k, link)
			f.net.SetLink(k, v.id, link)
		}
	}
	f.hold(3*time.Second, 8*time.Second)
}

func (f *injector) powerCut(victims ...*voter) {
	for _, v := range victims {
		f.log.add("%s loses power", v.id)
		f.crash(v, true)
	}
	f.hold(20*time.Millisecond, 5*time.Second)
}

// powerCutDuringWrites slows the disks of all, so that most of what is written is
// on its way to the disk when the power goes: of the leader, of all at once, or
// of one after the other.
func (f *injector) powerCutDuringWrites() {
	for _, v := range f.voters {
		v.disk.set(50*time.Millisecond, false, false)
	}
	f.hold(time.Second, 2*time.Second)
	kind := f.dice.IntN(3)
	if kind != 0 {
		f.powerCut(f.leading())
	}
	if kind != 1 {
		f.powerCut(f.voters...)
	}
}

func (f *injector) kill(v *voter) {
	f.log.add("kill %s", v.id)
	f.crash(v, false)
	f.hold(20*time.Millisecond, 6*time.Second)
}

func (f *injector) slowDisk() {
	v, pace := f.any(), f.between(50*time.Millisecond, 700*time.Millisecond)
	if f.dice.IntN(2) == 0 {
		v = f.leading()
	}
	f.log.add("disk of %s takes %s", v.id, pace)
	v.disk.set(pace, false, false)
	f.hold(2*time.Second, 6*time.Second)
}

// brokenDisk must make the voter stop by itself.
func (f *injector) brokenDisk(hang, fail bool) {
	v := f.any()
	if f.dice.IntN(2) == 0 {
		v = f.leading()
	}
	l := v.running()
	f.log.add("disk of %s: hangs %t, fails %t", v.id, hang, fail)
	v.disk.set(usualPace, hang, fail)
	f.hold(3*time.Second, 6*time.Second)
	if l != nil && !l.isDead() {
		f.log.add("%s went on: it had nothing to write", v.id)
	}
}

func (f *injector) slowState() {
	v, slow := f.any(), f.between(time.Millisecond, 40*time.Millisecond)
	f.log.add("%s takes %s for an entry", v.id, slow)
	v.mu.Lock()
	v.slow = slow
	v.mu.Unlock()
	f.hold(2*time.Second, 5*time.Second)
	f.transfer(false)
}

func (f *injector) transfer(isolate bool) {
	l := f.leader()
	if l == nil {
		return
	}
	to := f.others(l.voter)[f.dice.IntN(len(f.voters)-1)]
	f.log.add("transfer leadership from %s to %s", l.voter.id, to.id)
	f.background(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = l.node.TransferLeadership(ctx, to.id) // it may fail: the old one leads on
	})
	if !isolate {
		f.hold(time.Second, 2*time.Second)
		return
	}
	time.Sleep(f.between(time.Millisecond, 6*time.Millisecond))
	f.log.add("cut off %s", l.voter.id)
	for _, o := range f.others(l.voter) {
		f.cutBoth(l.voter.id, o.id)
	}
	f.hold(2*time.Second, 4*time.Second)
}

// hub leaves one voter as the only way between two halves of the others, takes
// its leadership away, and cuts its power just when it has voted: then the other
// half stands in the same term.
func (f *injector) hub() {
	mid := f.leading()
	for i, a := range f.others(mid) {
		for k, b := range f.others(mid) {
			if i%2 != k%2 {
				f.net.Cut(a.id, b.id)
			}
		}
	}
	f.log.add("%s is the only way between the others", mid.id)
	// A voter whose log is longer than the candidates' elects neither, so they
	// are given time to catch up with it.
	for _, k := range f.clients {
		f.cutBoth(k, mid.id)
	}
	time.Sleep(200 * time.Millisecond)
	f.crash(mid, true)
	for _, k := range f.clients {
		f.net.SetLink(k, mid.id, usualLink)
		f.net.SetLink(mid.id, k, usualLink)
	}
	// The halves stand a second after they last heard of it. Were it back much
	// earlier it would stand itself, and win by the votes of both.
	time.Sleep(850 * time.Millisecond)
	mid.mu.Lock()
	mid.trap = true
	mid.mu.Unlock()
	f.restart(mid)
	f.hold(4*time.Second, 6*time.Second)
}
