package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// identity writes a self-signed certificate and its key.
func identity(t *testing.T, dir, name string, end time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-48 * time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600)
	return cert, key
}

func write(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// machine writes a configuration that this machine can run.
func machine(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	cert, key := identity(t, dir, "host", time.Now().Add(24*time.Hour))
	keys := filepath.Join(dir, "gossip.key")
	write(t, keys, []byte("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"), 0o600)
	path := filepath.Join(dir, "placed.hcl")
	write(t, path, fmt.Appendf(nil, `cluster { id = "test" }
node {
  id       = "host-1"
  data_dir = %q
}
rpc { bind = "127.0.0.1:0" }
gossip {
  bind     = "127.0.0.1:0"
  key_file = %q
}
api { bind = "127.0.0.1:0" }
tls {
  ca   = %q
  cert = %q
  key  = %q
}
`, filepath.Join(dir, "a", "b"), keys, cert, cert, key), 0o644)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestValidateAcceptsAMachineThatFits(t *testing.T) {
	c := machine(t)
	if problems := c.Validate(); len(problems) != 0 {
		t.Errorf("problems: %v", problems)
	}
	if _, err := os.Stat(c.Node.DataDir); !os.IsNotExist(err) {
		t.Errorf("Validate made the data directory: %v", err)
	}
	keys, err := c.Gossip.Keys()
	if err != nil || len(keys) != 1 || len(keys[0]) != 32 {
		t.Errorf("Keys() = %v, %v", keys, err)
	}
}

func TestValidateNamesTheMistake(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	tests := map[string]struct {
		break_       func(t *testing.T, c *Config)
		line         int
		want, remedy string
	}{
		"port taken":          {func(t *testing.T, c *Config) { c.RPC.Bind = listener.Addr().String() }, 6, "rpc.bind: port", "choose another port"},
		"udp port taken":      {func(t *testing.T, c *Config) { c.Gossip.Bind = packets.LocalAddr().String() }, 8, "/udp is taken", "choose another port"},
		"foreign address":     {func(t *testing.T, c *Config) { c.RPC.Bind = "192.0.2.1:4100" }, 6, "no address of this host", "ip addr"},
		"one port twice":      {func(t *testing.T, c *Config) { c.RPC.Bind, c.API.Bind = "127.0.0.1:41", "127.0.0.1:41" }, 11, "api.bind: 127.0.0.1:41 is the address of rpc.bind", "own port"},
		"certificate missing": {func(t *testing.T, c *Config) { remove(t, c.TLS.Cert); c.TLS.CA = c.TLS.Key + "x" }, 14, "does not exist", "placed tls cert create"},
		"key open to others":  {func(t *testing.T, c *Config) { chmod(t, c.TLS.Key, 0o644) }, 15, "read or written by others (mode 0644)", "chmod 600"},
		"no pair": {func(t *testing.T, c *Config) {
			_, c.TLS.Key = identity(t, t.TempDir(), "other", time.Now().Add(time.Hour))
		}, 14, "are no pair", "tls cert create"},
		"expired": {func(t *testing.T, c *Config) {
			c.TLS.Cert, c.TLS.Key = identity(t, t.TempDir(), "old", time.Now().Add(-time.Hour))
		}, 14, "expired on", "make a new one"},
		"ca without certificate": {func(t *testing.T, c *Config) { c.TLS.CA = c.TLS.Key }, 13, "holds no certificate", "PEM file"},
		"data_dir is a file":     {func(t *testing.T, c *Config) { c.Node.DataDir = c.TLS.Cert }, 4, "is not a directory", "choose a directory"},
		"data_dir below a file":  {func(t *testing.T, c *Config) { c.Node.DataDir = c.TLS.Cert + "/data" }, 4, "cannot be used", "choose a directory"},
		"gossip keys open":       {func(t *testing.T, c *Config) { chmod(t, c.Gossip.KeyFile, 0o640) }, 9, "mode 0640", "chmod 600"},
		"gossip keys damaged":    {func(t *testing.T, c *Config) { write(t, c.Gossip.KeyFile, []byte("\nabc\n"), 0o600) }, 9, "line 2 is not base64", "placed keygen"},
		"api open":               {func(t *testing.T, c *Config) { c.API.Bind = "0.0.0.0:0" }, 11, "not a loopback address", "client_ca"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := machine(t)
			test.break_(t, &c)
			problems := c.Validate()
			for _, p := range problems {
				if strings.Contains(p.Message, test.want) && strings.Contains(p.Remedy, test.remedy) && p.Line == test.line && p.File != "" {
					return
				}
			}
			t.Errorf("no problem with %q and remedy %q on line %d:\n%v", test.want, test.remedy, test.line, Problems(problems))
		})
	}
}

// A key must not leak into messages.
func TestSecretsStaySecret(t *testing.T) {
	_, err := Load("testdata/bad/bad_key.hcl")
	if err == nil || strings.Contains(err.Error(), "c2hvcnQ") || strings.Contains(err.Error(), "not base64!") {
		t.Errorf("the message shows a key: %v", err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
