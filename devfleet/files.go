package devfleet

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/transport"
)

// certificateLife of a fleet that lives on one machine for a while.
const certificateLife = 365 * 24 * time.Hour

// prepare writes what an operator would: the CA, a certificate and key for every
// host, the gossip key, the traces, and one configuration file per host.
// What is there already is kept, except the configurations, which carry the
// clock of this run.
func (d *dataDir) prepare(b Blueprint, clock fleet.LoadClock, automation, binary string) error {
	if err := d.certificates(b); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	key, err := d.gossipKey()
	if err != nil {
		return fmt.Errorf("gossip key: %w", err)
	}
	if err := d.traces(); err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	for i := range b.Hosts {
		text, err := d.configuration(b, i, clock, automation, binary, key)
		if err != nil {
			return fmt.Errorf("configuration of %s: %w", b.Hosts[i].Name, err)
		}
		if err := d.write(filepath.Join(b.Hosts[i].Name, "config.hcl"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (d *dataDir) certificates(b Blueprint) error {
	ca, err := transport.LoadCA(d.file("ca"))
	if err != nil {
		if _, exists := os.Stat(d.file("ca")); exists == nil {
			return err // damaged: a new CA would cut the hosts off
		}
		if ca, err = transport.NewCA(b.Cluster); err != nil {
			return err
		}
		if err := ca.Write(d.file("ca")); err != nil {
			return err
		}
	}
	for _, h := range b.Hosts {
		cert := d.file(h.Name, "host.pem")
		if _, err := os.Stat(cert); err == nil {
			continue
		}
		role := transport.RoleHost
		if h.Voter {
			role = transport.RoleVoter
		}
		certPEM, keyPEM, err := ca.Issue(role, fleet.HostID(h.ID), []string{h.IP, h.Name}, certificateLife)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(d.file(h.Name), 0o700); err != nil {
			return err
		}
		if err := transport.WritePair(cert, d.file(h.Name, "host.key"), certPEM, keyPEM); err != nil {
			return err
		}
	}
	return nil
}

func (d *dataDir) gossipKey() (string, error) {
	data, err := os.ReadFile(d.file("gossip.key"))
	if err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return "", err
	}
	text := base64.StdEncoding.EncodeToString(key)
	return text, d.write("gossip.key", []byte(text+"\n"), 0o600)
}

// configurationText is one host's file. It is an ordinary configuration: `placed
// agent --config` runs it without `placed dev`.
var configurationText = template.Must(template.New("config").Funcs(template.FuncMap{"q": quote}).Parse(`# Written by placed dev at every start; changes are lost.
cluster {
  id      = {{q .Cluster}}
  join    = [{{range .Join}}{{q .}}, {{end}}]
  servers = [{{range .Servers}}{{q .}}, {{end}}]
}
node {
  id        = {{q .Host.ID}}
  name      = {{q .Host.Name}}
  zone      = {{q .Host.Zone}}
  data_dir  = {{q .DataDir}}
  log_level = "info"
}
server { enabled = {{.Host.Voter}} }
rpc { bind = {{q .RPC}} }
gossip {
  bind    = {{q .Gossip}}
  keyring = [{{q .Key}}]
  preset  = "local"
}
api { bind = {{q .API}} }
tls {
  ca   = {{q .CA}}
  cert = {{q .Cert}}
  key  = {{q .CertKey}}
}
traffic {
  enabled   = true
  address   = {{q .Host.IP}}
  peer_port = {{.PeerPort}}
}
capacity {
  cpu    = {{.Cores}}
  memory = "{{.Host.Memory}}B"
}
reserve {
  cpu    = 0
  memory = "0B"
}
driver "region" {
  command = [{{q .Binary}}, "workload"]
}
load_clock {
  wall  = {{q .Wall}}
  load  = {{q .Load}}
  scale = {{.Scale}}
}
intervals {
  sample = "1s"
  report = "1s"
  pass   = "1s"
}
policy {
  automation = {{q .Automation}}
  # The declared capacity is a quantile of real demand, not a physical limit:
  # nothing has to be kept free below it.
  headroom = 0
  # It is exceeded 1.5 % of the time; a chance of one in twenty is a warning.
  quantile = 0.95
  # One pass is a whole five minutes of load here: a breach that is predicted
  # once has been predicted for longer than two passes of a real fleet.
  hold_passes = 1
}
{{range .Workloads}}
workload {{q .ID}} {
  driver    = "region"
  size      = "{{.Size}}B"
  port      = {{.Port}}
  priority  = {{.Priority}}
  tolerance = {{.Tolerant}}
  cpu       = {{.Cores}}
  settings = {
    trace_file   = {{q $.Traces}}
    trace_column = {{q .Column}}
    trace_from   = "{{$.Rows}}"
    trace_origin = {{q $.Epoch}}
    scale        = "{{.Scale}}"
    seed         = "{{.Seed}}"
  }
  history_file   = {{q $.Traces}}
  history_column = {{q .Column}}
  history_rows   = {{$.Rows}}
  history_end    = {{q $.Epoch}}
  history_scale  = {{.Scale}}
}
{{end}}`))

// quote writes a string for HCL; templates start with ${ and %{ there.
func quote(s string) string {
	s = fmt.Sprintf("%q", s)
	s = strings.ReplaceAll(s, "${", "$${")
	return strings.ReplaceAll(s, "%{", "%%{")
}

type workloadText struct {
	Workload
	Tolerant float64
	Cores    float64
	Seed     uint64
}

func (d *dataDir) configuration(b Blueprint, host int, clock fleet.LoadClock, automation, binary, key string) (string, error) {
	h := b.Hosts[host]
	var join, servers []string
	for _, other := range b.Hosts {
		join = append(join, other.address(portGossip))
		if other.Voter {
			servers = append(servers, other.ID+"@"+other.address(portTransport))
		}
	}
	var workloads []workloadText
	for i, w := range b.Workloads {
		if w.Host == host {
			workloads = append(workloads, workloadText{Workload: w, Tolerant: float64(w.Tolerance) / 1000, Cores: float64(w.CPU) / 1000, Seed: b.Seed + uint64(i)})
		}
	}
	var out strings.Builder
	err := configurationText.Execute(&out, map[string]any{
		"Cluster": b.Cluster, "Join": join, "Servers": servers, "Host": h, "DataDir": d.file(h.Name, "data"),
		"RPC": h.address(portTransport), "Gossip": h.address(portGossip), "API": h.address(portAPI), "PeerPort": portPeer, "Key": key,
		"CA": d.file("ca", "ca.pem"), "Cert": d.file(h.Name, "host.pem"), "CertKey": d.file(h.Name, "host.key"),
		"Cores": float64(h.CPU) / 1000, "Binary": binary, "Automation": automation,
		"Wall": clock.Wall.Format(time.RFC3339Nano), "Load": clock.Load.Format(time.RFC3339Nano), "Scale": clock.Scale,
		"Traces": d.file(tracesFile), "Rows": historyRows, "Epoch": b.Epoch.Format(time.RFC3339Nano), "Workloads": workloads,
	})
	return out.String(), err
}
