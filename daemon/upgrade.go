package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/httpapi"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/transport"
)

// buildAnswer is what an agent says about the program it runs.
type buildAnswer struct {
	Version string `json:"version"`
	Knows   uint64 `json:"knows"` // the newest feature level
}

func (d *Daemon) serveBuild(context.Context, transport.Identity, empty) (buildAnswer, error) {
	return d.build(), nil
}

func (d *Daemon) build() buildAnswer { return buildAnswer{Version: d.cfg.Version, Knows: d.knows} }

// Bounds of asking the whole fleet: one slow host must not spend the time of all.
const (
	buildTime  = 3 * time.Second
	buildAsked = 32 // at a time
)

// upgrade asks every host what it knows and judges whether the feature level may
// be raised.
func (d *Daemon) upgrade(ctx context.Context) api.Upgrade {
	var level uint64
	hosts := map[fleet.HostID]fleet.Host{}
	d.replica.Read(func(s *fsm.State) {
		level = s.FeatureLevel()
		for _, h := range s.Hosts() {
			if h.State != fleet.HostLeft {
				hosts[h.ID] = h
			}
		}
	})
	for _, v := range d.logHolders() {
		h := hosts[v.ID]
		h.ID, h.Voter, h.Address = v.ID, true, cmp.Or(h.Address, v.Addr)
		hosts[v.ID] = h
	}
	members := make([]api.UpgradeHost, 0, len(hosts))
	for _, h := range hosts {
		members = append(members, api.UpgradeHost{ID: string(h.ID), Name: d.nameOf(string(h.ID)), Voter: h.Voter})
	}
	slices.SortFunc(members, func(a, b api.UpgradeHost) int { return cmp.Compare(a.ID, b.ID) })
	d.askBuilds(ctx, hosts, members)
	liveness := d.liveness()
	return judgeUpgrade(level, members, func(id string) bool {
		seen, member := liveness[fleet.HostID(id)]
		return !member || seen == fleet.Dead
	})
}

// logHolders are the servers of the log as this host knows them.
func (d *Daemon) logHolders() (out []peer.Address) {
	if d.node == nil {
		return nil // those of the books
	}
	for _, s := range d.node.Servers() {
		out = append(out, peer.Address{ID: fleet.HostID(s.ID), Addr: s.Address})
	}
	return out
}

func (d *Daemon) askBuilds(ctx context.Context, hosts map[fleet.HostID]fleet.Host, members []api.UpgradeHost) {
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(buildAsked)
	for i := range members {
		m := &members[i]
		group.Go(func() error {
			build, err := d.build(), error(nil)
			if id := fleet.HostID(m.ID); id != d.self {
				build, err = peer.Call[empty, buildAnswer](ctx, d.peers, addressOf(hosts[id]), callBuild, empty{})
			}
			var coded *peer.Error
			switch {
			case errors.As(err, &coded) && coded.Code == peer.CodeUnknownCall:
				m.Answered, m.Error = true, "its agent is older than this question"
			case err != nil:
				m.Error = err.Error()
			default:
				m.Answered, m.Version, m.Knows = true, build.Version, build.Knows
			}
			return nil
		})
	}
	_ = group.Wait() // what went wrong stands beside each host
}

// judgeUpgrade: every host that takes part must know the next level, and every
// voter must say so. A host that is dead may stay so: with an older version it
// cannot join again, and says why.
func judgeUpgrade(level uint64, members []api.UpgradeHost, dead func(id string) bool) api.Upgrade {
	out := api.Upgrade{Level: level, Newest: level, Members: members, Obstacles: []string{}}
	newest := level
	for _, m := range members {
		newest = max(newest, m.Knows)
	}
	if newest == level {
		return out
	}
	lowest := newest
	for _, m := range members {
		who := m.Name
		if m.Voter {
			who = "voter " + who
		}
		switch {
		case m.Answered && m.Knows == 0:
			lowest = level
			out.Obstacles = append(out.Obstacles, fmt.Sprintf("%s is too old, %s: install the newer version there", who, m.Error))
		case m.Answered && m.Knows < newest:
			lowest = min(lowest, max(m.Knows, level))
			out.Obstacles = append(out.Obstacles, fmt.Sprintf("%s is too old, version %s knows feature level %d, others know %d: install the newer version there", who, m.Version, m.Knows, newest))
		case !m.Answered && m.Voter:
			lowest = level
			out.Obstacles = append(out.Obstacles, fmt.Sprintf("%s does not answer: start its agent, or take it out with `placed operator raft remove-peer %s`", who, m.Name))
		case !m.Answered && !dead(m.ID):
			lowest = level
			out.Obstacles = append(out.Obstacles, fmt.Sprintf("%s does not answer although it is alive (%s): see its agent's log", who, m.Error))
		}
	}
	out.Newest = lowest
	out.Ready = len(out.Obstacles) == 0
	return out
}

// finalizeUpgrade raises the feature level, on the leader.
func (d *Daemon) finalizeUpgrade(ctx context.Context, r quorumRequest) (quorumAnswer, error) {
	state := d.upgrade(ctx)
	switch {
	case len(state.Obstacles) > 0:
		return quorumAnswer{}, &peer.Error{Code: codeRefused, Message: "the feature level stays at " + fmt.Sprint(state.Level) + ": " + strings.Join(state.Obstacles, "; ")}
	case !state.Ready:
		return quorumAnswer{Index: d.replica.Applied(), Message: fmt.Sprintf("nothing to do: the cluster is at feature level %d, the newest that its members know", state.Level)}, nil
	}
	if err := d.propose(ctx, fsm.RaiseFeatureLevel{Level: state.Newest, By: r.By}); err != nil {
		return quorumAnswer{}, err
	}
	d.log.Warn("an operator raised the feature level: older versions can no longer join", "level", state.Newest, "by", r.By)
	return quorumAnswer{Index: d.replica.Applied(), Message: fmt.Sprintf("the cluster is at feature level %d; versions that do not know it can no longer join", state.Newest)}, nil
}

// Upgrade answers from any agent; the books say the level, the agents the rest.
func (b backend) Upgrade(ctx context.Context) (api.Upgrade, error) { return b.d.upgrade(ctx), nil }

// FinalizeUpgrade goes to the leader, which asks all members itself.
func (b backend) FinalizeUpgrade(ctx context.Context, w httpapi.Write) (api.Accepted, error) {
	return b.asAccepted(b.d.askQuorum(ctx, quorumRequest{Op: "finalize", By: w.By}))
}
