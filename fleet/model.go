package fleet

import (
	"fmt"
	"time"
)

// Model names the bytes that forecast with: the books hold the hash and the
// version only, the bytes travel from host to host and are checked against it.
type Model struct {
	// Name is "<horizon>/<what>", as "60m/cpu".
	Name string `json:"name"`
	// Version grows with every model of the name.
	Version uint64 `json:"version"`
	// Hash is the SHA-256 of the bytes, 64 hexadecimal digits; Size counts them.
	Hash string `json:"hash"`
	Size int64  `json:"size"`
	// Trained is load time: up to when it has seen load.
	Trained time.Time `json:"trained"`
}

// Validate checks a model that comes from outside.
func (m Model) Validate() error {
	if err := validateName("model name", m.Name); err != nil {
		return err
	}
	if m.Version == 0 {
		return fmt.Errorf("model %s: version 0: versions begin at 1", m.Name)
	}
	if len(m.Hash) != 64 {
		return fmt.Errorf("model %s: a hash of %d characters: 64 hexadecimal digits are needed", m.Name, len(m.Hash))
	}
	for _, c := range m.Hash {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("model %s: hash %q contains %q: 64 lower-case hexadecimal digits are needed", m.Name, m.Hash, c)
		}
	}
	if m.Size < 0 {
		return fmt.Errorf("model %s: size %d is negative", m.Name, m.Size)
	}
	return nil
}
