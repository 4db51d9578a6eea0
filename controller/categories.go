package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// Categories divide the workloads of the fleet by the shape of their load. Every
// voter hears the descriptions; the leader divides once a load day, off its passes,
// and answers hosts. What a workload was before is in the books, so a new leader
// goes on where the last one was. Safe for concurrent use.
type Categories struct {
	mu       sync.Mutex // guards everything below
	newest   map[fleet.WorkloadID]Description
	grouping *predictor.Grouping
	day      int64 // of the grouping, or of the last attempt
	small    bool  // the fleet cannot be divided: names go by each one's own shape
}

// enoughToDivide is how many described workloads a division wants.
const enoughToDivide = 12

// NewCategories returns one that has heard nothing.
func NewCategories() *Categories {
	return &Categories{newest: map[fleet.WorkloadID]Description{}}
}

// Hear notes the descriptions of a report.
func (c *Categories) Hear(r Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range r.Workloads {
		if d := w.Description; d != nil && d.Day >= c.newest[w.ID].Day {
			c.newest[w.ID] = *d
		}
	}
}

// Forget drops what is held of workloads that are no longer in the books.
func (c *Categories) Forget(known func(fleet.WorkloadID) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.newest, func(id fleet.WorkloadID, _ Description) bool { return !known(id) })
}

// Members answers the descriptions of a report: before gives what the books say of
// a workload. While a fleet that could be divided has not been, there is no answer.
func (c *Categories) Members(r Report, before func(fleet.WorkloadID) predictor.Membership) map[fleet.WorkloadID]predictor.Membership {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out map[fleet.WorkloadID]predictor.Membership
	for _, w := range r.Workloads {
		if w.Description == nil || c.grouping == nil && !c.small {
			continue
		}
		d := w.Description
		assigned := predictor.AssignByShape(d.Traits)
		if c.grouping != nil {
			assigned = c.grouping.Assign(d.Traits)
		}
		m := before(w.ID)
		if m.Category == predictor.CategoryUnknown {
			m = predictor.Membership{}
		}
		m, _ = m.Observe(d.Day, assigned.With(d.Shares), d.Diurnal)
		if out == nil {
			out = map[fleet.WorkloadID]predictor.Membership{}
		}
		out[w.ID] = m
	}
	return out
}

// Due says whether the fleet is to be divided on that load day.
func (c *Categories) Due(day int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.newest) > 0 && (day > c.day || c.small && len(c.newest) >= enoughToDivide)
}

// Divide divides what has been described and returns the grouping's bytes, nil when
// the fleet cannot be divided. It takes seconds for thousands of workloads and
// holds no lock meanwhile.
func (c *Categories) Divide(day int64, seed uint64) ([]byte, error) {
	c.mu.Lock()
	previous := c.grouping
	var traits []predictor.Traits
	for _, id := range slices.Sorted(maps.Keys(c.newest)) {
		traits = append(traits, c.newest[id].Traits)
	}
	c.mu.Unlock()
	grouping, failed := predictor.NewGrouping(traits, previous, predictor.GroupConfig{Seed: seed})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.day = day
	if failed != nil {
		// An older division still says more than none.
		c.small = c.grouping == nil
		return nil, nil
	}
	c.grouping, c.small = grouping, false
	data, err := json.Marshal(grouping)
	if err != nil {
		return nil, fmt.Errorf("encode the division into categories: %w", err)
	}
	return data, nil
}

// Use takes over the division of an earlier leader, made on that load day.
func (c *Categories) Use(data []byte, day int64) error {
	var g predictor.Grouping
	if err := json.Unmarshal(data, &g); err != nil {
		return fmt.Errorf("read the division into categories: %w", err)
	}
	if len(g.Groups) < 2 {
		return errors.New("read the division into categories: it has fewer than two groups")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.grouping == nil || day > c.day {
		c.grouping, c.day, c.small = &g, day, false
	}
	return nil
}

// Grouping is the division in force, nil while there is none.
func (c *Categories) Grouping() *predictor.Grouping {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.grouping
}
