package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/placed-dev/placed/driver"
	"github.com/placed-dev/placed/telemetry"
)

// spareMemory stays free beside an incoming workload: the copy itself needs
// buffers, and a host without memory kills at random.
const spareMemory = 64 << 20

// hasRoom is the physical check of G2: whatever the books say, a workload is
// admitted only if the machine has the memory and the disk for it now.
func (d *Daemon) hasRoom(_ context.Context, spec driver.Spec) error {
	memory, err := telemetry.AvailableMemory()
	if err != nil {
		return err
	}
	need := ordinaryMemory(spec)
	if memory < need+spareMemory {
		return fmt.Errorf("workload %s needs %d MiB of memory and %d MiB to spare, the machine has %d MiB available", spec.ID, need>>20, spareMemory>>20, memory>>20)
	}
	if _, handed := d.drivers[spec.Driver].(driver.Handover); handed {
		return nil // it is never saved under the agent's directory; its driver looks at its disks
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(d.cfg.DataDir, &disk); err != nil {
		return fmt.Errorf("free disk is unknown: %w", err)
	}
	if free := int64(disk.Bavail) * disk.Bsize; free < spec.Size {
		return fmt.Errorf("workload %s could not be saved here: %s has %d MiB free, %d MiB are needed", spec.ID, d.cfg.DataDir, free>>20, spec.Size>>20)
	}
	return nil
}

// ordinaryMemory is what a workload takes of the memory that everybody shares. Huge
// pages come out of pools of their own, which its driver looks at.
func ordinaryMemory(spec driver.Spec) int64 {
	for _, a := range spec.Reserve.Named {
		if strings.HasPrefix(string(a.Name), "hugepages/") {
			return spec.Reserve.Memory
		}
	}
	return spec.Size
}

// dyingFor bounds how long a start waits for a killed predecessor's last thread.
const dyingFor = 10 * time.Second

// flock takes a lock that the kernel drops with the process. A killed process
// keeps it until its last thread has left the kernel, which a write to a busy
// disk delays: a holder that is dying is waited for, a living one is refused.
func flock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for end := time.Now().Add(dyingFor); errors.Is(err, unix.EWOULDBLOCK) && holderIsDying(f) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond) // flock has no wait with a deadline
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: another agent runs on this data directory: stop it, or set another node.data_dir", path)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	// The number tells an operator whom to stop; the lock, not it, counts.
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// holderIsDying reads the holder's number from the lock file: its first thread is
// a zombie, or gone, while another still holds the lock.
func holderIsDying(lock *os.File) bool {
	text := make([]byte, 32)
	n, _ := lock.ReadAt(text, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	// The state follows the command's name, which may contain anything.
	after := string(stat[bytes.LastIndexByte(stat, ')')+1:])
	return strings.HasPrefix(strings.TrimSpace(after), "Z") || strings.HasPrefix(strings.TrimSpace(after), "X")
}

// listenAPI opens the HTTP port; with a client CA it asks for operator
// certificates.
func listenAPI(cfg Config) (net.Listener, error) {
	listener, err := net.Listen("tcp", cfg.API)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%w: another process has the port (see `ss -ltnp`): stop it or set api.bind", err)
		}
		return nil, err
	}
	if cfg.APIClientCA == "" {
		return listener, nil
	}
	pem, err := os.ReadFile(cfg.APIClientCA)
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("api.client_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		listener.Close()
		return nil, fmt.Errorf("api.client_ca: %s holds no PEM certificate", cfg.APIClientCA)
	}
	pair, err := tls.LoadX509KeyPair(cfg.Transport.CertFile, cfg.Transport.KeyFile)
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("certificate of the HTTP API: %w", err)
	}
	return tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"h2", "http/1.1"}}), nil
}
