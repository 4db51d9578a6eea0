package httpapi

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/placed-dev/placed/api"
)

// leaseReader reads the bodies of lease operations as Go clients and most others
// write them. An orchestrator sends thousands in a second, and encoding/json
// takes a quarter of the leader's time for them. It knows no escapes, no null, no
// key twice and no key of another spelling: whoever meets one of these, or
// anything that is not as it should be, asks encoding/json, which then reads or
// refuses the body by its own rules.
//
// The texts it returns are parts of the body, which lives as long as they do:
// until the operations are encoded for the log.
type leaseReader struct {
	body string
	at   int
}

// skip passes over white space and then over the byte, if it comes next.
func (r *leaseReader) skip(want byte) bool {
	for r.at < len(r.body) {
		switch c := r.body[r.at]; c {
		case ' ', '\t', '\r', '\n':
			r.at++
		case want:
			r.at++
			return true
		default:
			return false
		}
	}
	return false
}

// text reads a string without escapes.
func (r *leaseReader) text() (string, bool) {
	if !r.skip('"') {
		return "", false
	}
	for i := r.at; i < len(r.body); i++ {
		switch c := r.body[i]; {
		case c == '"':
			text := r.body[r.at:i]
			r.at = i + 1
			return text, utf8.ValidString(text)
		case c == '\\' || c < ' ':
			return "", false
		}
	}
	return "", false
}

// number reads what JSON calls a number, as text.
func (r *leaseReader) number() string {
	for r.at < len(r.body) && (r.body[r.at] == ' ' || r.body[r.at] == '\n') {
		r.at++
	}
	begin := r.at
	for r.at < len(r.body) {
		c := r.body[r.at]
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			break
		}
		r.at++
	}
	return r.body[begin:r.at]
}

// plain says whether JSON allows the digits as they stand: neither a sign nor a
// zero in front, and a digit on both sides of the point.
func plain(number string, fraction bool) bool {
	whole := number
	if before, after, found := strings.Cut(number, "."); found && fraction {
		whole = before
		if !digits(after) {
			return false
		}
	}
	return digits(whole) && (len(whole) == 1 || whole[0] != '0')
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// cores reads a number of cores.
func (r *leaseReader) cores() (float64, bool) {
	text := r.number()
	if !plain(text, true) {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && !math.IsInf(n, 0)
}

// bytes reads an amount of memory.
func (r *leaseReader) bytes() (int64, bool) {
	text := r.number()
	if !plain(text, false) {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// operation reads one object.
func (r *leaseReader) operation(o *api.LeaseOperation) bool {
	if !r.skip('{') {
		return false
	}
	if r.skip('}') {
		return true
	}
	seen := 0
	for {
		key, ok := r.text()
		if !ok || !r.skip(':') {
			return false
		}
		bit := 0
		switch key {
		case "op":
			bit = 1
			o.Op, ok = r.text()
		case "workload":
			bit = 2
			o.Workload, ok = r.text()
		case "destination":
			bit = 4
			o.Destination, ok = r.text()
		case "cpu":
			bit = 8
			o.CPU, ok = r.cores()
		case "memory":
			bit = 16
			o.Memory, ok = r.bytes()
		case "lease":
			bit = 32
			o.Lease, ok = r.text()
		case "reason":
			bit = 64
			o.Reason, ok = r.text()
		}
		if !ok || bit == 0 || seen&bit != 0 {
			return false
		}
		seen |= bit
		if r.skip(',') {
			continue
		}
		return r.skip('}')
	}
}

// end says that nothing follows.
func (r *leaseReader) end() bool { return !r.skip(0) && r.at == len(r.body) }

// readLeaseOperation reads the body of one operation; false: ask encoding/json.
func readLeaseOperation(body []byte) (o api.LeaseOperation, ok bool) {
	r := leaseReader{body: string(body)}
	ok = r.operation(&o) && r.end()
	return o, ok
}

// readLeaseBatch reads the body of a batch; false: ask encoding/json.
func readLeaseBatch(body []byte) (operations []api.LeaseOperation, ok bool) {
	r := leaseReader{body: string(body)}
	if !r.skip('{') {
		return nil, false
	}
	if key, ok := r.text(); !ok || key != "operations" || !r.skip(':') || !r.skip('[') {
		return nil, false
	}
	operations = make([]api.LeaseOperation, 0, api.MaxLeaseOperations)
	for {
		// One too many is refused by the check that follows, not here.
		operations = append(operations, api.LeaseOperation{})
		if !r.operation(&operations[len(operations)-1]) {
			return nil, false
		}
		if !r.skip(',') {
			break
		}
	}
	return operations, r.skip(']') && r.skip('}') && r.end()
}
