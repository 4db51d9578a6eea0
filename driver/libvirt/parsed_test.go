package libvirt

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestParsed: what is remembered is what would be read, also once the text of the
// same domain has changed, and what is remembered is bounded.
func TestParsed(t *testing.T) {
	bytes, err := os.ReadFile("testdata/shop.xml")
	if err != nil {
		t.Fatal(err)
	}
	first := string(bytes)
	second := strings.Replace(first, "shop-db", "shop-db-2", 1)
	if first == second {
		t.Fatal("the text was not changed")
	}
	var p parsed
	for i, text := range []string{first, first, second, first, second, second} {
		want, err := readDefinition(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.read("the same", text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("reading %d: %+v, %v, want %+v", i, got, err, want)
		}
	}
	if _, err := p.read("another", "<domain"); err == nil {
		t.Error("what cannot be read was believed")
	}
	for i := range 2*maxParsed + 1 {
		if _, err := p.read(fmt.Sprint(i), first); err != nil {
			t.Fatal(err)
		}
		if len(p.last) > maxParsed {
			t.Fatalf("%d are remembered", len(p.last))
		}
	}
}

func BenchmarkDefinition(b *testing.B) {
	text, err := os.ReadFile("testdata/shop.xml")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			_, _ = readDefinition(string(text))
		}
	})
	b.Run("remembered", func(b *testing.B) {
		var p parsed
		for b.Loop() {
			_, _ = p.read("x", string(text))
		}
	})
}
