package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The packets of RFC 1350 section 5, and the option acknowledgement of RFC 2347.
const (
	opRead  = 1
	opWrite = 2
	opData  = 3
	opAck   = 4
	opError = 5
	opOack  = 6
)

// Error codes of RFC 1350, appendix, and of RFC 2347.
const (
	codeUndefined = 0
	codeNotFound  = 1
	codeAccess    = 2
	codeFull      = 3
	codeIllegal   = 4
	codeUnknownID = 5
)

const (
	defaultBlock = 512   // RFC 1350
	minBlock     = 8     // RFC 2348
	maxBlock     = 65464 // RFC 2348
	maxRequest   = 512   // RFC 2347: "the maximum size of a request packet is 512 octets"
	maxOptions   = 16
)

// packet is a packet as it was received.
type packet struct {
	op      uint16
	request request
	block   uint16 // DATA and ACK
	data    []byte // DATA; only valid until the next packet is read
	code    uint16 // ERROR
	message string // ERROR, made safe to print
}

// request is a read or write request.
type request struct {
	name, mode string
	options    []option
}

type option struct{ name, value string }

var errPacket = errors.New("not a TFTP packet")

// parse reads a packet.
func parse(b []byte) (p packet, err error) {
	if len(b) < 2 {
		return p, fmt.Errorf("%w: %d bytes", errPacket, len(b))
	}
	p.op = binary.BigEndian.Uint16(b)
	rest := b[2:]
	switch p.op {
	case opRead, opWrite:
		p.request, err = parseRequest(b)
		return p, err
	case opData, opAck, opError:
		if len(rest) < 2 {
			return p, fmt.Errorf("%w: cut off after %d bytes", errPacket, len(b))
		}
		p.block = binary.BigEndian.Uint16(rest)
		if p.op == opData {
			p.data = rest[2:]
		}
		if p.op == opError {
			p.code, p.block = p.block, 0
			text, _, _ := bytes.Cut(rest[2:], []byte{0})
			p.message = printable(string(text))
		}
		return p, nil
	case opOack:
		return p, nil
	}
	return p, fmt.Errorf("%w: opcode %d", errPacket, p.op)
}

func parseRequest(b []byte) (r request, err error) {
	if len(b) > maxRequest {
		return r, fmt.Errorf("%w: a request of %d bytes", errPacket, len(b))
	}
	text, ended := bytes.CutSuffix(b[2:], []byte{0})
	words := strings.Split(string(text), "\x00")
	if !ended || len(words)%2 != 0 || words[0] == "" {
		return r, fmt.Errorf("%w: a request that is not names and values, each with a NUL behind it", errPacket)
	}
	r.name, r.mode = words[0], strings.ToLower(words[1])
	if words = words[2:]; len(words) > 2*maxOptions {
		return r, fmt.Errorf("%w: a request with %d options", errPacket, len(words)/2)
	}
	for i := 0; i < len(words); i += 2 {
		r.options = append(r.options, option{strings.ToLower(words[i]), words[i+1]})
	}
	return r, nil
}

// number reads an option's value, which is decimal.
func (o option) number(low, high int64) (int64, bool) {
	n, err := strconv.ParseInt(o.value, 10, 64)
	return n, err == nil && n >= low && n <= high && o.value[0] != '+'
}

func ack(block uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{0, opAck}, block)
}

func oack(options []option) []byte {
	b := []byte{0, opOack}
	for _, o := range options {
		b = append(append(append(append(b, o.name...), 0), o.value...), 0)
	}
	return b
}

func failure(code uint16, message string) []byte {
	return append(append(binary.BigEndian.AppendUint16([]byte{0, opError}, code), message...), 0)
}

// printable keeps a text from the network short and a terminal unharmed.
func printable(s string) string {
	const most = 120
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, s[:min(len(s), most)])
}
