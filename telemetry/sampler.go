package telemetry

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/placed-dev/placed/fleet"
	"github.com/prometheus/procfs"
)

// SamplerConfig of a Sampler.
type SamplerConfig struct {
	// ProcPath is where procfs is mounted; empty means /proc.
	ProcPath string
	Logger   hclog.Logger // nil = no log
}

// Sampler measures processes and the host between two calls. It is not safe for
// concurrent use.
type Sampler struct {
	proc     procfs.FS
	log      hclog.Logger
	watched  map[fleet.WorkloadID]*process
	reported map[fleet.WorkloadID]bool // unreadable, and logged
	host     *hostCounters
}

// Process identifies the process of a workload beyond the reuse of its number:
// StartTime in clock ticks since boot, field 22 of /proc/PID/stat.
type Process struct {
	PID       int
	StartTime uint64
}

// NewSampler checks that procfs can be read.
func NewSampler(c SamplerConfig) (*Sampler, error) {
	if c.ProcPath == "" {
		c.ProcPath = procfs.DefaultMountPoint
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	proc, err := procfs.NewFS(c.ProcPath)
	if err != nil {
		return nil, fmt.Errorf("sample the load of this host: %s is no procfs, mount it: %w", c.ProcPath, err)
	}
	return &Sampler{
		proc: proc, log: c.Logger,
		watched: map[fleet.WorkloadID]*process{}, reported: map[fleet.WorkloadID]bool{},
	}, nil
}

// process is what was read of one process last time.
type process struct {
	Process
	at      time.Time
	threads map[int]threadTimes
	disk    uint64 // bytes read and written
	diskOK  bool
}

// threadTimes of /proc/PID/task/TID/schedstat, in nanoseconds.
type threadTimes struct{ cpu, wait uint64 }

// errOther says that the number now belongs to another process.
var errOther = errors.New("the process number belongs to another process now")

// Sample measures what the processes used since the last call. now is machine
// time, by which rates are taken; at is the load time written into the samples.
//
// A process seen for the first time (or again under a reused number) yields no
// sample yet: a rate needs two readings. One that is gone yields none and is
// forgotten, as is every workload that pids no longer names.
//
// CPU and Wait are summed over the threads from the scheduler's nanoseconds. What
// a thread did between the last reading and its end is not seen; what it did
// before never vanishes. Memory is the resident set, Disk what reached the
// block layer; Net is fleet.Unknown, because it cannot be told apart by process.
func (s *Sampler) Sample(now, at time.Time, pids map[fleet.WorkloadID]Process) map[fleet.WorkloadID]fleet.Sample {
	out := make(map[fleet.WorkloadID]fleet.Sample, len(pids))
	for id := range s.watched {
		if _, ok := pids[id]; !ok {
			delete(s.watched, id)
		}
	}
	for id := range s.reported {
		if _, ok := pids[id]; !ok {
			delete(s.reported, id)
		}
	}
	for id, p := range pids {
		sample, ok, err := s.sampleOne(now, id, p)
		if err != nil {
			delete(s.watched, id)
			s.report(id, p, err)
			continue
		}
		delete(s.reported, id)
		if ok {
			sample.At = at
			out[id] = sample
		}
	}
	return out
}

// report logs once per workload until it can be read again. A process that ended
// is no error: workloads do end.
func (s *Sampler) report(id fleet.WorkloadID, p Process, err error) {
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
	if gone || s.reported[id] {
		return
	}
	s.reported[id] = true
	s.log.Warn("cannot measure a workload, its load counts as missing", "workload", id, "pid", p.PID, "error", err)
}

func (s *Sampler) sampleOne(now time.Time, id fleet.WorkloadID, p Process) (fleet.Sample, bool, error) {
	proc, err := s.proc.Proc(p.PID)
	if err != nil {
		return fleet.Sample{}, false, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return fleet.Sample{}, false, err
	}
	if p.StartTime != 0 && stat.Starttime != p.StartTime {
		return fleet.Sample{}, false, fmt.Errorf("%w: it started at %d, the workload at %d", errOther, stat.Starttime, p.StartTime)
	}
	p.StartTime = stat.Starttime
	threads, err := s.threads(p.PID)
	if err != nil {
		return fleet.Sample{}, false, err
	}
	current := &process{Process: p, at: now, threads: threads}
	if io, err := proc.IO(); err == nil { // needs privileges that sampling cpu does not
		current.disk, current.diskOK = io.ReadBytes+io.WriteBytes, true
	}
	last := s.watched[id]
	if last == nil || last.Process != p {
		s.watched[id] = current
		return fleet.Sample{}, false, nil
	}
	elapsed := now.Sub(last.at)
	if elapsed <= 0 {
		return fleet.Sample{}, false, nil // keep the older reading: the next interval will be longer
	}
	s.watched[id] = current
	cpu, wait := spent(last.threads, threads)
	usage := fleet.Vector{
		CPU:    perSecond(cpu, elapsed, 1e-6), // ns per second to millicores
		Memory: int64(stat.ResidentMemory()),
		Net:    fleet.Unknown,
		Disk:   fleet.Unknown,
	}
	if last.diskOK && current.diskOK && current.disk >= last.disk {
		usage.Disk = perSecond(current.disk-last.disk, elapsed, 1)
	}
	return fleet.Sample{Usage: usage, Wait: perSecond(wait, elapsed, 1e-6)}, true, nil
}

// threads reads the counters of every thread. Threads that end while they are
// read are left out; a process without any is gone.
func (s *Sampler) threads(pid int) (map[int]threadTimes, error) {
	tasks, err := s.proc.AllThreads(pid)
	if err != nil {
		return nil, err
	}
	out := make(map[int]threadTimes, len(tasks))
	for _, task := range tasks {
		stat, err := task.Schedstat()
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the times of thread %d: %w", task.PID, err)
		}
		out[task.PID] = threadTimes{cpu: stat.RunningNanoseconds, wait: stat.WaitingNanoseconds}
	}
	if len(out) == 0 {
		return nil, fs.ErrNotExist
	}
	return out, nil
}

// spent adds up per thread, not per process: a sum over living threads would
// jump back whenever one ends. A thread that is new, or whose number was reused
// (its counter is smaller), counts from zero.
func spent(last, current map[int]threadTimes) (cpu, wait uint64) {
	for tid, t := range current {
		before := last[tid]
		if t.cpu < before.cpu || t.wait < before.wait {
			before = threadTimes{}
		}
		cpu += t.cpu - before.cpu
		wait += t.wait - before.wait
	}
	return cpu, wait
}

func perSecond(amount uint64, elapsed time.Duration, unit float64) int64 {
	return int64(math.Round(float64(amount) / elapsed.Seconds() * unit))
}
