package format

import (
	"encoding/binary"
	"fmt"

	"assay/firmware"
)

// allwinnerEGON is what Allwinner's ROM boots without secure boot: BT0 is the
// first loader, BT1 one of older chips. Its sum is over all words, with a stamp
// in the place of the sum.
var allwinnerEGON = firmware.Format{
	Name:         "allwinner-egon",
	Source:       "U-Boot include/sunxi_image.h, tools/sunxi_egon.c",
	About:        "first boot loader of Allwinner chips (eGON.BT0, BT1)",
	Integrity:    "32-bit sum over the image",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Offset: 4, Bytes: "eGON.BT0"}, {Offset: 4, Bytes: "eGON.BT1"}},
	Parse:        parseEGON,
}

// allwinnerTOC0 is what it boots with secure boot: a table of a certificate, a
// key and the firmware.
var allwinnerTOC0 = firmware.Format{
	Name:         "allwinner-toc0",
	Source:       "U-Boot tools/sunxi_toc0.c; linux-sunxi.org TOC0",
	About:        "signed first boot loader of Allwinner chips",
	Integrity:    "32-bit sum over the image",
	Authenticity: "an RSA certificate chain to a key whose hash is in fuses: worth those fuses, not verified here",
	Magics:       []firmware.Magic{{Bytes: "TOC0.GLH\x00\x98\x11\x89"}},
	Parse:        parseTOC0,
}

const (
	sunxiStamp = 0x5f0a6c39
	sunxiMax   = 1 << 20
	toc0Head   = 48
	toc0Item   = 32
)

// sunxiSum compares the sum of a loader whose declared one stands at an offset.
func sunxiSum(w *firmware.Window, r *firmware.Region, at int64, declared uint32) (bool, error) {
	if r.State == firmware.Opaque {
		return false, nil
	}
	sum, err := wordSum(w, 0, r.Size)
	if err != nil {
		return false, err
	}
	sum += sunxiStamp - declared
	r.AddCheck("sum of words", sum == declared, "computed %08x over %d bytes, declared %08x", sum, r.Size, declared)
	if sum != declared {
		r.AddProblem("the sum over the loader does not hold")
		return false, nil
	}
	r.State = firmware.Proven
	return true, nil
}

func parseEGON(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, 96)
	if err != nil {
		return nil, notFormat("allwinner-egon: %v", err)
	}
	le := binary.LittleEndian
	size := int64(le.Uint32(b[16:]))
	target, arm := isBranch(le.Uint32(b))
	riscv := le.Uint32(b)&0xfff == 0x06f // JAL x0
	if size < 512 || size > sunxiMax || size%512 != 0 || !arm && !riscv {
		return nil, notFormat("allwinner-egon: %d bytes, first word %#08x", size, le.Uint32(b))
	}
	r := loaderRegion(w, size)
	r.AddField("stage", "%s", b[9:12])
	if arm {
		r.AddField("entry", "%#x", target)
	}
	if string(b[20:23]) == "SPL" {
		r.AddField("SPL header version", "%d.%d", b[23]&0x1f, b[23]>>5)
		if name := int64(le.Uint32(b[32:])); name >= 24 && name < 96 {
			r.AddField("device tree", "%s", text(b[name:]))
		}
	}
	r.AddField("signature", "none: this loader is for chips without secure boot")
	if _, err := sunxiSum(w, r, 12, le.Uint32(b[12:])); err != nil {
		return r, err
	}
	loaderCode(w, r, 96, r.Size-96)
	return r, nil
}

var toc0Names = map[uint32]string{0x010101: "certificate", 0x010202: "firmware", 0x010303: "key"}

func parseTOC0(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, toc0Head)
	if err != nil {
		return nil, notFormat("allwinner-toc0: %v", err)
	}
	le := binary.LittleEndian
	items, size := int64(le.Uint32(b[24:])), int64(le.Uint32(b[28:]))
	if items == 0 || items > 16 || size < toc0Head || size > sunxiMax || size%4 != 0 || string(b[44:48]) != "MIE;" {
		return nil, notFormat("allwinner-toc0: %d items in %d bytes", items, size)
	}
	table, err := w.Bytes(toc0Head, items*toc0Item)
	if err != nil {
		return nil, notFormat("allwinner-toc0: %v", err)
	}
	r := loaderRegion(w, size)
	ok, err := sunxiSum(w, r, 12, le.Uint32(b[12:]))
	if err != nil {
		return r, err
	}
	for i := range items {
		item := table[i*toc0Item:]
		name := toc0Names[le.Uint32(item)]
		off, n := int64(le.Uint32(item[4:])), int64(le.Uint32(item[8:]))
		if name == "" {
			name = fmt.Sprintf("item %#x", le.Uint32(item))
		}
		if string(item[28:32]) != "IIE;" || off < toc0Head+items*toc0Item || n == 0 || n > r.Size-min(off, r.Size) {
			r.AddProblem("%s at %#x of %d bytes does not lie in the image", name, off, n)
			continue
		}
		r.AddField(name, "%d bytes at %#x, load address %#x", n, off, le.Uint32(item[20:]))
		if name == "certificate" {
			r.AddField("signature", "the certificate holds a hash of the firmware and is signed by the key whose hash is fused; %s", notVerified)
		}
		role := firmware.RoleData
		if name == "firmware" {
			role = firmware.RoleBootLoader
		}
		r.Children = append(r.Children, part(w, off, n, name, role))
	}
	if ok {
		r.Children = covered(r.Children)
	}
	return r, nil
}
