package libvirt

import (
	"strings"
	"testing"

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

	if err := putGuard(elsewhereFile(dir, shop.UUID), elsewhere{UUID: shop.UUID, Name: shop.Name, To: "host-b", Token: token, Disks: shop.writable()}); err != nil {
		t.Fatal(err)
	}
	refuse("a domain that was given away", "given to host host-b", ask("start", xml))
	refuse("a restore of it", "given to host host-b", ask("restore", xml))
	refuse("another domain on its disk", "belongs to domain shop-db", ask("prepare", other))
	pass("libvirtd meets a running guest again", ask("reconnect", xml))
	pass("the end of a guest", ask("stopped", xml))
	pass("garbage says nothing", ask("start", "<domain"))

	if err := putGuard(admittedFile(dir, token), token); err != nil {
		t.Fatal(err)
	}
	pass("it comes back under an admitted token", ask("migrate", xml))
	pass("and is prepared and started for that", ask("prepare", xml))
}
