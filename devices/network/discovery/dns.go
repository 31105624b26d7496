package discovery

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// A reader of DNS messages (RFC 1035, section 4.1) for what multicast DNS
// carries. It keeps names as labels, for cameras put dots into theirs ("AXIS
// M5014 - ACCC8E000001 H.264"), which golang.org/x/net/dns/dnsmessage refuses.

// dnsName is a name by its labels.
type dnsName []string

// key is the name as it is compared.
func (n dnsName) key() string { return strings.ToLower(strings.Join(n, "\x00")) }

// Types of records that are read (RFC 1035, 2782, 3596).
const (
	typeA    = 1
	typePTR  = 12
	typeTXT  = 16
	typeAAAA = 28
	typeSRV  = 33
)

// Bounds on one message; a real one has some thirty records and no name of more
// than a few pointers.
const (
	maxRecords  = 256
	maxPointers = 16
	maxName     = 255
)

// dnsRecord is one record; only the fields of its type are set.
type dnsRecord struct {
	name   dnsName
	kind   uint16
	target dnsName // PTR, SRV
	text   []string
	addr   netip.Addr
}

// dnsRecordsOf reads the records of every section. With an error come those
// that were read before it.
func dnsRecordsOf(b []byte) (records []dnsRecord, response bool, err error) {
	if len(b) < 12 {
		return nil, false, fmt.Errorf("%d bytes are no message", len(b))
	}
	response = b[2]&0x80 != 0
	count := func(at int) int { return int(binary.BigEndian.Uint16(b[at:])) }
	at := 12
	for range count(4) {
		if _, at, err = dnsNameAt(b, at); err != nil {
			return nil, response, err
		}
		if at += 4; at > len(b) {
			return nil, response, fmt.Errorf("byte %d: a question runs past the end", at)
		}
	}
	for i := range count(6) + count(8) + count(10) {
		if i == maxRecords {
			return records, response, fmt.Errorf("more than %d records", maxRecords)
		}
		r := dnsRecord{}
		if r.name, at, err = dnsNameAt(b, at); err != nil {
			return records, response, err
		}
		if at+10 > len(b) {
			return records, response, fmt.Errorf("byte %d: a record runs past the end", at)
		}
		r.kind = binary.BigEndian.Uint16(b[at:])
		size := int(binary.BigEndian.Uint16(b[at+8:]))
		if at += 10; at+size > len(b) {
			return records, response, fmt.Errorf("byte %d: a value of %d bytes runs past the end", at, size)
		}
		if err := r.value(b, at, size); err != nil {
			return records, response, err
		}
		at += size
		records = append(records, r)
	}
	return records, response, nil
}

func (r *dnsRecord) value(b []byte, at, size int) (err error) {
	v := b[at : at+size]
	switch r.kind {
	case typePTR:
		r.target, _, err = dnsNameAt(b, at)
	case typeSRV:
		if size < 7 {
			return fmt.Errorf("byte %d: an SRV record of %d bytes", at, size)
		}
		r.target, _, err = dnsNameAt(b, at+6)
	case typeA, typeAAAA:
		a, ok := netip.AddrFromSlice(v)
		if !ok {
			return fmt.Errorf("byte %d: an address of %d bytes", at, size)
		}
		r.addr = a.Unmap()
	case typeTXT:
		for len(v) > 0 {
			n := int(v[0])
			if 1+n > len(v) {
				return fmt.Errorf("byte %d: a text runs past its record", at)
			}
			r.text = append(r.text, string(v[1:1+n]))
			v = v[1+n:]
		}
	}
	return err
}

// dnsNameAt reads the name at a place and returns where the next thing begins.
// Pointers lead back only, so they cannot loop, and no more than a few are
// followed.
func dnsNameAt(b []byte, at int) (name dnsName, next int, err error) {
	size, pointers, next := 0, 0, -1
	for {
		if at >= len(b) {
			return nil, 0, fmt.Errorf("byte %d: a name runs past the end", at)
		}
		n := int(b[at])
		switch {
		case n == 0:
			if next < 0 {
				next = at + 1
			}
			return name, next, nil
		case n&0xc0 == 0xc0:
			if at+1 >= len(b) {
				return nil, 0, fmt.Errorf("byte %d: a pointer runs past the end", at)
			}
			to := n&0x3f<<8 | int(b[at+1])
			if pointers++; to >= at || pointers > maxPointers {
				return nil, 0, fmt.Errorf("byte %d: a name points at %d, in a loop or too far", at, to)
			}
			if next < 0 {
				next = at + 2
			}
			at = to
		case n&0xc0 != 0:
			return nil, 0, fmt.Errorf("byte %d: a label of an unknown kind", at)
		default:
			if at+1+n > len(b) {
				return nil, 0, fmt.Errorf("byte %d: a label runs past the end", at)
			}
			if size += n + 1; size > maxName {
				return nil, 0, fmt.Errorf("byte %d: a name of more than %d bytes", at, maxName)
			}
			name = append(name, string(b[at+1:at+1+n]))
			at += 1 + n
		}
	}
}
