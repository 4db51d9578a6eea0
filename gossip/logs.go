package gossip

import (
	"log"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/throttle"
)

// bridge receives memberlist's log. Its lines go to debug level, except that what
// an operator must act on is said again in words that tell what to do. Which
// lines those are is pinned by tests against the real library.
type bridge struct {
	table    *table
	logger   hclog.Logger
	throttle *throttle.Throttle
}

func (b *bridge) standard() *log.Logger { return log.New(b, "", 0) }

// alarms are parts of memberlist's lines and what they mean for an operator.
var alarms = []struct{ part, meaning string }{
	{"unacceptable label", "gossip of another cluster arrives here and is dropped: check the join lists of the sender"},
	{"Decrypt packet failed", "gossip arrives that no key of our keyring opens: give the sender and this host the same keyring"},
	{"no installed keys could decrypt", "gossip arrives that no key of our keyring opens: give the sender and this host the same keyring"},
	{"remote state is not encrypted", "gossip arrives that is not encrypted: give the sender our keyring"},
	{"over TCP but UDP probes failed", "a member answers over TCP but not over UDP: a firewall drops UDP on the gossip port"},
}

// Write takes one line.
func (b *bridge) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	if id, ok := suspected(line); ok {
		b.table.suspect(id)
	}
	if _, text, ok := strings.Cut(line, "] "); ok && line[0] == '[' {
		line = text // hclog shows a level of its own
	}
	b.logger.Debug(line)
	for _, alarm := range alarms {
		if strings.Contains(line, alarm.part) {
			b.raise(alarm.meaning, line)
			break
		}
	}
	return len(p), nil
}

func (b *bridge) raise(meaning, line string) {
	from := "unknown"
	if _, rest, ok := strings.Cut(line, "from="); ok {
		from = rest
	}
	// The sender's port changes with each connection: one line per address.
	host := from
	if i := strings.LastIndexByte(from, ':'); i > 0 {
		host = from[:i]
	}
	if skipped, say := b.throttle.Allow(time.Now(), meaning+host); say {
		b.logger.Warn(meaning, "from", from, "detail", line, "repeated", skipped)
	}
}

// suspected reads from memberlist's line whom this host has begun to suspect:
// the library has no other way to tell.
func suspected(line string) (fleet.HostID, bool) {
	_, rest, ok := strings.Cut(line, "memberlist: Suspect ")
	if !ok {
		return "", false
	}
	id, _, ok := strings.Cut(rest, " has failed")
	return fleet.HostID(id), ok
}
