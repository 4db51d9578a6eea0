package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Bundle is a snapshot of the books with what every workload used before: what
// `placed operator snapshot save --with-history` writes and `placed simulate
// --snapshot` plays.
type Bundle struct {
	Format string `json:"format"` // BundleFormat
	// Books are the bytes of a plain snapshot.
	Books []byte `json:"books"`
	// Begin is the load time of the first tick; each is TickS long.
	Begin time.Time      `json:"begin"`
	TickS float64        `json:"tick_s"`
	Ticks int            `json:"ticks"`
	Loads []RecordedLoad `json:"loads"`
	// Moves are the changes of owner, the oldest first.
	Moves []RecordedMove `json:"moves,omitempty"`
	// Missing names the hosts whose history could not be had, and why.
	Missing []MissingHost `json:"missing,omitempty"`
}

// RecordedLoad is the mean cpu use of a workload per tick, millicores; −1 where
// nothing was recorded.
type RecordedLoad struct {
	Workload string  `json:"workload"`
	CPU      []int64 `json:"cpu_millicores"`
}

// RecordedMove says that a workload went from one host to another, and at what
// load time its lease was granted.
type RecordedMove struct {
	At       time.Time `json:"at"`
	Workload string    `json:"workload"`
	From     string    `json:"from"`
	To       string    `json:"to"`
}

// MissingHost is a host that gave no history.
type MissingHost struct {
	Host string `json:"host"`
	Why  string `json:"why"`
}

// BundleFormat names the form; a reader refuses what it does not know.
const BundleFormat = "placed snapshot with history 1"

// ErrNoHistory: the bytes are a plain snapshot, or something else.
var ErrNoHistory = errors.New("no history in it")

// Encode writes a bundle, gzipped.
func (b Bundle) Encode() ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if err := json.NewEncoder(z).Encode(b); err != nil {
		return nil, fmt.Errorf("write a snapshot with history: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("write a snapshot with history: %w", err)
	}
	return out.Bytes(), nil
}

// DecodeBundle reads what Encode wrote. What is not gzipped is ErrNoHistory.
func DecodeBundle(data []byte) (Bundle, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return Bundle{}, ErrNoHistory
	}
	var b Bundle
	if err := json.NewDecoder(io.LimitReader(z, 8*MaxSnapshot)).Decode(&b); err != nil {
		return Bundle{}, fmt.Errorf("read a snapshot with history: %w", err)
	}
	switch {
	case b.Format != BundleFormat:
		return Bundle{}, fmt.Errorf("read a snapshot with history: its form is %q, not %q: use the version that wrote it", b.Format, BundleFormat)
	case b.TickS <= 0 || b.Ticks < 0:
		return Bundle{}, fmt.Errorf("read a snapshot with history: %d ticks of %g s cannot be", b.Ticks, b.TickS)
	}
	for _, l := range b.Loads {
		if len(l.CPU) != b.Ticks {
			return Bundle{}, fmt.Errorf("read a snapshot with history: workload %s has %d ticks, not %d", l.Workload, len(l.CPU), b.Ticks)
		}
	}
	return b, nil
}
