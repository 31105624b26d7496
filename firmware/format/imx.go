package format

import (
	"encoding/binary"
	"fmt"

	"assay/firmware"
)

// imxIVT is a boot image of NXP's i.MX 6, 7 and 8M: an image vector table with
// pointers in the memory that the ROM loads it to, device configuration data,
// and with High Assurance Boot a command sequence file (CSF) behind the code.
// Nothing in it is a checksum.
var imxIVT = firmware.Format{
	Name:         "imx-ivt",
	Source:       "U-Boot include/imximage.h, tools/imximage.c; NXP High Assurance Boot Version 4 API Reference, chapters 4 and 6",
	About:        "boot image of NXP i.MX 5 to 7 chips",
	Integrity:    "none; its structure is checked",
	Authenticity: "a command sequence file (HAB) with signatures: worth the keys in fuses, not verified here",
	Magics:       []firmware.Magic{{Bytes: "\xd1\x00\x20\x40"}, {Bytes: "\xd1\x00\x20\x41"}, {Bytes: "\xd1\x00\x20\x42"}, {Bytes: "\xd1\x00\x20\x43"}},
	Parse:        parseIVT,
}

const (
	ivtSize   = 32
	imxMax    = 64 << 20
	habCSF    = 0xd4
	habMaxCSF = 64 << 10
)

func parseIVT(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, ivtSize)
	if err != nil {
		return nil, notFormat("imx-ivt: %v", err)
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	entry, dcd, data, self, csf := word(1), word(3), word(4), word(5), word(6)
	// Pointers become offsets from the table; what lies before it wraps to more
	// than an image has.
	offset := func(p uint32) int64 { return int64(p - self) }
	at := offset(data)
	if self == 0 || word(2) != 0 || word(7) != 0 || at < ivtSize || at > 4096 {
		return nil, notFormat("imx-ivt: table at %#x, boot data at %#x", self, data)
	}
	boot, err := w.Bytes(at, 12)
	if err != nil {
		return nil, notFormat("imx-ivt: %v", err)
	}
	start, length := binary.LittleEndian.Uint32(boot), int64(binary.LittleEndian.Uint32(boot[4:]))
	before := int64(self - start) // of the image, up to the table
	if before > 64<<10 || length <= before+ivtSize || length > imxMax {
		return nil, notFormat("imx-ivt: loaded to %#x, %d bytes", start, length)
	}
	r := &firmware.Region{Size: length - before, Role: firmware.RoleBootLoader, State: firmware.Parsed}
	r.AddField("table version", "%#02x", b[3])
	r.AddField("loaded to", "%#08x, %d bytes from %#x before this table", start, length, before)
	r.AddField("entry", "%#08x", entry)
	if dcd != 0 {
		describeDCD(w, r, offset(dcd))
	}
	if binary.LittleEndian.Uint32(boot[8:])&1 != 0 {
		r.AddField("plugin", "yes")
	}
	end := describeHAB(w, r, csf != 0, offset(csf))
	if end > 0 {
		r.Size = min(end, r.Size)
	}
	if r.Size > w.Size() {
		r.AddProblem("the boot data declares %d bytes from here on and %d are there", r.Size, w.Size())
		r.Size, r.State = w.Size(), firmware.Opaque
	}
	loaderCode(w, r, ivtSize, r.Size-ivtSize)
	return r, nil
}

// describeDCD counts what the ROM writes before the code runs.
func describeDCD(w *firmware.Window, r *firmware.Region, off int64) {
	h, err := w.Bytes(off, 4)
	if err != nil || h[0] != 0xd2 {
		r.AddProblem("there is no device configuration data at %#x", off)
		return
	}
	r.AddField("device configuration data", "%d bytes, version %#02x", binary.BigEndian.Uint16(h[1:]), h[3])
}

// describeHAB lists what a CSF claims to cover. It returns where the image
// ends when there is no CSF at its place: a build that was never signed ends
// there.
func describeHAB(w *firmware.Window, r *firmware.Region, declared bool, off int64) (end int64) {
	if !declared {
		r.AddField("HAB", "no command sequence file: not signed")
		return 0
	}
	h, err := w.Bytes(off, 4)
	if err != nil || h[0] != habCSF || h[3]&0xf0 != 0x40 {
		r.AddField("HAB", "the place of a command sequence file at %#x holds none: not signed", off)
		if off < ivtSize || off > w.Size() {
			return 0
		}
		return off
	}
	length := int64(binary.BigEndian.Uint16(h[1:]))
	r.AddField("HAB", "command sequence file of %d bytes at %#x, version %d.%d; signatures are %s", length, off, h[3]>>4, h[3]&0xf, notVerified)
	b, err := w.Bytes(off, length)
	if err != nil || length < 4 {
		r.AddProblem("the command sequence file is cut short")
		return 0
	}
	listed := 0
	for b = b[4:]; len(b) >= 4 && listed < maxListed; listed++ {
		n := int(binary.BigEndian.Uint16(b[1:]))
		if n < 4 || n > len(b) {
			r.AddProblem("command %#02x of the command sequence file has %d bytes", b[0], n)
			return 0
		}
		habCommand(r, b[:n])
		b = b[n:]
	}
	return 0
}

// habCommand describes one command: HAB4 API Reference, section 6.2.
func habCommand(r *firmware.Region, c []byte) {
	be := binary.BigEndian
	switch {
	case c[0] == 0xbe && len(c) >= 12:
		r.AddField("HAB install key", "certificate format %#02x into slot %d, verified by slot %d", c[4], c[7], c[6])
	case c[0] == 0xca && len(c) >= 12:
		claim := fmt.Sprintf("key slot %d, signature at %#x", c[4], be.Uint32(c[8:]))
		for b := c[12:]; len(b) >= 8 && len(claim) < 512; b = b[8:] {
			claim += fmt.Sprintf(", covers %d bytes at %#08x", be.Uint32(b[4:]), be.Uint32(b))
		}
		r.AddField("HAB authenticate data", "%s; %s", claim, notVerified)
	case c[0] == 0xbe, c[0] == 0xca:
		r.AddProblem("command %#02x of the command sequence file is cut short", c[0])
	}
}
