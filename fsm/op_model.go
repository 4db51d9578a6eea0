package fsm

import (
	"github.com/placed-dev/placed/fleet"
)

const maxModels = 256

// PutModel names the model that every leader forecasts with from here on. The
// bytes are not in the books; hosts fetch them from each other by their hash.
type PutModel struct {
	Model fleet.Model `json:"model"`
}

func (PutModel) number() uint64   { return numPutModel }
func (o *PutModel) code(c *coder) { c.model(&o.Model) }

func (o PutModel) apply(e *entry) OpResult {
	old := e.models[o.Model.Name]
	r := e.fromVoter("a model")
	if err := o.Model.Validate(); r == nil && err != nil {
		r = refuse(CodeRule, "%v", err)
	}
	switch {
	case r != nil:
	case old == nil && len(e.models) >= maxModels:
		r = refuse(CodeRule, "there are %d models already: at most %d are allowed", len(e.models), maxModels)
	case old != nil && o.Model.Version < old.Version:
		r = refuse(CodeState, "model %s is at version %d already: version %d comes too late", old.Name, old.Version, o.Model.Version)
	case old != nil && o.Model.Version == old.Version && o.Model != old.Model:
		r = refuse(CodeState, "model %s has a version %d already, with the hash %.16s…: give the other one a new number", old.Name, old.Version, old.Hash)
	}
	if r != nil || old != nil && o.Model == old.Model {
		return OpResult{Err: r}
	}
	model := o.Model
	e.putModel(&modelRecord{Model: model})
	e.emit(fleet.Event{Topic: fleet.TopicCluster, Type: "model.set",
		Message: "model " + model.Name + " is at version " + number(model.Version) + ", hash " + model.Hash[:16]}, &model)
	return OpResult{}
}

type modelRecord struct {
	fleet.Model
	digest digest
}

func (s *State) putModel(m *modelRecord) {
	var before digest
	if old := s.models[m.Name]; old != nil {
		before = old.digest
	}
	m.digest = s.digestOf(modelKind, func(c *coder) { c.model(&m.Model) })
	s.replace(before, m.digest)
	s.models[m.Name] = m
}

func (c *coder) model(m *fleet.Model) {
	c.message(func() {
		str(c, &m.Name)
		c.uint(&m.Version)
		str(c, &m.Hash)
		c.int(&m.Size)
		c.time(&m.Trained)
	})
}
