package camera

import (
	"bytes"
	"encoding/binary"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// grainMedia is the image of Grain Media's GM8126: a header of 256 bytes with a
// size and a name, both unguarded.
var grainMedia = firmware.Format{
	Name:         "grain-media-gm8126",
	Source:       "fact_extractor plugins/unpacking/grain_media/code/gm8126.py",
	Magics:       []firmware.Magic{{Bytes: "\x80\x5aGM"}},
	About:        "Grain Media GM8126 image",
	Integrity:    "none",
	Authenticity: "none",
	Parse:        parseGrainMedia,
}

const (
	gmHeader = 0x100
	gmName   = 0x10
)

func parseGrainMedia(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, gmHeader)
	if err != nil {
		return nil, notFormat("gm8126: %v", err)
	}
	size, name := int64(binary.BigEndian.Uint32(b[8:])), b[gmName:]
	if end := bytes.IndexByte(name, 0); size == 0 || end < 1 || !printable(name) {
		return nil, notFormat("gm8126: an image of %d bytes named %.20q", size, name)
	}
	r := begin(w, gmHeader+size)
	r.Name, r.Role = container.Text(name), firmware.RoleFirmware
	r.AddField("payload size", "%d", size)
	r.AddField("protection", "none: neither the header nor the payload is guarded")
	s := &section{name: r.Name, off: gmHeader, size: size, role: roleOf(r.Name)}
	lay(w, r, gmHeader, []*section{s})
	return r, nil
}
