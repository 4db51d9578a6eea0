package libvirt

import (
	"fmt"
	"strings"

	"github.com/placed-dev/placed/driver"
)

// Two hosts may both have a bridge br0 and mean different networks by it; a guest
// that moved between them would run and reach nobody. So a card's network is the
// same only where both hosts say so: by a segment, a word of the operator's for one
// layer 2 network.

// network is what a card of a domain is connected to.
type network struct {
	Kind    string `json:"kind"` // bridge, network, direct
	Name    string `json:"name"`
	Segment string `json:"segment,omitempty"` // as the host where it runs declares it
}

// key is how the option "segments" names it.
func (n network) key() string {
	if n.Kind == "bridge" {
		return n.Name
	}
	return n.Kind + "/" + n.Name
}

// segments are declared per host: "br0=prod br1=backup network/lan=prod".
type segments map[string]string

func parseSegments(text string) (segments, error) {
	out := segments{}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
		name, segment, ok := strings.Cut(word, "=")
		if !ok || name == "" || segment == "" {
			return nil, fmt.Errorf("%q is not NETWORK=SEGMENT, as in \"br0=prod network/lan=prod\"", word)
		}
		out[name] = segment
	}
	return out, nil
}

// declare gives a domain's networks the segments of this host.
func (s segments) declare(list []network) []network {
	out := make([]network, len(list))
	for i, n := range list {
		n.Segment = s[n.key()]
		out[i] = n
	}
	return out
}

// undeclared lists what keeps a domain from moving because nobody has said which
// network its card is in.
func (s segments) undeclared(list []network) (out []driver.Blocker) {
	for _, n := range s.declare(list) {
		if n.Segment == "" {
			out = append(out, driver.Blocker{Reason: "its network " + n.key() + " has no declared segment, so no other host is known to have the same one",
				Remedy: fmt.Sprintf("set the driver's option segments = \"%s=NAME\" on every host that has it", n.key())})
		}
	}
	return out
}

// list shows the declarations as a host reports them, "br0=prod".
func (s segments) list() []string {
	out := []string{}
	for name, segment := range s {
		out = append(out, name+"="+segment)
	}
	return out
}
