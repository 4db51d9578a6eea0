//go:build lab

package lab_test

import (
	"fmt"
	"os"
	"time"

	"github.com/placed-dev/placed/lab"
)

func (b *bench) agents(options map[string]string) lab.AgentConfig {
	return lab.AgentConfig{Binary: b.binary, Memory: "4GiB", Cores: 16, Options: options}
}

// configure starts all agents anew with other options of the driver.
func (b *bench) configure(options map[string]string) {
	b.Helper()
	for _, h := range b.Hosts {
		b.must(h.StopAgent(b.ctx))
	}
	b.must(b.PrepareAgents(b.ctx, b.agents(options)))
	b.must(b.StartAgents(b.ctx))
}

// native lets the hypervisors connect to each other by themselves, under TLS with
// certificates of their own; and shows that it is TLS: a destination that does not
// know the source's authority gets nothing, and the guest stays.
func (b *bench) native(g lab.Guest) {
	b.configure(map[string]string{"native": "tls"})
	from := b.settled(g)
	to := b.other(from)
	w := b.watch(g)
	b.sendOff(g, to)
	b.arrives(g, to)
	b.settled(g)
	s := b.seen(w, "native")

	back := b.other(to)
	ca := back.Path("/etc/pki/qemu/ca-cert.pem")
	good, err := os.ReadFile(ca)
	b.must(err)
	b.must(lab.WriteAuthority(ca))
	b.must(b.move(g, back))
	b.until(ready, "the move without trust has ended", func() error {
		_, open, err := b.booked(g)
		switch {
		case err != nil:
			return err
		case len(open) > 0:
			return fmt.Errorf("lease %s is %s", open[0].ID, open[0].State)
		}
		return nil
	})
	if on := b.settled(g); on != to {
		b.Fatalf("host %s does not trust the source's authority, and has the guest", on.Name)
	}
	b.answers(g, ready)
	b.must(os.WriteFile(ca, good, 0o600))
	b.sendOff(g, back)
	b.arrives(g, back)
	b.settled(g)
	b.configure(nil)
	b.Logf("native tls: %s to %s, gap seen from outside %s; a destination without the source's authority got nothing; then to %s", from.Name, to.Name, s.Gap.Round(time.Millisecond), back.Name)
}
