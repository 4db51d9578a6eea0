package transport

import (
	"fmt"
	"slices"
	"strings"
)

// Protocol is what is spoken over one connection; its text is the ALPN name.
type Protocol string

// Protocols of the port.
const (
	Raft    Protocol = "placed/raft"
	RPC     Protocol = "placed/rpc"
	Migrate Protocol = "placed/migrate"
)

var protocols = []Protocol{Raft, RPC, Migrate}

// rules say who may call and who may answer. Raft is for voters alone: with a
// host's certificate one could otherwise write the books (CVE-2021-37218 and
// CVE-2021-37219). An operator calls, and never answers: a laptop's certificate
// must not be able to pose as a host.
var rules = map[Protocol]struct{ client, server []string }{
	Raft:    {client: []string{RoleVoter}, server: []string{RoleVoter}},
	RPC:     {client: []string{RoleVoter, RoleHost, RoleOperator}, server: []string{RoleVoter, RoleHost}},
	Migrate: {client: []string{RoleVoter, RoleHost}, server: []string{RoleVoter, RoleHost}},
}

// side is which end of a connection an identity stands at.
type side string

const (
	client side = "call"
	server side = "answer"
)

func (s side) other() side {
	if s == client {
		return server
	}
	return client
}

// permit says whether id may stand at that end of the protocol.
func permit(p Protocol, at side, id Identity) error {
	rule, ok := rules[p]
	if !ok {
		return fmt.Errorf("protocol %.40q is unknown: want one of %v", string(p), protocols)
	}
	roles := rule.client
	if at == server {
		roles = rule.server
	}
	if !slices.Contains(roles, id.Role) {
		return fmt.Errorf("a certificate of role %s may not %s %s: it takes a %s certificate (this one is of %s)",
			id.Role, at, p, strings.Join(roles, " or "), id.ID)
	}
	return nil
}
