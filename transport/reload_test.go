package transport

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestReloadByHand(t *testing.T) {
	ca := newTestCA(t, "prod")
	c := files(t, ca, RoleHost, hostA, time.Hour)
	tr := start(t, c)
	caller := dialer(t, files(t, ca, RoleVoter, hostB, time.Hour))
	echo(t, tr.Listen(Raft))
	if _, err := caller.Dial(dialCtx(t), tr.Addr().String(), hostA, Raft); err == nil {
		t.Fatal("raft to a host that is no voter")
	}
	install(t, c, ca, RoleVoter, hostA, time.Hour)
	must(t, tr.Reload())
	if tr.Self().Role != RoleVoter {
		t.Fatalf("after the reload: %s", tr.Self())
	}
	conn, err := caller.Dial(dialCtx(t), tr.Addr().String(), hostA, Raft)
	must(t, err)
	must(t, conn.Close())

	for name, test := range map[string]struct {
		spoil func()
		want  string
	}{
		"another host":  {func() { install(t, c, ca, RoleVoter, hostB, time.Hour) }, "restart it to change its identity"},
		"another fleet": {func() { install(t, c, newTestCA(t, "lab"), RoleVoter, hostA, time.Hour) }, "restart it to change its identity"},
		"operator":      {func() { install(t, c, ca, RoleOperator, hostA, time.Hour) }, "is an operator's"},
		"half written":  {func() { must(t, os.WriteFile(c.CertFile, []byte("-----BEGIN CERT"), 0o644)) }, "must be PEM files made together"},
		"gone":          {func() { must(t, os.Remove(c.CertFile)) }, "placed tls"},
	} {
		install(t, c, ca, RoleVoter, hostA, time.Hour)
		test.spoil()
		if err := tr.Reload(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.want)
		}
		conn, err := caller.Dial(dialCtx(t), tr.Addr().String(), hostA, Raft)
		if err != nil {
			t.Fatalf("%s: the old certificate no longer works: %v", name, err)
		}
		must(t, conn.Close())
	}
}

func TestExpiryIsAnnouncedOnceADay(t *testing.T) {
	const day = 24 * time.Hour
	logs := &logBuffer{}
	c := files(t, newTestCA(t, "prod"), RoleHost, hostA, 100*day)
	c.Logger = logs.logger()
	tr := dialer(t, c)
	end := tr.Expires()
	var warned time.Time
	for _, step := range []struct {
		left time.Duration
		want int // lines so far
	}{{20 * day, 0}, {14*day + time.Hour, 0}, {14 * day, 1}, {13*day + time.Hour, 1}, {13 * day, 2}, {-day, 3}} {
		warned = tr.warnOfExpiry(end.Add(-step.left), warned)
		if n := strings.Count(logs.String(), "expires soon"); n != step.want {
			t.Errorf("%s before the end: %d lines, want %d", step.left, n, step.want)
		}
	}
}

// Renewal and replacement of the CA happen under a running agent; connections
// that exist go on.
func TestReloadFollowsTheFiles(t *testing.T) {
	old, fresh := newTestCA(t, "prod"), newTestCA(t, "prod")
	c := files(t, old, RoleVoter, hostA, time.Hour)
	c.ReloadInterval = 5 * time.Millisecond
	logs := &logBuffer{}
	c.Logger = logs.logger()
	tr := start(t, c)
	echo(t, tr.Listen(RPC))
	before, err := dialer(t, files(t, old, RoleHost, hostB, time.Hour)).Dial(dialCtx(t), tr.Addr().String(), hostA, RPC)
	must(t, err)
	defer before.Close()

	must(t, os.WriteFile(c.CertFile, []byte("nonsense"), 0o644))
	eventually(t, "a line about the bad file", func() bool {
		return strings.Contains(logs.String(), "cannot be used; the old ones stay in use")
	})
	install(t, c, fresh, RoleVoter, hostA, time.Hour)
	caller := dialer(t, files(t, fresh, RoleHost, hostB, time.Hour))
	eventually(t, "a caller of the new CA is accepted", func() bool {
		conn, err := caller.Dial(dialCtx(t), tr.Addr().String(), hostA, RPC)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	checkEcho(t, before, RoleHost)
	if n := strings.Count(logs.String(), "cannot be used"); n > 4 {
		t.Errorf("a bad file was reported %d times", n)
	}
}
