package discovery

import (
	"encoding/binary"
	"fmt"
	"regexp"
)

// request is one datagram that may be sent: fixed bytes around at most one
// value that the protocol demands to differ.
type request struct {
	protocol string
	asks     string // what for, as in "Probe dn:NetworkVideoTransmitter"
	port     int    // where it may be sent to
	family   int    // 4 or 6 where it differs with it, else 0
	head     string
	hole     hole
	tail     string
}

// hole is the kind of a request's variable value.
type hole int

const (
	noHole   hole = iota
	uuidHole      // a random UUID, by which a unit knows a repeated message
)

// over reports whether the request is put over IPv6, or over IPv4.
func (q *request) over(v6 bool) bool {
	return q.family == 0 || q.family == 6 && v6 || q.family == 4 && !v6
}

// source names the request in claims and messages.
func (q *request) source() string { return q.protocol + " " + q.asks }

// bytes is the datagram with its value.
func (q *request) bytes(uuid string) []byte {
	if q.hole == noHole {
		return []byte(q.head)
	}
	return []byte(q.head + uuid + q.tail)
}

var uuidText = regexp.MustCompile(`^(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})$`)

// is reports whether b is this request.
func (q *request) is(port int, b []byte) bool {
	if port != q.port {
		return false
	}
	if q.hole == noHole {
		return string(b) == q.head
	}
	at, end := len(q.head), len(b)-len(q.tail)
	return end > at && string(b[:at]) == q.head && string(b[end:]) == q.tail && uuidText.Match(b[at:end])
}

// allowed is the one choke point of what this package sends over UDP: only
// datagrams of the protocols' requests, byte for byte, and only to their port.
// The protocols have other messages that set addresses and passwords, activate
// and reset; there is no way to build them here.
func allowed(port int, b []byte) bool {
	for _, p := range protocols {
		for _, q := range p.requests {
			if q.is(port, b) {
				return true
			}
		}
	}
	return false
}

// errNotAllowed is a mistake of this package, not of the unit.
type errNotAllowed struct {
	port int
	size int
}

func (e errNotAllowed) Error() string {
	return fmt.Sprintf("a datagram of %d bytes to port %d is not on the list of questions: not sent", e.size, e.port)
}

// bytesOf writes binary requests: numbers of one byte, and strings.
func bytesOf(parts ...any) string {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case uint16:
			b = binary.BigEndian.AppendUint16(b, p)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		case string:
			b = append(b, p...)
		}
	}
	return string(b)
}
