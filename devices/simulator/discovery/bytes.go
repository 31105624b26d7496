package discovery

import (
	"encoding/binary"
	"strings"
)

// bytes are an answer's to a question.
func (p *Placed) bytes(a *Answer, question []byte, i int) []byte {
	var b []byte
	if a.MDNS != nil {
		b = p.mdns(a.MDNS, question, i)
	}
	for _, part := range a.Parts {
		switch {
		case part.Text != "":
			text := p.fill(part.Text, question, i)
			b = append(b, text...)
			if n := part.Size - len(text); n > 0 {
				b = append(b, make([]byte, n)...)
			}
		case part.Hex != "":
			raw, _ := unhex(part.Hex) // checked
			b = append(b, raw...)
		case part.IP:
			b = append(b, p.Addr.AsSlice()...)
		case part.MAC:
			b = append(b, p.mac()...)
		}
		b = append(b, make([]byte, part.Zero)...)
	}
	b = append(b, strings.Repeat(" ", a.Pad)...)
	return framed(a.Frame, b)
}

// framed puts a header with the length before a body.
func framed(frame string, body []byte) []byte {
	n := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	var head []byte
	switch frame {
	case "dhip":
		head = append([]byte("\x20\x00\x00\x00DHIP"), make([]byte, 24)...)
		copy(head[16:], n)
		copy(head[24:], n)
	case "dvrip":
		head = append([]byte{0xff, 1}, make([]byte, 18)...)
		binary.LittleEndian.PutUint16(head[14:], 1531)
		copy(head[16:], n)
	}
	return append(head, body...)
}

// mdns is a DNS message with a PTR record and, beside it, SRV, TXT and A.
func (p *Placed) mdns(m *MDNS, question []byte, i int) []byte {
	name := func(labels ...string) []byte {
		var b []byte
		for _, l := range labels {
			b = append(append(b, byte(len(l))), l...)
		}
		return append(b, 0)
	}
	b := []byte{0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 3}
	record := func(owner []byte, kind uint16, value []byte) {
		b = append(b, owner...)
		b = binary.BigEndian.AppendUint16(b, kind)
		b = append(b, 0x80, 1, 0, 0, 0, 120)
		b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
		b = append(b, value...)
	}
	service := name(m.Service, "_tcp", "local")
	instance := name(p.fill(m.Instance, question, i), m.Service, "_tcp", "local")
	host := name(p.fill("cam-{mac.}", question, i), "local")
	var txt []byte
	for _, t := range m.TXT {
		t = p.fill(t, question, i)
		txt = append(append(txt, byte(len(t))), t...)
	}
	record(service, 12, instance)
	record(instance, 33, append([]byte{0, 0, 0, 0, 0, 80}, host...))
	record(instance, 16, txt)
	record(host, 1, p.Addr.AsSlice())
	return b
}
