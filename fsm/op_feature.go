package fsm

import (
	"maps"
	"slices"

	"github.com/placed-dev/placed/fleet"
)

// SetFeature says that a workload is a feature of an instance: it moves on its own,
// without the instance. An empty instance takes the word back, and the workload's
// thresholds with it.
type SetFeature struct {
	Workload fleet.WorkloadID `json:"workload"`
	Instance fleet.WorkloadID `json:"instance"`
	By       string           `json:"by"`
}

func (SetFeature) number() uint64 { return numSetFeature }
func (SetFeature) since() uint64  { return levelInPlace }
func (o *SetFeature) code(c *coder) {
	str(c, &o.Workload)
	str(c, &o.Instance)
	str(c, &o.By)
}

func (o SetFeature) apply(e *entry) OpResult {
	w, r := e.needWorkload(o.Workload)
	if r == nil {
		r = checkText("by", o.By)
	}
	if r == nil && o.Instance != "" {
		if err := o.Instance.Validate(); err != nil {
			r = refuse(CodeRule, "feature %s: instance: %v", o.Workload, err)
		} else if o.Instance == o.Workload {
			r = refuse(CodeRule, "workload %s cannot be a feature of itself", o.Workload)
		}
	}
	if r != nil {
		return OpResult{Err: r}
	}
	changed := *w
	changed.Kind, changed.Instance = fleet.Feature, o.Instance
	if o.Instance == "" {
		changed.Kind = fleet.Instance
	}
	if changed.Kind == w.Kind && changed.Instance == w.Instance {
		return OpResult{}
	}
	e.putWorkload(&changed)
	if o.Instance == "" {
		e.putThresholds(fleet.WorkloadThresholds{Workload: o.Workload})
		e.workloadEvent("feature.deregistered", &changed, "workload %s is no feature any more%s", o.Workload, by(o.By))
	} else {
		e.workloadEvent("feature.registered", &changed, "workload %s is a feature of %s%s", o.Workload, o.Instance, by(o.By))
	}
	return OpResult{}
}

// SetThresholds replaces the thresholds of a feature; none take them away.
type SetThresholds struct {
	Thresholds fleet.WorkloadThresholds `json:"thresholds"`
	By         string                   `json:"by"`
}

func (SetThresholds) number() uint64 { return numSetThresholds }
func (SetThresholds) since() uint64  { return levelInPlace }
func (o *SetThresholds) code(c *coder) {
	c.thresholds(&o.Thresholds)
	str(c, &o.By)
}

func (o SetThresholds) apply(e *entry) OpResult {
	w, r := e.needWorkload(o.Thresholds.Workload)
	if r == nil {
		r = checkText("by", o.By)
	}
	if err := o.Thresholds.Validate(); r == nil && err != nil {
		r = refuse(CodeRule, "%v", err)
	}
	if r == nil && w.Kind != fleet.Feature && len(o.Thresholds.Thresholds) > 0 {
		r = refuse(CodeRule, "workload %s is an instance: register it as a feature first (placed feature register)", w.ID)
	}
	if r != nil {
		return OpResult{Err: r}
	}
	if e.putThresholds(o.Thresholds) {
		said := "has no threshold any more"
		if n := len(o.Thresholds.Thresholds); n > 0 {
			said = "has " + number(uint64(n)) + " thresholds"
		}
		e.workloadEvent("feature.thresholds", w, "workload %s %s%s", w.ID, said, by(o.By))
	}
	return OpResult{}
}

type thresholdsRecord struct {
	fleet.WorkloadThresholds
	digest digest
}

// putThresholds keeps the thresholds of a workload, or forgets them if there are
// none; it reports whether anything changed.
func (s *State) putThresholds(t fleet.WorkloadThresholds) bool {
	var before digest
	if old := s.thresholds[t.Workload]; old != nil {
		before = old.digest
	}
	if len(t.Thresholds) == 0 {
		s.replace(before, digest{})
		delete(s.thresholds, t.Workload)
		return before != digest{}
	}
	r := &thresholdsRecord{WorkloadThresholds: t}
	r.digest = s.digestOf(thresholdsKind, func(c *coder) { c.thresholds(&r.WorkloadThresholds) })
	if r.digest == before {
		return false
	}
	s.replace(before, r.digest)
	s.thresholds[t.Workload] = r
	return true
}

// Thresholds returns those of every workload that has some, by workload.
func (s *State) Thresholds() []fleet.WorkloadThresholds {
	if len(s.thresholds) == 0 {
		return nil
	}
	out := make([]fleet.WorkloadThresholds, 0, len(s.thresholds))
	for _, id := range slices.Sorted(maps.Keys(s.thresholds)) {
		t := s.thresholds[id].WorkloadThresholds
		t.Thresholds = slices.Clone(t.Thresholds)
		out = append(out, t)
	}
	return out
}

func (c *coder) thresholds(w *fleet.WorkloadThresholds) {
	c.message(func() {
		str(c, &w.Workload)
		list(c, &w.Thresholds, func(t *fleet.FeatureThreshold) {
			c.message(func() {
				str(c, &t.Metric)
				c.int(&t.Limit)
				c.int(&t.Clear)
				c.duration(&t.Hold)
			})
		})
	})
}
