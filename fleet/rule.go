package fleet

import "fmt"

// RuleKind says what a rule asks for.
type RuleKind uint8

// Kinds of rule. Numbers are part of the replicated log.
const (
	Affinity         RuleKind = iota // its workloads share one host
	AntiAffinity                     // no two of its workloads share a host
	HostAffinity                     // its workloads run on its hosts only
	HostAntiAffinity                 // its workloads run on none of its hosts
)

var ruleKinds = []string{"affinity", "anti-affinity", "host-affinity", "host-anti-affinity"}

func (k RuleKind) String() string { return enumText(ruleKinds, k) }

// MarshalText writes the word for the kind.
func (k RuleKind) MarshalText() ([]byte, error) { return marshalEnum("rule kind", ruleKinds, k) }

// UnmarshalText reads the word for a kind.
func (k *RuleKind) UnmarshalText(b []byte) error { return unmarshalEnum("rule kind", ruleKinds, b, k) }

// Rule keeps workloads together or apart, on or off hosts. A hard rule is never
// broken by a command of ours, at no moment of a plan; a soft one only ranks
// hosts. A workload that moves counts on both hosts.
type Rule struct {
	ID   string   `json:"id"`
	Kind RuleKind `json:"kind"`
	Hard bool     `json:"hard"`
	// The rule applies to Workloads and to every workload whose Group is in
	// Groups.
	Workloads []WorkloadID `json:"workloads,omitempty"`
	Groups    []string     `json:"groups,omitempty"`
	// Hosts of the two kinds that name hosts.
	Hosts []HostID `json:"hosts,omitempty"`
}

// Applies says whether the rule speaks about the workload.
func (r Rule) Applies(w Workload) bool {
	for _, id := range r.Workloads {
		if id == w.ID {
			return true
		}
	}
	if w.Group != "" {
		for _, g := range r.Groups {
			if g == w.Group {
				return true
			}
		}
	}
	return false
}

// NamesHosts says whether the kind speaks about hosts rather than about other
// workloads.
func (k RuleKind) NamesHosts() bool { return k == HostAffinity || k == HostAntiAffinity }

// String is how decisions name a rule: "anti-affinity rule web".
func (r Rule) String() string { return fmt.Sprintf("%s rule %s", r.Kind, r.ID) }

// Validate checks a rule that comes from outside.
func (r Rule) Validate() error {
	if err := validateName("rule id", r.ID); err != nil {
		return err
	}
	switch {
	case int(r.Kind) >= len(ruleKinds):
		return fmt.Errorf("rule %s: kind %d has no name", r.ID, r.Kind)
	case len(r.Workloads) == 0 && len(r.Groups) == 0:
		return fmt.Errorf("rule %s: it names no workload and no group", r.ID)
	case r.Kind.NamesHosts() && len(r.Hosts) == 0:
		return fmt.Errorf("rule %s: %s names no host", r.ID, r.Kind)
	case !r.Kind.NamesHosts() && len(r.Hosts) > 0:
		return fmt.Errorf("rule %s: %s speaks about workloads and takes no hosts", r.ID, r.Kind)
	}
	return nil
}
