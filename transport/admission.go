package transport

import "sync"

// maxHandshakes bounds the handshakes that run at once: what somebody without a
// certificate can make this host hold.
const maxHandshakes = 1024

// admission counts handshakes and connections. A handshake takes no connection's
// place, so that strangers cannot use up the room of members.
type admission struct {
	mu         sync.Mutex
	maxConns   int
	handshakes map[string]int // by remote IP, guarded by mu
	running    int            // handshakes, guarded by mu
	conns      int            // guarded by mu
}

func newAdmission(maxConns int) *admission {
	return &admission{maxConns: maxConns, handshakes: map[string]int{}}
}

// begin asks to start a handshake with ip; "" means yes.
func (a *admission) begin(ip string) (refusal string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.running >= maxHandshakes:
		return "too many handshakes at once"
	case a.handshakes[ip] >= maxHandshakes/4:
		return "too many handshakes at once from this address"
	}
	a.running++
	a.handshakes[ip]++
	return ""
}

func (a *admission) end(ip string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running--
	if a.handshakes[ip]--; a.handshakes[ip] == 0 {
		delete(a.handshakes, ip)
	}
}

// open takes the place of one connection; false when all are taken.
func (a *admission) open() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns >= a.maxConns {
		return false
	}
	a.conns++
	return true
}

func (a *admission) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns--
}
