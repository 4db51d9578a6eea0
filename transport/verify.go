package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// check is everything that one end demands of the other before a byte of the
// protocol is read.
type check struct {
	roots  *x509.CertPool
	self   Identity
	remote string // address, for messages
	at     side   // where the remote stands
	want   fleet.HostID
}

// verify is called inside the handshake, on both sides, for every connection.
// Names in certificates are not compared with addresses: hosts change addresses,
// and what counts is the identity.
func (c check) verify(state tls.ConnectionState) error {
	_, err := c.peer(state)
	return err
}

func (c check) peer(state tls.ConnectionState) (Identity, error) {
	if len(state.PeerCertificates) == 0 {
		return Identity{}, fmt.Errorf("peer %s presented no certificate: placed speaks only with members of the cluster", c.remote)
	}
	leaf := state.PeerCertificates[0]
	if err := c.chain(leaf, state.PeerCertificates[1:]); err != nil {
		return Identity{}, err
	}
	id, err := identityOf(leaf)
	if err != nil {
		return Identity{}, fmt.Errorf("peer %s: %w", c.remote, err)
	}
	if id.Cluster != c.self.Cluster {
		return Identity{}, fmt.Errorf("peer %s presented a certificate of cluster %s, this is %s: it is an agent of another fleet, or one of the two has the wrong certificate or join list", c.remote, id.Cluster, c.self.Cluster)
	}
	protocol := Protocol(state.NegotiatedProtocol)
	if err := permit(protocol, c.at, id); err != nil {
		return Identity{}, fmt.Errorf("peer %s: %w", c.remote, err)
	}
	if err := permit(protocol, c.at.other(), c.self); err != nil {
		return Identity{}, fmt.Errorf("this host: %w", err)
	}
	if c.want != "" && id.ID != c.want {
		return Identity{}, fmt.Errorf("peer %s is host %s, not %s: the address in the books is out of date", c.remote, id.ID, c.want)
	}
	return id, nil
}

// chain verifies the certificate against the CA, its dates and its usage.
func (c check) chain(leaf *x509.Certificate, others []*x509.Certificate) error {
	usage := x509.ExtKeyUsageClientAuth
	if c.at == server {
		usage = x509.ExtKeyUsageServerAuth
	}
	intermediates := x509.NewCertPool()
	for _, cert := range others {
		intermediates.AddCert(cert)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: c.roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err == nil {
		return nil
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("peer %s presented a certificate (%q) that our CA did not sign: it is an agent of another fleet, or a CA file is missing a certificate: %w", c.remote, leaf.Subject.CommonName, err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("peer %s presented a certificate (%q) valid from %s to %s: renew it, or set the clocks right: %w", c.remote, leaf.Subject.CommonName, leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), err)
	}
	return fmt.Errorf("peer %s presented a certificate (%q) that is not valid here: %w", c.remote, leaf.Subject.CommonName, err)
}
