package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cost is the CPU time, user and system, that operations took: of each member,
// and of the clients, which are this process.
type cost struct {
	members    []time.Duration
	clients    time.Duration
	operations int
}

// of adds what do takes, which returns how many operations it made.
func (c *cost) of(members []*process, do func() (operations int, err error)) error {
	before, clients, err := used(members)
	if err != nil {
		return err
	}
	n, err := do()
	if err != nil {
		return err
	}
	after, clientsAfter, err := used(members)
	if err != nil {
		return err
	}
	if c.members == nil {
		c.members = make([]time.Duration, len(members))
	}
	for i := range members {
		c.members[i] += after[i] - before[i]
	}
	c.clients += clientsAfter - clients
	c.operations += n
	return nil
}

func used(members []*process) (each []time.Duration, clients time.Duration, err error) {
	for _, m := range members {
		cpu, err := m.cpu()
		if err != nil {
			return nil, 0, err
		}
		each = append(each, cpu)
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return nil, 0, err
	}
	return each, time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// String shows the members by size: the leader comes first.
func (c cost) String() string {
	each := slices.Clone(c.members)
	slices.Sort(each)
	slices.Reverse(each)
	var parts []string
	for _, d := range each {
		parts = append(parts, c.perOperation(d))
	}
	return fmt.Sprintf("members %s, clients %s µs", strings.Join(parts, " + "), c.perOperation(c.clients))
}

func (c cost) perOperation(d time.Duration) string {
	return fmt.Sprintf("%.1f", float64(d.Microseconds())/float64(max(c.operations, 1)))
}
