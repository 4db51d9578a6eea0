package libvirt

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const miB = 1 << 20

// TestOverheadFollows: what is booked rises with the first reading that comes near it,
// stays through quiet hours, and falls only after a whole day of lower readings.
func TestOverheadFollows(t *testing.T) {
	o, now := &overhead{Booked: 128 * miB}, time.Unix(0, 0)
	hours := func(n int, used int64) {
		for range n * 60 {
			now = now.Add(time.Minute)
			o.take(now, used)
		}
	}
	hours(2, 100*miB)
	if o.Booked != 128*miB {
		t.Errorf("%d MiB are booked for 100 used", o.Booked/miB)
	}
	hours(1, 120*miB)
	if o.Booked != 160*miB { // 150, in steps of 16
		t.Errorf("%d MiB are booked for 120 used", o.Booked/miB)
	}
	hours(20, 40*miB)
	if o.Booked != 160*miB {
		t.Errorf("%d MiB are booked after 20 quiet hours", o.Booked/miB)
	}
	hours(30, 40*miB)
	if o.Booked != 64*miB {
		t.Errorf("%d MiB are booked after two quiet days", o.Booked/miB)
	}
	hours(60, 5*miB)
	if o.Booked != 64*miB {
		t.Errorf("%d MiB are booked: less than %d steps is no change", o.Booked/miB, fallSteps)
	}
}

// TestOverheadSafe: whatever the readings are, what is booked after one is never below
// the highest of the day, and does not go up and down with it.
func TestOverheadSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, now := &overhead{Booked: defaultOverhead}, time.Unix(1e9, 0)
		var falls int
		for range rapid.IntRange(1, 300).Draw(t, "readings") {
			now = now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "minutes")) * time.Minute)
			used, was := rapid.Int64Range(0, 600*miB).Draw(t, "used"), o.Booked
			changed := o.take(now, used)
			for _, p := range o.Peaks {
				if o.Booked < p {
					t.Fatalf("%d booked, %d used within a day", o.Booked, p)
				}
			}
			if changed != (o.Booked != was) {
				t.Fatalf("changed %v: %d, was %d", changed, o.Booked, was)
			}
			if o.Booked < was {
				falls++
			}
			if len(o.Peaks) > peaksKept || o.Booked < leastOverhead {
				t.Fatalf("%+v", o)
			}
		}
		if falls > 300*90/60/peaksKept {
			t.Fatalf("it fell %d times", falls)
		}
	})
}

// TestOverheadKept: a restarted agent books what its predecessor has measured, and a
// file that cannot be read costs nothing but that.
func TestOverheadKept(t *testing.T) {
	dir := t.TempDir()
	all := readOverheads(dir)
	all.begin("u", 64*miB)
	all.begin("v", 200*miB)
	all.begin("u", 1) // known better
	if err := all.write(dir); err != nil {
		t.Fatal(err)
	}
	all = readOverheads(dir)
	if all.of("u", 7) != 64*miB || all.of("w", 7) != 7 {
		t.Errorf("kept %v", all)
	}
	if !all.keep(map[string]bool{"v": true}) || all.of("u", 7) != 7 || all.keep(map[string]bool{"v": true}) {
		t.Errorf("after u has gone: %v", all)
	}
	for _, bad := range []string{`{"u":null,"v":{"booked":-1}}`, `[`} {
		if err := os.WriteFile(overheadFile(dir), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if all := readOverheads(dir); len(all) != 0 {
			t.Errorf("%s was read as %v", bad, all)
		}
	}
}

// TestUsedBeside: of a real process the guest's memory is left out and what else it
// holds is counted.
func TestUsedBeside(t *testing.T) {
	p := startStandIn(t, "memory")
	used, err := usedBeside("/proc", p.PID, standInGuest)
	if err != nil {
		t.Fatal(err)
	}
	// Beside its 24 MiB the stand-in is a Go program of some MiB.
	if used < standInOwn || used > standInOwn+64*miB {
		t.Errorf("%d MiB used beside the guest's memory", used/miB)
	}
	if all, err := usedBeside("/proc", p.PID, 1); err != nil || all < used+standInGuest/2 {
		t.Errorf("%d MiB with the guest's memory, %d without: %v", all/miB, used/miB, err)
	}
	if _, err := usedBeside("/proc", p.PID, 1<<50); err == nil {
		t.Error("a guest's memory was found that is not there")
	}
}

// TestBeside: the guest's memory is known by its size, also where it is in several
// pieces, and what was never its own is not counted.
func TestBeside(t *testing.T) {
	maps := readMaps(`55a000000000-55a000800000 r-xp 00000000 08:01 77 /usr/bin/qemu-system-x86_64
55a001000000-55a001200000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0008010000 rw-p 00000000 00:00 0
7f0010000000-7f0050000000 rwxp 00000000 00:00 0
7f0060000000-7f0064000000 ---p 00000000 00:00 0
7f0070000000-7f0078000000 rw-s 00000000 00:01 9 /memfd:memory-backend-memfd (deleted)
7f0080000000-7f0080010000 rw-p 00000000 00:00 0
7fff00000000-7fff00021000 rw-p 00000000 00:00 0 [stack]
nonsense
`)
	if len(maps) != 8 {
		t.Fatalf("%d mappings", len(maps))
	}
	starts := func(guest int64) (out []uint64) {
		rest, err := beside(maps, guest)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range rest {
			out = append(out, m.start)
		}
		return out
	}
	// 128 MiB and 64 KiB: the first anonymous one just holds it; the translator's 1 GiB
	// is never taken for it.
	if got := starts(0x8010000); len(got) != 5 || got[1] != 0x7f0010000000 {
		t.Errorf("beside one piece: %x", got)
	}
	if got := starts(0x10000000); len(got) != 4 { // both, as two cells
		t.Errorf("beside two pieces: %x", got)
	}
	if _, err := beside(maps, 1<<40); err == nil {
		t.Error("a terabyte was found")
	}
}

// TestCountPages: a page counts once, in memory or swapped out, and a range that has
// gone meanwhile is no error.
func TestCountPages(t *testing.T) {
	var table []byte
	for _, e := range []uint64{0, 1 << 63, 1 << 62, 1<<63 | 5, 1 << 55} {
		table = binary.NativeEndian.AppendUint64(table, e)
	}
	for _, c := range []struct{ first, n, want int64 }{{0, 5, 3}, {1, 1, 1}, {3, 100, 1}, {50, 3, 0}} {
		if got, err := countPages(bytes.NewReader(table), c.first, c.n); err != nil || got != c.want {
			t.Errorf("from %d, %d pages: %d, %v, want %d", c.first, c.n, got, err, c.want)
		}
	}
}

// TestGroupKernel: what the kernel accounts to a machine's group is read at its scope.
func TestGroupKernel(t *testing.T) {
	root := t.TempDir()
	scope := root + `/machine.slice/machine-qemu\x2d1\x2dweb.scope`
	if err := os.MkdirAll(scope, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(scope+"/memory.stat", []byte("anon 7\nkernel 4096\nkernel_stack 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := groupKernel(root, `0::/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/emulator`+"\n"); got != 4096 {
		t.Errorf("the kernel keeps %d", got)
	}
	if got := groupKernel(root, "0::/user.slice\n"); got != 0 {
		t.Errorf("another's group was counted: %d", got)
	}
}

func FuzzMaps(f *testing.F) {
	f.Add("7f0000000000-7f0008010000 rw-p 00000000 00:00 0\n", int64(1))
	f.Fuzz(func(t *testing.T, text string, guest int64) {
		maps := readMaps(text)
		if rest, err := beside(maps, guest); err == nil && len(rest) > len(maps) {
			t.Error("more than there was")
		}
	})
}
