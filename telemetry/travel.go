package telemetry

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Blocks returns the whole history of a series as its blocks, one per day, oldest
// first: the form in which it follows a workload to another host. Days that cannot
// be read are left out and named in the error; the others are good.
func (h *History) Blocks(series string) ([][]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if err := h.flush(); err != nil {
		return nil, err
	}
	var out [][]byte
	var damaged error
	err := h.db.View(func(tx *bolt.Tx) error {
		bucket := seriesIn(tx, series)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(key, block []byte) error {
			if _, err := h.codec.unpack(block); err != nil {
				damaged = errors.Join(damaged, fmt.Errorf("series %s, day %s: %w", series, dayText(dayOf(key)), err))
				return nil
			}
			out = append(out, append([]byte(nil), block...))
			return nil
		})
	})
	if err = errors.Join(err, damaged); err != nil {
		return out, fmt.Errorf("copy the history %s: %w", h.config.Path, err)
	}
	return out, nil
}

// maxBlocks bounds what another host may send of one series.
const maxBlocks = 400

// AddBlocks takes in what Blocks gave on another host. Samples of this host at the
// same times win, because they were measured later. Nothing is taken when a block
// cannot be read.
func (h *History) AddBlocks(series string, blocks [][]byte) error {
	if len(blocks) > maxBlocks {
		return fmt.Errorf("take in a history of %d days: at most %d are allowed", len(blocks), maxBlocks)
	}
	h.mu.Lock()
	var records []Record
	for _, block := range blocks {
		samples, err := h.codec.unpack(block)
		if err != nil {
			h.mu.Unlock()
			return fmt.Errorf("take in the history of series %s: %w", series, err)
		}
		for _, s := range samples {
			records = append(records, Record{Series: series, Sample: s})
		}
	}
	h.mu.Unlock()
	if len(records) == 0 {
		return nil
	}
	last := records[len(records)-1].Sample.At
	here, err := h.Read(series, records[0].Sample.At, last.Add(1))
	if err != nil {
		h.log.Warn("part of this host's own history of a series cannot be read", "series", series, "error", err)
	}
	for _, s := range here {
		records = append(records, Record{Series: series, Sample: s}) // the later one wins
	}
	return h.AppendBatch(records)
}
