package fleet

// Valid says whether the number has a name.
func (t MigrationType) Valid() bool { return int(t) < len(migrationTypes) }

// Valid says whether the number has a name.
func (k LeaseKind) Valid() bool { return int(k) < len(leaseKinds) }

// Valid says whether the number has a name.
func (s LeaseState) Valid() bool { return int(s) < len(leaseStates) }

// Valid says whether the number has a name.
func (a Automation) Valid() bool { return int(a) < len(automations) }

// Valid says whether the number has a name.
func (k Kind) Valid() bool { return int(k) < len(kinds) }

// Valid says whether the number has a name.
func (s HostState) Valid() bool { return int(s) < len(hostStates) }

// Valid says whether the number has a name.
func (k RuleKind) Valid() bool { return int(k) < len(ruleKinds) }

// Valid says whether the number has a name.
func (k CalendarKind) Valid() bool { return int(k) < len(calendarKinds) }
