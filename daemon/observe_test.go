package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
)

// What lasts is booked, what passes is not; a rise soon, a fall late; and what
// wavers within a step makes no entry of the log.
func TestRealityIsSlowToSpeak(t *testing.T) {
	const step = int64(foreignStep)
	var r reality
	var booked int64
	said := 0
	look := func(seen int64, times int) {
		for range times {
			if want, news := r.next(seen, booked); news {
				booked = want
				said++
			}
		}
	}
	for _, c := range []struct {
		name   string
		seen   int64
		times  int
		booked int64
		said   int
	}{
		{"nothing", 0, 20, 0, 0},
		{"a few bytes", step / 3, 20, 0, 0},
		{"a peak of one look", 9 * step, 1, 0, 0},
		{"gone again", 0, 1, 0, 0},
		{"it lasts", 3*step + 1, 2, 4 * step, 1},
		{"it wavers", 4*step + 1, 40, 4 * step, 1},
		{"and down", 3 * step, 40, 4 * step, 1},
		{"it grows", 8 * step, 2, 8 * step, 2},
		{"a short dip", 0, fallLooks - 1, 8 * step, 2},
		{"and back", 8 * step, 1, 8 * step, 2},
		{"it is gone", 0, fallLooks, 0, 3},
	} {
		look(c.seen, c.times)
		if booked != c.booked || said != c.said {
			t.Errorf("%s: %d booked, said %d times; want %d, %d", c.name, booked, said, c.booked, c.said)
		}
	}
}

func TestBeyondReservations(t *testing.T) {
	const mib = int64(1) << 20
	uses := func(id fleet.WorkloadID, memory int64) controller.WorkloadReport {
		return controller.WorkloadReport{ID: id, Usage: fleet.Vector{Memory: memory}}
	}
	leases := []fleet.Lease{{Workload: "in", Reservation: fleet.Vector{Memory: 2048 * mib}}, {Workload: "a", Reservation: fleet.Vector{Memory: 1024 * mib}}}
	booked := []fleet.Workload{{ID: "a", Reservation: fleet.Vector{Memory: 1024 * mib}}, {ID: "b", Reservation: fleet.Vector{Memory: 512 * mib}}}
	for name, c := range map[string]struct {
		report        []controller.WorkloadReport
		used, reserve int64
		want          int64
	}{
		"within":                    {[]controller.WorkloadReport{uses("a", 1000*mib), uses("b", 10*mib)}, -1, 0, 0},
		"what a process needs":      {[]controller.WorkloadReport{uses("a", 1024*mib+70*mib)}, -1, 0, 0},
		"outgrown":                  {[]controller.WorkloadReport{uses("a", 1500*mib), uses("b", 10*mib)}, -1, 0, 476 * mib},
		"not of the books":          {[]controller.WorkloadReport{uses("c", 300*mib)}, -1, 0, 300 * mib},
		"not measured":              {[]controller.WorkloadReport{uses("c", fleet.Unknown)}, -1, 0, 0},
		"something else":            {[]controller.WorkloadReport{uses("a", 1000*mib), uses("b", 10*mib)}, 5048 * mib, 1024 * mib, 966 * mib},
		"the host's own":            {[]controller.WorkloadReport{uses("a", 1000*mib), uses("b", 10*mib)}, 1900 * mib, 1024 * mib, 0},
		"a copy that comes in":      {[]controller.WorkloadReport{uses("a", 1000*mib), uses("b", 10*mib)}, 1010*mib + 1024*mib + 2048*mib, 1024 * mib, 0},
		"saved, not running":        {nil, 1024*mib + 512*mib + 2048*mib + 1024*mib, 1024 * mib, 0},
		"both":                      {[]controller.WorkloadReport{uses("a", 1500*mib), uses("b", 10*mib)}, 5048 * mib, 1024 * mib, 942 * mib},
		"reserve that nobody knows": {nil, 3684 * mib, fleet.Unknown, 100 * mib},
	} {
		if got := beyondReservations(controller.Report{Workloads: c.report}, booked, leases, c.used, c.reserve); got != c.want {
			t.Errorf("%s: %d MiB, want %d", name, got>>20, c.want>>20)
		}
	}
}

// More memory than the machine has is never promised; what is measured follows it.
func TestCapacityFollowsTheMachine(t *testing.T) {
	configured := fleet.Vector{CPU: 7000, Memory: 1 << 60, Disk: 5}
	clamped := Measured{}.measure(configured)
	if clamped.Memory >= 1<<60 || clamped.Memory <= 0 || clamped.CPU != 7000 || clamped.Disk != 5 {
		t.Errorf("%+v", clamped)
	}
	small := fleet.Vector{CPU: 7000, Memory: 1 << 20}
	if got := (Measured{}).measure(small); !got.Equal(small) {
		t.Errorf("a configured share became %+v", got)
	}
	if got := (Measured{CPU: true, Memory: true}).measure(small); got.Memory != clamped.Memory || got.CPU%1000 != 0 || got.CPU == 0 {
		t.Errorf("measured: %+v", got)
	}
}

// hypervisor is a driver whose workloads are started and ended by others.
type hypervisor struct {
	driver.Handover // no test calls what a move needs
	mu              sync.Mutex
	found           []driver.Found
}

func (h *hypervisor) Name() string { return "libvirt" }

func (h *hypervisor) Inventory(context.Context) ([]driver.Found, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]driver.Found(nil), h.found...), nil
}

func (h *hypervisor) set(found ...driver.Found) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.found = found
}

// What others start is booked, another manager's too, and makes the host
// overbooked when it is more than there is; what they end leaves the books; a
// sample process that nobody decided on is only observed.
func TestOperatorsAreFollowed(t *testing.T) {
	s := newSite(t, 44)
	virt, processes := &hypervisor{}, &bare{}
	s.prepare = func(i int, d *Daemon) {
		d.look = 100 * time.Millisecond
		if i == 0 {
			d.drivers["libvirt"], d.drivers["region"] = virt, processes
		}
	}
	agents, stops, leader := s.three()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	client := s.client((leader + 1) % 3)
	domain := func(id fleet.WorkloadID, memory int64, manager string) driver.Found {
		f := driver.Found{Spec: driver.Spec{ID: id, Driver: "libvirt", Size: memory, Reserve: fleet.Vector{CPU: 500, Memory: memory}, Settings: map[string]string{"group": "web"}}, State: driver.Running}
		if manager != "" {
			f.Spec.Settings["managed_by"] = manager
		}
		return f
	}
	processes.set(driver.Found{Spec: driver.Spec{ID: "stray", Driver: "region", Reserve: fleet.Vector{Memory: 1 << 20}}, State: driver.Running})
	virt.set(domain("vm-1", 1<<30, ""), domain("vm-2", 1<<30, "nova"), domain("vm-3", 20<<30, ""))
	within(t, 90*time.Second, "all of them are booked", func() error {
		workloads, _, err := client.Workloads(t.Context(), api.QueryOptions{})
		if err != nil || len(workloads) != 4 || workloads[0].ManagedBy != "external" || workloads[1].ManagedBy != "" || workloads[2].ManagedBy != "nova" || workloads[1].Group != "web" {
			return fmt.Errorf("%+v, %w", workloads, err)
		}
		return nil
	})
	within(t, 60*time.Second, "the host is overbooked, in words", func() error {
		st, _, err := client.Status(t.Context(), api.QueryOptions{})
		for _, p := range st.Problems {
			if p.Code == "overbooked" && strings.Contains(p.Message, "memory") && p.Host == s.hosts[0] {
				return nil
			}
		}
		return fmt.Errorf("%+v, %w", st.Problems, err)
	})
	// What the hypervisor finds out later of its workload, more and then less.
	for _, memory := range []int64{1<<30 + 256<<20, 1<<30 + 64<<20} {
		virt.set(domain("vm-1", memory, ""), domain("vm-2", 1<<30, "nova"), domain("vm-3", 20<<30, ""))
		within(t, 60*time.Second, "the books follow the reservation", func() (err error) {
			agents[2].replica.Read(func(state *fsm.State) {
				if w, _ := state.Workload("vm-1"); w.Reservation.Memory != memory {
					err = fmt.Errorf("%s are booked, want %d MiB", w.Reservation, memory>>20)
				}
			})
			return err
		})
	}
	virt.set(domain("vm-2", 1<<30, "nova"))
	within(t, 120*time.Second, "what has ended leaves the books", func() error {
		workloads, _, err := client.Workloads(t.Context(), api.QueryOptions{})
		if err != nil || len(workloads) != 2 {
			return fmt.Errorf("%+v, %w", workloads, err)
		}
		return nil
	})
	within(t, 60*time.Second, "the host is no longer overbooked", func() (err error) {
		agents[0].replica.Read(func(state *fsm.State) {
			if over, why := state.Overbooked(agents[0].self); over {
				err = errors.New(why)
			}
		})
		return err
	})
}

// bare is a driver of processes of our own kind.
type bare struct {
	driver.Driver
	mu    sync.Mutex
	found []driver.Found
}

func (b *bare) Name() string { return "region" }

func (b *bare) Inventory(context.Context) ([]driver.Found, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]driver.Found(nil), b.found...), nil
}

func (b *bare) set(found ...driver.Found) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.found = found
}

// Memory that a workload uses beyond its reservation reaches the books of every
// agent and counts against its host like a reservation.
func TestForeignMemoryReachesTheBooks(t *testing.T) {
	const ballast = 256 << 20
	data, err := unix.Mmap(-1, 0, ballast, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Munmap(data); err != nil {
			t.Error(err)
		}
	}()
	s := newSite(t, 45)
	virt := &hypervisor{}
	s.prepare = func(i int, d *Daemon) {
		d.look = 100 * time.Millisecond
		if i == 1 {
			d.drivers["libvirt"] = virt
		}
	}
	agents, stops, _ := s.three()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	start, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	virt.set(driver.Found{Spec: driver.Spec{ID: "vm-1", Driver: "libvirt", Reserve: fleet.Vector{Memory: 1 << 20}}, State: driver.Running, PID: os.Getpid(), StartTime: start})
	within(t, 60*time.Second, "the books of every agent say so", func() (err error) {
		for i, other := range agents {
			other.replica.Read(func(state *fsm.State) {
				// The process is this one: as large as the ballast at least.
				got := state.Foreign(agents[1].self).Memory
				if got < ballast-allowance || state.Held(agents[1].self).Memory != got+1<<20 || got%foreignStep != 0 {
					err = fmt.Errorf("agent %d: %d MiB beyond, %s held", i+1, got>>20, state.Held(agents[1].self))
				}
			})
		}
		return err
	})
}

// startTime of a process in clock ticks since boot, as drivers name it.
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	return strconv.ParseUint(fields[19], 10, 64)
}

// A group in the configuration reaches the books by way of the driver's spec.
func TestGroupOfAWorkload(t *testing.T) {
	s := newSite(t, 46)
	cfg, err := s.config(0, `driver "region" {}`, "driver \"region\" {}\nworkload \"w\" {\n driver = \"region\"\n size = \"1MiB\"\n group = \"web\"\n settings = { trace = \"\" }\n}")
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Declared[0].Spec.Settings; got["group"] != "web" || len(got) != 2 {
		t.Fatalf("%v", got)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := d.bookable(cfg.Declared[0].Spec); got.Group != "" {
		t.Errorf("books of the first level would not take the group %q", got.Group)
	}
}

// On a machine that is the host's alone, what else burns its processors is part of
// the report and of the host's demand; on a share of one it is not.
func TestForeignLoadIsReported(t *testing.T) {
	s := newSite(t, 47)
	s.prepare = func(i int, d *Daemon) {
		d.cfg.Host.Reserve.CPU = 0
		d.reporter.alone = i == 0
	}
	agents, stops, leader := s.three()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	burning, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := uint64(0); ; n++ {
			select {
			case <-burning:
				return
			default:
			}
		}
	}()
	defer func() { close(burning); <-done }()
	within(t, 60*time.Second, "the leader hears of the load of the first host alone", func() error {
		first, _, ok := agents[leader].reports.Newest(agents[0].self)
		second, _, ok2 := agents[leader].reports.Newest(agents[1].self)
		switch {
		case !ok || !ok2:
			return errors.New("no report yet")
		case first.Foreign.CPU == 0 || first.Usage.CPU < first.Foreign.CPU:
			return fmt.Errorf("foreign %s of %s", first.Foreign, first.Usage)
		case second.Foreign.CPU != 0:
			t.Fatalf("a share of a machine reports %s", second.Foreign)
		}
		return nil
	})
}
