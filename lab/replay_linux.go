package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/trace"
	"github.com/placed-dev/placed/traces"
)

// Role is a guest whose processor follows a recorded load.
type Role struct {
	Guest Guest
	Host  int // index of the host that it starts on
	// Column of the recorded load; Scale is percent of the guest's processor per
	// unit of the file.
	Column string
	Scale  float64
}

// Replay plays recorded load on a clock that runs faster than the machine's.
type Replay struct {
	Roles []Role
	// Begin is the load time at which the clock starts, at the wall time Wall; the
	// agents learn what was recorded before it, Row rows, and it goes on from there.
	Begin, Wall time.Time
	Scale       float64 // load seconds in a second
	Row         int

	columns map[string][]float64
}

// tick is the time between two rows.
const tick = 5 * time.Minute

// NewReplay reads the recorded load that ships with placed.
func NewReplay(roles []Role, row int, begin, wall time.Time, scale float64) (*Replay, error) {
	z, err := gzip.NewReader(bytes.NewReader(traces.AzureV1))
	if err != nil {
		return nil, err
	}
	recorded, err := trace.ReadColumns(z, trace.Options{})
	if err != nil {
		return nil, err
	}
	r := &Replay{Roles: roles, Begin: begin, Wall: wall, Scale: scale, Row: row, columns: map[string][]float64{}}
	for _, t := range recorded {
		r.columns[t.Name] = t.Values
	}
	for _, role := range roles {
		if len(r.columns[role.Column]) <= row {
			return nil, fmt.Errorf("guest %s: the recorded load has no column %s of more than %d rows", role.Guest.Name, role.Column, row)
		}
	}
	return r, nil
}

// Load is the load time at a wall time.
func (r *Replay) Load(wall time.Time) time.Time {
	return r.Begin.Add(time.Duration(float64(wall.Sub(r.Wall)) * r.Scale))
}

// at is the processor's share that a role uses at a load time, in percent.
func (r *Replay) at(role Role, load time.Time) int {
	rows := r.columns[role.Column]
	row := r.Row + int(math.Floor(float64(load.Sub(r.Begin))/float64(tick)))
	value := rows[min(max(row, 0), len(rows)-1)]
	if math.IsNaN(value) {
		return 0
	}
	return min(int(math.Round(value*role.Scale)), 100)
}

// mean share that a role has used so far, in cores.
func (r *Replay) mean(role Role) float64 {
	sum, n := 0.0, 0
	for _, v := range r.columns[role.Column][:r.Row] {
		if !math.IsNaN(v) {
			sum, n = sum+v*role.Scale/100, n+1
		}
	}
	return sum / float64(max(n, 1))
}

// Configuration is what a host's agent has to know: the clock, and what its guests
// have used before.
func (r *Replay) Configuration(h *Host) string {
	var out strings.Builder
	fmt.Fprintf(&out, "load_clock {\n  wall  = %q\n  load  = %q\n  scale = %g\n}\n", r.Wall.Format(time.RFC3339Nano), r.Begin.Format(time.RFC3339Nano), r.Scale)
	for _, role := range r.Roles {
		if h.lab.Hosts[role.Host] != h {
			continue
		}
		fmt.Fprintf(&out, `workload %q {
  driver         = "libvirt"
  size           = "%dKiB"
  cpu            = %.2f
  history_file   = %q
  history_column = %q
  history_rows   = %d
  history_end    = %q
  history_scale  = %g
}
`, role.Guest.Name, memoryKiB, r.mean(role), h.lab.recordedFile(), role.Column, r.Row, r.Begin.Format(time.RFC3339Nano), role.Scale*10)
	}
	return out.String()
}

func (l *Lab) recordedFile() string { return filepath.Join(l.cfg.Dir, "recorded.csv.gz") }

// BootRoles writes the recorded load where the agents find it and boots the guests,
// each with its mean use as its reservation.
func (l *Lab) BootRoles(ctx context.Context, r *Replay) error {
	if err := os.WriteFile(l.recordedFile(), traces.AzureV1, 0o644); err != nil {
		return err
	}
	var boot errgroup.Group
	for _, role := range r.Roles {
		g := role.Guest
		g.Burn = r.at(role, r.Begin)
		g.Metadata = fmt.Sprintf(`<placed:wishes xmlns:placed="https://placed.dev/xmlns/libvirt/wishes/1" cpu="%.2f"/>`, r.mean(role))
		boot.Go(func() error { return l.Boot(ctx, l.Hosts[role.Host], g) })
	}
	return boot.Wait()
}

// Play lets the guests follow their load until ctx ends. A guest that does not
// answer, because it is between two hosts, is told again.
func (l *Lab) Play(ctx context.Context, r *Replay) {
	var all errgroup.Group
	for _, role := range r.Roles {
		all.Go(func() error {
			told := -1
			for ; ctx.Err() == nil; pause(ctx, 200*time.Millisecond) {
				share := r.at(role, r.Load(time.Now()))
				if share == told {
					continue
				}
				if answer, err := l.AskOnce(ctx, role.Guest, fmt.Sprintf("burn %d", share)); err == nil && answer == "ok" {
					told = share
				}
			}
			return nil
		})
	}
	_ = all.Wait() // none fails
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
