package network

import (
	"strings"
	"testing"

	"assay/devices"
)

// A fuzz target for every reader of the protocols with a socket of their own.

func FuzzRTSP(f *testing.F) {
	f.Add([]byte("RTSP/1.0 200 OK\r\nCSeq: 1\r\nServer: a\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("RTSP/1.0 401 Unauthorized\nserver: a\n b\n\n"))
	f.Add([]byte("RTSP/1.0 200 OK\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns=a\r\na=tool:b\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := parseRTSP(raw)
		if err != nil {
			return
		}
		if len(a.body) > len(raw) || a.whole && a.missing > 0 {
			t.Errorf("%+v", a)
		}
		m := new(memory)
		s := newSession(Open(devices.Target{}, Options{}), m)
		r := &request{protocol: "rtsp", operation: "DESCRIBE", method: "DESCRIBE"}
		s.rtspHeard(&endpoint{scheme: "rtsp"}, r, &answer{request: r, status: a.status, header: a.header, body: a.body, raw: m.Artefact("", "", raw)}, nil)
		sound(t, m)
	})
}

func FuzzDVRIP(f *testing.F) {
	f.Add(dvripFrame(1021, 1, 2, `{"Ret":100,"SystemInfo ":{"HardWare":"XM530_50X50","DigChannel":4}}`))
	f.Add(dvripFrame(1001, 1, 2, `{"AliveInterval":21,"DeviceType ":"IPC","Ret":203}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		reply, _, err := parseDVRIP(raw)
		if err != nil || reply.fields == nil {
			return
		}
		m := new(memory)
		s := newSession(Open(devices.Target{}, Options{}), m)
		reply.answer = &answer{request: dvripInfo, raw: m.Artefact("", "", raw)}
		s.observe(reply.answer, "dvrip.answer", strings.Join(reply.names(), ","), "keys")
		s.dvripRead(reply)
		s.conclude()
		sound(t, m)
	})
}

func FuzzBaichuan(f *testing.F) {
	f.Add(append(append([]byte{}, baichuanAsk...), "body"...))
	f.Add(append([]byte{0xf0, 0xde, 0xbc, 0x0a, 1, 0, 0, 0, 2, 0, 0, 0, 250}, "0000000body"...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if text, whole, err := parseBaichuan(raw); err != nil && (whole || text != nil) || len(text) > len(raw) {
			t.Errorf("%q, %v, %v", text, whole, err)
		}
	})
}

func FuzzFlight(f *testing.F) {
	f.Add(sslRecords([]byte("certificate")))
	f.Add([]byte{recordAlert, 3, 1, 0, 2, 2, 40})
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := parseFlight(raw)
		n := 0
		for _, c := range got.certificates {
			n += len(c)
		}
		if err == nil && n > len(raw) {
			t.Errorf("%d bytes of certificates in %d", n, len(raw))
		}
	})
}

func FuzzBanners(f *testing.F) {
	f.Add([]byte("\xff\xfd\x01\xff\xfb\x03192.0.0.64 login: "))
	f.Add([]byte("220-a\r\n220 b\r\n"))
	f.Add([]byte("hello\r\nSSH-2.0-x\r\n\x00\x00\x00\x2c\x04\x14" + strings.Repeat("a", 16) + "\x00\x00\x00\x01a\x00\x00\x00\x0bssh-rsa,dss"))
	f.Add([]byte("SSH-2.0-x\r\n\x00\x00\x00\x00\x01\x14" + strings.Repeat("a", 16))) // a packet shorter than its own header
	f.Add([]byte("\x30\x0d\x02\x01\x01\x04\x01a\xa0\x05\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, o := range telnetOffers(raw) {
			if !telnetGate([]byte{telnetIAC, o[0], o[1]}) {
				t.Errorf("%v would not be sent", o)
			}
		}
		telnetText(raw)
		ftpText(raw)
		snmpGate(raw)
		if heard := parseSSH(raw); len(heard.identification) > 255 {
			t.Errorf("%+v", heard)
		}
	})
}

func FuzzSNMPRead(f *testing.F) {
	f.Add(oidDescr, "; AXIS P5534-E; PTZ Dome Network Camera; 5.40.9.2; May 15 2012 09:50; 188.1; 1;")
	f.Add(oidHikSerial, "DS-2CD2143G2-I20230512AAWRL00000011")
	f.Add(oidHikMAC, "00:00:5e:00:53:71")
	f.Fuzz(func(t *testing.T, oid, value string) {
		sound(t, read(snmpSystem, value, func(s *session, a *answer) { s.snmpRead([]snmpObject{{a, oid, value}}) }))
	})
}
