package fsm

import (
	"fmt"
	"maps"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// InitCluster names the cluster and begins its first generation, at a feature
// level: FeatureLevel, unless older members are to join. Nothing is granted
// before. Repeating it is harmless.
type InitCluster struct {
	Cluster string `json:"cluster"`
	Level   uint64 `json:"level,omitempty"` // 0 means 1
}

func (InitCluster) number() uint64 { return numInitCluster }
func (o *InitCluster) code(c *coder) {
	str(c, &o.Cluster)
	c.late(o.Level != 0, func() { c.uint(&o.Level) })
}

func (o InitCluster) apply(e *entry) OpResult {
	if r := checkName("cluster id", o.Cluster); r != nil {
		return OpResult{Err: r}
	}
	if o.Level > FeatureLevel {
		e.fatal = &unknownLevel{o.Level}
		return OpResult{}
	}
	switch e.cluster {
	case "":
	case o.Cluster:
		return OpResult{}
	default:
		return OpResult{Err: refuse(CodeState, "this is cluster %s: it cannot become %s; start a new data directory for another cluster", e.cluster, o.Cluster)}
	}
	e.cluster, e.generation, e.level = o.Cluster, 1, max(o.Level, levelFirst)
	e.emit(fleet.Event{Topic: fleet.TopicCluster, Type: "cluster.initialised", Message: "cluster " + o.Cluster + " begins; policy: " + e.policy.Automation.String()}, nil)
	return OpResult{}
}

// RaiseGeneration declares that history may have been lost (a snapshot was
// restored, peers were recovered). Tokens of the lost history become older than
// every new one, active leases become uncertain, and nothing is granted for a
// host before it has reported again what it runs.
type RaiseGeneration struct {
	Reason string `json:"reason"`
}

func (RaiseGeneration) number() uint64   { return numRaiseGeneration }
func (o *RaiseGeneration) code(c *coder) { str(c, &o.Reason) }

func (o RaiseGeneration) apply(e *entry) OpResult {
	if r := checkText("reason", o.Reason); r != nil {
		return OpResult{Err: r}
	}
	if e.cluster == "" {
		return OpResult{Err: notInitialised()}
	}
	e.generation++
	e.emit(fleet.Event{Topic: fleet.TopicCluster, Type: "cluster.generation",
		Message: fmt.Sprintf("generation %d begins: %s; hosts must report their workloads again", e.generation, o.Reason)}, nil)
	for _, id := range slices.SortedFunc(maps.Values(e.leaseOf), compareLeaseIDs) {
		l := e.leases[id]
		// An abort is final, and only its destination's report is open. Of
		// an uncertain lease, what was seen before no longer counts.
		if l.State != fleet.Aborted {
			e.doubt(l, "a new generation began")
		}
	}
	return OpResult{}
}

// SetPolicy replaces the policy.
type SetPolicy struct {
	Policy fleet.Policy `json:"policy"`
	By     string       `json:"by"`
}

func (SetPolicy) number() uint64 { return numSetPolicy }
func (o *SetPolicy) code(c *coder) {
	c.policy(&o.Policy)
	str(c, &o.By)
}

func (o SetPolicy) apply(e *entry) OpResult {
	if r := checkText("by", o.By); r != nil {
		return OpResult{Err: r}
	}
	if err := o.Policy.Validate(); err != nil {
		return OpResult{Err: refuse(CodeRule, "%v", err)}
	}
	if o.Policy == e.policy {
		return OpResult{}
	}
	e.policy = o.Policy
	policy := o.Policy
	message := "policy set: automation " + policy.Automation.String()
	if policy.Paused {
		message += ", paused"
	}
	e.emit(fleet.Event{Topic: fleet.TopicPolicy, Type: "policy.set", Message: message + by(o.By)}, &policy)
	return OpResult{}
}

func by(who string) string {
	if who == "" {
		return ""
	}
	return " by " + who
}

func notInitialised() *Refusal {
	return refuse(CodeState, "the cluster is not initialised: the leader's InitCluster must come first")
}

// maxText bounds the free texts of commands.
const maxText = 1024

func checkText(name, text string) *Refusal {
	if len(text) > maxText {
		return refuse(CodeRule, "%s has %d bytes: at most %d are allowed", name, len(text), maxText)
	}
	return nil
}

// checkName applies the rules of ids to other names.
func checkName(what, name string) *Refusal {
	if err := fleet.HostID(name).Validate(); err != nil {
		return refuse(CodeRule, "%s %q: 1 to 128 letters, digits and . _ - / : are allowed", what, name)
	}
	return nil
}

// fromVoter: what only a leader may say comes from a member that holds the log.
// That it is the leader's own word is for the proposer's side to see to.
func (e *entry) fromVoter(what string) *Refusal {
	if h := e.hosts[e.h.Proposer]; h != nil && h.Voter {
		return nil
	}
	r := refuse(CodeProposer, "%s is for the leader to say, and host %s is not registered as a voter", what, e.nameOf(e.h.Proposer))
	r.Host = e.h.Proposer
	return r
}

// fromHost: a host speaks for itself only.
func (e *entry) fromHost(what string, id fleet.HostID) *Refusal {
	if e.h.Proposer == id {
		return nil
	}
	r := refuse(CodeProposer, "%s is for host %s to say, not for host %s", what, e.nameOf(id), e.nameOf(e.h.Proposer))
	r.Host = e.h.Proposer
	return r
}
