package migrator

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

// frameKind tells the messages of a migration connection apart. Numbers are on
// the wire and only ever appended.
type frameKind uint8

const (
	frameOffer  frameKind = 1 + iota // source: offer, JSON
	frameAccept                      // destination: accept, JSON
	frameRefuse                      // destination: refusal, JSON
	framePages                       // source: a batch of pages
	frameRound                       // source: a round is complete, JSON round
	frameAck                         // destination: the round is written, JSON round
	frameFinal                       // source: everything is sent, JSON final
	frameSay                         // both: Say, JSON
	framePing                        // source: still here
	frameTunnel                      // source: tunnel, JSON; after its accept the bytes are the hypervisor's
	frameLimit
)

const (
	frameHeader = 16
	// maxFrame bounds a payload; a batch of pages is far smaller.
	maxFrame = 1 << 20
	// maxControl bounds the JSON frames.
	maxControl = 64 << 10
)

// A frame is 16 bytes of header — kind, codec, two zero bytes, length (uint32),
// xxh3-64 of the payload seeded with those eight bytes — and the payload, all
// little-endian.
type frame struct {
	kind    frameKind
	codec   codec
	payload []byte
}

var errFrame = errors.New("malformed frame")

func appendFrame(dst []byte, f frame) []byte {
	at := len(dst)
	dst = append(dst, byte(f.kind), byte(f.codec), 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(f.payload)))
	seed := binary.LittleEndian.Uint64(dst[at:])
	dst = binary.LittleEndian.AppendUint64(dst, xxh3.HashSeed(f.payload, seed))
	return append(dst, f.payload...)
}

// readFrame reads one frame; buf is used for the payload when it is large enough.
func readFrame(r io.Reader, buf []byte) (frame, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: frameKind(head[0]), codec: codec(head[1])}
	n := binary.LittleEndian.Uint32(head[4:])
	limit := uint32(maxControl)
	if f.kind == framePages {
		limit = maxFrame
	}
	switch {
	case f.kind == 0 || f.kind >= frameLimit || f.codec >= codecLimit || head[2] != 0 || head[3] != 0:
		return frame{}, fmt.Errorf("%w: kind %d, codec %d", errFrame, head[0], head[1])
	case n > limit:
		return frame{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", errFrame, n, limit)
	}
	if cap(buf) < int(n) {
		buf = make([]byte, n)
	}
	f.payload = buf[:n]
	if _, err := io.ReadFull(r, f.payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	if xxh3.HashSeed(f.payload, binary.LittleEndian.Uint64(head[:8])) != binary.LittleEndian.Uint64(head[8:]) {
		return frame{}, fmt.Errorf("%w: wrong checksum", errFrame)
	}
	return f, nil
}

func jsonFrame(kind frameKind, v any) (frame, error) {
	payload, err := json.Marshal(v)
	if err != nil {
		return frame{}, err
	}
	if len(payload) > maxControl {
		return frame{}, fmt.Errorf("%w: a control message of %d bytes, at most %d are allowed", errFrame, len(payload), maxControl)
	}
	return frame{kind: kind, payload: payload}, nil
}

func (f frame) decode(kind frameKind, v any) error {
	if f.kind != kind {
		return fmt.Errorf("%w: kind %d where %d was expected", errFrame, f.kind, kind)
	}
	if err := json.Unmarshal(f.payload, v); err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	return nil
}
