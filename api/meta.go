package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Header names that go with answers and writes.
const (
	HeaderIndex       = "X-Placed-Index"
	HeaderKnownLeader = "X-Placed-KnownLeader"
	HeaderLastContact = "X-Placed-LastContact" // milliseconds
	// HeaderIdempotency carries the caller's id of a write: a repeated write
	// with the same id happens once.
	HeaderIdempotency = "Idempotency-Key"
)

// Meta says how fresh an answer is.
type Meta struct {
	// Index of the log that the answer reflects at least; pass it as
	// QueryOptions.Index to wait for something newer.
	Index       uint64
	KnownLeader bool
	// LastContact is how long ago the agent last heard from the leader;
	// 0 on the leader.
	LastContact time.Duration
}

// Write writes the headers.
func (m Meta) Write(h http.Header) {
	h.Set(HeaderIndex, strconv.FormatUint(m.Index, 10))
	h.Set(HeaderKnownLeader, strconv.FormatBool(m.KnownLeader))
	h.Set(HeaderLastContact, strconv.FormatInt(m.LastContact.Milliseconds(), 10))
}

// ParseMeta reads what Write wrote. Answers of proxies that dropped the headers
// give the zero Meta.
func ParseMeta(h http.Header) (Meta, error) {
	var m Meta
	var err error
	if text := h.Get(HeaderIndex); text != "" {
		if m.Index, err = strconv.ParseUint(text, 10, 64); err != nil {
			return Meta{}, fmt.Errorf("header %s %q is not a number", HeaderIndex, text)
		}
	}
	m.KnownLeader = h.Get(HeaderKnownLeader) == "true"
	if text := h.Get(HeaderLastContact); text != "" {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return Meta{}, fmt.Errorf("header %s %q is not a number of milliseconds", HeaderLastContact, text)
		}
		m.LastContact = time.Duration(ms) * time.Millisecond
	}
	return m, nil
}

// QueryOptions of a read. The zero value is a linearizable read.
type QueryOptions struct {
	// Stale lets any agent answer from what it has, without a leader.
	Stale bool
	// Index > 0 makes the read wait until the log is beyond it, at most Wait
	// (default 30 s, at most MaxWait).
	Index uint64
	Wait  time.Duration
}

// MaxWait bounds a blocking query.
const MaxWait = 60 * time.Second
