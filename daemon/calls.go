package daemon

import (
	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/controller"
	"github.com/placed-dev/placed/fleet"
)

// Names of the agent-to-agent calls. They are part of the protocol between
// versions: append, never rename.
const (
	callPropose   = "propose"    // any host → leader: an encoded entry
	callReadIndex = "read-index" // any host → leader: a linearizable read barrier
	callReport    = "report"     // host → every voter
	callRenew     = "renew"      // holder of a lease → leader
	callPlace     = "place"      // host → leader: may I start this workload?
	callState     = "state"      // host without the log → voter: a newer snapshot
	callPlan      = "plan"       // any host → leader: the newest plan and demand
	callMove      = "move"       // any host → leader: an operator's request
	callWhyNot    = "why-not"    // any host → leader
	callFits      = "fits"       // a host without the log → leader
	callMigrate   = "migrate"    // leader → source: carry out a lease
	callAsk       = "ask"        // host → host: your durable word on a cutover
	callTimeline  = "timeline"   // any agent → host: what its workloads have used
	callHistory   = "history"    // destination → source: a workload's history
	// voter → voter: log positions and clock; any host → leader: the servers;
	// voter → leader: an operator's change of them
	callServerStats = "server-stats"
	callServers     = "servers"
	callQuorum      = "quorum"
	callBuild       = "build"     // any host → any host: version and newest feature level
	callExamples    = "examples"  // leader → host: rows of a workload's history
	callBlob        = "blob"      // any host → voter: a model by its hash
	callKeepBlob    = "keep-blob" // leader → voter: keep a model
	callForesight   = "foresight" // host without the log → voter: what is foreseen of a workload
	callMeasure     = "measure"   // any agent → owner of a workload: what was pushed of it
	callLeases      = "leases"    // host without the log → voter: an operator's reserves and releases
)

// codeRefused answers what cannot be done as things are.
const codeRefused = "refused"

// codeNotLeader answers a call that only the leader can serve.
const codeNotLeader = "not_leader"

// notLeader is the refusal of a call that only the leader can serve. The call
// has certainly had no effect.
type notLeader struct{ Leader string }

func (e notLeader) Error() string {
	if e.Leader == "" {
		return "this host is not the leader and knows none"
	}
	return "this host is not the leader; host " + e.Leader + " is"
}

// RPCError gives the code to the caller.
func (e notLeader) RPCError() (string, any) { return codeNotLeader, e }

type proposal struct {
	Data []byte `json:"data"`
}

type readIndex struct {
	Index uint64 `json:"index"`
}

type renewal struct {
	Lease fleet.LeaseID `json:"lease"`
}

// placement asks to start a workload that the books may not know yet.
type placement struct {
	Workload fleet.Workload `json:"workload"`
}

type leaseAnswer struct {
	Lease fleet.Lease `json:"lease"`
}

// stateRequest asks for a snapshot newer than Index, waiting a while for one.
type stateRequest struct {
	Index uint64 `json:"index"`
}

type stateAnswer struct {
	Index    uint64 `json:"index"`
	Leader   string `json:"leader"`
	Term     uint64 `json:"term"`
	Snapshot []byte `json:"snapshot,omitempty"` // empty: nothing newer
}

// planQuestion asks for the newest plan. A voter that has it already names its
// pass: it hears the reports itself and needs no more than that nothing is new.
type planQuestion struct {
	Have string `json:"have,omitempty"`
}

// planAnswer is what only the leader has.
type planAnswer struct {
	// Same: the asker has the newest plan; nothing else is filled.
	Same    bool                           `json:"same,omitempty"`
	Plan    fleet.Plan                     `json:"plan"`
	Demand  map[fleet.HostID][]demandPoint `json:"demand"`
	Reports []hostReport                   `json:"reports"`
	// Ahead is what the leader says of the contention to come.
	Ahead map[fleet.HostID][]api.ContentionAhead `json:"ahead,omitempty"`
}

type demandPoint struct {
	Tick  int64   `json:"tick"`
	Value float64 `json:"value"` // millicores
}

type hostReport struct {
	Report controller.Report `json:"report"` // without series
	AgeMS  int64             `json:"age_ms"`
}

type moveAnswer struct {
	Decision fleet.Decision `json:"decision"`
	Lease    *fleet.Lease   `json:"lease,omitempty"`
}

type whyNotRequest struct {
	Workload fleet.WorkloadID `json:"workload"`
	Host     fleet.HostID     `json:"host"`
}

type historyRequest struct {
	Workload fleet.WorkloadID `json:"workload"`
}

// historyAnswer is everything that follows a workload.
type historyAnswer struct {
	carried
}

type empty struct{}
