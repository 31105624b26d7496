package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"time"

	"assay/firmware"
	"assay/firmware/compress"
)

// uImage is U-Boot's legacy image: a 64 byte header with a CRC-32 over itself
// and one over the payload.
var uImage = firmware.Format{
	Name:   "uimage",
	Source: "U-Boot include/image.h, struct legacy_img_hdr; boot/image.c; OpenWrt device trees, openwrt,ih-magic",
	Magics: []firmware.Magic{{Bytes: uImageMagic}, {Bytes: "OKLI"}, {Bytes: "\x83\x80\x00\x00"}, {Bytes: "NGE "}},
	Parse:  parseUImage,

	About:        "U-Boot legacy image",
	Integrity:    "CRC-32 of the header and of the payload",
	Authenticity: "none",
}

// uImageMagic is U-Boot's. The others are of makers who changed it so that only
// their loaders take the image; there the header's sum must hold.
const uImageMagic = "\x27\x05\x19\x56"

const (
	uImageHeader = 64
	uImageName   = 32

	typeStandalone = 1
	typeKernel     = 2
	typeRAMDisk    = 3
	typeMulti      = 4
	typeFirmware   = 5
	typeScript     = 6
	typeFilesystem = 7
	typeFlatDT     = 8
	typeKernelNoLo = 14
)

// Names of U-Boot boot/image.c, by number.
var (
	uImageOS = []string{"invalid", "openbsd", "netbsd", "freebsd", "4_4bsd", "linux", "svr4", "esix", "solaris", "irix", "sco", "dell", "ncr",
		"lynxos", "vxworks", "psos", "qnx", "u-boot", "rtems", "artos", "unity", "integrity", "ose", "plan9", "openrtos", "arm-trusted-firmware", "tee", "opensbi", "efi", "elf"}
	uImageArch = []string{"invalid", "alpha", "arm", "x86", "ia64", "mips", "mips64", "powerpc", "s390", "sh", "sparc", "sparc64", "m68k", "nios",
		"microblaze", "nios2", "blackfin", "avr32", "st200", "sandbox", "nds32", "or1k", "arm64", "arc", "x86_64", "xtensa", "riscv"}
	uImageType = []string{"invalid", "standalone", "kernel", "ramdisk", "multi", "firmware", "script", "filesystem", "flat_dt", "kwbimage", "imximage",
		"ublimage", "omapimage", "aisimage", "kernel_noload", "pblimage", "mxsimage", "gpimage", "atmelimage", "socfpgaimage", "x86_setup", "lpc32xximage",
		"loadable", "rkimage", "rksd", "rkspi", "zynqimage", "zynqmpimage", "zynqmpbif", "fpga", "vybridimage", "tee", "firmware_ivt", "pmmc", "stm32image",
		"socfpgaimage_v1", "mtk_image", "imx8mimage", "imx8image", "copro", "sunxi_egon", "sunxi_toc0", "fdt_legacy", "renesas_spkgimage", "starfive_spl", "tfa_bl31"}
	uImageComp = []string{"none", "gzip", "bzip2", "lzma", "lzo", "lz4", "zstd"}
)

var uImageMethods = map[byte]compress.Method{1: compress.Gzip, 2: compress.Bzip2, 3: compress.LZMA, 4: compress.LZO, 5: compress.LZ4, 6: compress.Zstd}

func nameOf(list []string, n byte) string {
	if int(n) < len(list) {
		return list[n]
	}
	return strconv.Itoa(int(n))
}

// uImageHead is the header, big endian on flash.
type uImageHead struct {
	headerCRC, time, size, load, entry, dataCRC uint32
	os, arch, kind, comp                        byte
	name                                        string
}

func parseUImage(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, uImageHeader)
	if err != nil {
		return nil, notFormat("uimage: %v", err)
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(b[4*i:]) }
	h := uImageHead{word(1), word(2), word(3), word(4), word(5), word(6), b[28], b[29], b[30], b[31], text(b[32:])}
	clear(b[4:8])
	sum := crc32.ChecksumIEEE(b)
	own := string(b[:4]) != uImageMagic
	if sum != h.headerCRC && (own || !h.plausible()) {
		return nil, notFormat("uimage: header CRC-32 is %08x, the header says %08x", sum, h.headerCRC)
	}
	r := h.region()
	if own {
		r.AddField("magic", "%x, not U-Boot's", b[:4])
	}
	r.AddCheck("header CRC-32", sum == h.headerCRC, "computed %08x, declared %08x", sum, h.headerCRC)
	if sum != h.headerCRC {
		// Nothing vouches for the size, so what follows is left to the sweep.
		r.State, r.Size = firmware.Opaque, uImageHeader
		r.AddProblem("header CRC-32 does not hold: the declared size of %d is not believed", h.size)
		return r, nil
	}
	r.Size = uImageHeader + int64(h.size)
	if r.Size > w.Size() {
		r.State = firmware.Opaque
		r.AddProblem("the header declares a payload of %d bytes and %d are there", h.size, w.Size()-uImageHeader)
		r.Size = w.Size()
	}
	if err := h.checkData(w, r); err != nil {
		return r, err
	}
	err = h.payload(w, r)
	if r.State == firmware.Proven {
		r.Children = covered(r.Children)
	}
	return r, err
}

// plausible tells a damaged header from four bytes that stand somewhere by chance.
func (h *uImageHead) plausible() bool {
	return h.size > 0 && h.os > 0 && int(h.os) < len(uImageOS) && h.arch > 0 && int(h.arch) < len(uImageArch) &&
		h.kind > 0 && int(h.kind) < len(uImageType) && int(h.comp) < len(uImageComp)
}

func (h *uImageHead) region() *firmware.Region {
	r := &firmware.Region{Name: h.name, Role: h.role(), State: firmware.Parsed}
	r.AddField("os", "%s", nameOf(uImageOS, h.os))
	r.AddField("architecture", "%s", nameOf(uImageArch, h.arch))
	r.AddField("type", "%s", nameOf(uImageType, h.kind))
	r.AddField("compression", "%s", nameOf(uImageComp, h.comp))
	r.AddField("created", "%s", time.Unix(int64(h.time), 0).UTC().Format(time.RFC3339))
	r.AddField("load address", "%#08x", h.load)
	r.AddField("entry point", "%#08x", h.entry)
	r.AddField("payload size", "%d", h.size)
	return r
}

func (h *uImageHead) role() firmware.Role {
	switch h.kind {
	case typeKernel, typeKernelNoLo:
		return firmware.RoleKernel
	case typeRAMDisk:
		return firmware.RoleRAMDisk
	case typeFilesystem:
		return firmware.RoleRootFS
	case typeFlatDT:
		return firmware.RoleDeviceTree
	case typeFirmware, typeStandalone:
		if nameOf(uImageOS, h.os) == "u-boot" {
			return firmware.RoleBootLoader
		}
		return firmware.RoleFirmware
	case typeScript:
		return firmware.RoleData
	}
	return firmware.RoleContainer
}

func (h *uImageHead) checkData(w *firmware.Window, r *firmware.Region) error {
	crc := crc32.NewIEEE()
	if _, err := io.Copy(crc, w.Section(uImageHeader, r.Size-uImageHeader)); err != nil {
		return fmt.Errorf("uimage: payload: %w", err)
	}
	ok := crc.Sum32() == h.dataCRC && r.State == firmware.Parsed
	r.AddCheck("data CRC-32", ok, "computed %08x, declared %08x", crc.Sum32(), h.dataCRC)
	if ok {
		r.State = firmware.Proven
	}
	return nil
}

// payload analyses what the header wraps.
func (h *uImageHead) payload(w *firmware.Window, r *firmware.Region) error {
	size := r.Size - uImageHeader
	switch {
	case size == 0:
	case h.kind == typeMulti || h.kind == typeScript:
		return h.multi(w, r, size)
	case uImageMethods[h.comp] != "" && h.kind != typeRAMDisk:
		// U-Boot leaves a compressed RAM disk to the kernel, whatever is declared.
		return h.unpack(w, r, size)
	case h.kind == typeFirmware || h.kind == typeStandalone:
		r.Children = w.AnalyseFlash(uImageHeader, size)
	default:
		r.Children = w.Analyse(uImageHeader, size)
	}
	return nil
}

func (h *uImageHead) unpack(w *firmware.Window, r *firmware.Region, size int64) error {
	c, err := unpackDeclared(w, uImageHeader, size, uImageMethods[h.comp])
	if c == nil {
		r.AddProblem("payload is declared %s, but: %v", nameOf(uImageComp, h.comp), err)
		r.Children = w.Analyse(uImageHeader, size)
		return budgetOnly(err)
	}
	r.Children = []*firmware.Region{c}
	if rest := size - c.Size; rest > 0 {
		r.Children = append(r.Children, w.Analyse(uImageHeader+c.Size, rest)...)
	}
	return err
}

// unpackDeclared reads a stream that a container says is there. Only then is
// LZMA without its usual header values believed, and the kernel's legacy LZ4
// accepted for LZ4.
func unpackDeclared(w *firmware.Window, off, size int64, m compress.Method) (*firmware.Region, error) {
	if m == compress.LZ4 {
		if head, err := w.Bytes(off, 4); err == nil && string(head) == lz4Legacy.Magics[0].Bytes {
			m = compress.LZ4Legacy
		}
	}
	return unpack(w, m, off, size, streams[m])
}

const maxParts = 64

// multi reads the table of part sizes, which ends with a zero; the parts follow,
// each aligned to four bytes. A script is a multi image of one part.
func (h *uImageHead) multi(w *firmware.Window, r *firmware.Region, size int64) error {
	var sizes []int64
	off := int64(uImageHeader)
	for {
		b, err := w.Bytes(off, 4)
		if err != nil || off+4 > r.Size || len(sizes) > maxParts {
			r.AddProblem("the table of part sizes does not end")
			return nil
		}
		off += 4
		n := int64(binary.BigEndian.Uint32(b))
		if n == 0 {
			break
		}
		sizes = append(sizes, n)
	}
	for i, n := range sizes {
		if n > r.Size-off {
			r.AddProblem("part %d at %#x declares %d bytes and %d are left", i, off, n, r.Size-off)
			return nil
		}
		role := firmware.RoleNone
		if h.kind == typeScript {
			role = firmware.RoleData
		}
		r.Children = append(r.Children, part(w, off, n, fmt.Sprintf("part %d", i), role))
		off += (n + 3) &^ 3
	}
	return nil
}
