package format

import (
	"encoding/binary"
	"strings"

	"assay/firmware"
)

// novatekBin is a program for Novatek's camera SoCs with their HEADINFO in it:
// at 0x300 of a U-Boot, at 0x200 of an RTOS. It names the chip and the length,
// and makes the 16-bit sum over all words, each with its index added, zero.
var novatekBin = firmware.Format{
	Name:         "novatek-bin",
	Source:       "U-Boot of Novatek, arch/arm/include/asm/nvt-common/modelext/bin_info.h; board/novatek/common/nvt_ivot_fw_update.c, MemCheck_CalcCheckSum16Bit",
	About:        "image of Novatek chips",
	Integrity:    "16-bit sum",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Offset: 0x350, Bytes: "NT9"}, {Offset: 0x350, Bytes: "NA5"}, {Offset: 0x250, Bytes: "NT9"}, {Offset: 0x250, Bytes: "NA5"}},
	Parse:        parseNovatekBin,
}

func parseNovatekBin(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, 0x400)
	if err != nil {
		return nil, notFormat("novatek-bin: %v", err)
	}
	for _, at := range []int{0x300, 0x200} {
		if h := b[at : at+0x80]; strings.HasPrefix(string(h[0x50:]), "NT9") || strings.HasPrefix(string(h[0x50:]), "NA5") {
			return readNovatekBin(w, h, at)
		}
	}
	return nil, notFormat("novatek-bin: no HEADINFO")
}

func readNovatekBin(w *firmware.Window, h []byte, at int) (*firmware.Region, error) {
	le := binary.LittleEndian
	length, tag := int64(le.Uint32(h[0x68:])), le.Uint32(h[0x7c:])
	if length < 0x400 || length > 16<<20 || length%2 != 0 || length > w.Size() {
		return nil, notFormat("novatek-bin: %d bytes", length)
	}
	sum, err := indexedSum(w, length)
	if err != nil {
		return nil, err
	}
	if sum != 0 {
		return nil, notFormat("novatek-bin: the sum is %#04x", sum)
	}
	r := &firmware.Region{Size: length, State: firmware.Proven, Role: firmware.RoleBootLoader}
	if at == 0x200 {
		r.Role = firmware.RoleFirmware
	}
	r.Name = strings.TrimSpace(text(h[0x50:0x58]))
	r.AddField("chip", "%s", r.Name)
	r.AddField("SDK version", "%s", strings.TrimSpace(text(h[0x58:0x60])))
	r.AddField("SDK date", "%s", strings.TrimSpace(text(h[0x60:0x68])))
	r.AddField("entry", "%#x", le.Uint32(h))
	r.AddField("flags", "%#x", le.Uint32(h[0x78:]))
	if tag != 0 {
		r.AddField("CRC tag", "%#08x", tag)
	}
	r.AddCheck("16-bit sum with index", true, "over %d bytes", length)
	loaderCode(w, r, 0x400, length-0x400)
	return r, nil
}

// indexedSum adds 16-bit words, each with its index.
func indexedSum(w *firmware.Window, length int64) (uint16, error) {
	var sum, index uint16
	for off := int64(0); off < length; {
		p, err := w.Bytes(off, min(64<<10, length-off))
		if err != nil {
			return 0, err
		}
		for i := 0; i+1 < len(p); i += 2 {
			sum += binary.LittleEndian.Uint16(p[i:]) + index
			index++
		}
		off += int64(len(p))
	}
	return sum, nil
}
