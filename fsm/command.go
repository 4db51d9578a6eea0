package fsm

import (
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Limits of one log entry. 10,240 trailing entries must stay affordable.
const (
	MaxEntry      = 128 << 10 // bytes
	MaxOperations = 64
)

const (
	commandMagic   = "plcd"
	commandVersion = 1
	maxHeaderID    = 128
)

// ErrUnknownCommand: a newer member has written an operation that this build
// neither knows nor may skip. Going on would diverge; the process must stop.
var ErrUnknownCommand = errors.New("unknown command")

// ErrDiverged: this member holds other books than the leader. Going on would
// hand out what is not there; the process must stop.
var ErrDiverged = errors.New("the books of this host have diverged from the leader's")

// Header is what the proposer decided for every operation of an entry.
type Header struct {
	// ID makes the entry idempotent: proposed again under the same ID, it
	// changes nothing and returns the first result.
	ID string `json:"id"`
	// Proposer is the host whose certificate the proposal came with.
	Proposer fleet.HostID `json:"proposer"`
	// At is the proposer's wall time, LoadAt its load time.
	At     time.Time `json:"at"`
	LoadAt time.Time `json:"load_at"`
}

func (c *coder) header(h *Header) {
	c.message(func() {
		str(c, &h.ID)
		str(c, &h.Proposer)
		c.time(&h.At)
		c.time(&h.LoadAt)
	})
}

// Operation is one change of the state. The operations are the exported structs
// of this package that Encode accepts.
type Operation interface {
	number() uint64
	apply(*entry) OpResult
}

// Encode makes the log entry of 1 to MaxOperations operations, which are applied
// in order; each has a result of its own.
func Encode(h Header, ops ...Operation) ([]byte, error) {
	switch {
	case h.ID == "" || len(h.ID) > maxHeaderID:
		return nil, fmt.Errorf("encode entry: the idempotency id has %d characters: 1 to %d are allowed", len(h.ID), maxHeaderID)
	case len(ops) == 0 || len(ops) > MaxOperations:
		return nil, fmt.Errorf("encode entry %s: %d operations: 1 to %d are allowed", h.ID, len(ops), MaxOperations)
	}
	c := writer()
	c.buf = append(append(c.buf, commandMagic...), commandVersion)
	c.header(&h)
	count := uint64(len(ops))
	c.uint(&count)
	for i, op := range ops {
		if op == nil {
			return nil, fmt.Errorf("encode entry %s: operation %d is nil", h.ID, i)
		}
		number := op.number()
		command, known := commands[number]
		if !known {
			return nil, fmt.Errorf("encode entry %s: operation %d: %w: %T", h.ID, i, ErrUnknownCommand, op)
		}
		tag := number << 1
		if command.skippable {
			tag |= 1
		}
		c.uint(&tag)
		c.message(func() { command.encode(c, op) })
		if c.err != nil {
			return nil, fmt.Errorf("encode entry %s: operation %d (%s): %w", h.ID, i, command.name, c.err)
		}
	}
	data := c.seal()
	if len(data) > MaxEntry {
		return nil, fmt.Errorf("encode entry %s: %d bytes: at most %d are allowed; propose fewer operations at a time", h.ID, len(data), MaxEntry)
	}
	return data, nil
}

// Decode reads what Encode wrote. Bytes that come from another process must be
// decoded before they are proposed: in the log, bytes that do not decode stop
// every replica. Errors are ErrCorrupt and ErrUnknownCommand.
func Decode(data []byte) (Header, []Operation, error) {
	d, err := decode(data)
	return d.header, d.ops, err
}

type decoded struct {
	header Header
	ops    []Operation
	// content identifies the operations without the header, so that an
	// idempotency id used twice for different things is noticed.
	content uint32
}

func decode(data []byte) (decoded, error) {
	var d decoded
	if len(data) > MaxEntry {
		return d, fmt.Errorf("log entry: %w: %d bytes: at most %d are allowed", ErrCorrupt, len(data), MaxEntry)
	}
	c, _, err := unseal("log entry", data, commandMagic, commandVersion)
	if err != nil {
		return d, err
	}
	c.header(&d.header)
	d.content = crc32.Checksum(c.buf[c.pos:], castagnoli)
	var count uint64
	c.uint(&count)
	if c.err == nil && (count == 0 || count > MaxOperations) {
		c.fail("%d operations: 1 to %d are allowed", count, MaxOperations)
	}
	for i := uint64(0); i < count && c.err == nil; i++ {
		op, err := decodeOperation(c)
		if err != nil {
			return d, fmt.Errorf("log entry %s: operation %d: %w", d.header.ID, i, err)
		}
		d.ops = append(d.ops, op)
	}
	if c.err == nil && c.pos != c.limit {
		c.fail("%d bytes follow the last operation", c.limit-c.pos)
	}
	if c.err == nil && (d.header.ID == "" || len(d.header.ID) > maxHeaderID) {
		c.fail("the idempotency id has %d characters", len(d.header.ID))
	}
	if c.err != nil {
		return d, fmt.Errorf("log entry %s: %w", d.header.ID, c.err)
	}
	return d, nil
}

func decodeOperation(c *coder) (Operation, error) {
	var tag uint64
	c.uint(&tag)
	number, skippable := tag>>1, tag&1 == 1
	command, known := commands[number]
	switch {
	case c.err != nil:
		return nil, c.err
	case known:
		var op Operation
		c.message(func() { op = command.decode(c) })
		return op, c.err
	case skippable:
		var payload []byte
		c.bytes(&payload)
		return skipped{n: number}, c.err
	}
	return nil, fmt.Errorf("%w: number %d: this member is older than the one that proposed it; install the newer version", ErrUnknownCommand, number)
}

// skipped stands for an operation of a newer member that this build may ignore.
type skipped struct{ n uint64 }

func (s skipped) number() uint64      { return s.n }
func (skipped) apply(*entry) OpResult { return OpResult{Skipped: true} }

// command says how an operation travels.
type command struct {
	name      string
	skippable bool // members that do not know it may ignore it
	encode    func(*coder, Operation)
	decode    func(*coder) Operation
}

// of makes the table row of one operation type.
func of[T Operation, P interface {
	*T
	code(*coder)
}](name string) command {
	return command{
		name: name,
		encode: func(c *coder, op Operation) {
			switch v := op.(type) {
			case T:
				P(&v).code(c)
			case P:
				P(v).code(c)
			}
		},
		decode: func(c *coder) Operation {
			var op T
			P(&op).code(c)
			return op
		},
	}
}

// Numbers of the operations in the log: only ever appended, never reused.
const (
	numInitCluster uint64 = iota + 1
	numRaiseGeneration
	numSetPolicy
	numRegisterHost
	numSetHostState
	numRegisterWorkloads
	numDeregisterWorkload
	numPinWorkload
	numGrant
	numBegin
	numReportPrepared
	numCommit
	numAbort
	numReportDiscarded
	numReportActivated
	numReportReleased
	numRelease
	numClaim
	numExpire
	numRevert
	numObserveOwner
	numResolve
	numPutProfile
	numRecordDecisions
	numRecordOutcome
	numStateHash
	numRaiseFeatureLevel
	numPutRule
	numDropRule
	numSetCalendar
	numPutModel
	numObserveHost
	numPutCalendarSource
	numDropCalendarSource
	numAdjust
	numEndAdjustment
	numReportAdjusted
	numSetFeature
	numSetThresholds
	numPromote
)

var commands = map[uint64]command{
	numInitCluster:        of[InitCluster]("init-cluster"),
	numRaiseGeneration:    of[RaiseGeneration]("raise-generation"),
	numSetPolicy:          of[SetPolicy]("set-policy"),
	numRegisterHost:       of[RegisterHost]("register-host"),
	numSetHostState:       of[SetHostState]("set-host-state"),
	numRegisterWorkloads:  of[RegisterWorkloads]("register-workloads"),
	numDeregisterWorkload: of[DeregisterWorkload]("deregister-workload"),
	numPinWorkload:        of[PinWorkload]("pin-workload"),
	numGrant:              of[Grant]("grant"),
	numBegin:              of[Begin]("begin"),
	numReportPrepared:     of[ReportPrepared]("report-prepared"),
	numCommit:             of[Commit]("commit"),
	numAbort:              of[Abort]("abort"),
	numReportDiscarded:    of[ReportDiscarded]("report-discarded"),
	numReportActivated:    of[ReportActivated]("report-activated"),
	numReportReleased:     of[ReportReleased]("report-released"),
	numRelease:            of[Release]("release"),
	numClaim:              of[Claim]("claim"),
	numExpire:             of[Expire]("expire"),
	numRevert:             of[Revert]("revert"),
	numObserveOwner:       of[ObserveOwner]("observe-owner"),
	numResolve:            of[Resolve]("resolve"),
	numPutProfile:         of[PutProfile]("put-profile"),
	numRecordDecisions:    of[RecordDecisions]("record-decisions"),
	numRecordOutcome:      of[RecordOutcome]("record-outcome"),
	numStateHash:          of[StateHash]("state-hash"),
	numRaiseFeatureLevel:  of[RaiseFeatureLevel]("raise-feature-level"),
	numPutRule:            of[PutRule]("put-rule"),
	numDropRule:           of[DropRule]("drop-rule"),
	numSetCalendar:        of[SetCalendar]("set-calendar"),
	numPutModel:           of[PutModel]("put-model"),
	numObserveHost:        of[ObserveHost]("observe-host"),
	numPutCalendarSource:  of[PutCalendarSource]("put-calendar-source"),
	numDropCalendarSource: of[DropCalendarSource]("drop-calendar-source"),
	numAdjust:             of[Adjust]("adjust"),
	numEndAdjustment:      of[EndAdjustment]("end-adjustment"),
	numReportAdjusted:     of[ReportAdjusted]("report-adjusted"),
	numSetFeature:         of[SetFeature]("set-feature"),
	numSetThresholds:      of[SetThresholds]("set-thresholds"),
	numPromote:            of[Promote]("promote"),
}
