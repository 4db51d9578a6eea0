package workload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// answer does one request of the client protocol. It runs inside the gate.
func (p *process) answer(line []byte) []byte {
	verb, rest, _ := bytes.Cut(line, []byte(" "))
	switch string(verb) {
	case "PING":
		return fmt.Appendf(nil, "PONG %s %d %d", p.config.ID, p.pid, p.state.counter())
	case "SET":
		key, value, _ := bytes.Cut(rest, []byte(" "))
		n, err := p.state.set(key, value)
		return answerCounter(n, err)
	case "GET":
		value, found, err := p.state.lookup(rest)
		switch {
		case err != nil:
			return answerError(err)
		case !found:
			return []byte("NONE")
		}
		return append([]byte("VALUE "), value...)
	case "INCR":
		return answerCounter(p.state.increment(), nil)
	case "INFO":
		text, err := json.Marshal(p.info())
		if err != nil {
			return answerError(err)
		}
		return text
	case "VERIFY":
		v, err := p.state.verify()
		if err != nil {
			return fmt.Appendf(nil, "BAD %v", err)
		}
		return fmt.Appendf(nil, "OK pages=%d keys=%d counter=%d", v.Pages, v.Keys, v.Counter)
	case "ECHO":
		return bytes.Clone(rest)
	}
	return fmt.Appendf(nil, "ERR unknown request %.32q: want PING, SET, GET, INCR, INFO, VERIFY or ECHO", verb)
}

func answerCounter(n uint64, err error) []byte {
	if err != nil {
		return answerError(err)
	}
	return fmt.Appendf(nil, "OK %d", n)
}

func answerError(err error) []byte { return fmt.Appendf(nil, "ERR %v", err) }

func (p *process) info() Info {
	now := time.Now()
	demand := p.state.demand(now)
	s := p.state
	s.mu.Lock()
	defer s.mu.Unlock()
	return Info{
		ID: p.config.ID, PID: p.pid, Size: s.layout.size,
		Counter: s.get(vCounter), Keys: s.get(vKeys), Slots: s.layout.kvSlots,
		HeapPages: s.layout.heapPages, HeapSeq: s.get(vHeapSeq),
		Demand: demand, LoadTime: s.head.clock.at(now),
	}
}
