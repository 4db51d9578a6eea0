package gossip

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// Members of different versions gossip with each other: these bytes never
// change, a new version appends.
func TestGoldenBytes(t *testing.T) {
	load := Load{Seq: 1_790_000_000_123, CPU: 1, Memory: 999, Net: 1500, Disk: UnknownShare, Wait: 20, Workloads: 12, Leaving: true}
	meta, err := encodeMeta("rack1-a", Meta{ProtocolMin: 1, ProtocolMax: 3, Role: RoleVoter, RPC: "10.0.0.1:7700", Capability: 0x0123456789abcdef})
	must(t, err)
	for name, got := range map[string][]byte{
		"load-v1":  load.appendTo(nil),
		"load-msg": encodeLoadMessage(hostLoad{"host-a", load}),
		"state-v1": encodeState([]hostLoad{{"a", Load{Seq: 1}}, {"b", Load{Seq: 2, CPU: 500}}}),
		"meta-v1":  meta,
	} {
		file := filepath.Join("testdata", name+".hex")
		want, err := os.ReadFile(file)
		if os.IsNotExist(err) && os.Getenv("GOLDEN") != "" {
			must(t, os.WriteFile(file, []byte(hex.EncodeToString(got)+"\n"), 0o644))
			continue
		}
		must(t, err)
		if hex.EncodeToString(got) != strings.TrimSpace(string(want)) {
			t.Errorf("%s:\n got %x\nwant %s", name, got, want)
		}
	}
	if n := len(load.appendTo(nil)); n > maxLoadBytes {
		t.Errorf("a load takes %d bytes, %d may be", n, maxLoadBytes)
	}
}

func drawLoad(t *rapid.T, label string) Load {
	share := rapid.Uint16()
	return Load{
		Seq: rapid.Uint64Range(0, 6).Draw(t, label+" seq"), CPU: share.Draw(t, "cpu"), Memory: share.Draw(t, "memory"),
		Net: share.Draw(t, "net"), Disk: share.Draw(t, "disk"), Wait: share.Draw(t, "wait"),
		Workloads: share.Draw(t, "workloads"), Leaving: rapid.Bool().Draw(t, "leaving"),
	}
}

func TestLoadRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLoad(t, "load")
		got, err := decodeLoad(l.appendTo(nil))
		if err != nil || got != l {
			t.Fatalf("%+v became %+v, %v", l, got, err)
		}
		// A later version may append; ours still reads its own part.
		tail := rapid.SliceOfN(rapid.Byte(), 0, maxLoadBytes-loadBytes).Draw(t, "tail")
		later := append(l.appendTo(nil), tail...)
		later[0]++
		if got, err := decodeLoad(later); err != nil || got != l {
			t.Fatalf("a later version of %+v became %+v, %v", l, got, err)
		}
	})
}

func TestMetaRoundTripAndLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(0, 60, 128).Draw(t, "name")
		m := Meta{
			ProtocolMin: rapid.Uint8().Draw(t, "min"), ProtocolMax: rapid.Uint8().Draw(t, "max"),
			Role: rapid.SampledFrom(metaRoles).Draw(t, "role"), RPC: rapid.StringN(0, 60, 200).Draw(t, "rpc"),
			Capability: rapid.Uint64().Draw(t, "capability"),
		}
		b, err := encodeMeta(name, m)
		if err != nil {
			t.Fatal(err)
		}
		gotName, got, err := decodeMeta(append(b, 1, 2, 3))
		if err != nil || gotName != name || got != m {
			t.Fatalf("%q %+v became %q %+v, %v", name, m, gotName, got, err)
		}
	})
	if _, err := encodeMeta(strings.Repeat("n", 255), Meta{Role: RoleHost, RPC: strings.Repeat("r", 255)}); err == nil {
		t.Error("more than memberlist carries was encoded")
	}
	if _, err := encodeMeta("n", Meta{Role: "operator"}); err == nil {
		t.Error("an unknown role was encoded")
	}
}

// The load that wins does not depend on the order or number of deliveries.
func TestNewerIsASemilattice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawLoad(t, "a"), drawLoad(t, "b"), drawLoad(t, "c")
		if newer(a, b) != newer(b, a) {
			t.Fatalf("not commutative: %+v %+v", a, b)
		}
		if newer(newer(a, b), c) != newer(a, newer(b, c)) {
			t.Fatalf("not associative: %+v %+v %+v", a, b, c)
		}
		if newer(a, a) != a {
			t.Fatalf("not idempotent: %+v", a)
		}
		if a.Seq > b.Seq && newer(a, b) != a {
			t.Fatalf("the older sequence won: %+v %+v", a, b)
		}
	})
}

// Two tables that hear the same loads, in any order and any number of times,
// alone or in exchanges, agree in the end.
func TestTablesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var heard []hostLoad
		for range rapid.IntRange(1, 12).Draw(t, "loads") {
			heard = append(heard, hostLoad{fleet.HostID(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "host")), drawLoad(t, "load")})
		}
		one, two := newTable("x", testNow), newTable("y", testNow)
		for _, h := range heard {
			one.merge([]hostLoad{h})
		}
		shuffled := rapid.Permutation(append(append([]hostLoad{}, heard...), heard...)).Draw(t, "order")
		news := two.merge(shuffled)
		if len(news) == 0 {
			t.Fatal("nothing was news")
		}
		if again := two.merge(shuffled); len(again) != 0 {
			t.Fatalf("the same was news twice: %v", again)
		}
		if !reflect.DeepEqual(one.allLoads(), two.allLoads()) {
			t.Fatalf("%v\n%v", one.allLoads(), two.allLoads())
		}
		// And what one says of it, the other understands.
		back, err := decodeMessage(encodeState(one.allLoads()))
		if err != nil || !reflect.DeepEqual(back, two.allLoads()) {
			t.Fatalf("%v, %v", back, err)
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add(encodeLoadMessage(hostLoad{"host-a", Load{Seq: 7, CPU: 3}}))
	f.Add(encodeState([]hostLoad{{"a", Load{Seq: 1}}, {"b", Load{Seq: 2}}}))
	f.Add([]byte{})
	f.Add([]byte{kindLoad, 200, 'a'})
	f.Add([]byte{9, 1, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		loads, err := decodeMessage(b)
		if err != nil {
			if loads != nil {
				t.Fatal("a bad message was taken in part")
			}
			return
		}
		again, err := decodeMessage(encodeState(loads))
		if err != nil || len(again) != len(loads) {
			t.Fatalf("%v became %v, %v", loads, again, err)
		}
		for i := range loads {
			if loads[i] != again[i] {
				t.Fatalf("%v became %v", loads[i], again[i])
			}
		}
	})
}

func FuzzDecodeMeta(f *testing.F) {
	good, err := encodeMeta("a", Meta{Role: RoleHost, RPC: "127.0.0.1:1"})
	must(f, err)
	f.Add(good)
	f.Add(good[:13])
	f.Fuzz(func(t *testing.T, b []byte) {
		name, m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := encodeMeta(name, m)
		if err != nil && len(name)+len(m.RPC) < 255 {
			t.Fatalf("%q %+v cannot be said again: %v", name, m, err)
		}
		if err == nil {
			if n, got, err := decodeMeta(again); err != nil || n != name || got != m {
				t.Fatalf("%q %+v became %q %+v, %v", name, m, n, got, err)
			}
		}
	})
}
