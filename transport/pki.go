package transport

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fleet"
)

// Names of the files a CA lives in.
const (
	CACertFile = "ca.pem"
	CAKeyFile  = "ca-key.pem"
)

const (
	caValidity = 10 * 365 * 24 * time.Hour
	// clockSkew lets a certificate made a moment ago be used on a host whose
	// clock is behind.
	clockSkew = 5 * time.Minute
)

// CA signs the certificates of one cluster.
type CA struct {
	Cluster string
	CertPEM []byte
	keyPEM  []byte
	cert    *x509.Certificate
	key     crypto.Signer
}

// NewCA makes a CA for a cluster; nothing is written.
func NewCA(cluster string) (CA, error) {
	if err := validLabel("cluster", cluster, "-."); err != nil {
		return CA{}, err
	}
	key, keyPEM, err := newKey()
	if err != nil {
		return CA{}, err
	}
	template, err := newTemplate("placed CA of "+cluster, caValidity)
	if err != nil {
		return CA{}, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.Subject.Organization = []string{cluster}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return CA{}, fmt.Errorf("make CA certificate: %w", err)
	}
	return newCA(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM)
}

// LoadCA reads the CA that Write left in dir.
func LoadCA(dir string) (CA, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, CACertFile))
	if err != nil {
		return CA{}, fileError(err)
	}
	keyFile := filepath.Join(dir, CAKeyFile)
	if err := checkKeyMode(keyFile); err != nil {
		return CA{}, err
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return CA{}, fileError(err)
	}
	ca, err := newCA(certPEM, keyPEM)
	if err != nil {
		return CA{}, fmt.Errorf("CA in %s: %w", dir, err)
	}
	return ca, nil
}

func newCA(certPEM, keyPEM []byte) (CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return CA{}, err
	}
	if !pair.Leaf.IsCA || len(pair.Leaf.Subject.Organization) != 1 {
		return CA{}, errors.New("the certificate is not that of a placed CA")
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return CA{}, errors.New("the key cannot sign")
	}
	return CA{Cluster: pair.Leaf.Subject.Organization[0], CertPEM: certPEM, keyPEM: keyPEM, cert: pair.Leaf, key: key}, nil
}

// Issue makes a certificate and its key. hosts are IP addresses or names to list
// beside the identity, for tools that look at them; placed itself does not.
func (c CA) Issue(role string, id fleet.HostID, hosts []string, validity time.Duration) (certPEM, keyPEM []byte, err error) {
	self := Identity{Cluster: c.Cluster, Role: role, ID: id}
	if err := self.validate(); err != nil {
		return nil, nil, fmt.Errorf("issue certificate: %w", err)
	}
	uri, err := url.Parse(self.String())
	if err != nil {
		return nil, nil, fmt.Errorf("issue certificate: %w", err)
	}
	template, err := newTemplate(string(id), validity)
	if err != nil {
		return nil, nil, err
	}
	template.URIs = []*url.URL{uri}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if role != RoleOperator {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue certificate for %s: %w", self, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, nil
}

// Write puts the CA into dir. An existing key is never replaced: every
// certificate it signed would be worthless.
func (c CA) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write CA: %w", err)
	}
	keyFile := filepath.Join(dir, CAKeyFile)
	if _, err := os.Lstat(keyFile); err == nil {
		return fmt.Errorf("write CA: %s exists: every certificate it signed would be worthless: move it away first, or use it", keyFile)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write CA: %w", err)
	}
	return WritePair(filepath.Join(dir, CACertFile), keyFile, c.CertPEM, c.keyPEM)
}

// WritePair puts a certificate (mode 0644) and its key (0600) in place, each
// file at once, key first: an agent that looks in between sees two files that do
// not match, keeps what it has and looks again.
func WritePair(certFile, keyFile string, certPEM, keyPEM []byte) error {
	if err := durable.WriteFile(keyFile, keyPEM, 0o600); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	if err := durable.WriteFile(certFile, certPEM, 0o644); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}

func newKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func newTemplate(name string, validity time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(validity),
	}, nil
}
