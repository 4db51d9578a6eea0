package gossip

import (
	"bytes"
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fleet"
)

func TestNewNamesWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	for name, test := range map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"port in use":     {func(c *Config) { c.BindPort = taken.Addr().(*net.TCPAddr).Port }, "another process has it"},
		"foreign address": {func(c *Config) { c.BindAddr = "192.0.2.1" }, "no interface of this host"},
		"no address":      {func(c *Config) { c.BindAddr = "eth0" }, "is not an IP address"},
		"every address":   {func(c *Config) { c.BindAddr = "0.0.0.0" }, "set the advertise address"},
		"no key":          {func(c *Config) { c.Keyring = nil }, "placed keygen"},
		"short key":       {func(c *Config) { c.Keyring = append(c.Keyring, []byte("short")) }, "key 2 of the keyring has 5 bytes"},
		"no cluster":      {func(c *Config) { c.Cluster = "" }, "cluster name"},
		"bad seed":        {func(c *Config) { c.Join = []string{"10.0.0.1"} }, "not of the form host:port"},
		"bad preset":      {func(c *Config) { c.Preset = "wan" }, `preset "wan" is unknown`},
		"bad role":        {func(c *Config) { c.Meta.Role = "king" }, `role "king"`},
		"no id":           {func(c *Config) { c.ID = "" }, "host id is empty"},
	} {
		c := local(1)
		test.spoil(&c)
		g, err := New(c)
		if err == nil {
			_ = g.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
	}
	g, err := New(local(1))
	must(t, err)
	must(t, g.Close())
	if err := g.Run(context.Background()); err == nil {
		t.Error("Run after Close")
	}
}

// Four members meet, know each other's names, metas and loads, and tell one that
// leaves from one that dies.
func TestMembersMeetReportAndLeave(t *testing.T) {
	t.Parallel()
	first := start(t, local(11))
	all := []member{first}
	for n := 12; n <= 14; n++ {
		all = append(all, start(t, local(n, first.Addr())))
	}
	all[3].SetLoad(Load{CPU: 750, Memory: 300, Workloads: 5})
	for _, m := range all {
		eventually(t, 40*time.Second, "all four are alive everywhere, with loads", func() bool {
			four, ok := m.of(14)
			return ok && len(m.Members()) == 4 && m.sees(11, fleet.Alive) && m.sees(12, fleet.Alive) && m.sees(13, fleet.Alive) && four.Load.CPU == 750
		})
	}
	got, _ := all[1].of(14)
	want := local(14)
	if got.Name != want.Name || got.Meta != want.Meta || got.Addr != all[3].Addr() || got.Load.Workloads != 5 || got.State != fleet.Alive || got.Since.IsZero() {
		t.Errorf("host-12 knows of host-14: %+v", got)
	}
	ids := []fleet.HostID{}
	for _, m := range all[2].Members() {
		ids = append(ids, m.ID)
	}
	if strings.Join([]string{string(ids[0]), string(ids[1]), string(ids[2]), string(ids[3])}, " ") != "host-11 host-12 host-13 host-14" {
		t.Errorf("members are not sorted: %v", ids)
	}

	meta := want.Meta
	meta.Role, meta.Capability = RoleHost, 99
	must(t, all[3].SetMeta(meta))
	spread := eventually(t, 40*time.Second, "a changed load and meta arrive", func() bool {
		all[3].SetLoad(Load{CPU: 10, Memory: 300, Workloads: 5})
		m, _ := first.of(14)
		return m.Meta == meta && m.Load.CPU == 10
	})
	t.Logf("a change was known after %s", spread)

	for len(first.Changed()) > 0 {
		<-first.Changed()
	}
	all[3].stop()
	eventually(t, 40*time.Second, "the one that left is known to have left", func() bool {
		m, ok := first.of(14)
		return ok && m.State == fleet.Dead && m.Left
	})
	select {
	case <-first.Changed():
	default:
		t.Error("Changed said nothing")
	}
}

// A member is killed; the others know within five seconds. It starts again with
// an empty join list: the others look for it.
func TestKilledMemberIsDeadAndComesBack(t *testing.T) {
	t.Parallel()
	first := start(t, local(21))
	second := start(t, local(22, first.Addr()))
	config := local(23, first.Addr())
	victim := startChild(t, config)
	for _, m := range []member{first, second} {
		eventually(t, 40*time.Second, "the victim is a member and reports", func() bool {
			v, ok := m.of(23)
			return ok && v.State == fleet.Alive && v.Load.Workloads == 7
		})
	}
	before, _ := first.of(23)
	victim.kill(t)
	killed := time.Now()
	for _, m := range []member{first, second} {
		eventually(t, 40*time.Second, "the victim is dead", func() bool { return m.sees(23, fleet.Dead) })
	}
	took := time.Since(killed)
	t.Logf("a killed member was known everywhere after %s", took)
	if took > 5*time.Second {
		t.Errorf("known after %s, want at most 5 s", took)
	}
	if m, _ := first.of(23); m.Left {
		t.Error("it was killed, and is said to have left")
	}

	addr, err := net.ResolveTCPAddr("tcp", victim.addr)
	must(t, err)
	config.BindPort, config.Join = addr.Port, nil
	startChild(t, config)
	began := time.Now()
	for _, m := range []member{first, second} {
		eventually(t, 40*time.Second, "the restarted member is alive and reports", func() bool {
			v, ok := m.of(23)
			return ok && v.State == fleet.Alive && v.Load.Seq > before.Load.Seq && v.Load.CPU == 500
		})
	}
	t.Logf("a restarted member was back after %s", time.Since(began))
}

// A process that hangs is dead to the others and back once it goes on.
func TestHungMemberIsDeadAndComesBack(t *testing.T) {
	t.Parallel()
	first := start(t, local(31))
	hung := startChild(t, local(32, first.Addr()))
	eventually(t, 40*time.Second, "both are members", func() bool { return first.sees(32, fleet.Alive) })
	must(t, hung.cmd.Process.Signal(syscall.SIGSTOP))
	eventually(t, 40*time.Second, "it is suspected", func() bool { return first.sees(32, fleet.Suspect) })
	eventually(t, 40*time.Second, "it is dead", func() bool { return first.sees(32, fleet.Dead) })
	must(t, hung.cmd.Process.Signal(syscall.SIGCONT))
	eventually(t, 40*time.Second, "it is back", func() bool { return first.sees(32, fleet.Alive) })
}

// A partition lasts longer than memberlist remembers the dead; nobody restarts,
// and the two sides still find each other. The larger side has no join list.
func TestSidesOfALongPartitionRejoin(t *testing.T) {
	t.Parallel()
	forget := func(g *Gossip) { g.settings.GossipToTheDeadTime = 100 * time.Millisecond }
	var cutA, cutB, cutC cutter
	a := start(t, local(41), forget, cutA.install)
	b := start(t, local(42, a.Addr()), forget, cutB.install)
	c := start(t, local(43, a.Addr()), forget, cutC.install)
	whole := func() bool {
		for _, m := range []member{a, b, c} {
			if !m.sees(41, fleet.Alive) || !m.sees(42, fleet.Alive) || !m.sees(43, fleet.Alive) {
				return false
			}
		}
		return true
	}
	eventually(t, 40*time.Second, "three members", whole)
	cutC.set(true, a.Addr(), b.Addr())
	cutA.set(true, c.Addr())
	cutB.set(true, c.Addr())
	eventually(t, 40*time.Second, "each side takes the other for dead", func() bool {
		return a.sees(43, fleet.Dead) && b.sees(43, fleet.Dead) && c.sees(41, fleet.Dead) && c.sees(42, fleet.Dead)
	})
	// Several probe rounds, each of which drops the forgotten dead.
	longer := time.Now().Add(1500 * time.Millisecond)
	eventually(t, 5*time.Second, "the partition outlasts memory", func() bool { return time.Now().After(longer) })
	cutC.set(false, a.Addr(), b.Addr())
	cutA.set(false, c.Addr())
	cutB.set(false, c.Addr())
	t.Logf("whole again after %s", eventually(t, 30*time.Second, "whole again", whole))
}

// A seed that starts later than those who wait for it is found.
func TestSeedThatStartsLateIsFound(t *testing.T) {
	t.Parallel()
	late, err := New(local(51)) // takes a port
	must(t, err)
	addr := late.Addr()
	must(t, late.Close())
	logs := &logBuffer{}
	early := local(52, addr)
	early.Logger = logs.logger(hclog.Info)
	waiting := start(t, early)
	eventually(t, 40*time.Second, "a line about the missing seed", func() bool {
		return logs.has("cannot join through a host") && logs.has(addr)
	})
	config := local(51)
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	must(t, err)
	config.BindPort = tcp.Port
	seed := start(t, config)
	eventually(t, 40*time.Second, "they meet", func() bool { return waiting.sees(51, fleet.Alive) && seed.sees(52, fleet.Alive) })
}

// Strangers are kept out, and both sides can read why in their logs.
func TestWrongKeyWrongClusterAndCopiedHost(t *testing.T) {
	t.Parallel()
	logs := &logBuffer{}
	config := local(61)
	config.Logger = logs.logger(hclog.Info)
	first := start(t, config)
	friend := start(t, local(62, first.Addr()))
	eventually(t, 40*time.Second, "a friend is let in", func() bool { return first.sees(62, fleet.Alive) })

	strangerLogs := &logBuffer{}
	wrongKey := local(63, first.Addr())
	wrongKey.Keyring = [][]byte{bytes.Repeat([]byte{2}, 32)}
	wrongKey.Logger = strangerLogs.logger(hclog.Info)
	stranger := start(t, wrongKey)
	wrongCluster := local(64, first.Addr())
	wrongCluster.Cluster = "lab"
	other := start(t, wrongCluster)
	copied := local(65, first.Addr())
	copied.ID = "host-62"
	start(t, copied)

	for what, ok := range map[string]func() bool{
		"line about the key":           func() bool { return logs.has("give the sender and this host the same keyring") },
		"line of the stranger":         func() bool { return strangerLogs.has("cannot join through a host") },
		"line about the cluster":       func() bool { return logs.has("gossip of another cluster arrives here") },
		"line about the copied host":   func() bool { return logs.has("two hosts gossip under one id") && logs.has("127.0.0.65:") },
		"the real host stays a member": func() bool { m, _ := first.of(62); return m.Addr == friend.Addr() },
	} {
		eventually(t, 40*time.Second, what, ok)
	}
	if _, known := first.of(63); known {
		t.Error("a member with another key was let in")
	}
	if _, known := first.of(64); known {
		t.Error("a member of another cluster was let in")
	}
	if len(stranger.Members()) != 1 || len(other.Members()) != 1 {
		t.Error("a stranger learned of members")
	}
}

// A key is replaced without a gap: the new one is added everywhere, then put
// first, then the old one removed.
func TestKeyringRotation(t *testing.T) {
	t.Parallel()
	old, fresh := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{3}, 32)
	first := local(71)
	first.Keyring = [][]byte{old, fresh}
	a := start(t, first)
	second := local(72, a.Addr())
	second.Keyring = [][]byte{fresh, old}
	b := start(t, second)
	eventually(t, 40*time.Second, "they meet", func() bool { return a.sees(72, fleet.Alive) && b.sees(71, fleet.Alive) })
}

func TestOutgoingStreamsComeFromTheBoundAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	g, err := New(local(81))
	must(t, err)
	defer g.Close()
	conn, err := g.port.DialTimeout(l.Addr().String(), time.Second)
	must(t, err)
	defer conn.Close()
	in, err := l.Accept()
	must(t, err)
	defer in.Close()
	if host, _, _ := net.SplitHostPort(in.RemoteAddr().String()); host != "127.0.0.81" {
		t.Errorf("the stream came from %s", host)
	}
}
