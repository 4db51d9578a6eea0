package cutover

import "fmt"

// Word is what one end has durably said about one token. A word is on disk
// before anybody hears it. Numbers are part of the token store's format.
type Word uint8

// Words, those of the destination first.
const (
	None         Word = iota // nothing said yet
	Admitted                 // destination: the token is stored, bytes may come
	Prepared                 // destination: it holds the whole state, verified
	Activated                // destination: it runs the workload, or is about to
	Refused                  // destination: it will never run it under this token
	Aborted                  // source: it keeps the workload
	Relinquished             // source: it will never run it again, the destination may
	Released                 // source: its copy is proved gone
)

var words = [...]string{"none", "admitted", "prepared", "activated", "refused", "aborted", "relinquished", "released"}

func (w Word) String() string {
	if int(w) < len(words) {
		return words[w]
	}
	return fmt.Sprintf("invalid(%d)", uint8(w))
}

// Valid reports whether w is a known word.
func (w Word) Valid() bool { return int(w) < len(words) }

// MarshalText writes the word.
func (w Word) MarshalText() ([]byte, error) {
	if !w.Valid() {
		return nil, fmt.Errorf("word %d has no name", uint8(w))
	}
	return []byte(words[w]), nil
}

// UnmarshalText reads a word.
func (w *Word) UnmarshalText(text []byte) error {
	for i, name := range words {
		if name == string(text) {
			*w = Word(i)
			return nil
		}
	}
	return fmt.Errorf("unknown word %.20q: want one of %v", text, words)
}

// Copy is what one host holds of the workload, as its driver observes it.
type Copy uint8

// Copies.
const (
	Absent   Copy = iota
	Incoming      // filled by the migration, has never run here
	Frozen        // complete and unchanging
	Running
	// The rest is seen where a hypervisor hands a workload over itself.
	Sending // the source's, a job under way: it runs or is stopped by the job
	Whole   // the destination's: complete, stopped, has never run here
	Off     // defined here, without a process
)

var copies = [...]string{"absent", "incoming", "frozen", "running", "sending", "whole", "off"}

func (c Copy) String() string {
	if int(c) < len(copies) {
		return copies[c]
	}
	return fmt.Sprintf("invalid(%d)", uint8(c))
}
