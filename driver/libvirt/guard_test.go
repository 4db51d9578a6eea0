package libvirt

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/placed-dev/placed/fleet"
)

// TestGuard: what the hook lets pass and what it refuses, by the table alone.
func TestGuard(t *testing.T) {
	dir := t.TempDir()
	token := fleet.Token{Cluster: "prod/eu", Generation: 3, Index: 9120} // as in shop.xml
	shop := definitionOf(t, "shop")
	xml := readAll(t, "shop")
	other := strings.NewReplacer(shop.UUID, "7d4bd0a5-5f9b-4c5c-9d3e-3a3a34d3b0ff", "shop-db", "copycat", `token="prod/eu/3/9120"`, `token="prod/eu/3/1"`).Replace(xml)
	ask := func(operation, text string) error {
		return Guard(dir, []string{"shop-db", operation, "begin", "-"}, strings.NewReader(text))
	}
	pass := func(why string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", why, err)
		}
	}
	refuse := func(why, word string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v, want %q", why, err, word)
		}
	}
	pass("nothing is known of it", ask("start", xml))
	refuse("a migration under a token that was not admitted", "has not admitted", ask("migrate", xml))
	pass("a foreign migration", ask("migrate", readAll(t, "pinned")))

	disks, left := shop.writable(MovePolicy{Storage: "shared"})
	if len(left) > 0 {
		t.Errorf("shared storage leaves %v behind", left)
	}
	if err := putGuard(elsewhereFile(dir, shop.UUID), elsewhere{UUID: shop.UUID, Name: shop.Name, To: "host-b", Token: token, Disks: disks}); err != nil {
		t.Fatal(err)
	}
	refuse("a domain that was given away", "given to host host-b", ask("start", xml))
	refuse("a restore of it", "given to host host-b", ask("restore", xml))
	refuse("another domain on its disk", "belongs to domain shop-db", ask("prepare", other))
	pass("libvirtd meets a running guest again", ask("reconnect", xml))
	pass("the end of a guest", ask("stopped", xml))
	pass("garbage says nothing", ask("start", "<domain"))

	if err := putGuard(admittedFile(dir, "another", token), token); err != nil {
		t.Fatal(err)
	}
	refuse("a token that another domain was admitted under", "given to host host-b", ask("start", xml))
	if err := putGuard(admittedFile(dir, shop.id(), token), token); err != nil {
		t.Fatal(err)
	}
	pass("it comes back under an admitted token", ask("migrate", xml))
	pass("and is prepared and started for that", ask("prepare", xml))
}

// TestPassages: no two moves share a name, whatever token the books gave them, and a
// name is short enough for a socket in it.
func TestPassages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type move struct {
			id    fleet.WorkloadID
			token fleet.Token
		}
		draw := rapid.Custom(func(t *rapid.T) move {
			return move{fleet.WorkloadID(rapid.SampledFrom([]string{"a", "b", "a/b", "web-1", "web-10"}).Draw(t, "id")),
				fleet.Token{Cluster: "c", Generation: rapid.Uint64Range(0, 2).Draw(t, "generation"), Index: rapid.Uint64().Draw(t, "index")}}
		})
		one, two := draw.Draw(t, "one"), draw.Draw(t, "two")
		if rapid.Bool().Draw(t, "one entry") {
			two.token = one.token
		}
		if (one == two) != (passage(one.id, one.token) == passage(two.id, two.token)) {
			t.Fatalf("%v and %v: %s, %s", one, two, passage(one.id, one.token), passage(two.id, two.token))
		}
		const longest = 107 // of a socket's path
		name := strings.Repeat("x", 40) + "/" + passage(one.id, one.token) + "/" + "control"
		if len(name) > longest {
			t.Fatalf("%d characters: %s", len(name), name)
		}
	})
}
