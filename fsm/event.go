package fsm

import (
	"encoding/json"
	"fmt"

	"github.com/placed-dev/placed/fleet"
)

// eventRecord keeps the changed object, not its JSON: events are made in Apply,
// which bounds the rate of writes, and their JSON is read far less often. The
// object is immutable, so the JSON is the same whenever it is made.
type eventRecord struct {
	fleet.Event
	object any
}

// full returns the event with its data.
func (r *eventRecord) full() fleet.Event {
	ev := r.Event
	if r.object != nil {
		// What the coder accepted can be shown; if ever not, an event
		// without data is better than none.
		if data, err := json.Marshal(r.object); err == nil {
			ev.Data = data
		}
	}
	return ev
}

func (e *entry) emit(ev fleet.Event, object any) {
	ev.Index, ev.Seq, ev.At = e.index, len(e.events), e.h.At
	e.events = append(e.events, &eventRecord{ev, object})
}

func (e *entry) hostEvent(kind string, id fleet.HostID, message string) {
	var object any
	if h := e.hosts[id]; h != nil {
		object = &h.Host
	}
	e.emit(fleet.Event{Topic: fleet.TopicHost, Type: kind, Host: id, Message: message}, object)
}

func (e *entry) workloadEvent(kind string, w *workloadRecord, format string, args ...any) {
	e.emit(fleet.Event{Topic: fleet.TopicWorkload, Type: kind, Host: w.Owner, Workload: w.ID,
		Message: fmt.Sprintf(format, args...)}, &w.Workload)
}

func (e *entry) leaseEvent(l *leaseRecord, message string) {
	e.emit(fleet.Event{Topic: fleet.TopicLease, Type: "lease." + l.State.String(), Host: l.Destination,
		Workload: l.Workload, Lease: l.ID, Message: message}, &l.Lease)
}
