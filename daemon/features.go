package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/httpapi"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/transport"
)

// Adjustments lists what is changed of workloads in place.
func (b backend) Adjustments(context.Context) ([]api.Adjustment, error) {
	var out []api.Adjustment
	b.d.books.Read(func(s *fsm.State) {
		for _, a := range s.Adjustments() {
			out = append(out, httpapi.AdjustmentOf(a))
		}
	})
	return out, nil
}

// Features lists the workloads that move without their instance.
func (b backend) Features(ctx context.Context) ([]api.Feature, error) {
	b.d.sight.refresh(ctx)
	view := b.d.sight.view()
	thresholds := map[fleet.WorkloadID][]fleet.FeatureThreshold{}
	for _, t := range view.Thresholds {
		thresholds[t.Workload] = t.Thresholds
	}
	var out []api.Feature
	for _, w := range view.Workloads {
		if w.Kind == fleet.Feature {
			out = append(out, httpapi.FeatureOf(w, thresholds[w.ID]))
		}
	}
	return out, nil
}

// PutFeature makes a feature of a workload and sets its thresholds, in one entry.
func (b backend) PutFeature(ctx context.Context, w httpapi.Write, workload, instance fleet.WorkloadID, thresholds *fleet.WorkloadThresholds) (api.Accepted, error) {
	var ops []fsm.Operation
	message := fmt.Sprintf("%s is a feature of %s", workload, instance)
	if instance != "" {
		ops = append(ops, fsm.SetFeature{Workload: workload, Instance: instance, By: w.By})
	} else {
		message = fmt.Sprintf("feature %s", workload)
	}
	if thresholds != nil {
		ops = append(ops, fsm.SetThresholds{Thresholds: *thresholds, By: w.By})
		message += fmt.Sprintf(": %d thresholds", len(thresholds.Thresholds))
	}
	return b.proposeAll(ctx, w, message, ops...)
}

// DropFeature makes a feature an instance again.
func (b backend) DropFeature(ctx context.Context, w httpapi.Write, workload fleet.WorkloadID) (api.Accepted, error) {
	return b.propose(ctx, w, fsm.SetFeature{Workload: workload, By: w.By}, string(workload)+" is no feature any more; it goes on as an instance")
}

// proposeAll commits several operations on behalf of an operator; the first refusal
// counts.
func (b backend) proposeAll(ctx context.Context, w httpapi.Write, message string, ops ...fsm.Operation) (api.Accepted, error) {
	result, err := b.d.books.ProposeAs(ctx, "api:"+w.ID, ops...)
	if err == nil {
		err = result.Refused()
	}
	if err != nil {
		return api.Accepted{}, asHTTP(err)
	}
	return api.Accepted{Index: result.Index, Message: message}, nil
}

// measured is what was pushed of the workloads of this host. It is never on disk: it
// counts for two minutes.
type measured struct {
	mu     sync.Mutex // guards values
	values map[fleet.WorkloadID]map[fleet.Resource]pushed
}

type pushed struct {
	amount int64
	at     time.Time // by the machine's clock
}

const (
	// measuredFor is how long a pushed value counts.
	measuredFor = 2 * time.Minute
	// maxMeasured bounds the metrics of one workload.
	maxMeasured = 16
)

func newMeasured() *measured {
	return &measured{values: map[fleet.WorkloadID]map[fleet.Resource]pushed{}}
}

// put takes in values; a workload with too many metrics takes no new ones.
func (m *measured) put(id fleet.WorkloadID, values fleet.Vector, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[id] == nil {
		m.values[id] = map[fleet.Resource]pushed{}
	}
	for _, a := range values.Named {
		if _, known := m.values[id][a.Name]; !known && len(m.values[id]) >= maxMeasured {
			return fmt.Errorf("workload %s has %d metrics already: push fewer", id, maxMeasured)
		}
		m.values[id][a.Name] = pushed{a.Amount, now}
	}
	return nil
}

// add returns what a workload uses, with what was pushed of it lately.
func (m *measured) add(id fleet.WorkloadID, usage fleet.Vector, now time.Time) fleet.Vector {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, p := range m.values[id] {
		if now.Sub(p.at) > measuredFor {
			delete(m.values[id], name)
			continue
		}
		usage = usage.With(name, p.amount)
	}
	if len(m.values[id]) == 0 {
		delete(m.values, id)
	}
	return usage
}

// measurement travels to the agent of a workload's owner.
type measurement struct {
	Workload fleet.WorkloadID `json:"workload"`
	Values   fleet.Vector     `json:"values"`
}

// Measure takes what was measured of a workload to its host.
func (b backend) Measure(ctx context.Context, workload fleet.WorkloadID, values fleet.Vector) (api.Accepted, error) {
	var w fleet.Workload
	known := false
	b.d.replica.Read(func(s *fsm.State) { w, known = s.Workload(workload) })
	if !known {
		return api.Accepted{}, httpapi.WithHint(fmt.Errorf("workload %s: %w", workload, httpapi.ErrNotFound), "`placed instance list` shows the workloads")
	}
	accepted := api.Accepted{Index: b.d.replica.Applied(), Message: fmt.Sprintf("%d metrics of %s count for %s", len(values.Named), workload, measuredFor)}
	if w.Owner == b.d.self {
		return accepted, asInvalid(b.d.measured.put(workload, values, time.Now()))
	}
	owner, ok := b.d.books.host(w.Owner)
	if !ok {
		return api.Accepted{}, fmt.Errorf("%w: the books do not know the host of %s", httpapi.ErrConflict, workload)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := peer.Call[measurement, empty](ctx, b.d.peers, addressOf(owner), callMeasure, measurement{workload, values}); err != nil {
		return api.Accepted{}, fmt.Errorf("%w: the agent of %s: %w", httpapi.ErrConflict, b.d.ref(w.Owner).Name, err)
	}
	return accepted, nil
}

func asInvalid(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", httpapi.ErrInvalid, err)
}

// takeMeasurement serves another agent that was told of a workload of this host.
func (d *Daemon) takeMeasurement(_ context.Context, _ transport.Identity, m measurement) (empty, error) {
	if err := m.Values.Validate(); err != nil {
		return empty{}, err
	}
	return empty{}, d.measured.put(m.Workload, m.Values, time.Now())
}
