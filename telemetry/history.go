package telemetry

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/placed-dev/placed/fleet"
	bolt "go.etcd.io/bbolt"
)

// Config of a History.
type Config struct {
	// Path of the file.
	Path string
	// RetentionDays is how many days with samples (load time, UTC) are kept of
	// each series, the newest ones; 0 means 35.
	RetentionDays int
	// FlushInterval (machine time) is what kill -9 or a power cut may cost, and
	// FlushSamples the number of waiting samples that are written at once; 0
	// means 4 minutes and 20,000.
	FlushInterval time.Duration
	FlushSamples  int
	Logger        hclog.Logger // nil = no log
}

// ErrFull says that the disk has refused samples for so long that no more are
// kept in memory.
var ErrFull = errors.New("too many samples wait to be written")

// ErrClosed says that the history was closed.
var ErrClosed = errors.New("the history is closed")

// waitingFactor × FlushSamples may wait while the disk refuses writes.
const waitingFactor = 10

// Record is one sample of one series.
type Record struct {
	Series string
	Sample fleet.Sample
}

// History keeps the samples of a host on local disk: one compressed block per
// series and day in a bbolt file. Samples wait in memory until they are flushed,
// all of them in one transaction; a crash loses what waits and nothing else. It
// is safe for concurrent use.
type History struct {
	config Config
	log    hclog.Logger
	db     *bolt.DB
	codec  *blockCodec

	mu      sync.Mutex // guards everything below, and the codec
	closed  bool
	waiting map[string][]fleet.Sample // by series, in the order of arrival
	count   int                       // of waiting samples
}

var (
	seriesBucket  = []byte("series")  // series → day → block
	damagedBucket = []byte("damaged") // series → day → block that could not be read
)

// OpenHistory opens or makes the file. A file that is empty, damaged or held by
// another process is refused with an error that says so, and left as it is.
func OpenHistory(c Config) (*History, error) {
	if c.RetentionDays <= 0 {
		c.RetentionDays = 35
	}
	if c.FlushInterval <= 0 {
		c.FlushInterval = 4 * time.Minute
	}
	if c.FlushSamples <= 0 {
		c.FlushSamples = 20_000
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	codec, err := newBlockCodec()
	if err != nil {
		return nil, err
	}
	db, err := openStore(c.Path)
	if err != nil {
		return nil, err
	}
	return &History{config: c, log: c.Logger, db: db, codec: codec, waiting: map[string][]fleet.Sample{}}, nil
}

// Append records one sample; see AppendBatch.
func (h *History) Append(series string, s fleet.Sample) error {
	return h.AppendBatch([]Record{{Series: series, Sample: s}})
}

// AppendBatch records samples, in any order; times are kept to the millisecond,
// and of two samples of a series at the same time the later one wins. Enough
// waiting samples are flushed. After an error that is no ErrFull or ErrClosed
// they still wait, and the next flush tries again.
func (h *History) AppendBatch(records []Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	if h.count >= waitingFactor*h.config.FlushSamples {
		return fmt.Errorf("append to the history %s: %w (%d): free disk space or repair the disk", h.config.Path, ErrFull, h.count)
	}
	for _, r := range records {
		if r.Series == "" || len(r.Series) > bolt.MaxKeySize {
			return fmt.Errorf("append to the history %s: the series name has %d bytes: 1 to %d are allowed", h.config.Path, len(r.Series), bolt.MaxKeySize)
		}
	}
	for _, r := range records {
		h.waiting[r.Series] = append(h.waiting[r.Series], r.Sample)
	}
	h.count += len(records)
	if h.count < h.config.FlushSamples {
		return nil
	}
	return h.flush()
}

// Flush writes what waits and returns once it is on disk.
func (h *History) Flush() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	return h.flush()
}

// Run flushes at every interval until the context ends, and then once more. A
// flush that fails is logged once until one succeeds again.
func (h *History) Run(ctx context.Context) error {
	ticker := time.NewTicker(h.config.FlushInterval)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			if err := h.Flush(); err != nil && !errors.Is(err, ErrClosed) {
				return err
			}
			return nil
		case <-ticker.C:
		}
		err := h.Flush()
		switch {
		case errors.Is(err, ErrClosed):
			return nil
		case err != nil && !failing:
			h.log.Error("cannot write the history, samples wait in memory", "error", err)
		case err == nil && failing:
			h.log.Info("the history is written again")
		}
		failing = err != nil
	}
}

// Close flushes and lets the file go. It may be called twice.
func (h *History) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	err := h.flush()
	h.closed, h.waiting, h.count = true, nil, 0
	return errors.Join(err, h.db.Close())
}

// flush merges what waits into its days, in one transaction. The lock is held.
func (h *History) flush() error {
	if h.count == 0 {
		return nil
	}
	err := h.db.Update(func(tx *bolt.Tx) error {
		root, err := tx.CreateBucketIfNotExists(seriesBucket)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(h.waiting)) {
			bucket, err := root.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return err
			}
			for day, samples := range byDay(h.waiting[name]) {
				if err := h.merge(tx, bucket, name, day, samples); err != nil {
					return err
				}
			}
			if err := prune(bucket, h.config.RetentionDays); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the history %s: %w", h.config.Path, err)
	}
	h.waiting, h.count = map[string][]fleet.Sample{}, 0
	return nil
}

// merge adds samples to the block of a day. A block that cannot be read is put
// aside, not overwritten: the day goes on without it.
func (h *History) merge(tx *bolt.Tx, bucket *bolt.Bucket, name string, day int64, samples []fleet.Sample) error {
	if old := bucket.Get(dayKey(day)); old != nil {
		known, err := h.codec.unpack(old)
		if err != nil {
			h.log.Error("a block of the history is damaged and was put aside", "series", name, "day", dayText(day), "error", err)
			if err := putAside(tx, name, day, old); err != nil {
				return err
			}
		}
		samples = append(known, samples...)
	}
	return bucket.Put(dayKey(day), h.codec.pack(inOrder(samples)))
}

func putAside(tx *bolt.Tx, name string, day int64, block []byte) error {
	root, err := tx.CreateBucketIfNotExists(damagedBucket)
	if err != nil {
		return err
	}
	bucket, err := root.CreateBucketIfNotExists([]byte(name))
	if err != nil {
		return err
	}
	return bucket.Put(dayKey(day), slices.Clone(block))
}

// prune keeps the newest days of a series that have samples. It counts days and
// does not subtract dates, so a clock that jumps years ahead for an instant costs
// one block and not the whole history.
func prune(bucket *bolt.Bucket, keep int) error {
	var keys [][]byte
	cursor := bucket.Cursor()
	for key, _ := cursor.First(); key != nil; key, _ = cursor.Next() {
		keys = append(keys, slices.Clone(key))
	}
	for _, key := range keys[:max(len(keys)-keep, 0)] {
		if err := bucket.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// Read returns the samples of a series with from <= At < to, in order. Days that
// cannot be read are left out and named in the error; the samples returned beside
// it are good. An unknown series has none.
func (h *History) Read(series string, from, to time.Time) ([]fleet.Sample, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	var out []fleet.Sample
	damaged, err := h.eachDay(series, from, to, func(_ int64, block []byte) error {
		samples, err := h.codec.unpack(block)
		if err == nil {
			out = append(out, samples...)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if waiting := h.waiting[series]; len(waiting) > 0 {
		out = inOrder(append(out, waiting...))
	}
	out = slices.DeleteFunc(out, func(s fleet.Sample) bool { return s.At.Before(from) || !s.At.Before(to) })
	return out, damaged
}

// eachDay hands the blocks of a series' days to read, in order; an unknown series has
// none. What read returns is joined to damaged with the day's name, and does not end
// it. The caller holds mu.
func (h *History) eachDay(series string, from, to time.Time, read func(day int64, block []byte) error) (damaged, err error) {
	err = h.db.View(func(tx *bolt.Tx) error {
		bucket := seriesIn(tx, series)
		if bucket == nil {
			return nil
		}
		cursor := bucket.Cursor()
		for key, block := cursor.Seek(dayKey(dayNumber(from))); key != nil && dayOf(key) <= dayNumber(to); key, block = cursor.Next() {
			if err := read(dayOf(key), block); err != nil {
				damaged = errors.Join(damaged, fmt.Errorf("read the history %s: series %s, day %s: %w", h.config.Path, series, dayText(dayOf(key)), err))
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("read the history %s: series %s: %w", h.config.Path, series, err)
	}
	return damaged, err
}

// Series lists the series that have samples, in the order of their names.
func (h *History) Series() ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	names := slices.Collect(maps.Keys(h.waiting))
	err := h.db.View(func(tx *bolt.Tx) error {
		root := tx.Bucket(seriesBucket)
		if root == nil {
			return nil
		}
		return root.ForEachBucket(func(name []byte) error {
			names = append(names, string(name))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list the history %s: %w", h.config.Path, err)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Delete forgets a series, on disk and waiting, once its workload has moved away
// and its history has been handed over. An unknown series is no error.
func (h *History) Delete(series string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	err := h.db.Update(func(tx *bolt.Tx) error {
		for _, top := range [][]byte{seriesBucket, damagedBucket} {
			if root := tx.Bucket(top); root != nil && root.Bucket([]byte(series)) != nil {
				if err := root.DeleteBucket([]byte(series)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete series %s from the history %s: %w", series, h.config.Path, err)
	}
	h.count -= len(h.waiting[series])
	delete(h.waiting, series)
	return nil
}

func seriesIn(tx *bolt.Tx, name string) *bolt.Bucket {
	root := tx.Bucket(seriesBucket)
	if root == nil || name == "" {
		return nil
	}
	return root.Bucket([]byte(name))
}

// inOrder sorts by time (milliseconds) and keeps the last of equal times.
func inOrder(samples []fleet.Sample) []fleet.Sample {
	slices.SortStableFunc(samples, func(a, b fleet.Sample) int {
		return cmp.Compare(a.At.UnixMilli(), b.At.UnixMilli())
	})
	out := samples[:0]
	for _, s := range samples {
		s.At = time.UnixMilli(s.At.UnixMilli()).UTC()
		if n := len(out); n > 0 && out[n-1].At.Equal(s.At) {
			out[n-1] = s
			continue
		}
		out = append(out, s)
	}
	return out
}

func byDay(samples []fleet.Sample) map[int64][]fleet.Sample {
	days := map[int64][]fleet.Sample{}
	for _, s := range samples {
		day := dayNumber(s.At)
		days[day] = append(days[day], s)
	}
	return days
}

const dayMillis = int64(24 * time.Hour / time.Millisecond)

// dayNumber counts days since 1970 (UTC).
func dayNumber(t time.Time) int64 {
	ms := t.UnixMilli()
	day := ms / dayMillis
	if ms%dayMillis < 0 {
		day--
	}
	return day
}

// dayKey orders as the numbers do, negative ones first.
func dayKey(day int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(day)^1<<63)
}

// dayOf is the inverse of dayKey; a key of another length is from the far past.
func dayOf(key []byte) int64 {
	if len(key) != 8 {
		return -1 << 62
	}
	return int64(binary.BigEndian.Uint64(key) ^ 1<<63)
}

func dayText(day int64) string {
	return time.UnixMilli(day * dayMillis).UTC().Format(time.DateOnly)
}
