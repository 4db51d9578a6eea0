package transport

import (
	"context"
	"fmt"
	"time"
)

// Reload reads the certificate files again, whether they changed or not. On
// error the certificates in use stay in use. Connections that exist go on.
func (t *Transport) Reload() error {
	t.reloading.Lock()
	defer t.reloading.Unlock()
	return t.reload()
}

// reload needs t.reloading.
func (t *Transport) reload() error {
	fresh, err := t.config.load(time.Now())
	if err != nil {
		return fmt.Errorf("reload certificates: %w", err)
	}
	old := t.creds.Load()
	// The id is the host's place in the books: another one is another host.
	if fresh.self.Cluster != old.self.Cluster || fresh.self.ID != old.self.ID {
		return fmt.Errorf("reload certificates: %s is of %s, this agent runs as %s: restart it to change its identity", t.config.CertFile, fresh.self, old.self)
	}
	if t.listener != nil && fresh.self.Role == RoleOperator {
		return fmt.Errorf("reload certificates: %s is an operator's: an agent needs one of role voter or host", t.config.CertFile)
	}
	t.creds.Store(fresh)
	return nil
}

// watchFiles reloads when a file has changed. A file that cannot be used is
// reported once for each change.
func (t *Transport) watchFiles(ctx context.Context) error {
	ticker := time.NewTicker(t.config.ReloadInterval)
	defer ticker.Stop()
	var warned time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			t.reloadIfChanged()
			warned = t.warnOfExpiry(time.Now(), warned)
		}
	}
}

// warnOfExpiry reminds once a day while the last fifth of the certificate's life
// (at most two weeks) runs: an expired host is out of the fleet.
func (t *Transport) warnOfExpiry(now, warned time.Time) time.Time {
	leaf := t.creds.Load().cert.Leaf
	left := leaf.NotAfter.Sub(now)
	if left > min(leaf.NotAfter.Sub(leaf.NotBefore)/5, 14*24*time.Hour) || now.Sub(warned) < 24*time.Hour {
		return warned
	}
	t.logger.Warn("the certificate of this host expires soon or has expired; put a new one in place, no restart is needed", "file", t.config.CertFile, "expires", leaf.NotAfter)
	return now
}

// Expires is when the certificate now in use ends.
func (t *Transport) Expires() time.Time { return t.creds.Load().cert.Leaf.NotAfter }

func (t *Transport) reloadIfChanged() {
	t.reloading.Lock()
	defer t.reloading.Unlock()
	now, err := t.config.stamp()
	if err == nil && now == t.creds.Load().stamp || now == t.badStamp && err == nil {
		return
	}
	if err == nil {
		err = t.reload()
		t.badStamp = now
	}
	if err != nil {
		if _, say := t.refusals.Allow(time.Now(), "reload "+err.Error()); say {
			t.logger.Error("certificates changed but cannot be used; the old ones stay in use", "error", err)
		}
		return
	}
	creds := t.creds.Load()
	t.logger.Info("certificates reloaded", "identity", creds.self.String(), "expires", creds.cert.Leaf.NotAfter)
}
