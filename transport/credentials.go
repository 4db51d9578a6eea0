package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// credentials are what one read of the three files gave. They are immutable; a
// reload swaps the whole value, so a handshake never mixes old and new.
type credentials struct {
	self  Identity
	cert  tls.Certificate
	roots *x509.CertPool
	stamp stamp
}

// stamp tells whether the files changed since they were read.
type stamp [3]struct {
	modified time.Time
	size     int64
}

func (c Config) stamp() (stamp, error) {
	var s stamp
	for i, name := range []string{c.CAFile, c.CertFile, c.KeyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return stamp{}, err
		}
		s[i].modified, s[i].size = info.ModTime(), info.Size()
	}
	return s, nil
}

// load reads and checks the files, so that a bad certificate is found when it is
// installed and not by the peers that refuse it.
func (c Config) load(now time.Time) (*credentials, error) {
	stamp, err := c.stamp() // before the contents: a later change is seen again
	if err != nil {
		return nil, fileError(err)
	}
	roots, err := readCA(c.CAFile)
	if err != nil {
		return nil, err
	}
	if err := checkKeyMode(c.KeyFile); err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate %s and key %s: %w: the two must be PEM files made together", c.CertFile, c.KeyFile, fileError(err))
	}
	self, err := identityOf(cert.Leaf)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", c.CertFile, err)
	}
	if err := checkOwn(cert, roots, now); err != nil {
		return nil, fmt.Errorf("certificate %s: %w", c.CertFile, err)
	}
	return &credentials{self: self, cert: cert, roots: roots, stamp: stamp}, nil
}

func readCA(name string) (*x509.CertPool, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fileError(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("CA file %s holds no PEM certificate: it must hold the certificate (not the key) of the cluster's CA", name)
	}
	return roots, nil
}

// checkKeyMode refuses a key that others can read: whoever has it is this host.
func checkKeyMode(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return fileError(err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("key %s has mode %#o and can be read by others: chmod 600 %s", name, mode, name)
	}
	return nil
}

func checkOwn(cert tls.Certificate, roots *x509.CertPool, now time.Time) error {
	if now.After(cert.Leaf.NotAfter) {
		return fmt.Errorf("it expired on %s: renew it", cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(cert.Leaf.NotBefore) {
		return fmt.Errorf("it is not valid before %s: set this host's clock right", cert.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	intermediates := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		other, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("a further certificate in the file: %w", err)
		}
		intermediates.AddCert(other)
	}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: usages, CurrentTime: now})
	if err != nil {
		return fmt.Errorf("the CA file does not vouch for it: %w", err)
	}
	return nil
}

func fileError(err error) error {
	var path *fs.PathError
	switch {
	case !errors.As(err, &path):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: make it with `placed tls`, or correct the path", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: it must belong to the user the agent runs as", err)
	}
	return err
}

// serverConfig is asked for anew for each incoming connection, so a reload
// needs no restart.
func (c *credentials) serverConfig(remote string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.cert},
		NextProtos:   []string{string(Raft), string(RPC), string(Migrate)},
		// The chain is verified by check, with messages an operator can use,
		// for both directions by the same code.
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: check{roots: c.roots, self: c.self, remote: remote, at: client}.verify,
		// A resumed session would not present its certificate again.
		SessionTicketsDisabled: true,
	}
}

func (c *credentials) clientConfig(p Protocol, want check) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.cert},
		NextProtos:   []string{string(p)},
		// This turns off only the comparison of the certificate with a host
		// name. Chain, dates, usage, cluster, role and host id are verified
		// by VerifyConnection, which runs whatever this says.
		InsecureSkipVerify: true,
		VerifyConnection:   want.verify,
	}
}
