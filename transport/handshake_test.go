package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fleet"
)

// Who may call whom over what. "" means it works; otherwise the part of the
// dialer's error.
func TestHandshakeMatrix(t *testing.T) {
	ca := newTestCA(t, "prod")
	allowed := map[Protocol]map[string][]string{ // protocol → server role → client roles
		Raft:    {RoleVoter: {RoleVoter}},
		RPC:     {RoleVoter: {RoleVoter, RoleHost, RoleOperator}, RoleHost: {RoleVoter, RoleHost, RoleOperator}},
		Migrate: {RoleVoter: {RoleVoter, RoleHost}, RoleHost: {RoleVoter, RoleHost}},
	}
	clients, configs := map[string]*Transport{}, map[string]Config{}
	for _, role := range []string{RoleVoter, RoleHost, RoleOperator} {
		configs[role] = files(t, ca, role, hostA, time.Hour)
		clients[role] = dialer(t, configs[role])
	}
	for _, serverRole := range []string{RoleVoter, RoleHost, RoleOperator} {
		addr, bare := serveAs(t, ca, serverRole)
		for _, p := range protocols {
			for clientRole, c := range clients {
				t.Run(fmt.Sprintf("%s to %s over %s", clientRole, serverRole, p), func(t *testing.T) {
					want := false
					for _, role := range allowed[p][serverRole] {
						want = want || role == clientRole
					}
					conn, err := c.Dial(dialCtx(t), addr, "", p)
					if err == nil {
						defer conn.Close()
					}
					if want != (err == nil) {
						t.Fatalf("allowed %v, got %v", want, err)
					}
					if want {
						checkEcho(t, conn, clientRole)
						return
					}
					if !strings.Contains(err.Error(), "may not") && !strings.Contains(err.Error(), "incompatible key usage") {
						t.Fatalf("the error does not say who may not do what: %v", err)
					}
					// A caller that skips the checks of our Dial is refused
					// by the server alone.
					if !bare && dialBare(t, configs[clientRole], addr, p) == nil {
						t.Fatal("the server let it in")
					}
				})
			}
		}
	}
}

// serveAs answers all protocols under a role. An operator's certificate is
// refused by New, so for it a bare TLS server poses as a host.
func serveAs(t *testing.T, ca CA, role string) (addr string, bare bool) {
	if role == RoleOperator {
		return bareServer(t, files(t, ca, role, hostB, time.Hour)), true
	}
	tr := start(t, files(t, ca, role, hostB, time.Hour))
	for _, p := range protocols {
		echo(t, tr.Listen(p))
	}
	return tr.Addr().String(), false
}

// bareServer greets everybody, verifying nothing.
func bareServer(t *testing.T, c Config) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{string(Raft), string(RPC), string(Migrate)}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte{0, 'x'}) // fails when the client refuses
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func checkEcho(t *testing.T, conn net.Conn, role string) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil || line != role+"\n" {
		t.Fatalf("the server saw role %q, %v; want %s", line, err, role)
	}
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 4)
	if _, err := io.ReadFull(r, back); err != nil || string(back) != "ping" {
		t.Fatalf("echo %q, %v", back, err)
	}
}

// The role alone bars an operator from answering, whatever usages a foreign PKI
// wrote into its certificate.
func TestOperatorNeverAnswers(t *testing.T) {
	for _, p := range protocols {
		if permit(p, server, Identity{Cluster: "prod", Role: RoleOperator, ID: hostA}) == nil {
			t.Errorf("an operator may answer %s", p)
		}
	}
}

func TestIdentityIsKnownOnBothSides(t *testing.T) {
	ca := newTestCA(t, "prod")
	srv := start(t, files(t, ca, RoleHost, hostB, time.Hour))
	l := srv.Listen(RPC)
	conn, err := dialer(t, files(t, ca, RoleVoter, hostA, time.Hour)).Dial(dialCtx(t), srv.Addr().String(), hostB, RPC)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if got, ok := PeerOf(conn); !ok || got != (Identity{"prod", RoleHost, hostB}) {
		t.Errorf("the caller sees %v", got)
	}
	if got, ok := PeerOf(in); !ok || got != (Identity{"prod", RoleVoter, hostA}) {
		t.Errorf("the server sees %v", got)
	}
	if _, ok := PeerOf(&net.TCPConn{}); ok {
		t.Error("a bare connection has an identity")
	}
}

func TestRefusals(t *testing.T) {
	prod, other, impostor := newTestCA(t, "prod"), newTestCA(t, "lab"), newTestCA(t, "prod")
	// lab's certificates, signed by prod's key: the chain is good, the cluster is not.
	crossed := prod
	crossed.Cluster = "lab"

	logs := &logBuffer{}
	config := files(t, prod, RoleVoter, hostB, time.Hour)
	config.Logger = logs.logger()
	srv := start(t, config)
	echo(t, srv.Listen(RPC))
	good := dialer(t, files(t, prod, RoleHost, hostA, time.Hour))

	for _, test := range []struct {
		name  string
		ca    CA
		valid time.Duration
		want  string // in the server's log
	}{
		{"another CA", other, time.Hour, "our CA did not sign"},
		{"same name, another CA", impostor, time.Hour, "our CA did not sign"},
		{"another cluster of our CA", crossed, time.Hour, "presented a certificate of cluster lab, this is prod"},
		{"expired", prod, -time.Minute, "renew it"},
	} {
		t.Run("client with "+test.name, func(t *testing.T) {
			err := dialBare(t, files(t, test.ca, RoleVoter, hostA, test.valid), srv.Addr().String(), RPC)
			if err == nil {
				t.Fatal("the server let it in")
			}
			eventually(t, "log: "+test.want, func() bool { return strings.Contains(logs.String(), test.want) })
		})
		t.Run("server with "+test.name, func(t *testing.T) {
			_, err := good.Dial(dialCtx(t), bareServer(t, files(t, test.ca, RoleVoter, hostB, test.valid)), "", RPC)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
		})
	}
	t.Run("another host at the address", func(t *testing.T) {
		_, err := good.Dial(dialCtx(t), srv.Addr().String(), fleet.HostID("somebody"), RPC)
		if err == nil || !strings.Contains(err.Error(), "not somebody: the address in the books is out of date") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("no listener for the protocol", func(t *testing.T) {
		_, err := good.Dial(dialCtx(t), srv.Addr().String(), "", Migrate)
		if err == nil || !strings.Contains(err.Error(), "nothing serves placed/migrate on this host") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("certificate refused is told to the dialer", func(t *testing.T) {
		// good's CA file is the one that also trusts the server.
		stranger := files(t, other, RoleVoter, hostA, time.Hour)
		both := append(append([]byte{}, prod.CertPEM...), other.CertPEM...)
		if err := durable.WriteFile(stranger.CAFile, both, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := dialer(t, stranger).Dial(dialCtx(t), bareServer(t, files(t, prod, RoleVoter, hostB, time.Hour)), "", RPC)
		if err == nil || !strings.Contains(err.Error(), "of cluster prod, this is lab") {
			t.Fatalf("got %v", err)
		}
	})
}

// dialBare offers a certificate that our own Dial would not, and says whether the
// server accepted the connection.
func dialBare(t *testing.T, c Config, addr string, p Protocol) error {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", addr, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{string(p)}, InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return explain(readGreeting(conn), Identity{})
}

func TestRefusedCertificateIsExplainedToTheDialer(t *testing.T) {
	ours, theirs := newTestCA(t, "prod"), newTestCA(t, "prod")
	srv := start(t, files(t, theirs, RoleVoter, hostB, time.Hour))
	echo(t, srv.Listen(RPC))
	c := files(t, ours, RoleHost, hostA, time.Hour)
	both := append(append([]byte{}, ours.CertPEM...), theirs.CertPEM...)
	if err := durable.WriteFile(c.CAFile, both, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := dialer(t, c).Dial(dialCtx(t), srv.Addr().String(), "", RPC)
	if err == nil || !strings.Contains(err.Error(), "it refused our certificate (placed://prod/host/"+string(hostA)+")") {
		t.Fatalf("got %v", err)
	}
	// The other way round: the server reads in its log that a caller refused it.
	logs := &logBuffer{}
	config := files(t, theirs, RoleVoter, hostB, time.Hour)
	config.Logger = logs.logger()
	refused := start(t, config)
	echo(t, refused.Listen(RPC))
	if _, err := dialer(t, files(t, ours, RoleHost, hostA, time.Hour)).Dial(dialCtx(t), refused.Addr().String(), "", RPC); err == nil {
		t.Fatal("a server of another CA was accepted")
	}
	eventually(t, "a line about the refused server", func() bool {
		return strings.Contains(logs.String(), "it refused our certificate (placed://prod/voter/")
	})
}

func TestOldTLSAndNoCertificateAreRefused(t *testing.T) {
	ca := newTestCA(t, "prod")
	srv := start(t, files(t, ca, RoleVoter, hostB, time.Hour))
	echo(t, srv.Listen(RPC))
	c := files(t, ca, RoleVoter, hostA, time.Hour)
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*tls.Config{
		"TLS 1.2":        {Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12, NextProtos: []string{string(RPC)}, InsecureSkipVerify: true},
		"no certificate": {NextProtos: []string{string(RPC)}, InsecureSkipVerify: true},
		"no ALPN":        {Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true},
		"unknown ALPN":   {Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}, InsecureSkipVerify: true},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", srv.Addr().String())
		cancel()
		if err == nil {
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			err = readGreeting(conn)
			_ = conn.Close()
		}
		if err == nil {
			t.Errorf("%s was let in", name)
		}
	}
}
