package discovery

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/ipv4"
)

func TestEveryQuestionIsAllowedAndNothingElse(t *testing.T) {
	for _, p := range protocols {
		for _, q := range p.requests {
			b := q.bytes(newUUID(q))
			if !allowed(q.port, b) {
				t.Errorf("%s is not allowed", q.source())
			}
			if allowed(q.port+1, b) {
				t.Errorf("%s is allowed to another port", q.source())
			}
			for i := range b {
				if q.hole == uuidHole && i >= len(q.head) && i < len(b)-len(q.tail) {
					continue
				}
				changed := bytes.Clone(b)
				changed[i] ^= 1
				if allowed(q.port, changed) {
					t.Fatalf("%s is allowed with byte %d changed", q.source(), i)
				}
			}
			if allowed(q.port, append(bytes.Clone(b), ' ')) || allowed(q.port, b[:len(b)-1]) {
				t.Errorf("%s is allowed longer or shorter", q.source())
			}
		}
	}
}

// The messages by which these ports change a unit.
func TestMessagesThatChangeAUnitAreRefused(t *testing.T) {
	const uuid = "13A888A9-F1B1-4020-AE9F-05607682D23B"
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := &socket{protocol: sadp, conn: c.(*net.UDPConn), p4: ipv4.NewPacketConn(c)}
	for name, m := range map[string]struct {
		port int
		b    string
	}{
		"SADP activate":            {sadpPort, `<?xml version="1.0" encoding="utf-8"?><Probe><Uuid>` + uuid + `</Uuid><Types>activate</Types><Password>x</Password></Probe>`},
		"SADP update":              {sadpPort, `<?xml version="1.0" encoding="utf-8"?><Probe><Uuid>` + uuid + `</Uuid><Types>update</Types></Probe>`},
		"SADP GetCode":             {sadpPort, `<?xml version="1.0" encoding="utf-8"?><Probe><Uuid>` + uuid + `</Uuid><Types>GetCode</Types></Probe>`},
		"SADP in the UUID's place": {sadpPort, `<?xml version="1.0" encoding="utf-8"?><Probe><Uuid>` + uuid + `</Uuid><Types>activate</Types><x>` + `</Uuid><Types>inquiry</Types></Probe>`},
		"DHIP set":                 {dhipPort, dhipFrame(`{"method":"DHDiscover.setConfig","params":{"mac":""}}` + "\n")},
		"Xiongmai set":             {xiongmaiPort, "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xfc\x05\x00\x00\x00\x00"},
		"GigE Vision force IP":     {3956, "\x42\x01\x00\x04\x00\x38\x00\x01"},
		"Sony set":                 {2380, "\x02SETMAC:00-00-5e-00-53-01\xffIPADR:192.0.2.1\xff\x03"},
		"nothing":                  {sadpPort, ""},
	} {
		if allowed(m.port, []byte(m.b)) {
			t.Errorf("%s is allowed", name)
		}
		err := s.send([]byte(m.b), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(m.port)), nil)
		if _, ok := err.(errNotAllowed); !ok {
			t.Errorf("%s was sent: %v", name, err)
		}
	}
}
