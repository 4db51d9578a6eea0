package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/placed-dev/placed/api"
	"github.com/placed-dev/placed/config"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/httpapi"
	"github.com/placed-dev/placed/transport"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// memberlist gives no way to wait for a probe that is under way.
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

// site is a directory with the certificates and configurations of three hosts
// without workloads.
type site struct {
	t     *testing.T
	dir   string
	hosts []string // ids
	ips   []string
	// prepare, if set, changes an agent before it runs.
	prepare func(i int, d *Daemon)
}

const cluster = "test-cluster"

func newSite(t *testing.T, subnet int) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	ca, err := transport.NewCA(cluster)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Write(filepath.Join(s.dir, "ca")); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		s.hosts = append(s.hosts, fmt.Sprintf("00000000-0000-4000-8000-00000000000%d", i+1))
		// The process's number keeps two runs of the tests on one machine apart.
		s.ips = append(s.ips, fmt.Sprintf("127.%d.%d.%d", subnet, os.Getpid()%256, i+1))
		certPEM, keyPEM, err := ca.Issue(transport.RoleVoter, fleet.HostID(s.hosts[i]), []string{s.ips[i]}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := transport.WritePair(s.file(i, "cert.pem"), s.file(i, "key.pem"), certPEM, keyPEM); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *site) file(i int, name string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%d-%s", i, name))
}

// text is the configuration of one host.
func (s *site) text(i int) string {
	var servers, join []string
	for j := range s.hosts {
		servers = append(servers, fmt.Sprintf("%q", s.hosts[j]+"@"+s.ips[j]+":4100"))
		join = append(join, fmt.Sprintf("%q", s.ips[j]+":4101"))
	}
	return fmt.Sprintf(`
cluster {
  id      = %q
  servers = [%s]
  join    = [%s]
}
node {
  id       = %q
  name     = "h%d"
  data_dir = %q
}
rpc { bind = "%s:4100" }
gossip {
  bind    = "%s:4101"
  keyring = ["MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="]
  preset  = "local"
}
api { bind = "%s:4102" }
tls {
  ca   = %q
  cert = %q
  key  = %q
}
capacity {
  cpu    = 4
  memory = "8GiB"
}
driver "region" {}
intervals {
  sample = "100ms"
  report = "100ms"
  pass   = "100ms"
}
`, cluster, strings.Join(servers, ", "), strings.Join(join, ", "), s.hosts[i], i+1, s.file(i, "data"),
		s.ips[i], s.ips[i], s.ips[i], filepath.Join(s.dir, "ca", transport.CACertFile), s.file(i, "cert.pem"), s.file(i, "key.pem"))
}

func (s *site) config(i int, changes ...string) (Config, error) {
	s.t.Helper()
	text := strings.NewReplacer(changes...).Replace(s.text(i))
	file, err := config.Parse("test.hcl", []byte(text))
	if err != nil {
		s.t.Fatal(err)
	}
	level := hclog.Off
	if testing.Verbose() {
		level = hclog.Warn
	}
	return FromFile(file, "test", hclog.New(&hclog.LoggerOptions{Name: fmt.Sprintf("h%d", i+1), Level: level}))
}

// start runs an agent until the returned function is called.
func (s *site) start(i int) (d *Daemon, stop func()) {
	s.t.Helper()
	cfg, err := s.config(i)
	if err != nil {
		s.t.Fatal(err)
	}
	d, err = New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.prepare != nil {
		s.prepare(i, d)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				s.t.Errorf("h%d: %v", i+1, err)
			}
		case <-time.After(30 * time.Second):
			s.t.Fatalf("h%d does not end", i+1)
		}
		d.Close()
	}
	s.t.Cleanup(stop)
	return d, stop
}

func until(t *testing.T, what string, ok func() error) {
	t.Helper()
	within(t, 60*time.Second, what, ok)
}

func healthy(d *Daemon, hosts int) func() error {
	return func() error {
		s, err := backend{d}.Status(context.Background())
		switch {
		case err != nil:
			return err
		case s.Leader == nil || s.HostsAlive != hosts || len(s.Problems) > 0:
			return fmt.Errorf("leader %v, %d alive, problems %+v", s.Leader, s.HostsAlive, s.Problems)
		}
		return nil
	}
}

// TestThreeAgents: a fleet comes up, takes a write at any agent, goes on without
// one of them, takes it back, and ends without a trace.
func TestThreeAgents(t *testing.T) {
	s := newSite(t, 21)
	var agents [3]*Daemon
	var stops [3]func()
	for i := range agents {
		agents[i], stops[i] = s.start(i)
	}
	for _, d := range agents {
		until(t, "a healthy fleet", healthy(d, 3))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for i, d := range agents {
		b := backend{d}
		policy, err := b.Policy(ctx)
		if err != nil {
			t.Fatal(err)
		}
		policy.ChurnPerHour = int64(10 + i)
		accepted, err := b.SetPolicy(ctx, httpapi.Write{ID: fmt.Sprint(i), By: "test"}, policy)
		if err != nil {
			t.Fatalf("h%d: %v", i+1, err)
		}
		for j, other := range agents {
			if err := (backend{other}).Sync(ctx); err != nil {
				t.Fatal(err)
			}
			if seen, _ := (backend{other}).Policy(ctx); seen.ChurnPerHour != policy.ChurnPerHour || other.replica.Applied() < accepted.Index {
				t.Errorf("a write at h%d is not read at h%d after a barrier: %d", i+1, j+1, seen.ChurnPerHour)
			}
		}
	}
	if _, err := (backend{agents[0]}).Move(ctx, httpapi.Write{By: "test"}, api.MoveRequest{Workload: "nobody"}); !errors.Is(err, httpapi.ErrNotFound) {
		t.Errorf("moving a workload nobody knows: %v", err)
	}
	for verb, q := range map[string]LocalRequest{"thaw": {Workload: "nobody", Fenced: "h2"}, "resume": {Workload: "nobody", Fenced: "h2"}, "release": {Workload: "nobody"}} {
		if _, err := AskLocal(ctx, agents[0].cfg.DataDir, verb, q); err == nil || !strings.Contains(err.Error(), "taken part in no move") {
			t.Errorf("local %s of a workload that is not moving: %v", verb, err)
		}
	}
	if _, err := AskLocal(ctx, agents[0].cfg.DataDir, "thaw", LocalRequest{Workload: "nobody"}); err == nil || !strings.Contains(err.Error(), "no fenced host") {
		t.Errorf("local thaw without a fenced host: %v", err)
	}
	if info, err := os.Stat(agents[0].path(OperatorSocket)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the operator's socket: %v, %v", info, err)
	}
	if err := agents[0].Reload(Config{Sample: time.Second, Report: time.Second}); err != nil {
		t.Errorf("reload: %v", err)
	}
	if err := agents[0].Reload(Config{}); err == nil {
		t.Error("a reload without intervals was taken")
	}

	stops[2]()
	until(t, "a leader without the third", func() error {
		if err := (backend{agents[0]}).Sync(ctx); err != nil {
			return err
		}
		st, err := backend{agents[0]}.Status(ctx)
		if err == nil && st.HostsAlive != 2 {
			err = fmt.Errorf("%d alive", st.HostsAlive)
		}
		return err
	})
	agents[2], stops[2] = s.start(2)
	until(t, "a healthy fleet again", healthy(agents[2], 3))
	until(t, "the books on the returned host", func() error {
		if p, err := (backend{agents[2]}).Policy(ctx); err != nil || p.ChurnPerHour != 12 {
			return fmt.Errorf("churn %d, %v", p.ChurnPerHour, err)
		}
		return nil
	})
	for _, stop := range stops {
		stop()
	}
}

// TestStartFails: each mistake ends New with one line that says what, where and
// what to do, and leaves nothing open: the next attempt works.
func TestStartFails(t *testing.T) {
	s := newSite(t, 22)
	other := newSite(t, 23)
	taken, err := net.Listen("tcp", s.ips[0]+":4199")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	lock, err := lockDataDir(s.file(0, "locked"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	damaged := s.file(0, "damaged")
	if err := os.MkdirAll(filepath.Join(damaged, "raft"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"history.db"} {
		if err := os.WriteFile(filepath.Join(damaged, name), []byte("not a database"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name    string
		changes []string
		says    []string
	}{
		{"rpc port taken", []string{s.ips[0] + ":4100\" }", s.ips[0] + ":4199\" }"}, []string{"mTLS port", s.ips[0] + ":4199", "address already in use", "choose another port"}},
		{"api port taken", []string{s.ips[0] + ":4102", s.ips[0] + ":4199"}, []string{"HTTP API", "address already in use", "api.bind"}},
		{"data directory in use", []string{s.file(0, "data"), s.file(0, "locked")}, []string{"another agent runs on this data directory", "node.data_dir"}},
		{"certificate missing", []string{s.file(0, "cert.pem"), s.file(0, "none.pem")}, []string{"mTLS port", "none.pem"}},
		{"certificate of another host", []string{s.file(0, "cert.pem"), s.file(1, "cert.pem"), s.file(0, "key.pem"), s.file(1, "key.pem")}, []string{"is of host", "use the host's own certificate"}},
		{"certificate of another CA", []string{s.file(0, "cert.pem"), other.file(0, "cert.pem"), s.file(0, "key.pem"), other.file(0, "key.pem")}, []string{"mTLS port", other.file(0, "cert.pem")}},
		{"another cluster", []string{fmt.Sprintf("%q", cluster), `"elsewhere"`}, []string{"is of cluster " + cluster, "configured for elsewhere"}},
		{"damaged history", []string{s.file(0, "data"), damaged}, []string{"history", "history.db"}},
		{"unknown driver", []string{`driver "region"`, `driver "regoin"`}, []string{"drivers", `"regoin"`, "region"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := s.config(0, c.changes...)
			if err != nil {
				t.Fatal(err)
			}
			d, err := New(cfg)
			if err == nil {
				d.Close()
				t.Fatal("the agent was built")
			}
			for _, word := range c.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
	if data, err := os.ReadFile(filepath.Join(damaged, "history.db")); err != nil || string(data) != "not a database" {
		t.Errorf("the damaged file was changed: %q, %v", data, err)
	}
	cfg, err := s.config(0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatalf("after failed starts a good one must work: %v", err)
	}
	d.Close()
	d.Close() // may be called twice
}

// TestStartsAreNoted: a first start that was interrupted is found again.
func TestStartsAreNoted(t *testing.T) {
	s := starts{dir: filepath.Join(t.TempDir(), "starts")}
	if _, ok := s.read("web-1/cache"); ok {
		t.Fatal("a start that was never noted was found")
	}
	lease := fleet.Lease{ID: "L7", Token: fleet.Token{Cluster: "c", Generation: 1, Index: 7}}
	if err := s.note("web-1/cache", lease); err != nil {
		t.Fatal(err)
	}
	if got, ok := s.read("web-1/cache"); !ok || got.Token != lease.Token {
		t.Fatalf("read %+v, %v", got, ok)
	}
	if err := os.WriteFile(s.file("web-2"), []byte(`{"id":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.read("web-2"); ok {
		t.Error("half a note was believed")
	}
	for range 2 {
		if err := s.done("web-1/cache"); err != nil {
			t.Fatal(err)
		}
	}
}
