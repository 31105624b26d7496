package discovery

import (
	"assay/attest"
	"assay/devices/network/internal/xmltext"
)

// bosch is the search of Bosch cameras, now Keenfinity's: to UDP 1757, twelve
// bytes: a magic number, a transaction and a second magic number; the answer,
// to 1758, is 32 bytes of the same magic number or XML of the namespace
// OEMExt00 (UniversalScanner Bosch.cs).
var bosch = &protocol{
	name: "bosch", broadcast: true, listen: []int{1758},
	requests: []*request{{protocol: "bosch", asks: "search", port: 1757, head: bytesOf(boschMagic, uint32(1), uint32(0xff0006de))}},
	read:     readBosch,
}

const boschMagic = uint32(0x9939a427)

func readBosch(r *reading) error {
	b := record(r.b)
	if len(b) >= 4 && string(b[:4]) == bytesOf(boschMagic) {
		if len(b) == 12 {
			return errNotOurs
		}
		if len(b) < 28 {
			return malformed("bosch: %d bytes, not the record of an answer", len(b))
		}
		a := r.answer(KindCamera)
		a.spoke("binary record")
		a.mac(b.macText(8), "offset 0x08")
		a.address(b.ipText(0x10), "offset 0x10")
		return nil
	}
	doc, err := xmltext.Parse(r.b)
	if doc == nil {
		return err
	}
	device := doc.Find("device")
	if device == nil || device.Find("unitIPAddress") == nil && device.Find("physAddress") == nil {
		return malformed("bosch: XML without a device")
	}
	a := r.answer(KindCamera)
	a.spoke("xml device")
	a.observe("xml.namespace", doc.Space, "xmlns")
	a.model(device.Field("friendlyName"), "friendlyName")
	a.label(device.Field("unitName"), "unitName")
	a.setSerial(device.Field("serialNumber"), "serialNumber")
	a.mac(device.Field("physAddress"), "physAddress")
	a.address(device.Field("unitIPAddress"), "unitIPAddress")
	a.address(device.Field("unitIPv6Address"), "unitIPv6Address")
	a.claim(attest.SubjectUnit, "device-type", device.Field("deviceTypeIDs"), "deviceTypeIDs")
	return nil
}
