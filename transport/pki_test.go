package transport

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/placed-dev/placed/durable"
)

func TestCAIsWrittenAndLoaded(t *testing.T) {
	ca := newTestCA(t, "prod")
	dir := filepath.Join(t.TempDir(), "pki")
	must(t, ca.Write(dir))
	info, err := os.Stat(filepath.Join(dir, CAKeyFile))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the CA key has mode %o", info.Mode().Perm())
	}
	if err := ca.Write(dir); err == nil || !strings.Contains(err.Error(), "every certificate it signed would be worthless") {
		t.Errorf("writing over a CA: %v", err)
	}
	loaded, err := LoadCA(dir)
	must(t, err)
	if loaded.Cluster != "prod" || !bytes.Equal(loaded.CertPEM, ca.CertPEM) {
		t.Errorf("loaded CA of %q", loaded.Cluster)
	}
	c := files(t, loaded, RoleHost, hostA, time.Hour)
	must(t, durable.WriteFile(c.CAFile, ca.CertPEM, 0o644))
	if got := dialer(t, c).Self(); got != (Identity{"prod", RoleHost, hostA}) {
		t.Errorf("identity %s", got)
	}
	must(t, os.Chmod(filepath.Join(dir, CAKeyFile), 0o644))
	if _, err := LoadCA(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a CA key that others can read: %v", err)
	}
}

func TestIssueRefusesWhatNoCertificateShouldSay(t *testing.T) {
	ca := newTestCA(t, "prod")
	if _, _, err := ca.Issue("root", hostA, nil, time.Hour); err == nil {
		t.Error("role root")
	}
	if _, _, err := ca.Issue(RoleHost, "a/../b", nil, time.Hour); err == nil {
		t.Error("an id with slashes")
	}
	if _, err := NewCA("my cluster"); err == nil {
		t.Error("a cluster name with a space")
	}
	dir := t.TempDir()
	c := files(t, ca, RoleHost, hostA, time.Hour)
	must(t, os.Rename(c.CertFile, filepath.Join(dir, CACertFile)))
	must(t, os.Rename(c.KeyFile, filepath.Join(dir, CAKeyFile)))
	if _, err := LoadCA(dir); err == nil || !strings.Contains(err.Error(), "not that of a placed CA") {
		t.Errorf("a host certificate as CA: %v", err)
	}
}
