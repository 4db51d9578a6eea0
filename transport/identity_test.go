package transport

import (
	"strings"
	"testing"
)

func TestParseIdentity(t *testing.T) {
	good := Identity{Cluster: "prod-1.example", Role: RoleVoter, ID: hostA}
	if got, err := ParseIdentity(good.String()); err != nil || got != good {
		t.Fatalf("ParseIdentity(%s) = %v, %v", good, got, err)
	}
	for uri, want := range map[string]string{
		"":                          "does not begin",
		"https://prod/voter/a":      "does not begin",
		"placed://prod/voter":       "not of the form",
		"placed://prod/voter/a/b":   "not of the form",
		"placed://prod/root/a":      "not one of voter, host, operator",
		"placed://prod/Voter/a":     "not one of voter, host, operator",
		"placed:///voter/a":         "cluster has 0 characters",
		"placed://prod/voter/":      "id has 0 characters",
		"placed://prod:443/voter/a": `contains ':'`,
		"placed://u@prod/voter/a":   `contains '@'`,
		"placed://prod/voter/a?b":   `contains '?'`,
		"placed://prod/voter/a%2f":  `contains '%'`,
		"placed://prod/voter/..":    "must not begin or end",
		"placed://p..d/voter/a":     "two dots",
		"placed://" + strings.Repeat("c", 64) + "/voter/a": "64 characters",
	} {
		if _, err := ParseIdentity(uri); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseIdentity(%q) = %v, want an error with %q", uri, err, want)
		}
	}
}

// Whatever is accepted has one spelling, and a certificate can carry it.
func FuzzParseIdentity(f *testing.F) {
	for _, seed := range []string{"placed://c/voter/a", "placed://c/host/5f1c-0a", "placed://c.d/operator/x_y", "placed://c/voter/a%20", "placed://c/voter/a#b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		id, err := ParseIdentity(uri)
		if err != nil {
			return
		}
		if id.String() != uri {
			t.Fatalf("%q was read as %q", uri, id)
		}
		again, err := ParseIdentity(id.String())
		if err != nil || again != id {
			t.Fatalf("%q: %v, %v", uri, again, err)
		}
	})
}
