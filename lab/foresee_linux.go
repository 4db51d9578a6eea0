package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/placed-dev/placed/api"
)

// Foreseen is what came of a contention that was predicted on real hosts: what was
// forecast, what was done before it, and what would have happened otherwise. Times
// that are not durations are load time.
type Foreseen struct {
	Host string
	// Contention as it was first forecast, at At.
	Contention api.Contention
	At         time.Time
	// Move that was made for it; Moved is when it was over.
	Move  api.Migration
	From  string
	To    string
	Moved time.Time
	// Sight of the prober, of the guest that moved, from before the move.
	Sight Sight
	// Came is when the recorded loads of the guests that were on Host together
	// exceeded what it can give; Needed the most they were, Used the most that Host
	// was seen to use since the move, Allocatable what it can give; all in cores.
	// Contended is how long, in load time, it would have lasted until the watch
	// ended. The records count, not what the guests were seen to use: that is less
	// where the machine below them is busy.
	Came        time.Time
	Contended   time.Duration
	Needed      float64
	Used        float64
	Allocatable float64
}

// roles of the show: the first host's are too many once a day, when one of them
// works for an hour. The days of history say so; nothing else does.
func roles() []Role {
	return []Role{
		{Guest: Guest{Name: "report", N: 71, WorkingSet: 24 << 20, Rate: 1 << 20}, Column: "random-737498", Scale: 1.4},
		{Guest: Guest{Name: "web", N: 72, WorkingSet: 8 << 20, Rate: 1 << 20}, Column: "periodic-1651353-8h", Scale: 1.2},
		{Guest: Guest{Name: "cache", N: 73, WorkingSet: 8 << 20}, Column: "random-965207", Scale: 1},
		{Guest: Guest{Name: "mail", N: 74, WorkingSet: 8 << 20}, Host: 1, Column: "random-8383", Scale: 1},
	}
}

const (
	// cores that each host can give.
	showCores = 0.9
	// showScale load seconds pass in a second: a tick takes three.
	showScale = 100
	// showRow: 21 days of history, and the 22nd until 13:20. On every day of the
	// history the first guest's hour began between 15:10 and 16:20.
	showRow = 21*288 + 13*12 + 4
	// showWatch is how long, in load time, it is looked at what would have happened.
	showWatch = 30 * time.Minute
	// showLimit bounds the wait for the forecast, its move and its hour.
	showLimit = 4 * time.Minute
)

// Foresee shows a predicted contention moving a guest before it comes. The lab must
// have been started for it and have no agents yet; say is told what happens, prober
// is the argv of a program that calls ProbeMain.
func (l *Lab) Foresee(ctx context.Context, binary string, prober []string, say func(string, ...any)) (Foreseen, error) {
	now := time.Now()
	begin := now.UTC().Truncate(24 * time.Hour).Add((showRow % 288) * tick)
	// The guests boot first: load time begins when the agents do.
	r, err := NewReplay(roles(), showRow, begin, now, showScale)
	if err != nil {
		return Foreseen{}, err
	}
	if err := l.BootRoles(ctx, r); err != nil {
		return Foreseen{}, err
	}
	for _, role := range r.Roles {
		say("guest %-6s runs on %s, reserves %.2f cores and follows %s, a machine's recorded load", role.Guest.Name, l.Hosts[role.Host].Name, r.mean(role), role.Column)
	}
	r.Wall = time.Now()
	err = l.PrepareAgents(ctx, AgentConfig{Binary: binary, Automation: "auto", Cores: showCores, Sample: time.Second, Report: time.Second, Pass: time.Second,
		Policy: "headroom = 0\n  quantile = 0.95\n  hold_passes = 1", More: r.Configuration})
	if err != nil {
		return Foreseen{}, err
	}
	if err := l.StartAgents(ctx); err != nil {
		return Foreseen{}, err
	}
	say("three agents run; they have learned %d days of history; %d load seconds pass in a second, it is %s now", showRow/288, showScale, clock(r.Load(time.Now())))
	playing, stop := context.WithCancel(ctx)
	played := make(chan struct{})
	go func() { defer close(played); l.Play(playing, r) }()
	defer func() { stop(); <-played }()
	s := &show{lab: l, replay: r, say: say, prober: prober}
	defer s.close()
	limited, cancel := context.WithTimeout(ctx, showLimit)
	defer cancel()
	err = s.run(limited)
	return s.Foreseen, err
}

func clock(load time.Time) string { return load.UTC().Format("15:04") }

// show follows one Foresee.
type show struct {
	Foreseen
	lab    *Lab
	replay *Replay
	say    func(string, ...any)
	prober []string

	client  *Client
	watches map[string]*Watch // by guest
	looked  time.Time         // load time of the last look at what is used
}

func (s *show) close() {
	for _, w := range s.watches {
		_, _ = w.Stop() // nobody asks what it saw
	}
	if s.client != nil {
		s.client.Close()
	}
}

func (s *show) run(ctx context.Context) (err error) {
	host := s.lab.Hosts[0]
	s.Host, s.watches = host.Name, map[string]*Watch{}
	if s.client, err = host.API(); err != nil {
		return err
	}
	for _, role := range s.replay.Roles {
		if role.Host == 0 { // any of them may be the one
			if s.watches[role.Guest.Name], err = s.lab.Watch(role.Guest, 5*time.Millisecond, s.prober...); err != nil {
				return err
			}
		}
	}
	told := ""
	for ; ; pause(ctx, 250*time.Millisecond) {
		if ctx.Err() != nil {
			return errors.Join(fmt.Errorf("within %s of its start: %s", showLimit, s.missing()), ctx.Err())
		}
		// An agent that is busy answers the next time.
		for _, look := range []func(context.Context) error{s.forecast, s.moves, s.use} {
			if err := look(ctx); err != nil && err.Error() != told && ctx.Err() == nil {
				told = err.Error()
				s.say("(%v)", err)
			}
		}
		if load := s.replay.Load(time.Now()); !s.Moved.IsZero() && load.After(s.Contention.Breach.Add(showWatch)) {
			return s.finish(ctx)
		}
	}
}

func (s *show) missing() string {
	switch {
	case s.At.IsZero():
		return "no contention was forecast on " + s.Host
	case s.Move.Lease == "":
		return "nothing was moved for the forecast"
	case s.Moved.IsZero():
		return "the move has not ended: " + s.Move.Phase
	}
	return "the time of the predicted contention has not passed"
}

// forecast waits for the first prediction.
func (s *show) forecast(ctx context.Context) error {
	if !s.At.IsZero() {
		return nil
	}
	list, _, err := s.client.Forecasts(ctx, s.Host, api.QueryOptions{Stale: true})
	if err != nil {
		return err
	}
	for _, f := range list {
		if f.Resource == "cpu" && f.Contention != nil && !f.Contention.Now {
			s.predicted(s.replay.Load(time.Now()), *f.Contention)
		}
	}
	return nil
}

func (s *show) predicted(at time.Time, c api.Contention) {
	s.At, s.Contention = at, c
	s.say("%s  forecast: from %s on %s needs %.2f cores of %.2f (probability %.2f), %.0f min ahead", clock(at), clock(c.Breach), s.Host,
		c.Demand, c.Allocatable, c.Probability, c.Breach.Sub(at).Minutes())
}

// decided takes the prediction from the decision that acted on it, which may be
// there before the forecast was looked at.
func (s *show) decided(ctx context.Context, m api.Migration) error {
	list, _, err := s.client.Decisions(ctx, m.Workload, 20, api.QueryOptions{Stale: true})
	for _, d := range list {
		if d.ID == m.Decision && d.Contention != nil {
			s.predicted(d.At, *d.Contention)
		}
	}
	return err
}

// moves follows the first move that was made for a prediction.
func (s *show) moves(ctx context.Context) error {
	if !s.Moved.IsZero() {
		return nil
	}
	list, _, err := s.client.Migrations(ctx, 20, api.QueryOptions{Stale: true})
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(list) { // newest first
		if m.Type != "preemptive" || s.Move.Lease != "" && m.Lease != s.Move.Lease || m.Phase == "aborted" {
			continue
		}
		load := s.replay.Load(time.Now())
		if s.At.IsZero() {
			if err := s.decided(ctx, m); err != nil || s.At.IsZero() {
				return err
			}
		}
		if s.Move.Lease == "" {
			s.From, s.To = s.hostName(m.From), s.hostName(m.To)
			s.say("%s  guest %s moves from %s to %s: %s", clock(load), m.Workload, s.From, s.To, m.Reason)
		}
		s.Move = m
		if m.Phase == "done" {
			s.Moved = load
		}
		return nil
	}
	return nil
}

func (s *show) hostName(id string) string {
	for _, h := range s.lab.Hosts {
		if h.UUID() == id {
			return h.Name
		}
	}
	return id
}

// use compares what the first host's guests need by their records, wherever they
// are, with what the host could give; and notes what it is seen to use.
func (s *show) use(ctx context.Context) error {
	host, _, err := s.client.Host(ctx, s.Host, api.QueryOptions{Stale: true})
	if err != nil {
		return err
	}
	s.Allocatable, _ = host.Allocatable.Get("cpu")
	used, _ := host.Usage.Get("cpu")
	load := s.replay.Load(time.Now())
	needed := 0.0
	for _, role := range s.replay.Roles {
		if role.Host == 0 {
			needed += float64(s.replay.at(role, load)) / 100
		}
	}
	if !s.Moved.IsZero() {
		s.Needed, s.Used = max(s.Needed, needed), max(s.Used, used)
		if needed > s.Allocatable {
			if s.Came.IsZero() {
				s.Came = load
				s.say("%s  the guests that were on %s need %.2f cores now; it has %.2f, and uses %.2f", clock(load), s.Host, needed, s.Allocatable, used)
			}
			s.Contended += load.Sub(s.looked)
		}
	}
	s.looked = load
	return nil
}

// finish reads the prober, and checks the memory of the guest that moved.
func (s *show) finish(ctx context.Context) (err error) {
	for name, w := range s.watches {
		sight, stopErr := w.Stop()
		delete(s.watches, name)
		if stopErr != nil || sight.Double > 0 {
			err = errors.Join(err, stopErr)
		}
		if sight.Double > 0 {
			err = errors.Join(err, fmt.Errorf("guest %s has run twice: %+v", name, sight.Stays))
		}
		if name == s.Move.Workload {
			s.Sight = sight
		}
	}
	for _, role := range s.replay.Roles {
		if role.Guest.Name == s.Move.Workload {
			err = errors.Join(err, s.lab.Check(ctx, role.Guest))
		}
	}
	return err
}
