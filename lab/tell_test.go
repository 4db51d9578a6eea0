//go:build lab

package lab_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/lab"
)

// tell prints what the hosts know when a wait was in vain: what libvirt holds,
// leases, decisions and moves as each agent sees them, and the end of its log.
func (b *bench) tell() {
	b.Helper()
	var out strings.Builder
	for _, h := range b.Hosts {
		fmt.Fprintf(&out, "== %s\n", h.Name)
		list, err := b.virsh(h, "list", "--all")
		fmt.Fprintf(&out, "%s\n", orError(list, err))
		b.tellBooks(&out, h)
		text, err := os.ReadFile(h.Path("/agent.log"))
		fmt.Fprintf(&out, "-- the end of its agent's log\n%s\n", orError(lastLines(string(text), 30), err))
	}
	b.Log("\n" + out.String())
	b.dump()
}

// dump lets every agent write into its log where its goroutines are, and end: what
// hangs shows itself there. keepLogs saves it whole.
func (b *bench) dump() {
	for _, h := range b.Hosts {
		if _, err := h.Signal("agent --config", unix.SIGQUIT); err != nil {
			b.Log(err)
		}
	}
	for _, h := range b.Hosts {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if pids, err := h.Pids("agent --config"); err == nil && len(pids) == 0 {
				break
			}
		}
	}
}

func (b *bench) tellBooks(out *strings.Builder, h *lab.Host) {
	c, err := h.API()
	if err != nil {
		fmt.Fprintln(out, err)
		return
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	stale := api.QueryOptions{Stale: true}
	leases, _, err := c.Leases(ctx, stale)
	if err != nil {
		fmt.Fprintf(out, "its agent does not answer: %v\n", err)
		return
	}
	for _, l := range leases[max(0, len(leases)-4):] {
		fmt.Fprintf(out, "lease %s of %s: %s, %s to %s: %s\n", l.ID, l.Workload, l.State, l.Source, l.Destination, l.Reason)
	}
	decisions, _, err := c.Decisions(ctx, "", 4, stale)
	for _, d := range decisions {
		fmt.Fprintf(out, "decision %s on %s: %s: %s\n", d.ID, d.Workload, d.Outcome, d.Reason)
	}
	moves, _, moveErr := c.Migrations(ctx, 4, stale)
	for _, m := range moves {
		fmt.Fprintf(out, "move of %s: %s: %s\n", m.Workload, m.Phase, m.Reason)
	}
	if err != nil || moveErr != nil {
		fmt.Fprintf(out, "decisions: %v; moves: %v\n", err, moveErr)
	}
}

func orError(text string, err error) string {
	if err != nil {
		return err.Error()
	}
	return text
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
