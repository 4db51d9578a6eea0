package traffic

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// MaxLine bounds a request or answer, its newline included.
const MaxLine = 64 << 10

var errLineTooLong = fmt.Errorf("line is longer than %d bytes", MaxLine)

// lines reads one line at a time. The buffer starts small: most connections
// never see a long line.
type lines struct {
	r   *bufio.Reader
	max int
	buf []byte
}

func newLines(r io.Reader, limit int) *lines {
	return &lines{r: bufio.NewReaderSize(r, 4096), max: limit}
}

// next returns the next line with its newline; it is valid until the next call.
// An unterminated line at the end of the stream is not a message.
func (l *lines) next() ([]byte, error) {
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if len(l.buf)+len(part) > l.max {
			return nil, errLineTooLong
		}
		if err == nil && len(l.buf) == 0 {
			return part, nil
		}
		l.buf = append(l.buf, part...)
		switch {
		case err == nil:
			return l.buf, nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(l.buf) > 0:
			return nil, io.ErrUnexpectedEOF
		}
		return nil, err
	}
}

// pending says whether bytes were read ahead of the last line.
func (l *lines) pending() bool { return l.r.Buffered() > 0 }
