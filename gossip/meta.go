package gossip

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// Roles a host can have in Meta.
const (
	RoleHost  = "host"
	RoleVoter = "voter"
)

// Meta is what a host says of itself. It changes rarely; what changes often is
// in Load.
type Meta struct {
	// ProtocolMin and ProtocolMax are the agent protocol versions it speaks.
	ProtocolMin uint8 `json:"protocol_min"`
	ProtocolMax uint8 `json:"protocol_max"`
	// Role is voter or host.
	Role string `json:"role"`
	// RPC is where its mTLS port listens, "ip:port".
	RPC string `json:"rpc"`
	// Capability is a digest of what the host can run; equal digests mean equal
	// capabilities, and who meets a new one asks by rpc.
	Capability uint64 `json:"capability"`
}

// The encoding of a meta: version, role, protocol range, capability (8 bytes, big
// endian), rpc address and name, each behind a length byte. A later version may
// append.
const (
	metaVersion   = 1
	metaHeadBytes = 12
)

var metaRoles = []string{RoleHost, RoleVoter}

func encodeMeta(name string, m Meta) ([]byte, error) {
	role := -1
	for i, r := range metaRoles {
		if r == m.Role {
			role = i
		}
	}
	if role < 0 {
		return nil, fmt.Errorf("gossip role %q is not one of %v", m.Role, metaRoles)
	}
	if len(name) > 255 || len(m.RPC) > 255 {
		return nil, fmt.Errorf("gossip name %.20q… or address %.20q… is longer than 255 bytes", name, m.RPC)
	}
	b := []byte{metaVersion, byte(role), m.ProtocolMin, m.ProtocolMax}
	b = binary.BigEndian.AppendUint64(b, m.Capability)
	b = append(append(b, byte(len(m.RPC))), m.RPC...)
	b = append(append(b, byte(len(name))), name...)
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("name and address of this host take %d bytes in gossip: at most %d fit", len(b), memberlist.MetaMaxSize)
	}
	return b, nil
}

func decodeMeta(b []byte) (name string, m Meta, err error) {
	if len(b) < metaHeadBytes || b[0] < metaVersion {
		return "", Meta{}, fmt.Errorf("meta of %d bytes is not of this format", len(b))
	}
	if int(b[1]) >= len(metaRoles) {
		return "", Meta{}, fmt.Errorf("meta has unknown role %d", b[1])
	}
	m = Meta{Role: metaRoles[b[1]], ProtocolMin: b[2], ProtocolMax: b[3], Capability: binary.BigEndian.Uint64(b[4:])}
	rpc, rest, err := cutBytes(b[metaHeadBytes:])
	if err != nil {
		return "", Meta{}, fmt.Errorf("rpc address in meta: %w", err)
	}
	text, _, err := cutBytes(rest)
	if err != nil {
		return "", Meta{}, fmt.Errorf("name in meta: %w", err)
	}
	m.RPC = string(rpc)
	return string(text), m, nil
}
