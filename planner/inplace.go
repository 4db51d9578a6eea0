package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/predictor"
)

// Bounds of what is changed in place.
const (
	// weightFactor is by how much a cpu weight is raised: among equals it makes
	// four fifths of a cpu that two fight for.
	weightFactor = 4
	// quotaFactor is what a cpu limit may become at most.
	quotaFactor = 2
	// squeezedAt is the share of its own limit at which a workload is held back by
	// it, easedAt that of its old limit at which it no longer needs the higher one.
	squeezedAt = 0.9
	easedAt    = 0.7
	// trialTime (load time): so long a remedy may show what it does before a move
	// is looked for. Three ticks: the first is half over when it begins.
	trialTime = 3 * fleet.Tick
	// briefTime (load time): a shortage that is over within it is brief.
	briefTime = 6 * fleet.Tick
	// standTime (load time): so long an adjustment stands at least, so that it does
	// not come and go with the noise.
	standTime = 30 * time.Minute
	// failedTime (load time): so long what failed is not tried again.
	failedTime = time.Hour
	// maxAdjusted bounds the adjustments of one pass.
	maxAdjusted = 16
)

// adjustmentKey finds a standing adjustment.
type adjustmentKey struct {
	workload fleet.WorkloadID
	kind     fleet.AdjustmentKind
}

func standing(view fleet.View) map[adjustmentKey]fleet.Adjustment {
	out := make(map[adjustmentKey]fleet.Adjustment, len(view.Adjustments))
	for _, a := range view.Adjustments {
		out[adjustmentKey{a.Workload, a.Kind}] = a
	}
	return out
}

// knob is what the workload's driver can change of it, false if it cannot, or if the
// kind is changed already.
func (p *pass) knob(l *load, kind fleet.AdjustmentKind) (fleet.Knob, bool) {
	if _, stands := p.standing[adjustmentKey{l.ID, kind}]; stands || !p.view.Policy.InPlace.Allows(kind) || l.ManagedBy != "" || l.lease != nil || l.planned {
		return fleet.Knob{}, false
	}
	for _, k := range l.Knobs {
		if k.Kind == kind {
			return k, true
		}
	}
	return fleet.Knob{}, false
}

// inPlace tries what can be done without a move against the contentions of hosts. It
// returns those that moves are to relieve in this pass: all but those that a remedy
// has just been begun for and that leave time to see what it does.
func (p *pass) inPlace(contentions []fleet.Contention, streaks []fleet.BreachStreak) ([]fleet.Contention, []fleet.BreachStreak) {
	if !p.view.Policy.InPlace.Any() {
		return contentions, streaks
	}
	var left []fleet.Contention
	var counts []fleet.BreachStreak
	for i, c := range contentions {
		s := p.books.byHost[c.Host]
		waits := ""
		if streaks[i].Passes >= p.view.Policy.HoldPasses && p.noise(s, c, streaks[i]) == "" && s.Liveness == fleet.Alive && s.State == fleet.HostActive && p.emptied(c.Host) == "" {
			switch c.Resource {
			case fleet.CPU:
				waits = p.favour(s, c)
			case fleet.Memory:
				waits = p.reclaim(s, c)
			}
		}
		if waits == "" {
			left, counts = append(left, c), append(counts, streaks[i])
			continue
		}
		kind := fleet.Preemptive
		if c.Now {
			kind = fleet.Threshold
		}
		p.record(fleet.Decision{Outcome: fleet.OutcomeRefused, From: c.Host, Contention: &contentions[i], Type: kind,
			Reason: p.books.contentionText(c, p.view.Policy) + "; no move yet: " + waits})
	}
	return left, counts
}

// trial says what of one kind is being tried on a host, "" when nothing is, or when a
// move that is put off until the trial is over would come too late.
func (p *pass) trial(s *site, c fleet.Contention, kind fleet.AdjustmentKind, what string) (waits string, tried bool) {
	var begun time.Time
	n := 0
	for _, l := range s.members {
		a, stands := p.standing[adjustmentKey{l.ID, kind}]
		if !stands || a.Host != s.ID || a.State == fleet.AdjustmentEnding || a.State == fleet.AdjustmentFailed {
			continue
		}
		n++
		if a.Since.After(begun) {
			begun = a.Since
		}
	}
	if n == 0 {
		return "", false
	}
	until := begun.Add(trialTime)
	if !p.view.Now.Before(until) || p.tooLate(s, c, until) {
		return "", true
	}
	return fmt.Sprintf("%s of %d workloads since %s, a move follows if that is not enough by %s", what, n, clockText(begun), clockText(until)), true
}

// tooLate says whether a move that begins at a time could not end before a breach
// that has not come yet, but could if it began now.
func (p *pass) tooLate(s *site, c fleet.Contention, begin time.Time) bool {
	if c.Now {
		return false
	}
	longest := time.Duration(0)
	for _, l := range s.members {
		longest = max(longest, p.loadTime(p.predict(l, s, nil).Duration))
	}
	return begin.Add(longest + p.view.Policy.Margin).After(c.Breach)
}

// length says how long a shortage is expected to be: over within briefTime and not
// back within the horizon, longer than that, or not known yet, because the horizon
// ends in it.
func (p *pass) length(s *site, c fleet.Contention) length {
	short, last := 0, false
	for _, step := range p.steps(s) {
		if last = s.demand.Quantile(step, quantile(p.view.Policy)) > float64(c.Allocatable); last {
			short++
		}
	}
	switch {
	case time.Duration(short)*fleet.Tick > briefTime:
		return lasting
	case last:
		return open
	}
	return brief
}

type length int

const (
	brief length = iota
	open
	lasting
)

// favour raises the cpu weight of the workloads that matter more than those which
// can bear the shortage: of the ranks of priority on the host, the lowest that
// together use what is short. It removes no contention, it lets those suffer from it
// that matter least. So it takes the place of a move only while a shortage is brief;
// before one that lasts, it bridges the time that shows whether it does.
func (p *pass) favour(s *site, c fleet.Contention) (waits string) {
	long := p.length(s, c)
	if waits, tried := p.trial(s, c, fleet.CPUWeight, "the cpu weight was raised"); tried {
		if waits == "" && long == brief {
			waits = "it is brief, and those bear it that matter least"
		}
		return waits
	}
	favoured, bear := p.ranks(s, c)
	favoured = slices.DeleteFunc(favoured, func(l *load) bool {
		k, ok := p.knob(l, fleet.CPUWeight)
		return !ok || k.Most <= k.Now
	})
	if len(favoured) == 0 {
		return ""
	}
	if begin := c.Breach.Add(-trialTime); !c.Now && p.view.Now.Before(begin) {
		switch {
		case long == brief:
			return fmt.Sprintf("it is brief, and %d workloads of lower priority can bear it; the cpu weight of the others is raised from %s on", bear, clockText(begin))
		case long == open && !p.tooLate(s, c, begin):
			return fmt.Sprintf("it may be brief, and %d workloads of lower priority could bear it; that shows in time for a move", bear)
		}
		return ""
	}
	acted := 0
	for _, l := range favoured {
		k, _ := p.knob(l, fleet.CPUWeight)
		want := min(weightFactor*k.Now, k.Most)
		if p.adjust(l, s, k, want, fmt.Sprintf("%s; what is short is borne by %d workloads of lower priority, so the cpu weight of %s goes from %d to %d",
			p.books.contentionText(c, p.view.Policy), bear, l.ID, k.Now, want)) {
			acted++
		}
	}
	if acted == 0 || long != brief && p.tooLate(s, c, p.view.Now.Add(trialTime)) {
		return ""
	}
	return fmt.Sprintf("the cpu weight of %d workloads is raised first, a move follows if that is not enough by %s", acted, clockText(p.view.Now.Add(trialTime)))
}

// ranks splits the members of a host into those to favour and the number of those
// that bear the shortage; nobody is favoured where the less important could not.
func (p *pass) ranks(s *site, c fleet.Contention) (favoured []*load, bear int) {
	members := slices.Clone(s.members)
	slices.SortStableFunc(members, func(a, b *load) int { return cmp.Compare(a.Priority, b.Priority) })
	short := c.Demand - float64(c.Allocatable)
	used := 0.0
	for i, l := range members {
		if i > 0 && l.Priority > members[i-1].Priority && used >= short {
			favoured = slices.DeleteFunc(members[i:], func(l *load) bool { return l.Owner != s.ID })
			slices.SortFunc(favoured, func(a, b *load) int {
				return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.ID, b.ID))
			})
			return favoured, i
		}
		used += max(known(l.Usage.CPU), l.dayMean)
	}
	return nil, 0
}

// reclaim takes memory that guests do not use, from the least important first, if
// together they have what is short.
func (p *pass) reclaim(s *site, c fleet.Contention) (waits string) {
	if waits, tried := p.trial(s, c, fleet.Balloon, "memory is reclaimed"); tried {
		return waits
	}
	type source struct {
		load *load
		knob fleet.Knob
	}
	var sources []source
	left, total := int64(c.Demand)-c.Allocatable, int64(0)
	for _, l := range s.members {
		if k, ok := p.knob(l, fleet.Balloon); ok && l.Owner == s.ID && k.Now > k.Least {
			sources = append(sources, source{l, k})
			total += k.Now - k.Least
		}
	}
	if total < left {
		return ""
	}
	slices.SortFunc(sources, func(a, b source) int {
		return cmp.Or(cmp.Compare(a.load.Priority, b.load.Priority), cmp.Compare(b.knob.Now-b.knob.Least, a.knob.Now-a.knob.Least), cmp.Compare(a.load.ID, b.load.ID))
	})
	acted := 0
	for _, x := range sources {
		if left <= 0 {
			break
		}
		give := min(x.knob.Now-x.knob.Least, left)
		left -= give
		if p.adjust(x.load, s, x.knob, x.knob.Now-give, fmt.Sprintf("%s; the guest of %s does not use %s of its memory and gives %s", p.books.contentionText(c, p.view.Policy), x.load.ID,
			fleet.FormatAmount(fleet.Memory, x.knob.Now-x.knob.Least), fleet.FormatAmount(fleet.Memory, give))) {
			acted++
		}
	}
	if acted == 0 {
		return ""
	}
	return fmt.Sprintf("memory of %d guests is reclaimed first, a move follows if they have not given it by %s", acted, clockText(p.view.Now.Add(trialTime)))
}

// squeezed finds the workloads that their own limit holds back, a quota or the number
// of their vCPUs, and returns for how many passes in a row. Where their host has the
// headroom, the limit is raised.
func (p *pass) squeezed() []fleet.BreachStreak {
	if !p.view.Policy.InPlace.CPUQuota && !p.view.Policy.InPlace.VCPUs {
		return nil
	}
	var out []fleet.BreachStreak
	for _, l := range p.books.loads {
		s := p.books.byHost[l.Owner]
		if s == nil || s.Liveness != fleet.Alive || s.State != fleet.HostActive {
			continue
		}
		for _, kind := range []fleet.AdjustmentKind{fleet.CPUQuota, fleet.VCPUs} {
			k, ok := p.knob(l, kind)
			line := squeezedAt * float64(millicores(kind, k.Now))
			if !ok || k.Now <= 0 || k.Most <= k.Now || p.wants(l) < line {
				continue
			}
			streak := p.streakOf(l, kind.String())
			out = append(out, streak)
			if streak.Passes >= p.view.Policy.HoldPasses {
				p.loosen(l, s, k)
			}
			break // one limit at a time: raising it shows whether the other one binds
		}
	}
	return out
}

// millicores is what a limit lets a workload use.
func millicores(kind fleet.AdjustmentKind, amount int64) int64 {
	if kind == fleet.VCPUs {
		return 1000 * amount
	}
	return amount
}

// wants is the most cpu that a workload uses now or is foretold to at the policy's
// quantile within the horizon.
func (p *pass) wants(l *load) float64 {
	most := known(l.Usage.CPU)
	alone := &site{members: []*load{l}, demand: predictor.Sum(0, []predictor.Block{l.block})}
	for _, step := range p.steps(alone) {
		most = max(most, alone.demand.Quantile(step, quantile(p.view.Policy)))
	}
	return most
}

// streakOf counts on for how many passes something has been so of a workload.
func (p *pass) streakOf(l *load, what string) fleet.BreachStreak {
	out := fleet.BreachStreak{Host: l.Owner, Workload: l.ID, What: what, Passes: 1}
	for _, b := range p.view.Breaches {
		if b.Workload == l.ID && b.What == what && b.Host == l.Owner {
			out.Passes = b.Passes + 1
		}
	}
	return out
}

// loosen raises a limit as far as the bounds, the headroom of the host and, for vCPUs,
// the books allow.
func (p *pass) loosen(l *load, s *site, k fleet.Knob) {
	why := fmt.Sprintf("%s uses, or is expected to use, %s of the %s that its own limit allows", l.ID, cores(p.wants(l)), cores(float64(millicores(k.Kind, k.Now))))
	step := int64(1)
	most := k.Most
	if k.Kind == fleet.CPUQuota {
		step, most = max(k.Now/10, 1), min(k.Most, quotaFactor*k.Now)
	}
	room, declared := p.terms(l).Limit(s.Host)
	worst := s.current
	for _, at := range p.steps(s) {
		worst = max(worst, s.demand.Quantile(at, float64(p.strictQuantile())/1000))
	}
	want := most
	for ; want > k.Now; want -= step {
		more := millicores(k.Kind, want) - millicores(k.Kind, k.Now)
		reserve := int64(0)
		if k.Kind == fleet.VCPUs {
			reserve = 1000*want - int64(known(l.Reservation.CPU))
		}
		_, lacks := s.Free().Sub(s.incoming).Lacks(fleet.Vector{CPU: reserve})
		if (!declared || worst+float64(more) <= room) && !lacks {
			break
		}
	}
	if want <= k.Now {
		p.record(fleet.Decision{Outcome: fleet.OutcomeRefused, Workload: l.ID, From: l.Owner, Type: fleet.Threshold,
			Reason: fmt.Sprintf("%s, and %s has no headroom to raise it: %s wanted of %s at the worst", why, s.label(), cores(worst), cores(room))})
		return
	}
	p.adjust(l, s, k, want, fmt.Sprintf("%s; %s goes from %s to %s", why, k.Kind, k.Kind.Amount(k.Now), k.Kind.Amount(want)))
}

// adjust records one change in place, and puts it into the plan if the automation
// allows it. It reports whether it is made.
func (p *pass) adjust(l *load, s *site, k fleet.Knob, want int64, reason string) bool {
	d := fleet.Decision{Outcome: fleet.OutcomeObserve, Workload: l.ID, From: s.ID, To: s.ID, Type: fleet.Preemptive, Reason: reason}
	switch {
	case len(p.plan.Adjust) >= maxAdjusted:
		d.Outcome, d.Reason = fleet.OutcomeRefused, fmt.Sprintf("%s; not now: this pass changes %d workloads already", reason, maxAdjusted)
	case p.view.Policy.Paused:
		d.Reason += "; the fleet is paused: resume it to let this happen"
	case p.view.Policy.Automation != fleet.Auto:
		d.Reason += fmt.Sprintf("; automation is %s, so nothing is changed", p.view.Policy.Automation)
	default:
		d.Outcome = fleet.OutcomeAdjust
	}
	recorded := p.record(d)
	if d.Outcome != fleet.OutcomeAdjust {
		return false
	}
	a := fleet.Adjustment{Workload: l.ID, Kind: k.Kind, Host: s.ID, Before: k.Now, Want: want, Since: p.view.Now, Decision: recorded.ID, Reason: reason}
	p.standing[adjustmentKey{l.ID, k.Kind}] = a
	l.adjusted = true
	p.plan.Adjust = append(p.plan.Adjust, a)
	if more := 1000*want - int64(known(l.Reservation.CPU)); k.Kind == fleet.VCPUs && more > 0 {
		s.incoming = s.incoming.Add(fleet.Vector{CPU: more}) // what the books will hold
	}
	return true
}
