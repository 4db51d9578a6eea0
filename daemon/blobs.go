package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/placed-dev/placed/durable"
	"github.com/placed-dev/placed/fleet"
	"github.com/placed-dev/placed/fsm"
	"github.com/placed-dev/placed/peer"
	"github.com/placed-dev/placed/transport"
)

// maxBlob bounds the bytes of one model.
const maxBlob = 32 << 20

// maxBlobs is how many files are kept: those in force, those before them, and what
// is on its way into the books.
const maxBlobs = 8

// blobs keeps what the books name by its SHA-256, one file each.
type blobs struct {
	dir string
	mu  sync.Mutex // one writer at a time
}

// blobRequest names bytes by their hash, blobBody carries them.
type blobRequest struct {
	Hash string `json:"hash"`
}

type blobBody struct {
	Data []byte `json:"data"`
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// put stores bytes and returns their hash. A file is whole or absent.
func (b *blobs) put(data []byte) (hash string, err error) {
	hash = hashOf(data)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.has(hash) {
		return hash, nil
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return "", fmt.Errorf("keep a model: %w: make the data directory writable", err)
	}
	if err := durable.WriteFile(filepath.Join(b.dir, hash), data, 0o600); err != nil {
		return "", fmt.Errorf("keep a model: %w", err)
	}
	b.prune()
	return hash, nil
}

// get returns bytes whose hash has been checked.
func (b *blobs) get(hash string) ([]byte, error) {
	if len(hash) != 2*sha256.Size || strings.Trim(hash, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("%q is no hash of a model", hash)
	}
	data, err := os.ReadFile(filepath.Join(b.dir, hash))
	if err != nil {
		return nil, err
	}
	if hashOf(data) != hash {
		_ = os.Remove(filepath.Join(b.dir, hash)) // it is fetched again
		return nil, fmt.Errorf("model %s is damaged on disk and was removed: it is fetched again", hash)
	}
	return data, nil
}

func (b *blobs) has(hash string) bool {
	_, err := os.Stat(filepath.Join(b.dir, hash))
	return err == nil
}

// prune removes the oldest files beyond maxBlobs.
func (b *blobs) prune() {
	entries, err := os.ReadDir(b.dir)
	if err != nil || len(entries) <= maxBlobs {
		return
	}
	age := map[string]int64{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			age[e.Name()] = info.ModTime().UnixNano()
		}
	}
	slices.SortFunc(entries, func(x, y os.DirEntry) int {
		if age[x.Name()] < age[y.Name()] {
			return -1
		}
		return 1
	})
	for _, e := range entries[:len(entries)-maxBlobs] {
		_ = os.Remove(filepath.Join(b.dir, e.Name())) // tried again next time
	}
}

// library finds models wherever they are: here, or on another host.
type library struct {
	*blobs
	d   *Daemon
	log hclog.Logger
}

// fetch returns the bytes of a hash, from this host or from the first other that
// has them, the leader first.
func (l *library) fetch(ctx context.Context, hash string) ([]byte, error) {
	if data, err := l.get(hash); err == nil {
		return data, nil
	}
	var last error
	for _, from := range l.sources() {
		answer, err := peer.Call[blobRequest, blobBody](ctx, l.d.peers, from, callBlob, blobRequest{Hash: hash}, peer.MaxAnswer(2*maxBlob))
		if err != nil {
			last = err
			continue
		}
		if hashOf(answer.Data) != hash {
			last = fmt.Errorf("host %s sent other bytes than asked for", from.ID)
			l.log.Warn("a model arrived damaged; another host is asked", "host", from.ID, "hash", hash)
			continue
		}
		_, err = l.put(answer.Data)
		return answer.Data, err
	}
	if last == nil {
		last = errors.New("no other host is known")
	}
	return nil, fmt.Errorf("no host could give model %.16s…: %w", hash, last)
}

// sources are the voters, the leader first.
func (l *library) sources() []peer.Address {
	var out []peer.Address
	leader, known := l.d.books.leader()
	if known && leader.ID != l.d.self {
		out = append(out, leader)
	}
	for _, v := range l.voters() {
		if v.ID != leader.ID {
			out = append(out, addressOf(v))
		}
	}
	return out
}

// voters are the other hosts that hold the log.
func (l *library) voters() []fleet.Host {
	var out []fleet.Host
	l.d.books.Read(func(s *fsm.State) {
		for _, h := range s.Hosts() {
			if h.Voter && h.State != fleet.HostLeft && h.ID != l.d.self {
				out = append(out, h)
			}
		}
	})
	return out
}

// spread stores bytes here and with the other voters, before the books name them.
// One of them suffices, so that the loss of this host does not lose the model.
func (l *library) spread(ctx context.Context, data []byte) (string, error) {
	hash, err := l.put(data)
	if err != nil {
		return "", err
	}
	var last error
	kept := 0
	others := l.voters()
	for _, v := range others {
		if _, err := peer.Call[blobBody, blobRequest](ctx, l.d.peers, addressOf(v), callKeepBlob, blobBody{Data: data}); err != nil {
			last = err
			continue
		}
		kept++
	}
	if kept == 0 && len(others) > 0 {
		return "", fmt.Errorf("no other voter took the model: %w", last)
	}
	return hash, nil
}

func (d *Daemon) serveBlob(_ context.Context, _ transport.Identity, r blobRequest) (blobBody, error) {
	data, err := d.library.get(r.Hash)
	if err != nil {
		return blobBody{}, &peer.Error{Code: codeRefused, Message: "this host does not have the model"}
	}
	return blobBody{Data: data}, nil
}

func (d *Daemon) serveKeepBlob(_ context.Context, _ transport.Identity, r blobBody) (blobRequest, error) {
	hash, err := d.library.put(r.Data)
	return blobRequest{Hash: hash}, err
}
