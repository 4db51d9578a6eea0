package fleet

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func abilities(few bool) *rapid.Generator[[]Ability] {
	return rapid.Custom(func(t *rapid.T) []Ability {
		of := map[string][]string{}
		for _, class := range []string{"bridge", "cpu feature", "machine type", "segment"} {
			if rapid.Bool().Draw(t, "knows "+class) {
				n := 6
				if few {
					n = 2
				}
				of[class] = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, n).Draw(t, class)
			}
		}
		return Abilities(of)
	})
}

// TestDistinguish: what is left away decides nothing. Before and after, each workload
// is refused by the same hosts, and for one of the same reasons.
func TestDistinguish(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts, works := make([]*Capabilities, 4), make([]*Capabilities, 5)
		for i := range hosts {
			hosts[i] = &Capabilities{Abilities: abilities(false).Draw(t, "host")}
		}
		shared := abilities(true).Draw(t, "shared")
		for i := range works {
			works[i] = &Capabilities{Abilities: shared}
			if rapid.Bool().Draw(t, "own") {
				works[i] = &Capabilities{Abilities: abilities(true).Draw(t, "workload")}
			}
		}
		judge := func() (out []string) {
			for _, w := range works {
				for _, h := range hosts {
					out = append(out, fmt.Sprint(Lacking(h.Abilities, w.Abilities)))
				}
			}
			return out
		}
		before := judge()
		Distinguish(hosts, works)
		if after := judge(); !slices.Equal(before, after) {
			t.Fatalf("before %v\nafter  %v", before, after)
		}
		for _, w := range works {
			if len(w.Abilities) == 0 {
				continue
			}
			if !slices.ContainsFunc(hosts, func(h *Capabilities) bool { return len(Lacking(h.Abilities, w.Abilities)) > 0 }) {
				t.Fatalf("%v is kept, and no host lacks it", w.Abilities)
			}
		}
	})
}

// TestUnknownClass: a host that says nothing of a class lacks nothing of it, one
// that says it has none lacks everything.
func TestUnknownClass(t *testing.T) {
	want := Capabilities{Abilities: Abilities(map[string][]string{"segment": {"br0=prod"}, "cpu feature": {"d", "c", "b", "a", "a"}})}
	if lacking, lacks := (Capabilities{}).Lacks(want); lacks {
		t.Errorf("an unknown host lacks %s", lacking)
	}
	silent := Capabilities{Abilities: Abilities(map[string][]string{"segment": nil})}
	if lacking, _ := silent.Lacks(want); lacking != "segment br0=prod" {
		t.Errorf("lacks %q", lacking)
	}
	old := Capabilities{Abilities: Abilities(map[string][]string{"cpu feature": {}, "segment": {"br0=prod"}})}
	if lacking, _ := old.Lacks(want); lacking != "cpu feature a, b, c and 1 more" {
		t.Errorf("lacks %q", lacking)
	}
}
