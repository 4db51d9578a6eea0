package libvirt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/placed-dev/placed/fleet"
)

// Namespaces of our elements in a domain's metadata: what an operator writes, and
// what a move writes. They are apart, so that neither overwrites the other.
const (
	wishesURI = "https://placed.dev/xmlns/libvirt/wishes/1"
	moveURI   = "https://placed.dev/xmlns/libvirt/move/1"
	prefix    = "placed"
)

// wishes is what an operator says of a domain:
//
//	<placed:wishes xmlns:placed="https://placed.dev/xmlns/libvirt/wishes/1"
//	    id="web-1" priority="10" tolerance="0.2" cpu="1.5" downtime="300ms" storage="copy" notice="10s" move="no">
//	  <placed:group>web</placed:group>
//	</placed:wishes>
type wishes struct {
	XMLName   xml.Name `xml:"wishes"`
	ID        string   `xml:"id,attr"`
	Priority  int64    `xml:"priority,attr"`
	Tolerance float64  `xml:"tolerance,attr"`
	CPU       float64  `xml:"cpu,attr"`      // cores reserved for it; 0: one per virtual CPU
	Downtime  string   `xml:"downtime,attr"` // what the last pass of a move aims at
	Storage   string   `xml:"storage,attr"`  // instead of the driver's option
	Notice    string   `xml:"notice,attr"`   // how long it may take to get ready for a move
	Move      string   `xml:"move,attr"`     // "no": it must never be moved
	Groups    []string `xml:"group"`         // at most one: rules are about groups
}

func (w wishes) checked() (wishes, error) {
	if w.Tolerance < 0 || w.Tolerance > 1 {
		return wishes{}, fmt.Errorf("metadata %s: tolerance %g is outside 0..1", wishesURI, w.Tolerance)
	}
	if !(w.CPU >= 0 && w.CPU <= 4096) {
		return wishes{}, fmt.Errorf("metadata %s: cpu=%g is no number of cores like 1.5", wishesURI, w.CPU)
	}
	if w.Move != "" && w.Move != "no" && w.Move != "yes" {
		return wishes{}, fmt.Errorf("metadata %s: move=%q is neither yes nor no", wishesURI, w.Move)
	}
	if len(w.Groups) > 1 {
		return wishes{}, fmt.Errorf("metadata %s: %d groups, but a workload is in one at most", wishesURI, len(w.Groups))
	}
	if w.Storage != "" && !slices.Contains(storages, w.Storage) {
		return wishes{}, fmt.Errorf("metadata %s: storage=%q is none of %s", wishesURI, w.Storage, strings.Join(storages, ", "))
	}
	if w.Downtime != "" {
		if d, err := time.ParseDuration(w.Downtime); err != nil || d <= 0 {
			return wishes{}, fmt.Errorf("metadata %s: downtime=%q is no duration like 300ms", wishesURI, w.Downtime)
		}
	}
	if w.Notice != "" {
		if d, err := time.ParseDuration(w.Notice); err != nil || d < 0 || d > maxNotice {
			return wishes{}, fmt.Errorf("metadata %s: notice=%q is no duration of at most %s like 10s", wishesURI, w.Notice, maxNotice)
		}
	}
	return w, nil
}

// policy is the driver's, with what the operator wishes for this domain.
func (w wishes) policy(p MovePolicy) MovePolicy {
	if w.Storage != "" {
		p.Storage = w.Storage
	}
	if d, err := time.ParseDuration(w.Downtime); err == nil {
		p.Downtime, p.MaxDowntime = d, max(d, p.MaxDowntime)
	}
	if d, err := time.ParseDuration(w.Notice); err == nil {
		p.Notice = d
	}
	return p
}

// journey is what a move writes into the domain: the token under which it
// travels, and where to. It arrives with the domain, so that the destination
// knows what it holds whatever else was lost.
type journey struct {
	Token     fleet.Token
	To        fleet.HostID
	Active    bool // it was made to run at the destination
	Autostart bool // it wants autostart at the destination
}

type journeyXML struct {
	XMLName   xml.Name `xml:"move"`
	Token     string   `xml:"token,attr"`
	To        string   `xml:"to,attr"`
	Active    bool     `xml:"active,attr"`
	Autostart bool     `xml:"autostart,attr"`
}

func (j journey) marshal() (string, error) {
	text, err := xml.Marshal(journeyXML{Token: j.Token.String(), To: string(j.To), Active: j.Active, Autostart: j.Autostart})
	return string(text), err
}

func (x journeyXML) journey() (journey, error) {
	token, err := parseToken(x.Token)
	if err != nil {
		return journey{}, fmt.Errorf("metadata %s: %w", moveURI, err)
	}
	return journey{Token: token, To: fleet.HostID(x.To), Active: x.Active, Autostart: x.Autostart}, nil
}

// parseToken reads what Token.String wrote. The cluster's id may hold slashes.
func parseToken(text string) (fleet.Token, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 3 {
		return fleet.Token{}, fmt.Errorf("token %.80q is not cluster/generation/index", text)
	}
	n := len(parts)
	generation, err1 := strconv.ParseUint(parts[n-2], 10, 64)
	index, err2 := strconv.ParseUint(parts[n-1], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return fleet.Token{}, fmt.Errorf("token %.80q: %w", text, err)
	}
	return fleet.Token{Cluster: strings.Join(parts[:n-2], "/"), Generation: generation, Index: index}, nil
}
