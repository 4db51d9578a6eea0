package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/httpapi"
)

// Rules shows every rule with who breaks it as the books stand here.
func (b backend) Rules(context.Context) ([]api.Rule, error) {
	out := []api.Rule{}
	b.d.replica.Read(func(s *fsm.State) {
		for _, r := range s.Rules() {
			out = append(out, httpapi.RuleOf(r, s.Breakers(r)))
		}
	})
	return out, nil
}

// PutRule puts a rule in force. One that is in force already is left alone, so
// that a repeated put makes neither an entry nor an event.
func (b backend) PutRule(ctx context.Context, w httpapi.Write, rule fleet.Rule) (api.Accepted, error) {
	if err := b.Sync(ctx); err != nil {
		return api.Accepted{}, err
	}
	same := false
	b.d.replica.Read(func(s *fsm.State) {
		same = slices.ContainsFunc(s.Rules(), func(have fleet.Rule) bool { return sameRule(have, rule) })
	})
	strength := "soft"
	if rule.Hard {
		strength = "hard"
	}
	if same {
		return api.Accepted{Index: b.d.replica.Applied(), Message: fmt.Sprintf("%s %s was in force already", strength, rule)}, nil
	}
	accepted, err := b.propose(ctx, w, fsm.PutRule{Rule: rule, By: w.By}, fmt.Sprintf("%s %s is in force", strength, rule))
	if err != nil {
		return accepted, err
	}
	var broken []string
	b.d.replica.Read(func(s *fsm.State) { broken = s.Breakers(rule) })
	if len(broken) > 0 {
		accepted.Message += "; it is broken now by " + strings.Join(broken, ", ")
	}
	return accepted, nil
}

func sameRule(a, b fleet.Rule) bool {
	return a.ID == b.ID && a.Kind == b.Kind && a.Hard == b.Hard &&
		slices.Equal(a.Workloads, b.Workloads) && slices.Equal(a.Groups, b.Groups) && slices.Equal(a.Hosts, b.Hosts)
}

// DropRule takes a rule out of force.
func (b backend) DropRule(ctx context.Context, w httpapi.Write, id string) (api.Accepted, error) {
	return b.propose(ctx, w, fsm.DropRule{ID: id, By: w.By}, fmt.Sprintf("rule %s is no longer in force", id))
}

// Pin keeps a workload where it is, or lets it move again.
func (b backend) Pin(ctx context.Context, w httpapi.Write, workload string, pinned bool) (api.Accepted, error) {
	message := workload + " may move again"
	if pinned {
		message = workload + " is pinned to its host"
	}
	return b.propose(ctx, w, fsm.PinWorkload{Workload: fleet.WorkloadID(workload), Pinned: pinned, By: w.By}, message)
}

// brokenRules lists the hard rules that are broken as the books stand: placed
// breaks none, but what runs already may.
func (b backend) brokenRules() (rules int, problems []api.Problem) {
	b.d.replica.Read(func(s *fsm.State) {
		all := s.Rules()
		rules = len(all)
		for _, r := range all {
			if broken := s.Breakers(r); r.Hard && len(broken) > 0 {
				problems = append(problems, api.Problem{Code: "rule_broken", Message: fmt.Sprintf("hard %s is broken by %s", r, strings.Join(broken, ", ")),
					Hint: "`placed instance move` puts it right, or drop the rule"})
			}
		}
	})
	return rules, problems
}
