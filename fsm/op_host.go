package fsm

import (
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// RegisterHost books a host, or what has changed about a booked one: capacity,
// addresses, roles. It keeps the state an operator gave it. A host proposes only
// itself.
type RegisterHost struct {
	Host fleet.Host `json:"host"`
}

func (RegisterHost) number() uint64   { return numRegisterHost }
func (o *RegisterHost) code(c *coder) { c.host(&o.Host) }

func (o RegisterHost) apply(e *entry) OpResult {
	if err := o.Host.Validate(); err != nil {
		return OpResult{Err: refuse(CodeRule, "%v", err)}
	}
	for _, text := range []struct{ name, value string }{
		{"class", o.Host.Class}, {"address", o.Host.Address}, {"traffic address", o.Host.Traffic}, {"API address", o.Host.API},
	} {
		if len(text.value) > 128 {
			return OpResult{Err: refuse(CodeRule, "host %s: %s has %d characters: at most 128 are allowed", o.Host.Name, text.name, len(text.value))}
		}
	}
	if r := e.fromHost("its registration", o.Host.ID); r != nil {
		return OpResult{Err: r}
	}
	h := &hostRecord{Host: o.Host}
	h.Registered = e.index
	old := e.hosts[h.ID]
	kind, message := "host.registered", fmt.Sprintf("host %s registered in zone %s with %s", h.Name, h.Zone, h.Allocatable())
	if old != nil {
		h.State, h.reported, h.foreign, h.drainBy = old.State, old.reported, old.foreign, old.drainBy
		if !old.Allocatable().Equal(h.Allocatable()) {
			kind, message = "host.capacity", fmt.Sprintf("host %s has %s, had %s", h.Name, h.Allocatable(), old.Allocatable())
		}
	} else {
		h.State = fleet.HostActive
		// In the first generation no history can hide what a new host
		// runs. Later, a host the restored books do not know may own
		// workloads of the lost history: it must report them first.
		if e.generation <= 1 {
			h.reported = e.generation
		}
	}
	e.putHost(h)
	e.hostEvent(kind, h.ID, message)
	return OpResult{}
}

// verified says whether the host has reported what it runs since the books began
// or were restored.
func (e *entry) verified(h *hostRecord) bool { return h.reported >= e.generation || e.generation <= 1 }

// SetHostState records what an operator decided about a host.
type SetHostState struct {
	Host   fleet.HostID    `json:"host"`
	State  fleet.HostState `json:"state"`
	By     string          `json:"by"`
	Reason string          `json:"reason"`
	// DrainBy is the load time by which a host that is emptied is to be empty. It
	// forces nothing: what is left then is reported, and why.
	DrainBy time.Time `json:"drain_by,omitzero"`
}

func (SetHostState) number() uint64 { return numSetHostState }
func (o *SetHostState) code(c *coder) {
	str(c, &o.Host)
	enum(c, &o.State)
	str(c, &o.By)
	str(c, &o.Reason)
	c.late(!o.DrainBy.IsZero(), func() { c.time(&o.DrainBy) })
}

func (o SetHostState) apply(e *entry) OpResult {
	h, r := e.needHost(o.Host)
	if r == nil {
		r = checkText("by", o.By)
	}
	if r == nil {
		r = checkText("reason", o.Reason)
	}
	if r != nil {
		return OpResult{Err: r}
	}
	drains := o.State == fleet.HostDraining || o.State == fleet.HostMaintenance
	if !drains && !o.DrainBy.IsZero() {
		return OpResult{Err: refuse(CodeRule, "host %s: only a host that is emptied has a deadline", h.Name)}
	}
	if h.State == o.State && h.drainBy.Equal(o.DrainBy) {
		return OpResult{}
	}
	if at := e.at[o.Host]; o.State == fleet.HostLeft && len(at.workloads)+len(at.leases) > 0 {
		r := refuse(CodeState, "host %s still owns %d workloads and holds capacity for %d leases: drain it first", h.Name, len(at.workloads), len(at.leases))
		r.Host = o.Host
		r.Holders, _ = e.holders(o.Host)
		return OpResult{Err: r}
	}
	changed := *h
	changed.State, changed.drainBy = o.State, o.DrainBy
	e.putHost(&changed)
	message := fmt.Sprintf("host %s is %s%s", h.Name, o.State, by(o.By))
	if o.Reason != "" {
		message += ": " + o.Reason
	}
	if !o.DrainBy.IsZero() {
		message += "; to be empty by " + o.DrainBy.UTC().Format(time.RFC3339) + " (load time)"
	}
	e.hostEvent("host."+o.State.String(), o.Host, message)
	return OpResult{}
}

// ObserveHost records what a host sees in use beyond everything that is reserved
// on it: a workload that outgrew its reservation, something that placed does not
// run. It counts against the host like a reservation until it is observed to be
// gone, and is corrected by nobody.
type ObserveHost struct {
	Host    fleet.HostID `json:"host"`
	Foreign fleet.Vector `json:"foreign"`
}

func (ObserveHost) number() uint64 { return numObserveHost }
func (o *ObserveHost) code(c *coder) {
	str(c, &o.Host)
	c.vector(&o.Foreign)
}

func (o ObserveHost) apply(e *entry) OpResult {
	h, r := e.needHost(o.Host)
	if r == nil {
		r = e.fromHost("what it sees in use", o.Host)
	}
	if err := o.Foreign.Validate(); r == nil && err != nil {
		r = refuse(CodeRule, "host %s: in use: %v", h.Name, err)
	}
	if bad := unknownAmount(o.Foreign); r == nil && bad != "" {
		r = refuse(CodeRule, "host %s: in use: the amount of %s is unknown: leave out what is not measured", h.Name, bad)
	}
	if r != nil || h.foreign.Equal(o.Foreign) {
		return OpResult{Err: r}
	}
	changed := *h
	changed.foreign = o.Foreign
	e.putHost(&changed)
	e.hostEvent("host.foreign", o.Host, "host "+h.Name+" sees in use beyond its reservations: "+o.Foreign.String())
	return OpResult{}
}

func (e *entry) needHost(id fleet.HostID) (*hostRecord, *Refusal) {
	if h := e.hosts[id]; h != nil {
		return h, nil
	}
	r := refuse(CodeNotFound, "host %s is not registered: its agent registers it when it joins", id)
	r.Host = id
	return nil, r
}
