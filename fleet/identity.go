package fleet

import (
	"cmp"
	"fmt"
	"strings"
)

// HostID is the UUID of a host: its certificate, its gossip name and its place
// in the books carry the same one.
type HostID string

// WorkloadID names an instance or a feature, unique in the cluster. A feature is
// "<instance>/<feature>".
type WorkloadID string

// LeaseID is "L<index of the grant>", with ".<n>" for the n-th grant of a batch.
type LeaseID string

// Token proves the right to run or admit one workload. A host admits a workload
// only with a token newer than any it has stored for that workload. Generation
// rises whenever a cluster is restored or recovered, so that a token of a lost
// history is older than every token of the new one.
type Token struct {
	Cluster    string `json:"cluster"`
	Generation uint64 `json:"generation"`
	Index      uint64 `json:"index"` // Raft index of the grant
}

// IsZero reports whether the token was never granted.
func (t Token) IsZero() bool { return t == Token{} }

// Compare orders two tokens of one cluster: negative when t is older than u.
// Tokens of different clusters have no order; check Cluster first.
func (t Token) Compare(u Token) int {
	if c := cmp.Compare(t.Generation, u.Generation); c != 0 {
		return c
	}
	return cmp.Compare(t.Index, u.Index)
}

// NewerThan reports whether t may replace u: same cluster (or u was never
// granted) and strictly newer.
func (t Token) NewerThan(u Token) bool {
	if u.IsZero() {
		return !t.IsZero()
	}
	return t.Cluster == u.Cluster && t.Compare(u) > 0
}

func (t Token) String() string {
	return fmt.Sprintf("%s/%d/%d", t.Cluster, t.Generation, t.Index)
}

// maxNameLength bounds every name that enters the replicated state.
const maxNameLength = 128

// validateName accepts what is safe in a file name, a URL path and a log line.
func validateName(kind, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty", kind)
	}
	if len(s) > maxNameLength {
		return fmt.Errorf("%s %.20q… has %d characters: at most %d are allowed", kind, s, len(s), maxNameLength)
	}
	for _, c := range s {
		if !isNameRune(c) {
			return fmt.Errorf("%s %q contains %q: letters, digits and . _ - / : are allowed", kind, s, c)
		}
	}
	if strings.Contains(s, "..") || strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") {
		return fmt.Errorf("%s %q must not contain \"..\" or begin or end with \"/\"", kind, s)
	}
	return nil
}

func isNameRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.ContainsRune("._-/:", c)
}

// Validate checks that the id may enter the books.
func (id HostID) Validate() error { return validateName("host id", string(id)) }

// Validate checks that the id may enter the books.
func (id WorkloadID) Validate() error { return validateName("workload id", string(id)) }
