package fsm

import "github.com/placed-dev/placed/fleet"

// Feature levels. Each is a set of operations and fields that members of the
// level before cannot read. A cluster is raised to a level when every member
// knows it; below it nothing of it is proposed, and snapshots are written so that
// the older version can still read them: until then a rollback is possible.
const (
	levelFirst = 1 // what the first release wrote
	// levelHash brought StateHash, rules and groups, calendar, models,
	// ObserveHost, and the cool-down after a foreign move.
	levelHash = 2
	// levelSources brought the calendar as operators write it, a group that
	// changes while a workload runs, and a policy's reserve, bounds per host and
	// bandwidth, and consolidation.
	levelSources = 3
	// levelGrowth brought calendar entries of load that grows.
	levelGrowth = 4
	// levelInPlace brought adjustments in place, features with their thresholds,
	// the deadline of a drain, a policy's bounds per link, and the owner that a
	// workload has once it was moved by other means.
	levelInPlace = 5
	// levelStandby brought standbys that are begun and promoted; nothing proposed
	// one before, though the kind is as old as the first level.
	levelStandby = 6
	// FeatureLevel is the newest one this build knows.
	FeatureLevel = levelStandby
)

// late operations and fields say from which level on they may be proposed.
type late interface{ since() uint64 }

func (StateHash) since() uint64   { return levelHash }
func (PutRule) since() uint64     { return levelHash }
func (DropRule) since() uint64    { return levelHash }
func (PutModel) since() uint64    { return levelHash }
func (ObserveHost) since() uint64 { return levelHash }

func (DropCalendarSource) since() uint64 { return levelSources }

func (o PutCalendarSource) since() uint64 { return max(levelSources, sinceEntry(o.Source.Entry)) }
func (o SetCalendar) since() uint64 {
	level := uint64(levelHash)
	for _, x := range o.Entries {
		level = max(level, sinceEntry(x))
	}
	return level
}

func sinceEntry(x fleet.CalendarEntry) uint64 {
	if x.Kind == fleet.LoadGrows {
		return levelGrowth
	}
	return levelFirst
}

func (o SetHostState) since() uint64 {
	if !o.DrainBy.IsZero() {
		return levelInPlace
	}
	return levelFirst
}

func (o SetPolicy) since() uint64 {
	if o.Policy.Standbys != 0 {
		return levelStandby
	}
	if o.Policy.InPlaceOrLinks() {
		return levelInPlace
	}
	if o.Policy.Extended() {
		return levelSources
	}
	return levelFirst
}

func (o Grant) since() uint64 {
	if o.Kind == fleet.LeaseStandby {
		return levelStandby
	}
	return sinceGroup(o.Group)
}

func (o Claim) since() uint64 { return sinceGroup(o.Workload.Group) }
func (o RegisterWorkloads) since() uint64 {
	level := uint64(levelFirst)
	for _, w := range o.Workloads {
		level = max(level, sinceGroup(w.Group))
	}
	return level
}

func sinceGroup(group string) uint64 {
	if group == "" {
		return levelFirst
	}
	return levelHash
}

func levelOf(op Operation) uint64 {
	if l, ok := op.(late); ok {
		return l.since()
	}
	return levelFirst
}

// unknownLevel stops a member that is older than the cluster's feature level.
type unknownLevel struct{ level uint64 }

func (u *unknownLevel) Error() string {
	return "the cluster is raised to feature level " + number(u.level) + ", this build knows up to " + number(FeatureLevel) + ": install the newer version"
}

func (u *unknownLevel) Is(target error) bool { return target == ErrUnknownCommand }

// FeatureLevel is the level the cluster was raised to; 0 before InitCluster.
func (s *State) FeatureLevel() uint64 { return s.level }

// Allows says whether the operations may be proposed at the cluster's feature
// level. The proposer's side must ask: in the log, an operation that an older
// member does not know would stop that member.
func (s *State) Allows(ops ...Operation) error {
	for _, op := range ops {
		if r := s.tooNew(op); r != nil {
			return r
		}
	}
	return nil
}

func (s *State) tooNew(op Operation) *Refusal {
	need := levelOf(op)
	if need <= max(s.level, levelFirst) {
		return nil
	}
	return refuse(CodeLevel, "%s needs feature level %d, the cluster is at %d: when every member runs the newer version, run placed operator upgrade finalize",
		commands[op.number()].name, need, s.level)
}

// RaiseFeatureLevel lets operations of newer levels be proposed from here on. A
// member that does not know the level stops at this entry.
type RaiseFeatureLevel struct {
	Level uint64 `json:"level"`
	By    string `json:"by"`
}

func (RaiseFeatureLevel) number() uint64 { return numRaiseFeatureLevel }
func (o *RaiseFeatureLevel) code(c *coder) {
	c.uint(&o.Level)
	str(c, &o.By)
}

func (o RaiseFeatureLevel) apply(e *entry) OpResult {
	r := checkText("by", o.By)
	if r == nil {
		r = e.fromVoter("the feature level")
	}
	switch {
	case r != nil:
	case e.cluster == "":
		r = notInitialised()
	case o.Level > FeatureLevel:
		e.fatal = &unknownLevel{o.Level}
		return OpResult{}
	case o.Level < e.level:
		r = refuse(CodeState, "the cluster is at feature level %d: it cannot go back to %d", e.level, o.Level)
	}
	if r != nil || o.Level == e.level {
		return OpResult{Err: r}
	}
	e.level = o.Level
	e.emit(fleet.Event{Topic: fleet.TopicCluster, Type: "cluster.level",
		Message: "feature level " + number(o.Level) + by(o.By) + ": versions that do not know it can no longer join"}, nil)
	return OpResult{}
}
