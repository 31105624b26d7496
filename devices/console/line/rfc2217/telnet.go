package rfc2217

import (
	"bytes"
	"errors"
	"fmt"

	"assay/devices"
)

// Telnet's commands (RFC 854) and the options that are spoken here: binary
// transmission (RFC 856), echo (RFC 857), suppress go-ahead (RFC 858) and
// COM-PORT-OPTION (RFC 2217).
const (
	se   = 240
	sb   = 250
	will = 251
	wont = 252
	do   = 253
	dont = 254
	iac  = 255

	optBinary  = 0
	optEcho    = 1
	optSGA     = 3
	optComPort = 44
)

// Bounds of what a server may send beside data.
const (
	maxSub        = 1 << 10  // kept of one subnegotiation: a signature is the longest
	maxSubTotal   = 64 << 10 // length of one, after which it counts as endless
	maxNegotiated = 1 << 10  // WILL, WONT, DO and DONT of one connection
)

var errEndless = errors.New("the console server does not stop negotiating")

// listener takes what a decoder finds beside data.
type listener interface {
	negotiate(verb, option byte) error
	subnegotiate(option byte, body []byte)
}

// decoder splits what a server sends into data and commands. Its zero value is
// at the start of a connection.
type decoder struct {
	state  decoderState
	verb   byte
	binary bool // the server sends binary: CR NUL are two bytes
	sub    []byte
	length int // of the subnegotiation, with what was not kept
}

type decoderState uint8

const (
	inData  decoderState = iota
	afterCR              // in data of a network virtual terminal
	afterIAC
	afterVerb
	inSub
	inSubIAC
)

// decode appends the data in b to dst and tells l the rest, in their order. A
// command may be cut anywhere between calls.
func (d *decoder) decode(dst, b []byte, l listener) ([]byte, error) {
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch d.state {
		case inData:
			if d.binary {
				n := bytes.IndexByte(b[i:], iac)
				if n < 0 {
					return append(dst, b[i:]...), nil
				}
				dst = append(dst, b[i:i+n]...)
				i += n
				d.state = afterIAC
				continue
			}
			dst = d.character(dst, c)
		case afterCR: // CR is followed by LF, or by NUL when it stands alone (RFC 854)
			d.state = inData
			if c != 0 {
				dst = d.character(dst, c)
			}
		case afterIAC:
			switch c {
			case iac:
				dst, d.state = append(dst, iac), inData
			case will, wont, do, dont:
				d.verb, d.state = c, afterVerb
			case sb:
				d.sub, d.length, d.state = d.sub[:0], 0, inSub
			default: // NOP, GA, AYT and the like ask for nothing here
				d.state = inData
			}
		case afterVerb:
			d.state = inData
			if err := l.negotiate(d.verb, c); err != nil {
				return dst, err
			}
		case inSub:
			if c == iac {
				d.state = inSubIAC
				continue
			}
			if err := d.keep(c); err != nil {
				return dst, err
			}
		case inSubIAC:
			if c == iac {
				d.state = inSub
				if err := d.keep(c); err != nil {
					return dst, err
				}
				continue
			}
			if c == se {
				d.state = inData
				if len(d.sub) > 0 {
					l.subnegotiate(d.sub[0], d.sub[1:])
				}
				continue
			}
			// The end of it was lost: what follows the IAC is a command.
			d.state = afterIAC
			i--
		}
	}
	return dst, nil
}

func (d *decoder) character(dst []byte, c byte) []byte {
	switch c {
	case iac:
		d.state = afterIAC
		return dst
	case '\r':
		d.state = afterCR
	}
	return append(dst, c)
}

func (d *decoder) keep(c byte) error {
	if d.length++; d.length > maxSubTotal {
		return fmt.Errorf("%w: %w", errEndless, devices.ErrHostile)
	}
	if len(d.sub) < maxSub {
		d.sub = append(d.sub, c)
	}
	return nil
}

// encode appends data as it is sent: an IAC is doubled, and where the way to the
// server is not binary a CR is followed by NUL.
func encode(dst, data []byte, binary bool) []byte {
	for _, c := range data {
		dst = append(dst, c)
		switch {
		case c == iac:
			dst = append(dst, iac)
		case c == '\r' && !binary:
			dst = append(dst, 0)
		}
	}
	return dst
}
