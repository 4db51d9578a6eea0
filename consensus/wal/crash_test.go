package wal

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// state opens a directory and says what the log holds, or why it is refused.
func state(t *testing.T, dir string) (string, error) {
	t.Helper()
	l, err := Open(Config{Dir: dir, Segment: small})
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("refused, but not as damaged: %v", err)
		}
		return "", err
	}
	defer closed(t, l)
	return dump(l), nil
}

// The power goes during an append: of the sectors that it writes any may have
// reached the disk. The log holds what it held before or, if they all have, the
// new entries, too; and it goes on from there.
func TestPowerCutDuringAppend(t *testing.T) {
	for _, sizes := range [][]int{{1}, {90}, {400}, {600, 30}, {0, 700, 700}} {
		for _, before := range []int{10, 300, 421, 440, 459, 460, 461, 462, 463, 464, 466, 470, 480} {
			dir := filepath.Join(scratch(t), "log")
			l := open(t, dir)
			for i := range uint64(3) {
				if err := l.StoreLog(entry(i+1, before)); err != nil {
					t.Fatal(err)
				}
			}
			path, old, held := l.tail.path, read(t, l.tail.path), dump(l)
			if err := l.StoreLogs(batch(4, sizes...)); err != nil {
				t.Fatal(err)
			}
			if l.tail.path != path {
				t.Fatal("this test is about one segment")
			}
			written, all := read(t, path), dump(l)
			closed(t, l)
			var sectors []int // that the append has changed
			for at := 0; at < len(old); at += sector {
				if !bytes.Equal(old[at:at+sector], written[at:at+sector]) {
					sectors = append(sectors, at)
				}
			}
			for subset := range 1 << len(sectors) {
				torn := bytes.Clone(old)
				for k, at := range sectors {
					if subset>>k&1 == 1 {
						copy(torn[at:at+sector], written[at:])
					}
				}
				write(t, path, torn)
				want := held
				if subset == 1<<len(sectors)-1 {
					want = all
				}
				got, err := state(t, dir)
				if err != nil || got != want {
					t.Fatalf("append of %v behind entries of %d bytes, sectors %b of %d: %v\n%s", sizes, before, subset, len(sectors), err, got)
				}
				// What is left must not be taken for part of the next one.
				l := open(t, dir)
				last, _ := l.LastIndex()
				if err := l.StoreLog(entry(last+1, 5)); err != nil {
					t.Fatal(err)
				}
				want = dump(l)
				closed(t, l)
				if got, err := state(t, dir); err != nil || got != want {
					t.Fatalf("the append after it: %v\n%s", err, got)
				}
			}
		}
	}
}

// several is a log of several segments.
type several struct {
	dir  string
	want string // what it holds
	// states says what was held when the last segment ended at a byte.
	states map[int]string
}

func newSeveral(t *testing.T) several {
	t.Helper()
	v := several{dir: filepath.Join(scratch(t), "log"), states: map[int]string{}}
	l := open(t, v.dir)
	did := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if l.tail.sequence == 4 {
			v.states[int(physical(l.tail.end))] = dump(l)
		}
	}
	for i := range uint64(36) {
		did(l.StoreLog(entry(i+1, 300)))
	}
	did(l.DeleteRange(1, 2))
	did(l.DeleteRange(36, 36))
	did(l.StoreLog(entry(36, 100)))
	if len(l.behind) != 3 || len(v.states) < 4 {
		t.Fatalf("%d segments, %d states", len(l.behind)+1, len(v.states))
	}
	v.want = dump(l)
	closed(t, l)
	return v
}

// No bit that is flipped in anything acknowledged takes an entry away in silence.
func TestFlippedBits(t *testing.T) {
	v := newSeveral(t)
	dice := rand.New(rand.NewPCG(1, 1))
	refused := 0
	for n := uint64(1); n <= 4; n++ {
		path := segmentPath(v.dir, n)
		data := read(t, path)
		end := len(data)
		for data[end-1] == 0 {
			end--
		}
		for range 600 {
			bit := dice.IntN(8 * end)
			flipped := bytes.Clone(data)
			flipped[bit/8] ^= 1 << (bit % 8)
			write(t, path, flipped)
			got, err := state(t, v.dir)
			switch {
			case err != nil:
				refused++
				if !bytes.Equal(read(t, path), flipped) {
					t.Fatalf("%s bit %d: it was refused, and changed", path, bit)
				}
			case got != v.want:
				t.Fatalf("%s bit %d: the log holds something else:\n%s", path, bit, got)
			}
		}
		write(t, path, data)
	}
	if refused < 1000 {
		t.Errorf("only %d flips were refused", refused)
	}
}

// A file cut at any byte is refused: a power cut makes no file shorter. Zeros from
// any byte on are refused, too, or take away what begins there and nothing before.
func TestCutAtEveryByte(t *testing.T) {
	v := newSeveral(t)
	path := segmentPath(v.dir, 4)
	data := read(t, path)
	end, before := 0, ""
	for at := range v.states {
		end = max(end, at)
	}
	accepted := 0
	for at := range data {
		if s, ok := v.states[at]; ok {
			before = s
		}
		write(t, path, data[:at])
		if _, err := state(t, v.dir); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at byte %d of %d: %v", at, end, err)
		}
		if before == "" || at > end {
			continue
		}
		write(t, path, append(bytes.Clone(data[:at]), make([]byte, len(data)-at)...))
		switch got, err := state(t, v.dir); {
		case err == nil && got != before:
			t.Fatalf("zeros from byte %d:\n%s", at, got)
		case err == nil:
			accepted++
		case at%sector == 0:
			t.Fatalf("sectors from byte %d on were never written: %v", at, err)
		}
	}
	if accepted < len(v.states) || accepted == end {
		t.Errorf("zeros were accepted from %d bytes", accepted)
	}
}

// Missing and foreign files.
func TestMissingFiles(t *testing.T) {
	v := newSeveral(t)
	for name, tc := range map[string]struct {
		damage func(dir string) error
		says   string // empty: it opens
	}{
		"nothing": {func(string) error { return nil }, ""},
		"the last one": {func(dir string) error { return os.Remove(segmentPath(dir, 4)) },
			"the file is missing: the log went on in it"},
		"one in the middle": {func(dir string) error { return os.Remove(segmentPath(dir, 2)) }, "the file is missing"},
		"emptied":           {func(dir string) error { return os.Truncate(segmentPath(dir, 4), 0) }, "the file is empty"},
		"swapped": {func(dir string) error {
			return errors.Join(os.Rename(segmentPath(dir, 1), filepath.Join(dir, "x")),
				os.Rename(segmentPath(dir, 2), segmentPath(dir, 1)), os.Rename(filepath.Join(dir, "x"), segmentPath(dir, 2)))
		}, "has not the size or the name"},
		"no segment": {func(dir string) error {
			return os.WriteFile(segmentPath(dir, 4), []byte(strings.Repeat("garbage ", small/8)), 0o600)
		}, "not a segment"},
		"a strange name":         {func(dir string) error { return os.WriteFile(filepath.Join(dir, "1.seg"), nil, 0o600) }, "not the name of a segment"},
		"a segment not yet made": {func(dir string) error { return os.WriteFile(filepath.Join(dir, newName), make([]byte, 100), 0o600) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, v.dir)
			if err := tc.damage(dir); err != nil {
				t.Fatal(err)
			}
			got, err := state(t, dir)
			switch {
			case tc.says == "" && (err != nil || got != v.want):
				t.Errorf("%v\n%s", err, got)
			case tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
				t.Errorf("%v", err)
			}
		})
	}
}

// Every state of the files in which a crash can leave a roll opens, with the same
// entries, and the log goes on.
func TestCrashDuringRoll(t *testing.T) {
	dir := filepath.Join(scratch(t), "log")
	l := open(t, dir)
	if err := l.StoreLogs(batch(1, 300, 300)); err != nil {
		t.Fatal(err)
	}
	want := dump(l)
	steps := []string{copyDir(t, dir)}
	l.making.Lock()
	if err := l.makeNext(); err != nil {
		t.Fatal(err)
	}
	l.making.Unlock()
	steps = append(steps, copyDir(t, dir))
	if err := l.roll(); err != nil {
		t.Fatal(err)
	}
	steps = append(steps, copyDir(t, dir))
	if err := l.StoreLog(entry(3, 300)); err != nil {
		t.Fatal(err)
	}
	want3 := dump(l)
	closed(t, l)
	for i, dir := range append(steps, dir) {
		l := open(t, dir)
		if i < len(steps) {
			if got := dump(l); got != want {
				t.Fatalf("step %d:\n%s", i, got)
			}
			if err := l.StoreLog(entry(3, 300)); err != nil {
				t.Fatal(err)
			}
		}
		closed(t, l)
		if got, err := state(t, dir); err != nil || got != want3 {
			t.Fatalf("step %d: %v\n%s", i, err, got)
		}
	}
}

// A segment that was made ahead and already holds something proves that the one
// before it had an end.
func TestLostEndOfAnInnerSegment(t *testing.T) {
	dir := newSeveral(t).dir
	path := segmentPath(dir, 2)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	data := read(t, path)
	for at := len(data) - len(data)%sector - sector; at > len(data)/2; at -= sector {
		clear(data[at : at+sector])
		write(t, path, data)
		if _, err := state(t, dir); !errors.Is(err, ErrDamaged) {
			t.Fatalf("zeros from byte %d: %v", at, err)
		}
	}
}
