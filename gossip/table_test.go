package gossip

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/throttle"
)

var epoch = time.Unix(1_700_000_000, 0)

func testNow() time.Time { return epoch }

// clock is a time that the test moves.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func newTestTable() (*table, *clock) {
	c := &clock{epoch}
	t := newTable("self", c.read)
	t.startSeq(100)
	t.join("self", "127.0.0.1:1", "self", Meta{})
	return t, c
}

func state(t *testing.T, tb *table, id fleet.HostID) Member {
	t.Helper()
	for _, m := range tb.list() {
		if m.ID == id {
			return m
		}
	}
	t.Fatalf("no member %s", id)
	return Member{}
}

func TestMemberLife(t *testing.T) {
	tb, c := newTestTable()
	tb.join("a", "127.0.0.2:1", "a", Meta{Role: RoleHost})
	since := c.now
	c.now = c.now.Add(time.Second)
	tb.join("a", "127.0.0.2:1", "a", Meta{Role: RoleVoter}) // an update
	if m := state(t, tb, "a"); m.State != fleet.Alive || m.Since != since || m.Meta.Role != RoleVoter {
		t.Fatalf("after an update: %+v", m)
	}
	tb.suspect("a")
	if m := state(t, tb, "a"); m.State != fleet.Suspect || m.Since != c.now {
		t.Fatalf("suspected: %+v", m)
	}
	tb.answered("a", time.Millisecond)
	if m := state(t, tb, "a"); m.State != fleet.Alive || m.RTT != time.Millisecond {
		t.Fatalf("answered: %+v", m)
	}
	tb.suspect("a")
	tb.leave("a")
	if m := state(t, tb, "a"); m.State != fleet.Dead || m.Left || tb.aliveCount() != 1 {
		t.Fatalf("dead: %+v, %d alive", m, tb.aliveCount())
	}
	tb.suspect("a") // late news
	tb.answered("a", time.Second)
	if m := state(t, tb, "a"); m.State != fleet.Dead {
		t.Fatalf("dead, then late news: %+v", m)
	}
	tb.join("a", "127.0.0.9:1", "a", Meta{})
	tb.merge([]hostLoad{{"a", Load{Seq: 5, Leaving: true}}})
	tb.leave("a")
	if m := state(t, tb, "a"); m.State != fleet.Dead || !m.Left || m.Addr != "127.0.0.9:1" {
		t.Fatalf("left: %+v", m)
	}
	c.now = c.now.Add(deadTime)
	tb.expire(time.Minute)
	state(t, tb, "a") // still listed
	c.now = c.now.Add(time.Second)
	tb.expire(time.Minute)
	if n := len(tb.list()); n != 1 {
		t.Fatalf("%d members after the dead one expired", n)
	}
	if n := len(tb.allLoads()); n != 1 {
		t.Fatalf("%d loads after the dead one expired", n)
	}
}

// A suspicion that was refuted to somebody else ends by itself.
func TestSuspicionExpires(t *testing.T) {
	tb, c := newTestTable()
	tb.join("a", "127.0.0.2:1", "a", Meta{})
	tb.suspect("a")
	c.now = c.now.Add(10 * time.Second)
	tb.expire(10 * time.Second)
	if m := state(t, tb, "a"); m.State != fleet.Suspect {
		t.Fatalf("too early: %+v", m)
	}
	c.now = c.now.Add(time.Second)
	tb.expire(10 * time.Second)
	if m := state(t, tb, "a"); m.State != fleet.Alive || m.Since != c.now {
		t.Fatalf("not ended: %+v", m)
	}
}

// A host that restarts with its clock set back is believed all the same.
func TestOwnSequenceStepsOverTheOldOne(t *testing.T) {
	tb, _ := newTestTable()
	if news := tb.merge([]hostLoad{{"self", Load{Seq: 90, CPU: 1}}}); len(news) != 0 || len(tb.overtaken) != 0 {
		t.Fatal("an echo was taken for news")
	}
	tb.setOwn(Load{CPU: 400})
	tb.merge([]hostLoad{{"self", Load{Seq: 5000, CPU: 1, Leaving: true}}})
	if len(tb.overtaken) != 1 {
		t.Fatal("nobody was told to speak up")
	}
	if h := tb.own(false); h.load.Seq != 5001 || h.load.CPU != 400 || h.load.Leaving {
		t.Fatalf("sent %+v", h)
	}
}

func TestTableIsBounded(t *testing.T) {
	tb, c := newTestTable()
	var flood []hostLoad
	for i := range maxHosts + 100 {
		flood = append(flood, hostLoad{fleet.HostID(fmt.Sprintf("h%d", i)), Load{Seq: 1}})
	}
	tb.merge(flood)
	if n := len(tb.allLoads()); n != maxHosts || tb.dropped == 0 {
		t.Fatalf("%d loads, %d dropped", n, tb.dropped)
	}
	c.now = c.now.Add(deadTime + time.Second)
	tb.expire(time.Minute)
	if n := len(tb.allLoads()); n != 1 {
		t.Fatalf("%d loads of nobody were kept", n-1)
	}
}

func TestDiffers(t *testing.T) {
	base := Load{CPU: 500, Memory: 500, Workloads: 3}
	for name, test := range map[string]struct {
		change func(*Load)
		want   bool
	}{
		"nothing":       {func(*Load) {}, false},
		"sequence":      {func(l *Load) { l.Seq++ }, false},
		"noise":         {func(l *Load) { l.CPU += minChange - 1 }, false},
		"more cpu":      {func(l *Load) { l.CPU += minChange }, true},
		"less memory":   {func(l *Load) { l.Memory -= minChange }, true},
		"disk unknown":  {func(l *Load) { l.Disk = UnknownShare }, true},
		"wait":          {func(l *Load) { l.Wait = 100 }, true},
		"one more work": {func(l *Load) { l.Workloads++ }, true},
	} {
		l := base
		test.change(&l)
		if l.differs(base) != test.want || base.differs(l) != test.want {
			t.Errorf("%s: want %v", name, test.want)
		}
	}
}

func TestBridgeTellsNoiseFromAlarms(t *testing.T) {
	logs := &logBuffer{}
	tb, _ := newTestTable()
	tb.join("a", "127.0.0.2:1", "a", Meta{})
	b := &bridge{table: tb, logger: logs.logger(hclog.Info), throttle: throttle.New(time.Minute)}
	out := b.standard()
	out.Printf("[ERR] memberlist: Failed to send UDP ping: boom")
	if logs.has("boom") {
		t.Error("memberlist's noise is above debug level")
	}
	out.Printf("[INFO] memberlist: Suspect %s has failed, no acks received", "a")
	if state(t, tb, "a").State != fleet.Suspect {
		t.Error("the suspicion was not read")
	}
	for range 3 {
		out.Printf("[ERR] memberlist: Decrypt packet failed: no from=10.0.0.7:1234")
	}
	if !logs.has("give the sender and this host the same keyring") || !logs.has("from=10.0.0.7:1234") {
		t.Errorf("no clear line: %s", logs.buf.String())
	}
}

// The address of a lost member is kept when the list has forgotten it, until it
// is back or it is too long ago; one that left is not looked for.
func TestLostMembersAreLookedFor(t *testing.T) {
	tb, c := newTestTable()
	for _, id := range []fleet.HostID{"dies", "leaves", "returns"} {
		tb.join(id, string(id)+":1", string(id), Meta{})
	}
	tb.merge([]hostLoad{{host: "leaves", load: Load{Seq: 1, Leaving: true}}})
	for _, id := range []fleet.HostID{"dies", "leaves", "returns"} {
		tb.leave(id)
	}
	if listed, gone := tb.lost(); len(listed) != 2 || len(gone) != 0 {
		t.Errorf("listed %v, gone %v", listed, gone)
	}
	c.now = c.now.Add(deadTime + time.Second)
	tb.expire(time.Second)
	tb.join("returns", "returns:2", "returns", Meta{})
	if listed, gone := tb.lost(); len(listed) != 0 || len(gone) != 1 || gone[0] != "dies:1" {
		t.Errorf("after %s: listed %v, gone %v", deadTime, listed, gone)
	}
	c.now = c.now.Add(lostTime + time.Second)
	tb.expire(time.Second)
	if _, gone := tb.lost(); len(gone) != 0 {
		t.Errorf("after %s: gone %v", lostTime, gone)
	}
}

// One slow answer moves the round-trip time by an eighth.
func TestRoundTripTimeIsSmoothed(t *testing.T) {
	tb, _ := newTestTable()
	tb.join("a", "127.0.0.2:1", "a", Meta{})
	for _, c := range []struct{ sample, want time.Duration }{{800, 800}, {1600, 900}, {100, 800}} {
		tb.answered("a", c.sample)
		if m := state(t, tb, "a"); m.RTT != c.want {
			t.Errorf("after %s: %s, want %s", c.sample, m.RTT, c.want)
		}
	}
}
