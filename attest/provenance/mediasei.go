package provenance

import (
	"bytes"
	"crypto"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The SEI messages of ONVIF Media Signing (ONVIF Media Signing Specification;
// onvif/media-signing-framework, MIT, lib/src/oms_tlv.c and oms_common.c): user
// data (type 5) of a UUID, a byte of flags, and fields of tag, length of two
// bytes, and value.

// mediaUUID names the messages.
var mediaUUID = []byte{0x00, 0x5b, 0xc9, 0x3f, 0x2d, 0x71, 0x5e, 0x95, 0xad, 0xa4, 0x79, 0x6f, 0x90, 0x87, 0x7a, 0x6f}

// The fields of a message.
const (
	mediaGeneral = 1 + iota
	mediaHashList
	mediaSignature
	mediaCrypto
	mediaVendor
	mediaCertificates
	mediaArbitrary
)

// The flags of a message.
const (
	flagCertificate = 0x80 // carries the certificates and no hashes
	flagEscaped     = 0x40 // hashed with its emulation prevention bytes
)

var errSEI = errors.New("a media signing message that cannot be read")

// mediaSEI is one message.
type mediaSEI struct {
	hashable []byte // what its signature, or the next message, vouches for

	general    bool // it speaks of pictures
	partial    bool // of part of a group of pictures
	from, to   time.Time
	counter    uint32
	count      int // NAL units
	group      []byte
	linked     []byte
	list       []byte      // the hashes of all, one after the other
	signature  []byte      // nil where a later message's covers it
	hash       crypto.Hash // 0 where it does not say
	vendor     [3]string   // firmware version, serial number, manufacturer
	chain      []byte      // PEM
	byOperator bool        // the key came from the operator and not from the factory
}

// unescape takes out the emulation prevention bytes (H.264 section 7.4.1).
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	zeros := 0
	for _, c := range b {
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}

// parseSEI reads a NAL unit that is an SEI. Nothing where it is another's.
func parseSEI(unit []byte, header int) (*mediaSEI, error) {
	if len(unit) < header+2 || unit[header] != 5 {
		return nil, nil
	}
	size, at := 0, header+1
	for ; at < len(unit) && unit[at] == 0xff; at++ {
		size += 255
	}
	if at >= len(unit) {
		return nil, nil
	}
	size += int(unit[at])
	at++
	// In a file the message may stand without emulation prevention. Which it is
	// shows by its size: a byte with the stop bit follows.
	plain := unit
	if len(unit) != at+size+1 {
		plain = unescape(unit)
	}
	if size < len(mediaUUID)+1 || len(plain)-at < size || !bytes.Equal(plain[at:at+len(mediaUUID)], mediaUUID) {
		return nil, nil
	}
	m := &mediaSEI{hashable: plain}
	flags := plain[at+len(mediaUUID)]
	fields, end := at+len(mediaUUID)+1, at+size
	if flags&flagEscaped != 0 {
		m.hashable = unit
	}
	for at := fields; at < end; {
		if end-at < 3 {
			return nil, fmt.Errorf("%w: a field is cut off", errSEI)
		}
		tag, n := plain[at], int(binary.BigEndian.Uint16(plain[at+1:]))
		if n > end-at-3 || n == 0 {
			return nil, fmt.Errorf("%w: field %d of %d bytes", errSEI, tag, n)
		}
		value := plain[at+3 : at+3+n]
		if tag == mediaSignature && m.signature == nil {
			// All up to here is signed.
			m.hashable = plain[:at]
			if flags&flagEscaped != 0 {
				m.hashable = unit[:escapedLength(unit, at, len(plain) < len(unit))]
			}
		} else if m.signature != nil {
			return nil, fmt.Errorf("%w: field %d stands behind the signature, which does not cover it", errSEI, tag)
		}
		if err := m.field(tag, value); err != nil {
			return nil, err
		}
		at += 3 + n
	}
	if flags&flagCertificate != 0 && m.general {
		return nil, fmt.Errorf("%w: hashes in a message for certificates", errSEI)
	}
	return m, nil
}

// escapedLength is how many bytes of unit give the first n without emulation
// prevention. One before byte n belongs to the rest.
func escapedLength(unit []byte, n int, escaped bool) int {
	if !escaped {
		return n
	}
	zeros, plain := 0, 0
	for i, c := range unit {
		if plain == n {
			return i
		}
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		plain++
	}
	return len(unit)
}

func (m *mediaSEI) field(tag byte, value []byte) error {
	version, v := value[0], value[1:]
	if version != 1 && !(tag == mediaGeneral && version == 2) {
		return fmt.Errorf("%w: version %d of field %d", errSEI, version, tag)
	}
	switch tag {
	case mediaGeneral:
		times := 16 // bytes
		if version == 1 {
			times = 8
		}
		if len(v) < 4+times+6 || (len(v)-4-times-6)%2 != 0 {
			return fmt.Errorf("%w: general field of %d bytes", errSEI, len(v))
		}
		m.general, m.partial = true, v[3] != 0
		v = v[4:]
		m.from, m.to = since1601(v), since1601(v)
		if version == 2 {
			m.to = since1601(v[8:])
		}
		v = v[times:]
		m.counter, m.count = binary.BigEndian.Uint32(v), int(binary.BigEndian.Uint16(v[4:]))
		v = v[6:]
		m.group, m.linked = v[:len(v)/2], v[len(v)/2:]
	case mediaHashList:
		m.list = v
	case mediaSignature:
		if len(v) < 2 || int(binary.BigEndian.Uint16(v)) > len(v)-2 || binary.BigEndian.Uint16(v) == 0 {
			return fmt.Errorf("%w: signature field", errSEI)
		}
		m.signature = v[2 : 2+binary.BigEndian.Uint16(v)]
	case mediaCrypto:
		return m.crypto(v)
	case mediaVendor:
		for i := range m.vendor {
			if len(v) < 1 || len(v) < 1+int(v[0]) {
				return fmt.Errorf("%w: vendor field", errSEI)
			}
			m.vendor[i], v = string(v[1:1+int(v[0])]), v[1+int(v[0]):]
		}
	case mediaCertificates:
		if len(v) < 2 {
			return fmt.Errorf("%w: certificate field", errSEI)
		}
		m.byOperator, m.chain = v[0] != 0, v[1:]
	case mediaArbitrary:
	default:
		return fmt.Errorf("%w: unknown field %d", errSEI, tag)
	}
	return nil
}

// crypto reads which hash is used. The signature's algorithm is that of the key.
func (m *mediaSEI) crypto(v []byte) error {
	if len(v) < 1 || len(v) < 1+int(v[0]) {
		return fmt.Errorf("%w: crypto field", errSEI)
	}
	var oid asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(v[1:1+int(v[0])], &oid); err != nil || len(rest) > 0 {
		return fmt.Errorf("%w: crypto field: no object identifier", errSEI)
	}
	switch oid.String() {
	case "2.16.840.1.101.3.4.2.1":
		m.hash = crypto.SHA256
	case "2.16.840.1.101.3.4.2.2":
		m.hash = crypto.SHA384
	case "2.16.840.1.101.3.4.2.3":
		m.hash = crypto.SHA512
	default:
		return fmt.Errorf("%w: hash %s", errSEI, oid)
	}
	return nil
}

// since1601 reads a time in units of 100 ns, as the specification counts it.
func since1601(b []byte) time.Time {
	n := int64(binary.BigEndian.Uint64(b))
	return time.Unix(n/1e7-11_644_473_600, n%1e7*100).UTC()
}
