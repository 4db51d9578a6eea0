package fsm

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
)

// ErrCorrupt: the bytes are not what Encode or Snapshot.WriteTo wrote.
var ErrCorrupt = errors.New("corrupt bytes")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// coder writes or reads the fields of a value in a fixed order. One description
// per type serves both directions, so that writer and reader cannot drift apart.
//
// A field may be appended to the end of a message: a reader that meets the end
// of an older message leaves the fields that follow at zero. A reader that meets
// bytes it does not know fails, because to ignore them would be to diverge from
// the members that do know them.
type coder struct {
	buf     []byte
	pos     int    // next byte to read
	limit   int    // end of the message being read
	reading bool   // false: append to buf
	text    string // buf, if it is short: texts that are read are parts of it
	strict  bool   // inside a list, whose elements may not be cut short
	err     error
}

func writer() *coder { return &coder{} }

// shortText is up to where the texts of an entry share one string. Who keeps one
// of them keeps all of it, so a long entry is not worth it.
const shortText = 512

func reader(data []byte) *coder {
	c := &coder{buf: data, limit: len(data), reading: true}
	if len(data) <= shortText {
		c.text = string(data)
	}
	return c
}

func (c *coder) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: byte %d: %s", ErrCorrupt, c.offset(), fmt.Sprintf(format, args...))
	}
}

func (c *coder) offset() int {
	if c.reading {
		return c.pos
	}
	return len(c.buf)
}

// absent reports whether nothing is to be read: after an error, or because an
// older writer did not know the field.
func (c *coder) absent() bool {
	if c.err != nil {
		return true
	}
	if c.pos < c.limit {
		return false
	}
	if c.strict {
		c.fail("a list ends in the middle of an element")
	}
	return true
}

func (c *coder) uint(v *uint64) {
	if !c.reading {
		c.buf = binary.AppendUvarint(c.buf, *v)
		return
	}
	*v = 0
	if c.absent() {
		return
	}
	n, size := binary.Uvarint(c.buf[c.pos:c.limit])
	if size <= 0 {
		c.fail("malformed number")
		return
	}
	*v, c.pos = n, c.pos+size
}

func (c *coder) int(v *int64) {
	if !c.reading {
		c.buf = binary.AppendVarint(c.buf, *v)
		return
	}
	*v = 0
	if c.absent() {
		return
	}
	n, size := binary.Varint(c.buf[c.pos:c.limit])
	if size <= 0 {
		c.fail("malformed number")
		return
	}
	*v, c.pos = n, c.pos+size
}

// small codes a plain int. Like every method it leaves the value alone while
// writing: others may be reading it.
func (c *coder) small(v *int) {
	n := int64(*v)
	c.int(&n)
	if c.reading {
		*v = int(n)
	}
}

func (c *coder) duration(v *time.Duration) { c.int((*int64)(v)) }

func (c *coder) bool(v *bool) {
	var n uint64
	if *v && !c.reading {
		n = 1
	}
	c.uint(&n)
	if n > 1 {
		c.fail("boolean %d", n)
	}
	if c.reading {
		*v = n == 1
	}
}

// float travels as its bits. What JSON cannot show may not enter the books.
func (c *coder) float(v *float64) {
	if !c.reading {
		c.checkFloat(*v)
		c.buf = binary.LittleEndian.AppendUint64(c.buf, math.Float64bits(*v))
		return
	}
	*v = 0
	if c.absent() {
		return
	}
	if c.limit-c.pos < 8 {
		c.fail("a float is cut short")
		return
	}
	*v = math.Float64frombits(binary.LittleEndian.Uint64(c.buf[c.pos:]))
	c.pos += 8
	c.checkFloat(*v)
}

func (c *coder) checkFloat(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		c.fail("%v is not a finite number", f)
	}
}

// Seconds of the years 1 and 9999, the range that JSON can show.
var (
	firstSecond = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	lastSecond  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
)

// time keeps the instant, not the zone: 0 for the zero time, else 1, seconds
// and nanoseconds.
func (c *coder) time(v *time.Time) {
	set := !v.IsZero() && !c.reading
	c.bool(&set)
	if !set {
		if c.reading {
			*v = time.Time{}
		}
		return
	}
	second, nano := v.Unix(), uint64(v.Nanosecond())
	c.int(&second)
	c.uint(&nano)
	if second < firstSecond || second > lastSecond || nano >= uint64(time.Second) {
		c.fail("a time outside the years 1 to 9999")
		return
	}
	if c.reading {
		*v = time.Unix(second, int64(nano)).UTC()
	}
}

func (c *coder) bytes(v *[]byte) {
	n := uint64(len(*v))
	if !c.reading {
		c.uint(&n)
		c.buf = append(c.buf, *v...)
		return
	}
	*v = nil
	c.uint(&n)
	if n > uint64(c.limit-c.pos) {
		c.fail("%d bytes announced, %d left", n, c.limit-c.pos)
		return
	}
	if n > 0 {
		*v = append([]byte(nil), c.buf[c.pos:c.pos+int(n)]...)
		c.pos += int(n)
	}
}

func str[T ~string](c *coder, v *T) {
	n := uint64(len(*v))
	if !c.reading {
		c.uint(&n)
		c.buf = append(c.buf, *v...)
		return
	}
	*v = ""
	c.uint(&n)
	if n > uint64(c.limit-c.pos) {
		c.fail("a text of %d bytes announced, %d left", n, c.limit-c.pos)
		return
	}
	if c.text != "" {
		*v = T(c.text[c.pos : c.pos+int(n)])
	} else {
		*v = T(c.buf[c.pos : c.pos+int(n)])
	}
	c.pos += int(n)
}

// fixed codes as many bytes as v has.
func (c *coder) fixed(v []byte) {
	if !c.reading {
		c.buf = append(c.buf, v...)
		return
	}
	clear(v)
	if c.absent() {
		return
	}
	if len(v) > c.limit-c.pos {
		c.fail("%d bytes needed, %d left", len(v), c.limit-c.pos)
		return
	}
	c.pos += copy(v, c.buf[c.pos:])
}

// late codes a field that older members do not know, at the end of a message: it
// is written only when it is set, so that whoever does not use it writes what
// they can read.
func (c *coder) late(set bool, f func()) {
	if c.reading || set {
		f()
	}
}

// enum accepts only numbers that have a name: a newer member's value must stop
// an older one, not be taken for something else.
func enum[T interface {
	~uint8
	Valid() bool
	encoding.TextMarshaler
}](c *coder, v *T) {
	n := uint64(*v)
	c.uint(&n)
	if n > math.MaxUint8 {
		c.fail("enum value %d", n)
		return
	}
	if c.reading {
		*v = T(n)
	}
	if !(*v).Valid() {
		_, err := (*v).MarshalText()
		c.fail("%v", err)
	}
}

// message frames the fields that f codes, so that fields can be appended later.
func (c *coder) message(f func()) {
	if !c.reading {
		start := len(c.buf)
		c.buf = append(c.buf, 0) // the length, mostly one byte
		f()
		c.putLength(start)
		return
	}
	var n uint64
	c.uint(&n)
	if n > uint64(c.limit-c.pos) {
		c.fail("a message of %d bytes announced, %d left", n, c.limit-c.pos)
		return
	}
	limit, strict := c.limit, c.strict
	c.limit, c.strict = c.pos+int(n), false
	f()
	if c.err == nil && c.pos != c.limit {
		c.fail("%d bytes follow the last known field", c.limit-c.pos)
	}
	c.limit, c.strict = limit, strict
}

// putLength writes the length of what follows start into the byte there, and
// makes room if it needs more than that.
func (c *coder) putLength(start int) {
	size := len(c.buf) - start - 1
	if size < 0x80 {
		c.buf[start] = byte(size)
		return
	}
	var prefix [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(prefix[:], uint64(size))
	c.buf = append(c.buf, prefix[:n-1]...)
	copy(c.buf[start+n:], c.buf[start+1:start+1+size])
	copy(c.buf[start:], prefix[:n])
}

// list codes a count and that many elements of at least one byte each.
func list[T any](c *coder, items *[]T, f func(*T)) {
	n := uint64(len(*items))
	if !c.reading {
		c.uint(&n)
		for i := range *items {
			f(&(*items)[i])
		}
		return
	}
	*items = nil
	c.uint(&n)
	if n > uint64(c.limit-c.pos) {
		c.fail("a list of %d elements announced, %d bytes left", n, c.limit-c.pos)
		return
	}
	if n == 0 || c.err != nil {
		return
	}
	strict := c.strict
	c.strict = true
	out := make([]T, 0, min(n, 1024)) // grow with what is really there
	for i := uint64(0); i < n && c.err == nil; i++ {
		var zero T
		out = append(out, zero)
		f(&out[len(out)-1])
	}
	c.strict = strict
	if c.err == nil {
		*items = out
	}
}

// optional codes a pointer: 0 for nil, else 1 and the value.
func optional[T any](c *coder, p **T, f func(*T)) {
	set := *p != nil && !c.reading
	c.bool(&set)
	if !set {
		if c.reading {
			*p = nil
		}
		return
	}
	if c.reading {
		*p = new(T)
	}
	f(*p)
}

// seal appends the CRC32C of everything written.
func (c *coder) seal() []byte {
	return binary.LittleEndian.AppendUint32(c.buf, crc32.Checksum(c.buf, castagnoli))
}

// unseal checks magic, version and CRC32C, and returns a reader of what lies
// between.
func unseal(what string, data []byte, magic string, newest byte) (*coder, byte, error) {
	if len(data) < len(magic)+1+crc32.Size {
		return nil, 0, fmt.Errorf("%s: %w: %d bytes are too few", what, ErrCorrupt, len(data))
	}
	if string(data[:len(magic)]) != magic {
		return nil, 0, fmt.Errorf("%s: %w: it begins with %q, not %q", what, ErrCorrupt, data[:len(magic)], magic)
	}
	body := data[:len(data)-crc32.Size]
	want := binary.LittleEndian.Uint32(data[len(body):])
	if got := crc32.Checksum(body, castagnoli); got != want {
		return nil, 0, fmt.Errorf("%s: %w: CRC32C is %08x, recorded was %08x", what, ErrCorrupt, got, want)
	}
	version := body[len(magic)]
	if version == 0 || version > newest {
		return nil, 0, fmt.Errorf("%s: %w: version %d, this build knows up to %d: run the version that wrote it",
			what, ErrCorrupt, version, newest)
	}
	c := reader(body)
	c.pos = len(magic) + 1
	return c, version, nil
}
