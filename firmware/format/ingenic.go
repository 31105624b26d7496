package format

import (
	"encoding/binary"

	"assay/firmware"
)

// ingenicSPL is the first loader of Ingenic's T series as it lies in a flash at
// the SFC: nine bytes of pattern, whose last tells NOR from NAND, a CRC-7 and
// the length. Code starts at 2 KiB; before it lie parameters and, where secure
// boot is used, keys and a signature.
var ingenicSPL = firmware.Format{
	Name:         "ingenic-spl",
	Source:       "U-Boot of Ingenic, arch/mips/cpu/xburst/t31/start.S; tools/ingenic-tools/spi_checksum.c",
	About:        "first boot loader of Ingenic chips",
	Integrity:    "CRC-7 over the loader",
	Authenticity: "a field for secure boot in some: not verified here",
	Magics:       []firmware.Magic{{Bytes: "\x06\x05\x04\x03\x02\x55\xaa\x55"}},
	Parse:        parseIngenicSPL,
}

const ingenicCode = 2048

func parseIngenicSPL(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, ingenicCode)
	if err != nil {
		return nil, notFormat("ingenic-spl: %v", err)
	}
	size := int64(binary.LittleEndian.Uint32(b[12:]))
	if b[8] != 0xaa && b[8] != 0 || size <= ingenicCode || size > 256<<10 || size%4 != 0 {
		return nil, notFormat("ingenic-spl: kind %#02x, %d bytes", b[8], size)
	}
	r := loaderRegion(w, size)
	r.AddField("flash", "%s", map[byte]string{0xaa: "SFC NOR", 0: "SFC NAND"}[b[8]])
	if b[8] == 0 {
		r.AddField("NAND geometry", "%d pages a block, pages of %d bytes", 32*int(b[10]), 1024*int(b[11]))
	}
	r.AddField("length", "%d", size)
	if rest := trimZeros(b[512:]); len(rest) > 0 {
		r.AddField("parameters or secure boot", "bytes are set from %#x on; a signature in them is %s", ingenicCode-len(rest), notVerified)
	}
	if r.State == firmware.Opaque {
		return r, nil
	}
	code, err := w.Bytes(ingenicCode, size-ingenicCode)
	if err != nil {
		return r, err
	}
	// Seven bits prove next to nothing, so the state stays what it is.
	sum := crc7(code)
	r.AddCheck("CRC-7", sum == b[9], "computed %02x over the code from 2 KiB on, declared %02x; other loader builds sum other bytes", sum, b[9])
	loaderCode(w, r, ingenicCode, size-ingenicCode)
	return r, nil
}

func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// crc7 has the polynomial x^7+x^3+1, most significant bit first, from zero.
func crc7(b []byte) byte {
	var crc byte // in the upper seven bits
	for _, c := range b {
		crc ^= c
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ 0x09<<1
			} else {
				crc <<= 1
			}
		}
	}
	return crc >> 1
}
