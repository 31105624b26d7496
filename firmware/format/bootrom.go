package format

import (
	"encoding/binary"

	"assay/firmware"
)

// What the boot ROMs of SoCs load first: a header that the ROM checks, then the
// code of the first loader. Where the ROM checks a signature, its fields are
// listed and not verified here.

const notVerified = "not verified here"

// bootROMHeaders are the formats of headers that stand before a loader's code
// and do not cover all of it, so that a U-Boot may begin with them.
var bootROMHeaders = map[string]bool{"hisilicon-boot": true, "ingenic-spl": true}

// loaderRegion is a first loader of which size bytes are declared.
func loaderRegion(w *firmware.Window, size int64) *firmware.Region {
	r := &firmware.Region{Size: size, Role: firmware.RoleBootLoader, State: firmware.Parsed}
	if size > w.Size() {
		r.Size, r.State = w.Size(), firmware.Opaque
		r.AddProblem("the header declares %d bytes and %d are there", size, w.Size())
	}
	return r
}

// loaderCode looks into a loader's code for what can be told of it: a banner,
// a tree, a packed part.
func loaderCode(w *firmware.Window, r *firmware.Region, off, size int64) {
	if size = min(size, r.Size-off); size <= 0 {
		return
	}
	r.Children = append(r.Children, known(w.Analyse(off, size))...)
	for _, c := range r.Children {
		if c.Format == "u-boot" && r.Name == "" {
			r.Name = c.Name
		}
	}
}

// isBranch tells whether a word is an ARM branch that jumps forward, and to
// where from the word's own place: ARM Architecture Reference Manual, A8.8.18.
func isBranch(word uint32) (target int64, ok bool) {
	if word>>24 != 0xea || word&0x800000 != 0 {
		return 0, false
	}
	return (int64(word&0xffffff) + 2) * 4, true
}

// wordSum adds little-endian words of n bytes at off. A rest of less than a
// word does not count.
func wordSum(w *firmware.Window, off, n int64) (uint32, error) {
	var sum uint32
	for n >= 4 {
		p, err := w.Bytes(off, min(n, 64<<10)&^3)
		if err != nil {
			return 0, err
		}
		for i := 0; i < len(p); i += 4 {
			sum += binary.LittleEndian.Uint32(p[i:])
		}
		off, n = off+int64(len(p)), n-int64(len(p))
	}
	return sum, nil
}
