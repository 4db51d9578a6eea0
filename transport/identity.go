package transport

import (
	"crypto/x509"
	"fmt"
	"net"
	"strings"

	"github.com/placed-dev/placed/fleet"
)

// Roles of a certificate. A voter may do whatever a host may.
const (
	RoleVoter    = "voter"
	RoleHost     = "host"
	RoleOperator = "operator"
)

const scheme = "placed://"

// Identity is what a certificate says of its holder, in its one URI SAN
// "placed://<cluster>/<role>/<id>".
type Identity struct {
	Cluster string
	Role    string
	ID      fleet.HostID
}

// String is the URI form.
func (i Identity) String() string {
	return scheme + i.Cluster + "/" + i.Role + "/" + string(i.ID)
}

// ParseIdentity reads the URI form. It accepts exactly what String writes: no
// escapes, port, query or user, so that two spellings can never name one host.
func ParseIdentity(uri string) (Identity, error) {
	rest, ok := strings.CutPrefix(uri, scheme)
	if !ok {
		return Identity{}, fmt.Errorf("identity %.80q does not begin with %q", uri, scheme)
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 3 {
		return Identity{}, fmt.Errorf("identity %.80q is not of the form placed://<cluster>/<voter|host|operator>/<id>", uri)
	}
	id := Identity{Cluster: parts[0], Role: parts[1], ID: fleet.HostID(parts[2])}
	if err := id.validate(); err != nil {
		return Identity{}, fmt.Errorf("identity %.80q: %w", uri, err)
	}
	return id, nil
}

func (i Identity) validate() error {
	if err := validLabel("cluster", i.Cluster, "-."); err != nil {
		return err
	}
	switch i.Role {
	case RoleVoter, RoleHost, RoleOperator:
	default:
		return fmt.Errorf("role %.20q is not one of voter, host, operator", i.Role)
	}
	return validLabel("id", string(i.ID), "-._")
}

// validLabel accepts what needs no escape in a URI. A cluster name must also be
// a legal URI host, or no certificate could carry it.
func validLabel(what, s, marks string) error {
	if s == "" || len(s) > 63 {
		return fmt.Errorf("%s has %d characters: 1 to 63 are allowed", what, len(s))
	}
	for _, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune(marks, c) {
			return fmt.Errorf("%s %q contains %q: letters, digits and %s are allowed", what, s, c, strings.Join(strings.Split(marks, ""), " "))
		}
	}
	if strings.Contains(s, "..") || strings.Trim(s, ".-") != s {
		return fmt.Errorf("%s %q must not begin or end with . or -, nor contain two dots in a row", what, s)
	}
	return nil
}

// identityOf reads the identity from a certificate that was already verified.
func identityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("certificate %q has %d URI names: exactly one, placed://<cluster>/<role>/<id>, is needed", cert.Subject.CommonName, len(cert.URIs))
	}
	return ParseIdentity(cert.URIs[0].String())
}

// PeerOf returns the verified identity behind a connection made or accepted by a
// Transport; false for any other connection.
func PeerOf(conn net.Conn) (Identity, bool) {
	c, ok := conn.(*peerConn)
	if !ok {
		return Identity{}, false
	}
	return c.peer, true
}
