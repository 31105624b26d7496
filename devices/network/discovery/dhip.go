package discovery

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"

	"assay/attest"
)

// DHIP is Dahua's search, UDP 37810: a header of 32 bytes and JSON. The frame
// is of rroller/dahua's discovery.py, whose author measured that bare JSON gets
// no answer, and of UniversalScanner's Dahua2.cs. The answer is
// client.notifyDevInfo. Vendors "General" and "Private" are what neutral
// firmware says, not makers. The service amplifies, so it is asked once a round.
var dhip = &protocol{
	name:      "dhip",
	groups:    []netip.Addr{netip.MustParseAddr("239.255.255.251")},
	broadcast: true,
	unicast:   true,
	requests: []*request{{
		protocol: "dhip", asks: "DHDiscover.search", port: dhipPort,
		head: dhipFrame(`{"method":"DHDiscover.search","params":{"mac":"","uni":0}}` + "\n"),
	}},
	read: readDHIP,
}

const dhipPort = 37810

func dhipFrame(body string) string {
	length := string(binary.LittleEndian.AppendUint32(nil, uint32(len(body))))
	zero := func(n int) string { return string(make([]byte, n)) }
	return "\x20\x00\x00\x00DHIP" + zero(8) + length + zero(4) + length + zero(4) + body
}

func readDHIP(r *reading) error {
	if len(r.b) < 32 || string(r.b[4:8]) != "DHIP" {
		return errNotOurs
	}
	body := strings.TrimRight(string(r.b[32:]), "\x00\r\n ")
	var answer struct {
		Method string `json:"method"`
		MAC    string `json:"mac"`
		Params struct {
			Info map[string]json.RawMessage `json:"deviceInfo"`
		} `json:"params"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		if strings.Contains(body, "client.notifyDevInfo") {
			return malformed("json: %v", err)
		}
		return errNotOurs
	}
	if answer.Method != "client.notifyDevInfo" {
		return errNotOurs
	}
	a := r.answer(KindCamera)
	info := answer.Params.Info
	get := func(name string) string { return scalar(info[name]) }
	var names []string
	for name := range info {
		names = append(names, name)
	}
	sort.Strings(names)
	a.observe("dhip.answer", strings.Join(names[:min(len(names), 60)], ","), "client.notifyDevInfo")
	class := get("DeviceClass")
	a.claim(attest.SubjectUnit, "device-class", class, "DeviceClass")
	switch {
	case slices.Contains([]string{"VTO", "VTH", "VTS", "VTNC", "BSC"}, class):
		a.role(KindIntercom)
	case strings.HasSuffix(class, "VR") || class == "EVS" || class == "HCVR":
		a.role(KindRecorder)
	}
	a.model(get("DeviceType"), "DeviceType")
	a.setSerial(get("SerialNo"), "SerialNo")
	a.mac(answer.MAC, "mac")
	a.firmware(get("Version"), "Version")
	a.maker(get("Vendor"), "Vendor")
	if m := get("Manufacturer"); m != get("Vendor") {
		a.maker(m, "Manufacturer")
	}
	if n := get("MachineName"); n != get("SerialNo") {
		a.label(n, "MachineName")
	}
	for _, p := range []string{"HttpPort", "Port"} {
		a.claim(attest.SubjectNetwork, "port", get(p), p)
	}
	for _, p := range []string{"IPv4Address", "IPv6Address"} {
		var at struct {
			IPAddress string `json:"IPAddress"`
		}
		if json.Unmarshal(info[p], &at) == nil {
			a.address(at.IPAddress, p)
		}
	}
	a.initialised(get("Init"))
	return nil
}

// initialised reads the bits of Init: the lowest two are 1 in a unit that knows
// initialisation and lacks it, 2 where it was done, and 0 in firmware that does
// not know it. The NetSDK says so of byInitStatus, which the answer's Init is:
// the 150 of a VTO2000A in the field is a unit that was set up.
func (a *answer) initialised(v string) {
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return
	}
	a.claim(attest.SubjectUnit, "init", v, "Init")
	a.inactive = n&3 == 1
}

// scalar is the text of a JSON value that is no object or list.
func scalar(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}
