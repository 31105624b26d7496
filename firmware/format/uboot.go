package format

import (
	"encoding/binary"
	"regexp"

	"assay/firmware"
)

// uBoot is a U-Boot binary, SPL included when it stands before. It is known by
// its banner, which lies anywhere in it, and carries no length.
//
// Its extent is what was written with it: from the sector that the code begins
// in, over everything that follows without beginning at a sector of its own
// (an appended control device tree does not), to an erased run or to whatever
// begins at a sector. On 64-bit ARM the start code also holds the length up to
// _end, which is compared.
var uBoot = firmware.Format{
	Name:   "u-boot",
	Source: "U-Boot cmd/version.c (banner), arch/arm/cpu/armv8/start.S (_end_ofs)",
	Adopt:  adoptUBoot,

	About:        "U-Boot binary, known by its banner",
	Integrity:    "none",
	Authenticity: "none in it: only what verifies it before it runs could vouch for it",
}

const (
	eraseSector  = 4096
	uBootMax     = 4 << 20 // the largest in Debian, with EFI and all, are near 1 MiB
	bannerLength = 160
)

// uBootBanner is U_BOOT_VERSION, then date and time in parentheses.
var uBootBanner = regexp.MustCompile(`^U-Boot (?:SPL |TPL )?((?:20\d\d|1)\.\d[\w.+~-]*) \([A-Z][a-z]{2} [ \d]\d \d{4} - \d\d:\d\d:\d\d(?: [+-]\d{4})?\)[ -~]*`)

// uBootProper is a banner that is not an SPL's: what was written with an SPL is
// called after what that loads.
var uBootProper = regexp.MustCompile(`^U-Boot ((?:20\d\d|1)\.\d[\w.+~-]*) \([A-Z][a-z]{2} [ \d]\d \d{4} - \d\d:\d\d:\d\d(?: [+-]\d{4})?\)[ -~]*`)

// uBootBuilt is the date in a banner.
var uBootBuilt = regexp.MustCompile(`\(([A-Z][a-z]{2} [ \d]\d \d{4} - \d\d:\d\d:\d\d(?: [+-]\d{4})?)\)`)

func adoptUBoot(w *firmware.Window, parts []*firmware.Region) []*firmware.Region {
	var joined []*firmware.Region
	found := false
	for len(parts) > 0 {
		n := writtenTogether(w, parts)
		group := parts[:n]
		parts = parts[n:]
		if r := joinUBoot(w, group); r != nil {
			joined, found = append(joined, r), true
			continue
		}
		joined = append(joined, group...)
	}
	if !found {
		return nil
	}
	return joined
}

// writtenTogether counts the parts up to the first that begins at a sector, or
// to an erased run behind which nothing begins off a sector.
func writtenTogether(w *firmware.Window, parts []*firmware.Region) int {
	n := 1
	for n < len(parts) {
		next := n
		if parts[next].State == firmware.Erased {
			next++
		}
		if next == len(parts) || (parts[next].Offset-w.Offset())%eraseSector == 0 {
			return n
		}
		n = next + 1
	}
	return n
}

// bannerIn returns the submatches of a banner in bytes that nothing else claims.
func bannerIn(w *firmware.Window, r *firmware.Region, literal string, banner *regexp.Regexp) [][]byte {
	if r.Format != "" || r.State != firmware.Opaque && r.State != firmware.Residue {
		return nil
	}
	var match [][]byte
	findText(w.Section(r.Offset-w.Offset(), r.Size), literal, bannerLength, func(b []byte) bool {
		if m := banner.FindSubmatch(b); m != nil {
			match = [][]byte{append([]byte(nil), m[0]...), append([]byte(nil), m[1]...)}
		}
		return match != nil
	})
	return match
}

// joinUBoot makes one region of a group that begins with unrecognised code or
// the header that a boot ROM wants before it, and holds a banner, and returns nil
// for another.
func joinUBoot(w *firmware.Window, parts []*firmware.Region) *firmware.Region {
	if parts[0].Format != "" && !bootROMHeaders[parts[0].Format] {
		return nil
	}
	var banner [][]byte
	for _, known := range []*regexp.Regexp{uBootProper, uBootBanner} {
		for i := 0; i < len(parts) && banner == nil; i++ {
			if banner = bannerIn(w, parts[i], "U-Boot ", known); banner == nil && i > 0 {
				banner = packedBanner(parts[i])
			}
		}
	}
	if banner == nil && parts[0].Format != "" && len(parts) > 1 {
		return extendHeader(parts)
	}
	if banner == nil {
		return nil
	}
	first, last := parts[0], parts[len(parts)-1]
	size := last.End() - first.Offset
	if size > uBootMax {
		return nil
	}
	r := &firmware.Region{Offset: first.Offset, Size: size, Format: "u-boot", Role: firmware.RoleBootLoader, State: firmware.Parsed, Name: string(banner[1])}
	r.AddField("version", "%s", banner[1])
	r.AddField("banner", "%s", banner[0])
	if m := uBootBuilt.FindSubmatch(banner[0]); m != nil {
		r.AddField("built", "%s", m[1])
	}
	r.AddField("extent", "up to an erased run or the next sector; U-Boot declares no length")
	r.Children = known(append([]*firmware.Region(nil), parts...))
	describeUBoot(w, r)
	checkARM64End(w, r)
	return r
}

// extendHeader makes the code that follows a boot ROM's header a part of it,
// where no banner says what it is: it is no residue of something else.
func extendHeader(parts []*firmware.Region) *firmware.Region {
	head, last := *parts[0], parts[len(parts)-1]
	r := &head
	r.Size, r.SHA256 = last.End()-r.Offset, ""
	if r.Size > uBootMax {
		return nil
	}
	r.AddField("extent", "up to an erased run or the next sector; the code behind the header declares no length")
	r.Children = known(append(append([]*firmware.Region(nil), r.Children...), parts[1:]...))
	return r
}

// packedBanner is that of a U-Boot which a small loader before it unpacks.
func packedBanner(r *firmware.Region) [][]byte {
	if r.Contents == nil || len(r.Contents.Regions) == 0 {
		return nil
	}
	inner := r.Contents.Regions[0]
	if inner.Format != "u-boot" {
		return nil
	}
	return [][]byte{[]byte(inner.Field("banner")), []byte(inner.Field("version"))}
}

// checkARM64End compares the extent with _end_ofs of the 64-bit ARM start code:
// a branch, a NOP that aligns, then four words of 64 bits.
func checkARM64End(w *firmware.Window, r *firmware.Region) {
	b, err := w.Bytes(r.Offset-w.Offset(), min(40, r.Size))
	if err != nil || len(b) < 40 {
		return
	}
	const nop = 0xd503201f
	if b[3]&0xfc != 0x14 || binary.LittleEndian.Uint32(b[4:]) != nop {
		return
	}
	end := binary.LittleEndian.Uint64(b[16:])
	r.AddField("declared end of code (_end_ofs)", "%#x", end)
	// Zeros at the binary's end pass for the erased run behind it.
	if end > uint64(r.Size)+eraseSector {
		r.AddProblem("the start code declares %d bytes and the extent has %d: the binary is cut off", end, r.Size)
	}
}
