package libvirt

import (
	"crypto/sha256"
	"sync"
)

// parsed remembers what was read of each domain's XML. An inventory comes every few
// seconds and the text hardly ever changes; to read it again is most of what the
// inventory costs. The zero value is ready.
type parsed struct {
	mu   sync.Mutex // guards all below
	last map[string]parsedText
}

type parsedText struct {
	sum [sha256.Size]byte
	def definition
}

// maxParsed bounds what is remembered of domains that have gone: more are not on one
// host at a time.
const maxParsed = 1024

// read is readDefinition for the domain of that UUID. What it returns is shared: it
// must not be changed in place.
func (p *parsed) read(uuid, text string) (definition, error) {
	sum := sha256.Sum256([]byte(text))
	p.mu.Lock()
	known, ok := p.last[uuid]
	p.mu.Unlock()
	if ok && known.sum == sum {
		return known.def, nil
	}
	def, err := readDefinition(text)
	if err != nil {
		return def, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil || len(p.last) >= maxParsed {
		p.last = map[string]parsedText{}
	}
	p.last[uuid] = parsedText{sum: sum, def: def}
	return def, nil
}
