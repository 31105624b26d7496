package format

import (
	"encoding/binary"

	"assay/firmware"
)

// hisiliconBoot is the head of a boot loader for HiSilicon's and Goke's camera
// SoCs: ARM vectors, then a blank zone from 0x40 on, into which the board's
// table of register writes is copied. The ROM carries them out before there is
// RAM. Behind the zone stand its two ends as the code sees them.
var hisiliconBoot = firmware.Format{
	Name:         "hisilicon-boot",
	Source:       "U-Boot of Goke, arch/arm/cpu/armv7/gk7205v200/start.S (blank zone), init_registers.c (struct regentry); register tables of OpenIPC u-boot-hi3516ev200",
	About:        "boot image of HiSilicon chips with its table of register settings",
	Integrity:    "none; its structure is checked",
	Authenticity: "a field for secure boot in some: not verified here",
	Magics:       []firmware.Magic{{Offset: 0x20, Bytes: "\xef\xbe\xad\xde\xef\xbe\xad\xde"}, {Offset: 0x3c, Bytes: "\x78\x56\x34\x12"}},
	Parse:        parseHisiliconBoot,
}

// hisiliconGSL is the first part of a boot image for the Hi3516CV6xx
// generation: a head of 3 KiB that holds keys, then code.
var hisiliconGSL = firmware.Format{
	Name:         "hisilicon-gsl",
	Source:       "OpenIPC defib docs/qemu_hisilicon_spec.md, Composite Boot File Structure",
	About:        "secure boot image of newer HiSilicon chips",
	Integrity:    "none public",
	Authenticity: "RSA signature fields under keys whose hash is in fuses: not verified here",
	Magics:       []firmware.Magic{{Offset: gslMark, Bytes: "\x2d\xd2\xb4\x4b"}},
	Parse:        parseHisiliconGSL,
}

const (
	hisiliconTable = 0x40
	hisiliconMax   = 64 << 10 // of vectors and zone
	registerEntry  = 16       // address, value, delay, bits

	gslMark = 2048
	gslHead = 3072
)

func parseHisiliconBoot(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, min(hisiliconMax, w.Size()))
	if err != nil || len(b) < 1024 {
		return nil, notFormat("hisilicon-boot: no room for a register table")
	}
	le := binary.LittleEndian
	target, ok := isBranch(le.Uint32(b))
	if !ok || target <= hisiliconTable || target > hisiliconMax {
		return nil, notFormat("hisilicon-boot: no branch over a table")
	}
	count, end := registerTable(b[:min(int64(len(b)), target)])
	if count < 8 {
		return nil, notFormat("hisilicon-boot: %d register writes", count)
	}
	base, zone, ok := blankZone(b, end)
	if !ok && count < 32 {
		return nil, notFormat("hisilicon-boot: %d register writes and no blank zone", count)
	}
	r := &firmware.Region{Size: end, Role: firmware.RoleBootLoader, State: firmware.Parsed}
	r.AddField("register writes", "%d, from %#x to %#x", count, hisiliconTable, end)
	r.AddField("entry", "%#x", target)
	if ok {
		r.Size = zone + 8
		r.AddField("text base", "%#08x", base)
		r.AddField("blank zone", "%d bytes", zone-hisiliconTable)
	}
	r.AddField("signature", "none in this head; a secure boot area is not described in public")
	return r, nil
}

// registerTable counts the writes up to the one that is all zeros. A write to
// address zero only waits.
func registerTable(b []byte) (count int, end int64) {
	le := binary.LittleEndian
	for off := hisiliconTable; off+registerEntry <= len(b); off += registerEntry {
		address, value, delay, bits := le.Uint32(b[off:]), le.Uint32(b[off+4:]), le.Uint32(b[off+8:]), le.Uint32(b[off+12:])
		if address|value|delay|bits == 0 {
			return count, int64(off + registerEntry)
		}
		if address == 0 && value|bits == 0 && delay < 1<<24 || address%4 == 0 && address >= 0x1000_0000 && address < 0x3000_0000 {
			count++
			continue
		}
		return 0, 0
	}
	return 0, 0
}

// blankZone looks behind the table for the zone's ends: the address of its
// start, which is the text base and 0x40, then that of its end, which is where
// the two stand.
func blankZone(b []byte, from int64) (base uint32, zone int64, ok bool) {
	le := binary.LittleEndian
	for off := int(from); off+8 <= len(b); off += 4 {
		start := le.Uint32(b[off:])
		if start == 0 {
			continue
		}
		base = start - hisiliconTable
		return base, int64(off), base%0x1000 == 0 && le.Uint32(b[off+4:])-base == uint32(off)
	}
	return 0, 0, false
}

func parseHisiliconGSL(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, gslHead)
	if err != nil {
		return nil, notFormat("hisilicon-gsl: %v", err)
	}
	length := int64(binary.LittleEndian.Uint32(b[gslMark+36:]))
	if length < 256 || length > 1<<20 || length%16 != 0 {
		return nil, notFormat("hisilicon-gsl: code of %d bytes", length)
	}
	r := loaderRegion(w, gslHead+length)
	r.AddField("code length", "%d", length)
	r.AddField("signature", "a head of %d bytes holds keys and parameters; %s", gslHead, notVerified)
	loaderCode(w, r, gslHead, length)
	return r, nil
}
