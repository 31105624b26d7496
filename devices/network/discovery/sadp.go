package discovery

import (
	"net/netip"
	"strconv"
	"strings"

	"assay/attest"
	"assay/devices/network/internal/xmltext"
)

// SADP is Hikvision's search, UDP 37020. Its facts are from the answers printed
// in public clients and from UniversalScanner's Hikvision.cs. Firmware older
// than 5.7 sends its answer to the group, so that port is listened on; newer
// answers whoever asked. Real answers hold bare ampersands and GB 18030 text
// and spell the elements in several ways.
//
// The same port takes the verbs "update", "activate" and "GetCode", which
// change a unit. They are not on the list, and a unit that is not activated is
// reported as one.
var sadp = &protocol{
	name:      "sadp",
	groups:    []netip.Addr{netip.MustParseAddr("239.255.255.250")},
	broadcast: true,
	listen:    []int{sadpPort},
	unicast:   true,
	requests: []*request{{
		protocol: "sadp", asks: "inquiry", port: sadpPort, hole: uuidHole,
		head: `<?xml version="1.0" encoding="utf-8"?><Probe><Uuid>`, tail: `</Uuid><Types>inquiry</Types></Probe>`,
	}},
	read: readSADP,
}

const sadpPort = 37020

func readSADP(r *reading) error {
	doc, err := xmltext.Parse(r.b)
	if doc == nil {
		return err
	}
	match := doc.FindFold("ProbeMatch")
	if match == nil {
		return errNotOurs
	}
	a := r.answer(KindCamera)
	get := match.FieldFold
	var names []string
	for _, c := range match.Children {
		if len(names) < 60 {
			names = append(names, c.Name)
		}
	}
	a.observe("sadp.answer", strings.Join(names, ","), "ProbeMatch")
	a.model(get("DeviceDescription"), "DeviceDescription")
	a.claim(attest.SubjectUnit, "device-type", get("DeviceType"), "DeviceType")
	a.setSerial(get("DeviceSN"), "DeviceSN")
	a.mac(get("MAC"), "MAC")
	a.address(get("IPv4Address"), "IPv4Address")
	a.address(get("IPv6Address"), "IPv6Address")
	a.firmware(get("SoftwareVersion"), "SoftwareVersion")
	a.claim(attest.SubjectFirmware, "dsp-version", get("DSPVersion"), "DSPVersion")
	a.claim(attest.SubjectUnit, "boot-time", get("BootTime"), "BootTime")
	a.claim(attest.SubjectUnit, "oem", get("OEMinfo"), "OEMinfo")
	for _, p := range []string{"HttpPort", "CommandPort"} {
		a.claim(attest.SubjectNetwork, "port", get(p), p)
	}
	if v := get("Activated"); v != "" {
		a.claim(attest.SubjectUnit, "activated", strings.ToLower(v), "Activated")
		a.inactive = strings.EqualFold(v, "false")
	}
	channels := 0
	for _, name := range []string{"AnalogChannelNum", "DigitalChannelNum"} {
		if n, err := strconv.Atoi(get(name)); err == nil && n > 0 && n < 10_000 {
			channels += n
		}
	}
	if channels > 1 {
		a.claim(attest.SubjectUnit, "channels", strconv.Itoa(channels), "AnalogChannelNum + DigitalChannelNum")
		a.role(KindRecorder)
	}
	return nil
}
