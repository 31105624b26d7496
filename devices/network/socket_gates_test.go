package network

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"testing"
)

// Each gate lets through what its protocol sends, and nothing that sets something.
func TestGatesOfSockets(t *testing.T) {
	ep := &endpoint{scheme: "rtsp", address: "192.0.2.1:554"}
	packet := func(version byte, pdu byte) []byte {
		inner := []byte{pdu, 11, 2, 1, 1, 2, 1, 0, 2, 1, 0, 0x30, 0}
		body := append([]byte{2, 1, version, 4, 1, 'a'}, inner...)
		return append([]byte{0x30, byte(len(body))}, body...)
	}
	scoped := func(pdu byte) []byte {
		body := []byte{2, 1, 3, 0x30, 0, 4, 0, 0x30, 6, 4, 0, 4, 0, pdu, 0}
		return append([]byte{0x30, byte(len(body))}, body...)
	}
	sshPacket := func(kind byte) []byte { return []byte{0, 0, 0, 6, 4, kind, 0, 0, 0, 0} }
	identified := func() gateFunc {
		g := sshGate()
		g([]byte(sshIdentification + "\r\n"))
		return g
	}
	hello := clientHello(0x0303, offers(nil), "", bytes.Repeat([]byte{7}, 96))
	for _, c := range []struct {
		name    string
		gate    gateFunc
		message []byte
		through bool
	}{
		{"RTSP OPTIONS", rtspGate(ep), []byte("OPTIONS rtsp://192.0.2.1:554/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: assay\r\n\r\n"), true},
		{"RTSP DESCRIBE with a login", rtspGate(ep), []byte("DESCRIBE rtsp://192.0.2.1:554/ RTSP/1.0\r\nCSeq: 3\r\nUser-Agent: assay\r\nAccept: application/sdp\r\nAuthorization: Digest a\r\n\r\n"), true},
		{"RTSP SETUP", rtspGate(ep), []byte("SETUP rtsp://192.0.2.1:554/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: assay\r\n\r\n"), false},
		{"RTSP SET_PARAMETER after OPTIONS", rtspGate(ep), []byte("OPTIONS rtsp://192.0.2.1:554/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: assay\r\n\r\nSET_PARAMETER rtsp://192.0.2.1:554/ RTSP/1.0\r\n\r\n"), false},
		{"RTSP for another host", rtspGate(ep), []byte("OPTIONS rtsp://192.0.2.2:554/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: assay\r\n\r\n"), false},
		{"RTSP with a body", rtspGate(ep), []byte("OPTIONS rtsp://192.0.2.1:554/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: assay\r\n\r\nx"), false},
		{"DVRIP SystemInfo", dvripGate, dvripFrame(1020, 0, 0, `{"Name":"SystemInfo","SessionID":"0x00000000"}`), true},
		{"DVRIP login", dvripGate, dvripFrame(1000, 0, 0, `{"EncryptType":"MD5","LoginType":"DVRIP-Web","PassWord":"tlJwpbo6","UserName":"a\"b"}`), true},
		{"DVRIP OPMachine (reboot)", dvripGate, dvripFrame(1450, 0, 0, `{"Name":"OPMachine","OPMachine":{"Action":"Reboot"}}`), false},
		{"DVRIP ConfigSet", dvripGate, dvripFrame(1040, 0, 0, `{"Name":"SystemInfo","SessionID":"0x00000000"}`), false},
		{"DVRIP SystemInfo with more", dvripGate, dvripFrame(1020, 0, 0, `{"Name":"SystemInfo","SessionID":"0x00000000"},"x":1}`), false},
		{"two frames of DVRIP", dvripGate, slices.Concat(dvripFrame(1020, 0, 0, `{"Name":"SystemInfo","SessionID":"0x00000000"}`), dvripFrame(1450, 0, 0, `{}`)), false},
		{"Baichuan's request for a nonce", baichuanGate, baichuanAsk, true},
		{"another message of Baichuan (reboot)", baichuanGate, append([]byte{0xf0, 0xde, 0xbc, 0x0a, 23}, baichuanAsk[5:]...), false},
		{"SNMP GetRequest", snmpGate, packet(1, 0xa0), true},
		{"SNMP SetRequest", snmpGate, packet(1, 0xa3), false},
		{"SNMP version 1 SetRequest", snmpGate, packet(0, 0xa3), false},
		{"SNMP GetBulk", snmpGate, packet(1, 0xa5), false},
		{"SNMP version 3 GetRequest", snmpGate, scoped(0xa0), true},
		{"SNMP version 3 SetRequest", snmpGate, scoped(0xa3), false},
		{"SNMP with something after it", snmpGate, append(packet(1, 0xa0), 0), false},
		{"SSH identification", sshGate(), []byte(sshIdentification + "\r\n"), true},
		{"SSH packet before it", sshGate(), sshPacket(20), false},
		{"SSH KEXINIT", identified(), sshPacket(20), true},
		{"SSH NEWKEYS", identified(), sshPacket(21), false},
		{"SSH service request", identified(), sshPacket(5), false},
		{"SSH user authentication", identified(), sshPacket(50), false},
		{"Telnet refusals", telnetGate, []byte{255, 252, 1, 255, 254, 3}, true},
		{"Telnet DO", telnetGate, []byte{255, 253, 1}, false},
		{"Telnet text", telnetGate, []byte("root\r\n"), false},
		{"Telnet refusal and text", telnetGate, []byte("\xff\xfc\x01root\r\n"), false},
		{"FTP QUIT", ftpGate, []byte("QUIT\r\n"), true},
		{"FTP USER", ftpGate, []byte("USER anonymous\r\n"), false},
		{"one ClientHello", helloGate(), hello, true},
		{"something after a ClientHello", helloGate(), append(slices.Clone(hello), 22), false},
		{"TLS application data", helloGate(), append([]byte{23}, hello[1:]...), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			here, there := net.Pipe()
			defer here.Close()
			defer there.Close()
			got := make(chan int, 1)
			go func() {
				n, _ := there.Read(make([]byte, 64<<10))
				got <- n
			}()
			w := &wire{Conn: here, ep: ep, gate: c.gate}
			_, err := w.Write(c.message)
			here.Close()
			var refused errNotAllowed
			if errors.As(err, &refused) == c.through || (<-got > 0) != c.through {
				t.Errorf("error %v", err)
			}
		})
	}
}
