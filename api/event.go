package api

import (
	"encoding/json"
	"math"
	"time"
)

// Event is one thing that happened. Index and Seq order all events of a cluster
// and are the same on every agent.
type Event struct {
	Index    uint64    `json:"index"`
	Seq      int       `json:"seq"`
	At       time.Time `json:"at"`
	Topic    string    `json:"topic"`
	Type     string    `json:"type"`
	Host     string    `json:"host,omitempty"`
	Workload string    `json:"workload,omitempty"`
	Lease    string    `json:"lease,omitempty"`
	Message  string    `json:"message"`
	// Data is the changed object, when the event carries one.
	Data json.RawMessage `json:"data,omitempty"`
}

// TopicStream marks lines about the stream itself; they are not in the log.
// Their types are TypeHeartbeat and TypeTruncated.
const (
	TopicStream = "stream"
	// TypeHeartbeat says that the stream lives and is complete up to the
	// line's Index and Seq: a client resumes there.
	TypeHeartbeat = "heartbeat"
	// TypeTruncated says that events after the cursor asked for are no longer
	// kept: read the objects again.
	TypeTruncated = "truncated"
)

// Cursor is a place between two events.
type Cursor struct {
	Index uint64
	Seq   int
}

// After returns the cursor behind every event of the log entry.
func After(index uint64) Cursor { return Cursor{Index: index, Seq: math.MaxInt32} }

// Cursor returns the place right behind the event.
func (e Event) Cursor() Cursor { return Cursor{Index: e.Index, Seq: e.Seq} }

// Before reports whether the event still lies ahead of the cursor.
func (c Cursor) Before(e Event) bool {
	return e.Index > c.Index || e.Index == c.Index && e.Seq > c.Seq
}
