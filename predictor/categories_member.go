package predictor

import (
	"fmt"
	"slices"
)

// Categories by the resource that a workload weighs on, and for load that is low
// without being idle.
const (
	CategoryMemory Category = "memory-intensive"
	CategoryIO     Category = "io-heavy"
	CategoryNet    Category = "network-heavy"
	CategoryLight  Category = "light"
)

// daysToChange a workload must be seen elsewhere, one after the other, before
// its category changes: a category that flaps places nobody.
const daysToChange = 3

// maxCategoryChanges are remembered per workload.
const maxCategoryChanges = 8

// Membership is the category of one workload over time. The zero Membership has
// never seen a day.
type Membership struct {
	Category   Category `json:"category"`
	Confidence float64  `json:"confidence"`
	Why        string   `json:"why"`
	// Diurnal is set when its load repeats every day, whatever its category.
	Diurnal bool `json:"diurnal"`
	// Day (of load time, since 1970) of the newest assignment.
	Day int64 `json:"day"`
	// Candidate is the other category that it was put into on the last Days
	// days, if any.
	Candidate Category `json:"candidate,omitempty"`
	Days      int      `json:"days,omitempty"`
	// Changes, oldest first, at most eight.
	Changes []CategoryChange `json:"changes,omitempty"`
}

// CategoryChange tells when a workload changed its category, and what it looked
// like then.
type CategoryChange struct {
	Day  int64    `json:"day"`
	From Category `json:"from"`
	To   Category `json:"to"`
	Why  string   `json:"why"`
}

func (c CategoryChange) String() string {
	return fmt.Sprintf("day %d: %s to %s (%s)", c.Day, c.From, c.To, c.Why)
}

// Observe returns the membership after a day's assignment, and whether the
// category changed. Only the first assignment of a day counts; a gap of more than
// a day starts the count of a candidate anew.
func (m Membership) Observe(day int64, a Assignment, diurnal bool) (Membership, bool) {
	if m.Category != "" && day <= m.Day {
		return m, false
	}
	inRow := day == m.Day+1
	m.Day, m.Diurnal = day, diurnal
	switch {
	case m.Category == "":
		m.Category, m.Confidence, m.Why = a.Category, a.Confidence, a.Why
		return m, true
	case a.Category == m.Category:
		m.Confidence, m.Why, m.Candidate, m.Days = a.Confidence, a.Why, "", 0
		return m, false
	case a.Category == m.Candidate && inRow:
		m.Days++
	default:
		m.Candidate, m.Days = a.Category, 1
	}
	// What is in doubt is less certain, the more the longer.
	m.Confidence *= 1 - float64(m.Days)/daysToChange
	if m.Days < daysToChange {
		return m, false
	}
	change := CategoryChange{Day: day, From: m.Category, To: a.Category, Why: a.Why}
	m.Changes = append(slices.Clone(m.Changes), change)
	if extra := len(m.Changes) - maxCategoryChanges; extra > 0 {
		m.Changes = m.Changes[extra:]
	}
	m.Category, m.Confidence, m.Why, m.Candidate, m.Days = a.Category, a.Confidence, a.Why, "", 0
	return m, true
}
