package workload

import "time"

// Files in a workload's directory.
const (
	SocketFile = "control.sock"
	LockFile   = "lock"
	SavedFile  = "state.region"
)

// MaxLine bounds a request and an answer of the client protocol in bytes, end of
// line included.
const MaxLine = 4096

// ControlProtocol is the version of the control protocol.
const ControlProtocol = 1

// ControlRequest is one line to the control socket.
type ControlRequest struct {
	// Op is one of
	//	hello      say who and how you are
	//	freeze     park every writer; answered once that is so
	//	thaw       undo freeze
	//	activate   run from the state an agent has written (incoming only;
	//	           a process that runs under the same token stays running)
	//	set-token  remember the token
	//	exit       answer, then end; the state is gone
	Op string `json:"op"`
	// Token is opaque here; for activate and set-token.
	Token string `json:"token,omitempty"`
	// Memory asks hello to pass the descriptors of the memfd and, when there
	// is one, of the userfaultfd, in this order.
	Memory bool `json:"memory,omitempty"`
}

// Phases of a process, as its control answers name them.
const (
	PhaseRunning  = "running"
	PhaseFrozen   = "frozen"
	PhaseIncoming = "incoming"
)

// ControlAnswer is the line that answers every request: who the process is and
// how it is after the request.
type ControlAnswer struct {
	Protocol int    `json:"protocol"`
	Error    string `json:"error,omitempty"` // empty: done
	ID       string `json:"id"`
	PID      int    `json:"pid"`
	// StartTime is in clock ticks since boot (field 22 of /proc/PID/stat).
	StartTime uint64 `json:"start_time"`
	State     string `json:"state"` // a Phase
	Token     string `json:"token,omitempty"`
	Backend   string `json:"backend"` // ip:port of the client protocol
	Size      int64  `json:"size"`
	// Memory and Uffd say which descriptors came with the answer.
	Memory bool `json:"memory,omitempty"`
	Uffd   bool `json:"uffd,omitempty"`
	// UffdError says why there is no userfaultfd.
	UffdError string `json:"uffd_error,omitempty"`
	// Version and Counter are those of the state; 0 while incoming.
	Version uint32 `json:"version,omitempty"`
	Counter uint64 `json:"counter,omitempty"`
}

// Info is the answer to INFO.
type Info struct {
	ID        string    `json:"id"`
	PID       int       `json:"pid"`
	Size      int64     `json:"size"`
	Counter   uint64    `json:"counter"`
	Keys      uint64    `json:"keys"`
	Slots     int64     `json:"slots"`
	HeapPages int64     `json:"heap_pages"`
	HeapSeq   uint64    `json:"heap_seq"` // page writes so far
	Demand    float64   `json:"demand"`   // millicores the trace asks for now
	LoadTime  time.Time `json:"load_time"`
}
