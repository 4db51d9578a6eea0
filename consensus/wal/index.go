package wal

import (
	"slices"
	"sort"
)

// place is where an entry lies.
type place struct {
	segment *segment
	offset  uint32 // of its content, see physical
	length  uint32
}

// index finds entries. Raft's log has a gap where a snapshot has overtaken it, so
// it is a list of runs without gaps, ascending; an empty run does not stay.
type index struct{ runs []run }

type run struct {
	first uint64
	at    []place
}

func (r run) last() uint64 { return r.first + uint64(len(r.at)) - 1 }

// first is 0 for an empty log, and so is last.
func (x *index) first() uint64 {
	if len(x.runs) == 0 {
		return 0
	}
	return x.runs[0].first
}

func (x *index) last() uint64 {
	if len(x.runs) == 0 {
		return 0
	}
	return x.runs[len(x.runs)-1].last()
}

func (x *index) find(i uint64) (place, bool) {
	n := sort.Search(len(x.runs), func(n int) bool { return x.runs[n].last() >= i })
	if n == len(x.runs) || i < x.runs[n].first {
		return place{}, false
	}
	return x.runs[n].at[i-x.runs[n].first], true
}

// add takes an entry behind the last one.
func (x *index) add(i uint64, p place) {
	if n := len(x.runs); n > 0 && x.runs[n-1].last()+1 == i {
		x.runs[n-1].at = append(x.runs[n-1].at, p)
		return
	}
	x.runs = append(x.runs, run{first: i, at: []place{p}})
}

// dropBelow forgets the entries below i, and gives their memory back.
func (x *index) dropBelow(i uint64) {
	for len(x.runs) > 0 && x.runs[0].last() < i {
		x.runs = slices.Delete(x.runs, 0, 1)
	}
	if len(x.runs) > 0 && x.runs[0].first < i {
		r := &x.runs[0]
		r.at, r.first = slices.Clone(r.at[i-r.first:]), i
	}
}

// cutFrom forgets the entries from i on.
func (x *index) cutFrom(i uint64) {
	for n := len(x.runs); n > 0 && x.runs[n-1].first >= i; n-- {
		x.runs = x.runs[:n-1]
	}
	if n := len(x.runs); n > 0 && x.runs[n-1].last() >= i {
		r := &x.runs[n-1]
		r.at = r.at[:i-r.first]
	}
}

// oldest is the segment of the first entry; nil: there is none. Entries lie in
// the order of their numbers, so no segment before it holds a living one.
func (x *index) oldest() *segment {
	if len(x.runs) == 0 {
		return nil
	}
	return x.runs[0].at[0].segment
}
