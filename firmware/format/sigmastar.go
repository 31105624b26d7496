package format

import (
	"encoding/binary"

	"assay/firmware"
)

// sigmastarIPL is the initial program loader of SigmaStar (MStar) SoCs: IPL_ is
// loaded by the ROM, IPLC (on newer chips IPLN) by that. The sum over the words
// behind the header was found by computing it over published loaders of the
// infinity6, 6b0 and 6e; it does not hold for the infinity6c, whose header has
// 32 bytes and whose field is not explained in public.
var sigmastarIPL = firmware.Format{
	Name:         "sigmastar-ipl",
	Source:       "linux-chenxing.org blobs/ipl.md; the sum: loaders in OpenIPC u-boot-sigmastar, computed",
	About:        "first boot loader of SigmaStar chips",
	Integrity:    "a sum over the loader",
	Authenticity: "fields for secure boot in some: not verified here",
	Magics:       []firmware.Magic{{Offset: 4, Bytes: "IPL_"}, {Offset: 4, Bytes: "IPLC"}, {Offset: 4, Bytes: "IPLN"}},
	Parse:        parseSigmastarIPL,
}

func parseSigmastarIPL(w *firmware.Window) (*firmware.Region, error) {
	const header, maxSize = 16, 1 << 20
	b, err := w.Bytes(0, 32)
	if err != nil {
		return nil, notFormat("sigmastar-ipl: %v", err)
	}
	size, declared := int64(binary.LittleEndian.Uint32(b[8:])), binary.LittleEndian.Uint32(b[12:])
	target, ok := isBranch(binary.LittleEndian.Uint32(b))
	if !ok || target < header || target >= size || size < 256 || size > maxSize || size%16 != 0 {
		return nil, notFormat("sigmastar-ipl: %d bytes, branch to %#x", size, target)
	}
	r := loaderRegion(w, size)
	r.Name = map[string]string{"IPL_": "IPL", "IPLC": "IPL_CUST", "IPLN": "IPL_CUST"}[string(b[4:8])]
	r.AddField("id", "%s", b[4:8])
	r.AddField("entry", "%#x", target)
	if r.State == firmware.Opaque {
		return r, nil
	}
	sum, err := wordSum(w, header, size-header)
	if err != nil {
		return r, err
	}
	long := binary.LittleEndian.Uint64(b[16:]) == 0 && binary.LittleEndian.Uint64(b[24:]) == 0 && target >= 32
	switch {
	case sum == declared:
		r.State = firmware.Proven
		r.AddCheck("sum of words", true, "computed %08x over %d bytes", sum, size-header)
	case long:
		r.AddField("check field", "%08x; how these chips compute it is not public", declared)
	default:
		r.AddCheck("sum of words", false, "computed %08x over %d bytes, declared %08x", sum, size-header, declared)
		r.AddProblem("the sum over the loader does not hold")
	}
	loaderCode(w, r, header, size-header)
	return r, nil
}
