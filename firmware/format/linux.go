package format

import (
	"encoding/binary"
	"regexp"

	"assay/firmware"
)

// arm64Image is an uncompressed 64-bit ARM kernel.
var arm64Image = firmware.Format{
	Name:   "linux-arm64",
	Source: "Linux Documentation/arch/arm64/booting.rst, section 4",
	Magics: []firmware.Magic{{Offset: 0x38, Bytes: "ARM\x64"}},
	Parse:  parseARM64Image,

	About:        "Linux kernel Image for 64-bit ARM",
	Integrity:    "none",
	Authenticity: "none",
}

// riscvImage is an uncompressed RISC-V kernel.
var riscvImage = firmware.Format{
	Name:         "linux-riscv",
	Source:       "Linux Documentation/arch/riscv/boot-image-header.rst",
	About:        "Linux kernel image for RISC-V",
	Integrity:    "none",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Offset: 0x38, Bytes: "RSC\x05"}},
	Parse:        parseRISCVImage,
}

// zImage is a self-unpacking 32-bit ARM kernel.
var zImage = firmware.Format{
	Name:   "linux-zimage",
	Source: "Linux arch/arm/boot/compressed/head.S",
	Magics: []firmware.Magic{{Offset: 0x24, Bytes: "\x18\x28\x6f\x01"}, {Offset: 0x24, Bytes: "\x01\x6f\x28\x18"}},
	Parse:  parseZImage,

	About:        "Linux zImage for 32-bit ARM",
	Integrity:    "none",
	Authenticity: "none",
}

// kernel is a kernel without any header, as it comes out of a uImage of most
// architectures. It is known by its banner and is then all of what was unpacked
// that no other format claims.
var kernel = firmware.Format{
	Name:   "linux",
	Source: "Linux init/version-timestamp.c (linux_banner)",
	Adopt:  adoptKernel,

	About:        "Linux kernel, known by its banner",
	Integrity:    "none",
	Authenticity: "none",
}

const linuxBannerLength = 512

// linuxBanner is: Linux version <release> (<user>@<host>) (<compiler>) #<build> ...
var linuxBanner = regexp.MustCompile(`^Linux version (\d+\.\d+[\w.+~-]*) \([^)\n]*\)[^\n\x00]*#\d+[^\n\x00]*`)

func parseARM64Image(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, 64)
	if err != nil {
		return nil, notFormat("linux-arm64: %v", err)
	}
	size, flags := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
	switch {
	case binary.LittleEndian.Uint64(b[32:]) != 0 || binary.LittleEndian.Uint64(b[40:]) != 0 || binary.LittleEndian.Uint64(b[48:]) != 0:
		return nil, notFormat("linux-arm64: reserved fields are set")
	case size < 64 || size > 1<<30:
		return nil, notFormat("linux-arm64: image size %d", size)
	}
	r := &firmware.Region{Role: firmware.RoleKernel, State: firmware.Parsed}
	r.AddField("text offset", "%#x", binary.LittleEndian.Uint64(b[8:]))
	r.AddField("size in memory", "%d", size)
	r.AddField("flags", "%#x", flags)
	r.AddField("byte order", "%s", map[uint64]string{0: "LittleEndian", 1: "BigEndian"}[flags&1])
	r.AddField("page size", "%s", []string{"", "4 KiB", "16 KiB", "64 KiB"}[flags>>1&3])
	if string(b[:2]) == "MZ" {
		r.AddField("EFI stub", "yes")
	}
	r.Size = min(int64(size), w.Size())
	if file := peFileSize(w, int64(binary.LittleEndian.Uint32(b[60:]))); file > 0 && file <= r.Size {
		// The size in memory counts .bss, which a flash does not hold; the EFI
		// stub's section table says what the file has.
		r.Size = file
	}
	describeKernel(w, r)
	r.Children = known(w.Analyse(64, r.Size-64))
	return r, nil
}

func parseRISCVImage(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, 64)
	if err != nil {
		return nil, notFormat("linux-riscv: %v", err)
	}
	le := binary.LittleEndian
	size, version := le.Uint64(b[16:]), le.Uint32(b[32:])
	if le.Uint32(b[36:]) != 0 || le.Uint64(b[40:]) != 0 || version>>16 > 1 || size < 64 || size > 1<<30 {
		return nil, notFormat("linux-riscv: header version %#x, image size %d", version, size)
	}
	r := &firmware.Region{Role: firmware.RoleKernel, State: firmware.Parsed, Size: min(int64(size), w.Size())}
	r.AddField("header version", "%d.%d", version>>16, version&0xffff)
	r.AddField("text offset", "%#x", le.Uint64(b[8:]))
	r.AddField("size in memory", "%d", size)
	r.AddField("flags", "%#x", le.Uint64(b[24:]))
	if string(b[:2]) == "MZ" {
		r.AddField("EFI stub", "yes")
	}
	if file := peFileSize(w, int64(le.Uint32(b[60:]))); file > 0 && file <= r.Size {
		r.Size = file // without .bss, which the size in memory counts
	}
	describeKernel(w, r)
	r.Children = known(w.Analyse(64, r.Size-64))
	return r, nil
}

// peFileSize returns the end of the last section of a PE file: Microsoft PE
// Format, COFF File Header and Section Table. It is 0 when there is none.
func peFileSize(w *firmware.Window, at int64) int64 {
	b, err := w.Bytes(at, 24)
	if err != nil || string(b[:4]) != "PE\x00\x00" {
		return 0
	}
	sections, optional := int64(binary.LittleEndian.Uint16(b[6:])), int64(binary.LittleEndian.Uint16(b[20:]))
	table, err := w.Bytes(at+24+optional, sections*40)
	if err != nil {
		return 0
	}
	var end int64
	for ; len(table) >= 40; table = table[40:] {
		end = max(end, int64(binary.LittleEndian.Uint32(table[16:]))+int64(binary.LittleEndian.Uint32(table[20:])))
	}
	return end
}

func parseZImage(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, 0x34)
	if err != nil {
		return nil, notFormat("linux-zimage: %v", err)
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if b[0x24] == 0x01 {
		order = binary.BigEndian
	}
	start, end := order.Uint32(b[0x28:]), order.Uint32(b[0x2c:])
	if end <= start || end-start < 0x34 || end-start > 256<<20 {
		return nil, notFormat("linux-zimage: it runs from %#x to %#x", start, end)
	}
	r := &firmware.Region{Size: int64(end - start), Role: firmware.RoleKernel, State: firmware.Parsed}
	r.AddField("architecture", "arm")
	r.AddField("byte order", "%s", order)
	r.AddField("start address", "%#x", start)
	if r.Size > w.Size() {
		r.State = firmware.Opaque
		r.AddProblem("the header declares %d bytes and %d are there", r.Size, w.Size())
		r.Size = w.Size()
	}
	r.Children = known(w.Analyse(0x34, r.Size-0x34))
	if len(r.Children) == 1 && r.Children[0].Format == "linux" && r.Children[0].Field(unpacksItself) != "" {
		r.Children = r.Children[0].Children // that is what this header says already
	}
	nameAfterPacked(r)
	if r.State != firmware.Opaque {
		noteAppendedTree(w, r)
	}
	return r, nil
}

// nameAfterPacked names a kernel that unpacks itself after what it unpacks.
func nameAfterPacked(r *firmware.Region) {
	if k := packedKernel(r.Children); k != nil {
		r.Name = k.Name
		r.AddField("version", "%s", k.Field("version"))
		r.AddField("banner", "%s", k.Field("banner"))
	}
}

// packedKernel is the kernel in a stream among the parts.
func packedKernel(parts []*firmware.Region) *firmware.Region {
	for _, c := range parts {
		if c.Contents == nil {
			continue
		}
		for _, inner := range c.Contents.Regions {
			if inner.Role == firmware.RoleKernel {
				return inner
			}
		}
	}
	return nil
}

// noteAppendedTree says that a device tree follows at once, which a kernel with
// CONFIG_ARM_APPENDED_DTB takes for its own.
func noteAppendedTree(w *firmware.Window, r *firmware.Region) {
	if b, err := w.Bytes(r.Size, 4); err == nil && string(b) == deviceTree.Magics[0].Bytes {
		r.AddField("appended device tree", "at %#x", r.Size)
	}
}

// describeKernel looks for the banner in a kernel's extent.
func describeKernel(w *firmware.Window, r *firmware.Region) {
	off, b := findText(w.Section(0, r.Size), "Linux version ", linuxBannerLength, linuxBanner.Match)
	if off >= 0 {
		nameKernel(r, linuxBanner.FindSubmatch(b))
	}
}

func nameKernel(r *firmware.Region, banner [][]byte) {
	r.Name = "Linux " + string(banner[1])
	r.AddField("version", "%s", banner[1])
	r.AddField("banner", "%s", printable(string(banner[0])))
}

func adoptKernel(w *firmware.Window, parts []*firmware.Region) []*firmware.Region {
	if w.Flash() {
		// In a flash, a banner outside any container does not tell where its
		// kernel ends.
		return nil
	}
	whole := func() *firmware.Region {
		return &firmware.Region{Offset: w.Offset(), Size: w.Size(), Format: "linux", Role: firmware.RoleKernel, State: firmware.Parsed,
			Children: known(append([]*firmware.Region(nil), parts...))}
	}
	for _, p := range parts {
		if banner := bannerIn(w, p, "Linux version ", linuxBanner); banner != nil && !inText(w, p) {
			r := whole()
			nameKernel(r, banner)
			return []*firmware.Region{r}
		}
	}
	if selfExtracting(parts) {
		r := whole()
		r.AddField(unpacksItself, "code that unpacks the kernel behind it")
		nameAfterPacked(r)
		return []*firmware.Region{r}
	}
	return nil
}

// inText tells the line of a log, which another line follows, from the string in a
// kernel, which ends behind its newline.
func inText(w *firmware.Window, r *firmware.Region) bool {
	section := w.Section(r.Offset-w.Offset(), r.Size)
	off, found := findText(section, "Linux version ", linuxBannerLength, linuxBanner.Match)
	if off < 0 {
		return false
	}
	rest := found[len(linuxBanner.Find(found)):]
	return len(rest) > 1 && rest[0] == '\n' && rest[1] >= ' ' && rest[1] <= '~'
}

// selfExtracting recognises a vmlinuz of MIPS and others that have no header: a
// little code, then the kernel as the first thing there is.
func selfExtracting(parts []*firmware.Region) bool {
	for i, p := range parts {
		switch {
		case p.Format != "":
			return i > 0 && packedKernel(parts[i:i+1]) != nil
		case p.End()-parts[0].Offset > maxUnpacker:
			return false
		}
	}
	return false
}

const (
	maxUnpacker   = 256 << 10
	unpacksItself = "form"
)
