package config

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// checker collects problems with the place of the key to blame.
type checker struct {
	config   *Config
	problems Problems
}

func (k *checker) add(key, remedy, format string, arguments ...any) {
	at := k.config.where[key]
	if at == (place{}) {
		// The key is a default; its block, if it is there, is the place.
		// A label may hold dots, an attribute never does.
		block := key[:max(strings.LastIndex(key, "."), 0)]
		at = k.config.where[block]
	}
	k.problems = append(k.problems, Problem{File: at.file, Line: at.line,
		Message: key + ": " + fmt.Sprintf(format, arguments...), Remedy: remedy})
}

// check finds malformed values; it asks the machine nothing.
func (c *Config) check() Problems {
	k := &checker{config: c}
	k.identity()
	k.addresses()
	k.keyring()
	k.amounts()
	k.durations()
	k.policy()
	k.workloads()
	return k.problems
}

const nameRemedy = "use letters, digits and . _ - / :, at most 128 of them"

func (k *checker) identity() {
	c := k.config
	for _, name := range []struct{ key, value, remedy string }{
		{"cluster.id", c.Cluster.ID, "write the cluster's id, the same on every host"},
		{"node.id", c.Node.ID, "write the host's id, as in its certificate"},
		{"node.zone", c.Node.Zone, nameRemedy},
		{"node.data_dir", c.Node.DataDir, "write a directory on a local disk"},
	} {
		if name.value == "" {
			k.add(name.key, name.remedy, "it is empty")
		}
	}
	for _, name := range []struct{ key, value string }{
		{"cluster.id", c.Cluster.ID}, {"node.id", c.Node.ID}, {"node.name", c.Node.Name}, {"node.zone", c.Node.Zone}, {"node.class", c.Node.Class},
	} {
		if !isName(name.value) {
			k.add(name.key, nameRemedy, "%q is no name", name.value)
		}
	}
	levels := []string{"trace", "debug", "info", "warn", "error"}
	if !slices.Contains(levels, c.Node.LogLevel) {
		k.add("node.log_level", "use one of "+strings.Join(levels, ", "), "%q is no level", c.Node.LogLevel)
	}
	seen := map[string]bool{}
	for _, server := range c.Cluster.Servers {
		id, address, found := strings.Cut(server, "@")
		switch {
		case !found || id == "" || !isName(id) || !isAddress(address, false):
			k.add("cluster.servers", `write "<host-id>@<ip>:<port>"`, "%q names no server", server)
		case seen[id]:
			k.add("cluster.servers", "name each voter once", "%q is there twice", id)
		}
		seen[id] = true
	}
	for _, d := range c.Drivers {
		key := "driver." + d.Name
		switch {
		case d.Name == "" || !isName(d.Name):
			k.add(key, nameRemedy, "%q is no name", d.Name)
		case slices.Contains(d.Command, ""):
			k.add(key+".command", "remove it", "it has an empty word")
		}
	}
}

// isName accepts what may enter the books; empty is judged apart.
func isName(s string) bool {
	if len(s) > 128 || strings.Contains(s, "..") || strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/:", r)) {
			return false
		}
	}
	return true
}

// isAddress accepts "ip:port"; port 0 (any free one) only where it may listen.
func isAddress(s string, anyPort bool) bool {
	a, err := netip.ParseAddrPort(s)
	return err == nil && (anyPort || a.Port() != 0)
}

const addressRemedy = `write "ip:port", for example "10.0.0.7:4100"`

func (k *checker) addresses() {
	c := k.config
	for _, bind := range []struct{ key, value string }{
		{"rpc.bind", c.RPC.Bind}, {"gossip.bind", c.Gossip.Bind}, {"api.bind", c.API.Bind},
	} {
		if !isAddress(bind.value, true) {
			k.add(bind.key, addressRemedy, "%q is no address", bind.value)
		}
	}
	for _, join := range c.Cluster.Join {
		host, port, err := net.SplitHostPort(join)
		if err != nil || host == "" || port == "" {
			k.add("cluster.join", `write "host:port"`, "%q is no address", join)
		}
	}
	if a, err := netip.ParseAddrPort(c.API.Bind); err == nil && !a.Addr().IsLoopback() && c.API.ClientCA == "" {
		k.add("api.bind", "bind it to 127.0.0.1, or set api.client_ca to the CA of the operators' certificates",
			"%s is not a loopback address, and nobody would have to prove who they are", c.API.Bind)
	}
	if c.Traffic.Enabled {
		if _, err := netip.ParseAddr(c.Traffic.Address); err != nil {
			k.add("traffic.address", "write the IP on which clients reach this host's workloads", "%q is no IP address", c.Traffic.Address)
		}
		if c.Traffic.PeerPort < 1 || c.Traffic.PeerPort > 65535 {
			k.add("traffic.peer_port", "use a port from 1 to 65535", "%d is no port", c.Traffic.PeerPort)
		}
	}
}

func (k *checker) keyring() {
	g := k.config.Gossip
	if len(g.Keyring) > 0 && g.KeyFile != "" {
		k.add("gossip.key_file", "keep one of the two", "keys are given in gossip.keyring and in a file")
	}
	if g.Preset != "lan" && g.Preset != "local" {
		k.add("gossip.preset", "use lan, or local for hosts on one machine", "%q is no preset", g.Preset)
	}
	for i, text := range g.Keyring {
		if _, err := decodeKey(text); err != nil {
			// The key itself must not appear in a log.
			k.add("gossip.keyring", "make one with `placed keygen`", "key %d %v", i+1, err)
		}
	}
}

func decodeKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("is not base64")
	}
	switch len(key) {
	case 32:
		return key, nil
	}
	return nil, fmt.Errorf("has %d bytes, not 32", len(key))
}

// workloads checks what the host starts first.
func (k *checker) workloads() {
	c := k.config
	ports := map[int]string{}
	for _, w := range c.Workloads {
		key := "workload." + w.ID
		if w.ID == "" || !isName(w.ID) {
			k.add(key, nameRemedy, "%q is no name", w.ID)
		}
		if !slices.ContainsFunc(c.Drivers, func(d *Driver) bool { return d.Name == w.Driver }) {
			k.add(key+".driver", "add a block driver \""+w.Driver+"\", or name one that is there", "there is no driver %q", w.Driver)
		}
		if !isName(w.Group) {
			k.add(key+".group", nameRemedy, "%q is no name", w.Group)
		}
		if size, err := w.Size.parse(); err != nil || size <= 0 {
			k.add(key+".size", `write it with a unit, for example "64MiB"`, "%q is no size", w.Size)
		}
		if !(w.CPU >= 0 && w.CPU <= 1e6) {
			k.add(key+".cpu", "use 0 to 1000000 cores", "%g is out of range", w.CPU)
		}
		if !(w.Tolerance >= 0 && w.Tolerance <= 1) {
			k.add(key+".tolerance", "use 0 (it hurts) to 1 (it does not matter)", "%g is out of range", w.Tolerance)
		}
		switch other, taken := ports[w.Port]; {
		case w.Port < 0 || w.Port > 65535:
			k.add(key+".port", "use 0 to 65535", "%d is no port", w.Port)
		case taken && w.Port != 0:
			k.add(key+".port", "give each workload its own port", "%d is the port of %s, too", w.Port, other)
		}
		ports[w.Port] = w.ID
		if w.HistoryFile == "" {
			continue
		}
		if _, err := time.Parse(time.RFC3339Nano, w.HistoryEnd); err != nil {
			k.add(key+".history_end", `write it as "2026-03-02T00:00:00Z"`, "%q is no time", w.HistoryEnd)
		}
		if w.HistoryRows < 1 || !(w.HistoryScale > 0) || w.HistoryColumn == "" {
			k.add(key+".history_file", "set history_column, history_rows and history_scale", "the history is not described in full")
		}
	}
}

func (k *checker) amounts() {
	c := k.config
	for _, v := range []struct {
		key   string
		value Bytes
	}{
		{"capacity.memory", c.Capacity.Memory}, {"capacity.net", c.Capacity.Net}, {"capacity.disk", c.Capacity.Disk},
		{"reserve.memory", c.Reserve.Memory}, {"reserve.net", c.Reserve.Net}, {"reserve.disk", c.Reserve.Disk},
	} {
		if _, err := v.value.parse(); err != nil {
			k.add(v.key, `write it with a unit, for example "16GiB"`, "%v", err)
		}
	}
	for _, v := range []struct {
		key        string
		value      float64
		low, high  float64
		limitsText string
	}{
		{"capacity.cpu", c.Capacity.CPU, 0, 1e6, "0 (measure it) to 1000000 cores"},
		{"reserve.cpu", c.Reserve.CPU, 0, 1e6, "0 to 1000000 cores"},
		{"overcommit.cpu", c.Overcommit.CPU, 0.1, 100, "0.1 to 100"},
		{"overcommit.memory", c.Overcommit.Memory, 0.1, 10, "0.1 to 10"},
		{"load_clock.scale", c.LoadClock.Scale, 1e-3, 1e6, "0.001 to 1000000"},
	} {
		if !(v.value >= v.low && v.value <= v.high) {
			k.add(v.key, "use "+v.limitsText, "%g is out of range", v.value)
		}
	}
	if c.Capacity.CPU > 0 && c.Reserve.CPU >= c.Capacity.CPU {
		k.add("reserve.cpu", "reserve less, or declare more capacity", "the reserve of %g cores leaves nothing of %g", c.Reserve.CPU, c.Capacity.CPU)
	}
	if m := c.Capacity.Memory.Value(); m > 0 && c.Reserve.Memory.Value() >= m {
		k.add("reserve.memory", "reserve less, or declare more capacity", "the reserve of %s leaves nothing of %s", c.Reserve.Memory, c.Capacity.Memory)
	}
	if c.Limits.Connections < 16 {
		k.add("limits.connections", "allow at least 16", "%d is too few for a fleet", c.Limits.Connections)
	}
}

func (k *checker) durations() {
	c := k.config
	for _, v := range []struct {
		key       string
		value     Duration
		low, high time.Duration
	}{
		{"server.heartbeat", c.Server.Heartbeat, 200 * time.Millisecond, 10 * time.Second},
		{"intervals.sample", c.Intervals.Sample, 100 * time.Millisecond, time.Minute},
		{"intervals.report", c.Intervals.Report, 100 * time.Millisecond, time.Minute},
		{"intervals.pass", c.Intervals.Pass, 100 * time.Millisecond, time.Hour},
		{"limits.history", c.Limits.History, 24 * time.Hour, 10 * 365 * 24 * time.Hour},
		{"policy.horizon", c.Policy.Horizon, 5 * time.Minute, 24 * time.Hour},
		{"policy.margin", c.Policy.Margin, 0, 24 * time.Hour},
		{"policy.cooldown", c.Policy.Cooldown, 0, 30 * 24 * time.Hour},
		{"policy.cooldown_reset", c.Policy.CooldownReset, 0, 365 * 24 * time.Hour},
	} {
		d, err := v.value.parse()
		switch {
		case err != nil:
			k.add(v.key, `write it as "30s", "5m" or "1h30m"`, "%v", err)
		case d < v.low || d > v.high:
			k.add(v.key, fmt.Sprintf("use %s to %s", v.low, v.high), "%s is out of range", v.value)
		}
	}
	for _, v := range []struct{ key, value string }{{"load_clock.wall", c.LoadClock.Wall}, {"load_clock.load", c.LoadClock.Load}} {
		if v.value == "" {
			continue
		}
		if _, err := time.Parse(time.RFC3339Nano, v.value); err != nil {
			k.add(v.key, `write it as "2026-03-02T00:00:00Z"`, "%q is no time", v.value)
		}
	}
}

func (k *checker) policy() {
	p := k.config.Policy
	words := []string{"observe", "recommend", "auto"}
	if !slices.Contains(words, p.Automation) {
		k.add("policy.automation", "use one of "+strings.Join(words, ", "), "%q is no level of automation", p.Automation)
	}
	if !(p.Quantile >= 0.5 && p.Quantile <= 0.999) {
		k.add("policy.quantile", "use 0.5 to 0.999", "%g is out of range", p.Quantile)
	}
	if !(p.Headroom >= 0 && p.Headroom <= 0.9) {
		k.add("policy.headroom", "use 0 to 0.9", "%g is out of range", p.Headroom)
	}
	for _, v := range []struct {
		key          string
		value, least int
	}{
		{"policy.hold_passes", p.HoldPasses, 1}, {"policy.moves_per_pass", p.MovesPerPass, 1},
		{"policy.moves_in_flight", p.MovesInFlight, 1}, {"policy.churn_per_hour", p.ChurnPerHour, 0},
		{"policy.reserve_hosts", p.ReserveHosts, 0}, {"policy.moves_per_host", p.MovesPerHost, 0},
		{"policy.moves_per_link", p.MovesPerLink, 0},
		{"policy.standbys", p.Standbys, 0},
	} {
		if v.value < v.least {
			k.add(v.key, fmt.Sprintf("use %d or more", v.least), "%d is too small", v.value)
		}
	}
}
