package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority is the one that all hosts' libvirtd and QEMU trust. It is not the
// agents': an operator who lets the hypervisors connect by themselves has two.
type authority struct {
	cert *x509.Certificate
	der  []byte
	key  *ecdsa.PrivateKey
}

// pkiLife outlives every lab.
const pkiLife = 30 * 24 * time.Hour

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "placed lab"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(pkiLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert: cert, der: der, key: key}, err
}

// issue returns a certificate and its key, both as PEM. GnuTLS as libvirt uses it
// wants key encipherment to be allowed, also where nothing is enciphered that way.
func (a *authority) issue(serial int64, name string, address net.IP) (cert, key []byte, err error) {
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		DNSNames: []string{name}, IPAddresses: []net.IP{address}, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, pair.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		return nil, nil, err
	}
	return asPEM("CERTIFICATE", der), asPEM("PRIVATE KEY", private), nil
}

func asPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// buildPKI gives every host what libvirt and QEMU look for when a move goes from
// hypervisor to hypervisor under TLS; the same certificate serves all four roles.
func (l *Lab) buildPKI() error {
	a, err := newAuthority()
	if err != nil {
		return err
	}
	ca := asPEM("CERTIFICATE", a.der)
	for n := 1; n <= l.cfg.Hosts; n++ {
		h := newHost(l, n)
		cert, key, err := a.issue(int64(1+n), h.Name, net.ParseIP(h.Address))
		if err != nil {
			return err
		}
		for path, text := range map[string][]byte{
			"CA/cacert.pem":          ca,
			"libvirt/servercert.pem": cert, "libvirt/private/serverkey.pem": key,
			"libvirt/clientcert.pem": cert, "libvirt/private/clientkey.pem": key,
			"qemu/ca-cert.pem": ca, "qemu/server-cert.pem": cert, "qemu/server-key.pem": key,
			"qemu/client-cert.pem": cert, "qemu/client-key.pem": key,
		} {
			file := h.Path(filepath.Join("/etc/pki", path))
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(file, text, 0o600); err != nil {
				return fmt.Errorf("certificates of %s: %w", h.Name, err)
			}
		}
	}
	return nil
}

// WriteAuthority writes the certificate of an authority that has issued nothing.
func WriteAuthority(path string) error {
	a, err := newAuthority()
	if err != nil {
		return err
	}
	return os.WriteFile(path, asPEM("CERTIFICATE", a.der), 0o600)
}
