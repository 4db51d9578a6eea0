package predictor

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/placed-dev/placed/boost"
)

// poolVersion is the first byte of an encoded Pool, OutlookVersion the second.
const poolVersion = 1

// maxModelBytes bounds one model inside a blob, so that a damaged length cannot
// ask for all of the memory.
const maxModelBytes = 16 << 20

// MarshalBinary encodes the models: version, outlook version, number of
// horizons, per horizon and level the length of its model (uint32, 0 = none) and
// its bytes, CRC-32C; little endian.
func (p *Pool) MarshalBinary() ([]byte, error) {
	out := []byte{poolVersion, OutlookVersion, byte(HorizonCount)}
	for h := range p.models {
		for q, m := range p.models[h] {
			var model []byte
			if m != nil {
				var err error
				if model, err = m.MarshalBinary(); err != nil {
					return nil, fmt.Errorf("encode the model for %s at %v: %w", Horizons[h], Levels[q], err)
				}
			}
			out = binary.LittleEndian.AppendUint32(out, uint32(len(model)))
			out = append(out, model...)
		}
	}
	return binary.LittleEndian.AppendUint32(out, checksum(out)), nil
}

// DecodePool reads what MarshalBinary wrote.
func DecodePool(data []byte) (*Pool, error) {
	p, err := decodePool(data)
	if err != nil {
		return nil, fmt.Errorf("decode pooled models: %w", err)
	}
	return p, nil
}

func decodePool(data []byte) (*Pool, error) {
	if len(data) < 7 {
		return nil, fmt.Errorf("%d bytes are too short", len(data))
	}
	if data[0] != poolVersion || data[1] != OutlookVersion || int(data[2]) != HorizonCount {
		return nil, fmt.Errorf("version %d for outlook %d with %d horizons is unknown, this build reads %d, %d, %d: train anew",
			data[0], data[1], data[2], poolVersion, OutlookVersion, HorizonCount)
	}
	body := data[:len(data)-4]
	if checksum(body) != binary.LittleEndian.Uint32(data[len(data)-4:]) {
		return nil, errors.New("the checksum does not match: fetch the blob again")
	}
	rest := body[3:]
	p := &Pool{}
	for h := range p.models {
		for q := range p.models[h] {
			if len(rest) < 4 {
				return nil, errors.New("it ends early")
			}
			length := int(binary.LittleEndian.Uint32(rest))
			rest = rest[4:]
			if length > maxModelBytes || length > len(rest) {
				return nil, fmt.Errorf("the model for %s at %v has %d bytes, %d are left", Horizons[h], Levels[q], length, len(rest))
			}
			if length == 0 {
				continue
			}
			m, err := boost.Decode(rest[:length])
			if err != nil {
				return nil, fmt.Errorf("the model for %s at %v: %w", Horizons[h], Levels[q], err)
			}
			p.models[h][q], rest = m, rest[length:]
		}
		for q := range p.models[h] {
			if (p.models[h][q] == nil) != (p.models[h][0] == nil) {
				return nil, fmt.Errorf("some levels of %s have no model", Horizons[h])
			}
		}
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes follow the last model", len(rest))
	}
	return p, nil
}

// Hash is the SHA-256 of the encoded models, by which they are fetched and
// named.
func (p *Pool) Hash() ([32]byte, error) {
	data, err := p.MarshalBinary()
	return sha256.Sum256(data), err
}
