package camera

import (
	"encoding/binary"

	"assay/firmware"
)

// instarBNEG is Instar's image for old uClinux cameras: a kernel and a root file
// system behind two sizes.
var instarBNEG = firmware.Format{
	Name:         "instar-bneg",
	Source:       "unblob handlers/archive/instar/bneg.py; binaryanalysis-ng instar_bneg.ksy",
	Magics:       []firmware.Magic{{Bytes: "BNEG"}},
	About:        "Instar image of uClinux cameras: kernel and root file system",
	Integrity:    "none",
	Authenticity: "none",
	Parse:        parseBNEG,
}

const bnegHeader = 20

func parseBNEG(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, bnegHeader)
	if err != nil {
		return nil, notFormat("bneg: %v", err)
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	kernel, rootfs := int64(word(3)), int64(word(4))
	if major, minor := word(1), word(2); major != 1 || minor < 1 || minor > 2 || kernel == 0 {
		return nil, notFormat("bneg: version %d.%d, %d and %d bytes", major, minor, kernel, rootfs)
	}
	parts := []*section{
		{name: "kernel", role: firmware.RoleKernel, off: bnegHeader, size: kernel},
		{name: "root file system", role: firmware.RoleRootFS, off: bnegHeader + kernel, size: rootfs},
	}
	r := begin(w, extent(bnegHeader, parts))
	r.AddField("version", "%d.%d", word(1), word(2))
	r.AddField("protection", "none: neither the header nor the parts are guarded")
	lay(w, r, bnegHeader, parts)
	return r, nil
}
