package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Validate checks the configuration against this machine: ports that are taken,
// certificates and keys that are missing, unreadable, mismatched, expired or
// open to others, a data directory that cannot be written. It changes nothing.
// Against a running agent it reports the agent's own ports as taken.
func (c Config) Validate() []Problem {
	k := &checker{config: &c}
	k.problems = c.check()
	k.ports()
	k.certificates(time.Now())
	k.gossipKey()
	k.keyFile()
	k.dataDir()
	return k.problems.sorted()
}

// gossipKey is no matter of form: keys may come from a second file.
func (k *checker) gossipKey() {
	if g := k.config.Gossip; len(g.Keyring) == 0 && g.KeyFile == "" {
		k.add("gossip.keyring", "make a key with `placed keygen` and give every host the same", "gossip has no key")
	}
}

func (k *checker) ports() {
	c := k.config
	k.port("rpc.bind", "tcp", c.RPC.Bind)
	k.port("gossip.bind", "tcp", c.Gossip.Bind)
	k.port("gossip.bind", "udp", c.Gossip.Bind)
	k.port("api.bind", "tcp", c.API.Bind)
	seen := map[netip.AddrPort]string{}
	for _, bind := range []struct{ key, value string }{
		{"rpc.bind", c.RPC.Bind}, {"gossip.bind", c.Gossip.Bind}, {"api.bind", c.API.Bind},
	} {
		a, err := netip.ParseAddrPort(bind.value)
		if err != nil || a.Port() == 0 {
			continue
		}
		if before, taken := seen[a]; taken {
			k.add(bind.key, "give each its own port", "%s is the address of %s, too", a, before)
		}
		seen[a] = bind.key
	}
}

// port tries to listen for a moment.
func (k *checker) port(key, network, address string) {
	if !isAddress(address, true) {
		return // check has said so
	}
	var err error
	if network == "udp" {
		var conn net.PacketConn
		if conn, err = net.ListenPacket(network, address); err == nil {
			err = conn.Close()
		}
	} else {
		var listener net.Listener
		if listener, err = net.Listen(network, address); err == nil {
			err = listener.Close()
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, syscall.EADDRINUSE):
		k.add(key, fmt.Sprintf("stop what listens there (ss -lnp 'sport = :%s'), or choose another port", portOf(address)),
			"port %s/%s is taken", portOf(address), network)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		k.add(key, "use an address of this host (ip addr)", "%s is no address of this host", address)
	case errors.Is(err, os.ErrPermission):
		k.add(key, "use a port above 1023, or give placed CAP_NET_BIND_SERVICE", "listening on %s is not permitted", address)
	default:
		k.add(key, "check the address", "cannot listen on %s (%v)", address, err)
	}
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

const certRemedy = "make one with `placed tls cert create`, or correct the path"

func (k *checker) certificates(now time.Time) {
	c := k.config
	k.authority("tls.ca", c.TLS.CA)
	if c.API.ClientCA != "" {
		k.authority("api.client_ca", c.API.ClientCA)
	}
	cert, certOK := k.file("tls.cert", c.TLS.Cert, certRemedy)
	key, keyOK := k.file("tls.key", c.TLS.Key, certRemedy)
	if keyOK {
		k.private("tls.key", c.TLS.Key)
	}
	if !certOK || !keyOK {
		return
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		k.add("tls.cert", certRemedy, "%s and %s are no pair (%s)", c.TLS.Cert, c.TLS.Key, strings.TrimPrefix(err.Error(), "tls: "))
		return
	}
	if end := pair.Leaf.NotAfter; now.After(end) {
		k.add("tls.cert", "make a new one with `placed tls cert create`", "%s expired on %s", c.TLS.Cert, end.UTC().Format(time.DateOnly))
	}
}

func (k *checker) authority(key, path string) {
	data, ok := k.file(key, path, "make one with `placed tls ca create`, or correct the path")
	if ok && !x509.NewCertPool().AppendCertsFromPEM(data) {
		k.add(key, "name a PEM file that begins with -----BEGIN CERTIFICATE-----", "%s holds no certificate", path)
	}
}

// file reads a small file that must be there.
func (k *checker) file(key, path, remedy string) ([]byte, bool) {
	if path == "" {
		k.add(key, remedy, "it is empty")
		return nil, false
	}
	data, problem := read(path)
	if problem == nil {
		return data, true
	}
	k.add(key, remedy, "%s: %s", path, problem.Message)
	return nil, false
}

// private complains about a secret that others may read.
func (k *checker) private(key, path string) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		k.add(key, "chmod 600 "+path, "%s can be read or written by others (mode %04o)", path, info.Mode().Perm())
	}
}

func (k *checker) keyFile() {
	path := k.config.Gossip.KeyFile
	if path == "" {
		return
	}
	data, ok := k.file("gossip.key_file", path, "make one with `placed keygen`, or correct the path")
	if !ok {
		return
	}
	k.private("gossip.key_file", path)
	if _, err := decodeKeys(string(data)); err != nil {
		k.add("gossip.key_file", "make one with `placed keygen`", "%s: %v", path, err)
	}
}

// Keys returns the gossip keys, from the keyring or its file; none means that
// gossip is not encrypted.
func (g Gossip) Keys() ([][]byte, error) {
	if g.KeyFile == "" {
		return decodeKeys(strings.Join(g.Keyring, "\n"))
	}
	data, problem := read(g.KeyFile)
	if problem != nil {
		return nil, Problems{*problem}
	}
	keys, err := decodeKeys(string(data))
	if err != nil {
		return nil, fmt.Errorf("gossip key file %s: %w: make one with `placed keygen`", g.KeyFile, err)
	}
	return keys, nil
}

func decodeKeys(text string) ([][]byte, error) {
	var keys [][]byte
	for i, line := range strings.Split(text, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		key, err := decodeKey(line)
		if err != nil {
			return nil, fmt.Errorf("line %d %w", i+1, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// dataDir proves that a file can be made there, or that the directory itself
// can be made; what it makes, it removes.
func (k *checker) dataDir() {
	dir := k.config.Node.DataDir
	if dir == "" {
		return
	}
	at := dir
	info, err := os.Stat(at)
	for errors.Is(err, os.ErrNotExist) && at != filepath.Dir(at) {
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	const remedy = "choose a directory on a local disk that the user running placed may write"
	switch {
	case err != nil:
		k.add("node.data_dir", remedy, "%s cannot be used: %v", dir, err)
		return
	case !info.IsDir():
		k.add("node.data_dir", remedy, "%s cannot be used: %s is not a directory", dir, at)
		return
	}
	probe, err := os.CreateTemp(at, ".placed-probe-*")
	if err != nil {
		k.add("node.data_dir", remedy, "%s cannot be written", at)
		return
	}
	err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	if err != nil {
		k.add("node.data_dir", remedy, "%s cannot be written: %v", at, err)
	}
}
