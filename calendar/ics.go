package calendar

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-ical"

	"github.com/placed-dev/placed/fleet"
)

// FileError says what is wrong with a calendar file, and where.
type FileError struct {
	File string
	Line int // from 1
	Err  error
}

func (e *FileError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns the reason.
func (e *FileError) Unwrap() error { return e.Err }

// ReadICS expands the events of an iCalendar file (RFC 5545) into the intervals
// that touch [from, until). zone is that of times which name none. Recurrence,
// exceptions, additional dates, single instances that were moved or cancelled, and
// whole days are understood; what is damaged is refused with file, line and reason,
// because half a calendar would look like no maintenance.
func ReadICS(name string, r io.Reader, zone *time.Location, template fleet.CalendarEntry, from, until time.Time) ([]fleet.CalendarEntry, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFeedBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > maxFeedBytes {
		return nil, fmt.Errorf("%s: more than %d bytes are no calendar of the coming days", name, maxFeedBytes)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // some programs begin with a byte order mark
	components, err := decode(name, data)
	if err != nil {
		return nil, err
	}
	places := locate(data)
	var events []event
	for i, c := range components {
		e := event{Component: c, file: name, zone: zone, lines: places[i]}
		if err := e.read(); err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return expandEvents(events, template, from, until)
}

// decode reads all calendars of a file and returns their events in order.
func decode(name string, data []byte) (events []*ical.Component, err error) {
	lines := &lineReader{rest: data}
	fail := func(reason error) error { return &FileError{File: name, Line: lines.current(), Err: reason} }
	defer func() {
		// The library panics on some damaged lines.
		if reason := recover(); reason != nil {
			events, err = nil, fail(errors.New("the line is damaged"))
		}
	}()
	decoder := ical.NewDecoder(lines)
	for found := false; ; found = true {
		c, err := decoder.Decode()
		switch {
		case err == io.EOF && lines.depth > 0:
			return nil, fail(errors.New("the file ends inside a component: is it cut off?"))
		case err == io.EOF && found:
			return events, nil
		case err == io.EOF:
			return nil, fail(errors.New("the file holds no calendar"))
		case err != nil:
			return nil, fail(errors.New(strings.TrimPrefix(err.Error(), "ical: ")))
		}
		for _, child := range c.Children {
			if child.Name == ical.CompEvent {
				events = append(events, child)
			}
		}
	}
}

// lineReader hands out one line per Read, so that the number of lines read tells
// where the decoder stands.
type lineReader struct {
	rest  []byte
	line  int
	depth int // of BEGIN without END
	split bool
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := bytes.IndexByte(r.rest, '\n') + 1
	if n == 0 {
		n = len(r.rest)
	}
	if !r.split {
		r.line++
		switch upper := strings.ToUpper(string(r.rest[:min(n, 6)])); {
		case upper == "BEGIN:":
			r.depth++
		case strings.HasPrefix(upper, "END:"):
			r.depth--
		}
	}
	r.split = n > len(p)
	n = copy(p, r.rest[:n])
	r.rest = r.rest[n:]
	return n, nil
}

// current is the line that the decoder works on: it has looked at the next one,
// which might continue it, unless there is none.
func (r *lineReader) current() int {
	if len(r.rest) == 0 {
		return max(r.line, 1)
	}
	return max(r.line-1, 1)
}

// locate finds the lines of every event's properties; "" is its first line.
func locate(data []byte) []map[string]int {
	var out []map[string]int
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, maxFeedBytes+1)
	depth := 0 // within an event
	for line := 1; scanner.Scan(); line++ {
		text := scanner.Text()
		if text == "" || text[0] == ' ' || text[0] == '\t' {
			continue
		}
		end := strings.IndexAny(text, ";:")
		if end < 0 {
			continue
		}
		name, value := strings.ToUpper(text[:end]), strings.ToUpper(strings.TrimSpace(text[end+1:]))
		switch {
		case name == "BEGIN" && depth == 0 && value == ical.CompEvent:
			out, depth = append(out, map[string]int{"": line}), 1
		case name == "BEGIN" && depth > 0:
			depth++
		case name == "END" && depth > 0:
			depth--
		case depth == 1:
			if places := out[len(out)-1]; places[name] == 0 {
				places[name] = line
			}
		}
	}
	return out
}

// uidName makes a name for the books out of any UID.
func uidName(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:6])
}

// label keeps a summary printable and within bounds.
func label(summary string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError {
			return ' '
		}
		return r
	}, summary)
	const most = 120
	for len(clean) > most {
		_, size := utf8.DecodeLastRuneInString(clean)
		clean = clean[:len(clean)-size]
	}
	return strings.TrimSpace(clean)
}
