package discovery

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"sort"
	"strconv"
	"strings"

	"assay/attest"
)

// xiongmai is the search of Xiongmai's DVRIP ("Sofia"), UDP 34569: the header
// of 20 bytes that TCP 34567 has, message 1530, and the answer 1531 with JSON
// of NetWork.NetCommon (NeiroNx/python-dvr DeviceManager.py). Addresses are
// hexadecimal in the order of a little-endian number. Units answer to the port
// as well as to whoever asked.
var xiongmai = &protocol{
	name: "xiongmai", broadcast: true, listen: []int{xiongmaiPort}, unicast: true,
	requests: []*request{{
		protocol: "xiongmai", asks: "search", port: xiongmaiPort,
		head: bytesOf(0xff, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 0xfa, 0x05, "\x00\x00\x00\x00"),
	}},
	read: readXiongmai,
}

const (
	xiongmaiPort   = 34569
	xiongmaiAnswer = 1531
)

func readXiongmai(r *reading) error {
	if len(r.b) < 20 || r.b[0] != 0xff || binary.LittleEndian.Uint16(r.b[14:]) != xiongmaiAnswer {
		return errNotOurs
	}
	body := r.b[20:]
	if n := binary.LittleEndian.Uint32(r.b[16:]); int64(n) < int64(len(body)) {
		body = body[:n]
	}
	var answer map[string]json.RawMessage
	if err := json.Unmarshal([]byte(strings.TrimRight(string(body), "\x00\n\r ")), &answer); err != nil {
		return malformed("json: %v", err)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(trimmed(answer)["NetWork.NetCommon"], &fields); err != nil {
		return malformed("NetWork.NetCommon: %v", err)
	}
	fields = trimmed(fields)
	get := func(name string) string { return scalar(fields[name]) }
	a := r.answer(KindCamera)
	var names []string
	for n := range fields {
		names = append(names, n)
	}
	sort.Strings(names)
	a.observe("xiongmai.answer", strings.Join(names[:min(len(names), 60)], ","), "NetWork.NetCommon")
	a.mac(get("MAC"), "MAC")
	a.address(littleEndian(get("HostIP")), "HostIP")
	a.setSerial(get("SN"), "SN")
	a.label(get("HostName"), "HostName")
	a.firmware(get("Version"), "Version")
	a.claim(attest.SubjectUnit, "build-date", get("BuildDate"), "BuildDate")
	for _, p := range []string{"HttpPort", "TCPPort"} {
		a.claim(attest.SubjectNetwork, "port", get(p), p)
	}
	if n, err := strconv.Atoi(get("ChannelNum")); err == nil && n > 1 {
		a.claim(attest.SubjectUnit, "channels", strconv.Itoa(n), "ChannelNum")
		a.role(KindRecorder)
	}
	return nil
}

// trimmed drops the blanks that real keys have at their ends.
func trimmed(m map[string]json.RawMessage) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for k, v := range m {
		out[strings.TrimSpace(k)] = v
	}
	return out
}

func littleEndian(hex string) string {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(hex), "0x"), 16, 32)
	if err != nil {
		return ""
	}
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(n))
	return netip.AddrFrom4(b).String()
}
