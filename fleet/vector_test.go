package fleet

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func vectors() *rapid.Generator[Vector] {
	amount := rapid.Int64Range(-1<<50, 1<<50)
	return rapid.Custom(func(t *rapid.T) Vector {
		v := Vector{CPU: amount.Draw(t, "cpu"), Memory: amount.Draw(t, "memory"), Net: amount.Draw(t, "net"), Disk: amount.Draw(t, "disk")}
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]Resource{"gpu", "hugepages/0/2M", "iops", "sriov"}), rapid.ID).Draw(t, "names") {
			v = v.With(name, amount.Draw(t, "amount"))
		}
		return v
	})
}

func TestVectorArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := vectors().Draw(t, "a"), vectors().Draw(t, "b"), vectors().Draw(t, "c")
		if !a.Add(b).Equal(b.Add(a)) {
			t.Fatal("addition does not commute")
		}
		if !a.Add(b).Add(c).Equal(a.Add(b.Add(c))) {
			t.Fatal("addition is not associative")
		}
		if !a.Add(b).Sub(b).Equal(a) {
			t.Fatal("a + b - b is not a")
		}
		if !a.Sub(a).IsZero() {
			t.Fatal("a - a is not zero")
		}
		// What fits never becomes a shortage by having more.
		if _, lacks := a.Lacks(b); !lacks {
			if _, worse := a.Max(c).Lacks(b); worse {
				t.Fatal("more of everything lacks what less had")
			}
		}
		for i := 1; i < len(a.Add(b).Named); i++ {
			if a.Add(b).Named[i-1].Name >= a.Add(b).Named[i].Name {
				t.Fatal("custom resources are not sorted")
			}
		}
	})
}

func TestVectorJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := vectors().Draw(t, "v")
		// Cores are shown as a float: thousandths survive up to 2^50.
		if rapid.Bool().Draw(t, "unknown") {
			v.Net = Unknown
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var back Vector
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if !back.Equal(v) {
			t.Fatalf("%s came back as %v, was %v", data, back, v)
		}
	})
	var v Vector
	if err := json.Unmarshal([]byte(`{"cpu":2.5,"disk":null}`), &v); err != nil {
		t.Fatal(err)
	}
	if v.CPU != 2500 || v.Disk != Unknown || v.Memory != 0 {
		t.Fatalf("absent means zero and null means unknown, got %+v", v)
	}
}

func TestUnknownStaysUnknown(t *testing.T) {
	v := Vector{CPU: 4000, Net: Unknown}
	if got := v.Sub(Vector{Net: 100}); got.Net != Unknown {
		t.Errorf("unknown - 100 = %d", got.Net)
	}
	if r, lacks := v.Lacks(Vector{CPU: 1000, Net: 1 << 40}); lacks {
		t.Errorf("an undeclared limit was enforced on %s", r)
	}
	if r, lacks := v.Lacks(Vector{CPU: 4001}); !lacks || r != CPU {
		t.Errorf("4 cores do not hold 4.001")
	}
}

func TestSaturation(t *testing.T) {
	huge := Vector{Memory: math.MaxInt64}
	if got := huge.Add(huge).Memory; got != math.MaxInt64 {
		t.Errorf("a huge sum wrapped to %d", got)
	}
	low := Vector{Memory: -math.MaxInt64}
	if got := low.Add(low).Memory; got == Unknown || got > 0 {
		t.Errorf("a huge negative sum became %d", got)
	}
	if got := huge.ScaleMilli(Vector{Memory: 4000}).Memory; got != math.MaxInt64 {
		t.Errorf("a huge product became %d", got)
	}
}

func TestAllocatable(t *testing.T) {
	h := Host{Capacity: Vector{CPU: 16001, Memory: 64 << 30}, Reserve: Vector{CPU: 1000, Memory: 4 << 30}, Overcommit: Vector{CPU: 1500}}
	// floor((16001 − 1000) × 1.5) = 22501
	if got := h.Allocatable(); got.CPU != 22501 || got.Memory != 60<<30 {
		t.Errorf("allocatable = %v", got)
	}
	h.Capacity.Memory = 2 << 30 // a lost DIMM: less than the reserve
	if got := h.Allocatable().Memory; got != -2<<30 {
		t.Errorf("a host that lost memory must show a negative amount, got %d", got)
	}
}

func TestValidateNames(t *testing.T) {
	for name, message := range map[string]string{
		"":                       "empty",
		"a b":                    "contains ' '",
		"../x":                   "..",
		"/x":                     "begin or end",
		strings.Repeat("x", 200): "at most 128",
	} {
		err := WorkloadID(name).Validate()
		if err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%.10q: error %v, want one with %q", name, err, message)
		}
	}
	if err := WorkloadID("web-1/cache").Validate(); err != nil {
		t.Error(err)
	}
	if err := (Vector{Named: []Amount{{"b", 1}, {"a", 1}}}).Validate(); err == nil {
		t.Error("custom resources out of order were accepted")
	}
}

func TestTokens(t *testing.T) {
	old, fresh := Token{"c", 1, 50}, Token{"c", 2, 3}
	switch {
	case !fresh.NewerThan(old):
		t.Error("a higher generation must win over a higher index")
	case old.NewerThan(old):
		t.Error("a token is not newer than itself")
	case (Token{"other", 9, 9}).NewerThan(old):
		t.Error("a token of another cluster was accepted")
	case !old.NewerThan(Token{}) || (Token{}).NewerThan(Token{}):
		t.Error("the empty token is older than any granted one only")
	}
}
