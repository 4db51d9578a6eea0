package config

import "time"

// Config is what an agent runs with. After Load no block is nil and every value
// is well formed. The tag `reload:"yes"` marks what SIGHUP changes; everything
// else needs a restart (Diff).
type Config struct {
	Cluster    *Cluster    `hcl:"cluster,block"`
	Node       *Node       `hcl:"node,block"`
	Server     *Server     `hcl:"server,block"`
	RPC        *RPC        `hcl:"rpc,block"`
	Gossip     *Gossip     `hcl:"gossip,block"`
	API        *API        `hcl:"api,block"`
	TLS        *TLS        `hcl:"tls,block"`
	Traffic    *Traffic    `hcl:"traffic,block"`
	Capacity   *Capacity   `hcl:"capacity,block"`
	Reserve    *Capacity   `hcl:"reserve,block"`
	Overcommit *Overcommit `hcl:"overcommit,block"`
	Drivers    []*Driver   `hcl:"driver,block"`
	Workloads  []*Workload `hcl:"workload,block"`
	LoadClock  *LoadClock  `hcl:"load_clock,block"`
	Intervals  *Intervals  `hcl:"intervals,block"`
	Policy     *Policy     `hcl:"policy,block"`
	Limits     *Limits     `hcl:"limits,block"`

	// where remembers the place of every key ("rpc.bind") in the files, for
	// messages about values.
	where map[string]place
}

// Cluster says which fleet the host belongs to.
type Cluster struct {
	ID string `hcl:"id,optional"`
	// Join lists gossip addresses, "ip:port"; one that answers is enough.
	Join []string `hcl:"join,optional" reload:"yes"`
	// Servers are the first voters, "<host-id>@<ip:port>" with the address of
	// the mTLS port. Used when a log is created, and to find a voter.
	Servers []string `hcl:"servers,optional"`
}

// Node is the host itself.
type Node struct {
	ID       string `hcl:"id,optional"` // as in its certificate
	Name     string `hcl:"name,optional"`
	Zone     string `hcl:"zone,optional"`
	Class    string `hcl:"class,optional"`
	DataDir  string `hcl:"data_dir,optional"`
	LogLevel string `hcl:"log_level,optional" reload:"yes"` // trace, debug, info, warn, error
}

// Server says whether the host holds a copy of the log.
type Server struct {
	Enabled bool `hcl:"enabled,optional"`
	// Heartbeat is the silence after which the voters elect another leader,
	// 200ms to 10s. Below 1s only where the agent's CPU time is reserved.
	Heartbeat Duration `hcl:"heartbeat,optional"`
}

// RPC is the one mTLS port that carries raft, rpc and migrations.
type RPC struct {
	Bind string `hcl:"bind,optional"` // ip:port
}

// Gossip is the membership protocol, on TCP and UDP.
type Gossip struct {
	Bind string `hcl:"bind,optional"` // ip:port
	// Keyring holds base64 keys of 32 bytes; the first encrypts,
	// all decrypt. KeyFile holds one per line instead.
	Keyring []string `hcl:"keyring,optional"`
	KeyFile string   `hcl:"key_file,optional"`
	// Preset of time-outs: "lan", or "local" for hosts on one machine.
	Preset string `hcl:"preset,optional"`
}

// API is the HTTP API and the web UI.
type API struct {
	Bind string `hcl:"bind,optional"` // ip:port
	// ClientCA verifies the certificates of operators. Required on any
	// address that is not loopback.
	ClientCA string `hcl:"client_ca,optional"`
}

// TLS names the files of the host's identity, PEM.
type TLS struct {
	CA   string `hcl:"ca,optional"`
	Cert string `hcl:"cert,optional"`
	Key  string `hcl:"key,optional"`
}

// Traffic is the proxy through which clients reach the workloads.
type Traffic struct {
	Enabled  bool   `hcl:"enabled,optional"`
	Address  string `hcl:"address,optional"` // IP
	PeerPort int    `hcl:"peer_port,optional"`
}

// Capacity is an amount per resource. Zero and empty mean: measure it (cpu and
// memory), or unlimited (net and disk).
type Capacity struct {
	CPU    float64 `hcl:"cpu,optional"`    // cores
	Memory Bytes   `hcl:"memory,optional"` // "16GiB"
	Net    Bytes   `hcl:"net,optional"`    // per second
	Disk   Bytes   `hcl:"disk,optional"`   // per second
}

// Overcommit multiplies capacity minus reserve; 1 is none.
type Overcommit struct {
	CPU    float64 `hcl:"cpu,optional"`
	Memory float64 `hcl:"memory,optional"`
}

// Driver runs workloads of one kind.
type Driver struct {
	Name    string            `hcl:"name,label"`
	Command []string          `hcl:"command,optional"` // argv prefix of its processes; empty: placed itself
	Dir     string            `hcl:"dir,optional"`     // empty: under data_dir
	Options map[string]string `hcl:"options,optional"`
}

// Workload is started once in its life, on the host that declares it first; from
// then on the books say where it runs, whatever the file says.
type Workload struct {
	ID        string            `hcl:"id,label"`
	Driver    string            `hcl:"driver,optional"`
	Size      Bytes             `hcl:"size,optional"` // of its state; also its memory reservation
	CPU       float64           `hcl:"cpu,optional"`  // reservation in cores
	Port      int               `hcl:"port,optional"` // stable TCP port on every host's traffic address, 0 = none
	Priority  int               `hcl:"priority,optional"`
	Tolerance float64           `hcl:"tolerance,optional"` // of interruptions, 0 to 1
	Group     string            `hcl:"group,optional"`     // by which rules and calendar mean it
	Settings  map[string]string `hcl:"settings,optional"`  // for its driver

	// HistoryFile is a CSV of recorded load that the host learns from before
	// the first start: HistoryRows rows of HistoryColumn, one per five
	// minutes, the last one ending at HistoryEnd (load time); HistoryScale is
	// millicores per unit of the file.
	HistoryFile   string  `hcl:"history_file,optional"`
	HistoryColumn string  `hcl:"history_column,optional"`
	HistoryRows   int     `hcl:"history_rows,optional"`
	HistoryEnd    string  `hcl:"history_end,optional"` // RFC 3339
	HistoryScale  float64 `hcl:"history_scale,optional"`
}

// LoadClock maps wall time to load time. For `placed dev` only: in production
// the two are the same.
type LoadClock struct {
	Wall  string  `hcl:"wall,optional"` // RFC 3339; empty: now
	Load  string  `hcl:"load,optional"` // RFC 3339; empty: the same as wall
	Scale float64 `hcl:"scale,optional"`
}

// Times returns the parsed instants; zero where they are empty.
func (c LoadClock) Times() (wall, load time.Time) {
	wall, _ = time.Parse(time.RFC3339Nano, c.Wall) // Load has checked them
	load, _ = time.Parse(time.RFC3339Nano, c.Load)
	return wall, load
}

// Intervals of the agent's loops, machine time.
type Intervals struct {
	Sample Duration `hcl:"sample,optional" reload:"yes"`
	Report Duration `hcl:"report,optional" reload:"yes"`
	Pass   Duration `hcl:"pass,optional" reload:"yes"`
}

// Policy is what a NEW cluster starts with; afterwards the replicated policy
// counts (placed policy set). Shares are fractions: 0.9 is 90 %.
type Policy struct {
	Automation    string   `hcl:"automation,optional"` // observe, recommend, auto
	Quantile      float64  `hcl:"quantile,optional"`
	Horizon       Duration `hcl:"horizon,optional"`
	HoldPasses    int      `hcl:"hold_passes,optional"`
	Margin        Duration `hcl:"margin,optional"`
	Headroom      float64  `hcl:"headroom,optional"`
	Cooldown      Duration `hcl:"cooldown,optional"`
	CooldownReset Duration `hcl:"cooldown_reset,optional"`
	MovesPerPass  int      `hcl:"moves_per_pass,optional"`
	MovesInFlight int      `hcl:"moves_in_flight,optional"`
	ChurnPerHour  int      `hcl:"churn_per_hour,optional"`
	// Off at zero.
	ReserveHosts      int   `hcl:"reserve_hosts,optional"`
	MovesPerHost      int   `hcl:"moves_per_host,optional"`
	BandwidthInFlight Bytes `hcl:"bandwidth_in_flight,optional"` // per second
	Consolidate       bool  `hcl:"consolidate,optional"`
	MovesPerLink      int   `hcl:"moves_per_link,optional"`
	BandwidthPerLink  Bytes `hcl:"bandwidth_per_link,optional"` // per second
	// What may be changed of a workload where it is, before one moves.
	InPlaceCPUWeight bool `hcl:"in_place_cpu_weight,optional"`
	InPlaceCPUQuota  bool `hcl:"in_place_cpu_quota,optional"`
	InPlaceVCPUs     bool `hcl:"in_place_vcpus,optional"`
	InPlaceBalloon   bool `hcl:"in_place_balloon,optional"`
	// How many workloads may be kept copied at a destination; off at zero.
	Standbys int `hcl:"standbys,optional"`
}

// Limits bound what the agent uses of its host.
type Limits struct {
	Connections int      `hcl:"connections,optional"` // on the mTLS port
	History     Duration `hcl:"history,optional"`     // how long samples are kept
}

// Default returns a configuration with every default, and no id, certificate or
// key, which have none.
func Default() Config {
	return Config{
		Cluster:    &Cluster{},
		Node:       &Node{Zone: "default", DataDir: "/var/lib/placed", LogLevel: "info"},
		Server:     &Server{Enabled: true, Heartbeat: "1s"},
		RPC:        &RPC{Bind: "0.0.0.0:4100"},
		Gossip:     &Gossip{Bind: "0.0.0.0:4101", Preset: "lan"},
		API:        &API{Bind: "127.0.0.1:4102"},
		TLS:        &TLS{CA: "/etc/placed.d/ca.pem", Cert: "/etc/placed.d/host.pem", Key: "/etc/placed.d/host.key"},
		Traffic:    &Traffic{PeerPort: 4103},
		Capacity:   &Capacity{},
		Reserve:    &Capacity{CPU: 0.5, Memory: "1GiB"},
		Overcommit: &Overcommit{CPU: 1, Memory: 1},
		LoadClock:  &LoadClock{Scale: 1},
		Intervals:  &Intervals{Sample: "5s", Report: "5s", Pass: "30s"},
		Policy: &Policy{
			Automation: "observe", Quantile: 0.9, Horizon: "1h", HoldPasses: 2, Margin: "0s", Headroom: 0.05,
			Cooldown: "2h", CooldownReset: "24h", MovesPerPass: 1, MovesInFlight: 2, ChurnPerHour: 4,
		},
		Limits: &Limits{Connections: 1024, History: "720h"},
		where:  map[string]place{},
	}
}
