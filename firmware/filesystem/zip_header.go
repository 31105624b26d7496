package filesystem

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// zipVariant is a way to write the signatures. The poisoned ones keep the usual
// programs from opening what is a zip file otherwise.
type zipVariant struct {
	name                string
	first               string // of the first local header
	local, central, end string
}

var zipVariants = []*zipVariant{
	{"PKZIP", "PK\x03\x04", "PK\x03\x04", "PK\x01\x02", "PK\x05\x06"},
	{"Dahua: DH for the first PK", "DH\x03\x04", "PK\x03\x04", "PK\x01\x02", "PK\x05\x06"},
	{"HiChip and Instar HD: other numbers behind PK", "PK\x03\x07", "PK\x03\x07", "PK\x01\x08", "PK\x05\x09"},
}

const (
	zipLocalSize   = 30
	zipCentralSize = 46
	zipEndSize     = 22

	zipDescriptor = "PK\x07\x08"
	zipEnd64      = "PK\x06\x06"
	zipLocator64  = "PK\x06\x07"
)

// Bits of the general purpose flags.
const (
	zipEncrypted    = 1 << 0
	zipLZMAEndMark  = 1 << 1
	zipHasDesc      = 1 << 3 // CRC-32 and sizes are behind the data
	zipStrong       = 1 << 6
	zipUTF8         = 1 << 11
	zipMasked       = 1 << 13
	zipSameInBoth   = zipEncrypted | zipHasDesc | zipStrong | zipMasked
	zipNeverDefined = 1<<14 | 1<<15 | 1<<12 | 1<<10 | 1<<9 | 1<<8 | 1<<7
)

var zipMethods = map[uint16]string{
	0: "stored", 1: "shrunk", 2: "reduced", 3: "reduced", 4: "reduced", 5: "reduced", 6: "imploded", 8: "deflate", 9: "deflate64",
	12: "bzip2", 14: "lzma", 20: "zstd", 93: "zstd", 95: "xz", 97: "wavpack", 98: "ppmd", 99: "aes",
}

func zipMethod(n uint16) string {
	if name := zipMethods[n]; name != "" {
		return name
	}
	return fmt.Sprintf("method %d", n)
}

// zipHeader is what local and central headers both say.
type zipHeader struct {
	at           int64 // in the window
	flags        uint16
	method       uint16
	date, clock  uint16
	crc          uint32
	packed, size int64
	name         string
	extra        []byte
	length       int64 // of the header, with name, extra field and comment

	zip64 bool // the sizes are in the extra field

	// Of a central header only.
	host       byte
	attributes uint32
	offset     int64 // of the local header, as it says
	comment    string
}

// readSome reads n bytes, or fewer at the end.
func readSome(r io.ReaderAt, at int64, n int) ([]byte, error) {
	p := make([]byte, n)
	got, err := r.ReadAt(p, at)
	if err == io.EOF {
		err = nil
	}
	return p[:got], err
}

var zipLE = binary.LittleEndian

// zipLocal reads a local header; nil without an error says that there is none.
func zipLocal(r io.ReaderAt, at, size int64, magic string) (*zipHeader, error) {
	if at < 0 || at > size-zipLocalSize {
		return nil, nil
	}
	p, err := readSome(r, at, zipLocalSize)
	if err != nil || len(p) < zipLocalSize || string(p[:4]) != magic {
		return nil, err
	}
	h := &zipHeader{
		at: at, flags: zipLE.Uint16(p[6:]), method: zipLE.Uint16(p[8:]), clock: zipLE.Uint16(p[10:]), date: zipLE.Uint16(p[12:]),
		crc: zipLE.Uint32(p[14:]), packed: int64(zipLE.Uint32(p[18:])), size: int64(zipLE.Uint32(p[22:])),
	}
	name, extra := int64(zipLE.Uint16(p[26:])), int64(zipLE.Uint16(p[28:]))
	if h.length = zipLocalSize + name + extra; h.length > size-at {
		return nil, nil
	}
	if p, err = readSome(r, at+zipLocalSize, int(name+extra)); err != nil || int64(len(p)) < name+extra {
		return nil, err
	}
	h.name, h.extra = string(p[:name]), p[name:]
	h.sizes64(false)
	return h, nil
}

// zipCentral reads a central header; nil without an error says that there is none.
func zipCentral(r io.ReaderAt, at, end int64, magic string) (*zipHeader, error) {
	if at < 0 || at > end-zipCentralSize {
		return nil, nil
	}
	p, err := readSome(r, at, zipCentralSize)
	if err != nil || len(p) < zipCentralSize || string(p[:4]) != magic {
		return nil, err
	}
	h := &zipHeader{
		at: at, host: p[5], flags: zipLE.Uint16(p[8:]), method: zipLE.Uint16(p[10:]), clock: zipLE.Uint16(p[12:]), date: zipLE.Uint16(p[14:]),
		crc: zipLE.Uint32(p[16:]), packed: int64(zipLE.Uint32(p[20:])), size: int64(zipLE.Uint32(p[24:])),
		attributes: zipLE.Uint32(p[38:]), offset: int64(zipLE.Uint32(p[42:])),
	}
	name, extra, comment := int64(zipLE.Uint16(p[28:])), int64(zipLE.Uint16(p[30:])), int64(zipLE.Uint16(p[32:]))
	if h.length = zipCentralSize + name + extra + comment; h.length > end-at {
		return nil, nil
	}
	if p, err = readSome(r, at+zipCentralSize, int(name+extra+comment)); err != nil || int64(len(p)) < name+extra+comment {
		return nil, err
	}
	h.name, h.extra, h.comment = string(p[:name]), p[name:name+extra], string(p[name+extra:])
	h.sizes64(true)
	return h, nil
}

// Extra fields: APPNOTE 4.5 and 4.6, and Info-ZIP's proginfo/extrafld.txt.
const (
	zipExtra64      = 0x0001
	zipExtraNTFS    = 0x000a
	zipExtraUnix    = 0x000d
	zipExtraTimes   = 0x5455
	zipExtraOldUnix = 0x5855
	zipExtraPath    = 0x7075
	zipExtraOwner16 = 0x7855
	zipExtraOwner   = 0x7875
	zipExtraAES     = 0x9901
)

// field returns an extra field's data, nil when it is not there.
func (h *zipHeader) field(id uint16) []byte {
	for p := h.extra; len(p) >= 4; {
		n := int(zipLE.Uint16(p[2:]))
		if n > len(p)-4 {
			return nil
		}
		if zipLE.Uint16(p) == id {
			return p[4 : 4+n : 4+n]
		}
		p = p[4+n:]
	}
	return nil
}

// sizes64 replaces what is all ones by the value in the zip64 extra field.
func (h *zipHeader) sizes64(central bool) {
	p := h.field(zipExtra64)
	take := func(v *int64) {
		if *v != 0xffffffff || len(p) < 8 {
			return
		}
		*v = int64(zipLE.Uint64(p) & (1<<63 - 1))
		h.zip64 = true
		p = p[8:]
	}
	take(&h.size)
	take(&h.packed)
	if central {
		take(&h.offset)
	}
}

// plausible tells a header from four bytes that stand somewhere by chance.
func (h *zipHeader) plausible() error {
	switch {
	case zipMethods[h.method] == "":
		return fmt.Errorf("compression method %d", h.method)
	case h.flags&zipNeverDefined != 0:
		return fmt.Errorf("flags %#04x", h.flags)
	case h.name == "" || len(h.name) > maxTarget:
		return fmt.Errorf("name of %d bytes", len(h.name))
	case strings.ContainsAny(h.name, "\x00\r\n"):
		return fmt.Errorf("name %.40q", h.name)
	case h.method == 0 && h.flags&(zipEncrypted|zipHasDesc) == 0 && h.packed != h.size:
		return fmt.Errorf("%d bytes stored as %d", h.size, h.packed)
	}
	return nil
}

// modTime is the most exact time that there is. That of MS-DOS has no time zone
// and is taken as it stands.
func (h *zipHeader) modTime() time.Time {
	unix := func(p []byte) time.Time { return time.Unix(int64(int32(zipLE.Uint32(p))), 0).UTC() }
	if p := h.field(zipExtraTimes); len(p) >= 5 && p[0]&1 != 0 {
		return unix(p[1:])
	}
	for _, id := range []uint16{zipExtraOldUnix, zipExtraUnix} {
		if p := h.field(id); len(p) >= 8 {
			return unix(p[4:])
		}
	}
	// NTFS: reserved, then attribute 1 with three times of 100 ns since 1601.
	if p := h.field(zipExtraNTFS); len(p) >= 16 && zipLE.Uint16(p[4:]) == 1 {
		const to1970 = 116_444_736_000_000_000
		return time.Unix((int64(zipLE.Uint64(p[8:])>>1)-to1970/2)/5_000_000, 0).UTC()
	}
	if h.date == 0 {
		return time.Unix(0, 0).UTC()
	}
	d, c := int(h.date), int(h.clock)
	return time.Date(1980+d>>9, time.Month(d>>5&15), d&31, c>>11, c>>5&63, c&31*2, 0, time.UTC)
}

func (h *zipHeader) owner() (uid, gid uint32) {
	// Version, then size and value of each; sizes up to 4 are of use.
	if p := h.field(zipExtraOwner); len(p) > 2 && p[0] == 1 {
		number := func() (v uint32) {
			if len(p) == 0 || len(p) < 1+int(p[0]) {
				p = nil
				return 0
			}
			for i := range min(int(p[0]), 4) {
				v |= uint32(p[1+i]) << (8 * i)
			}
			p = p[1+p[0]:]
			return v
		}
		p = p[1:]
		uid = number()
		return uid, number()
	}
	if p := h.field(zipExtraOwner16); len(p) >= 4 {
		return uint32(zipLE.Uint16(p)), uint32(zipLE.Uint16(p[2:]))
	}
	for _, id := range []uint16{zipExtraOldUnix, zipExtraUnix} {
		if p := h.field(id); len(p) >= 12 {
			return uint32(zipLE.Uint16(p[8:])), uint32(zipLE.Uint16(p[10:]))
		}
	}
	return 0, 0
}

// mode is the Unix mode, or one that says the same as MS-DOS's attributes.
func (h *zipHeader) mode() uint32 {
	isDir := strings.HasSuffix(h.name, "/")
	if m := h.attributes >> 16; m != 0 {
		switch m & typeMask {
		case typeDir, typeFile, typeLink, typeChar, typeBlock, typeFIFO, typeSocket:
			return m
		case 0:
			if m &= 0o7777; isDir {
				return typeDir | m
			}
			return typeFile | m
		}
	}
	m := uint32(0o644)
	if h.attributes&1 != 0 { // read-only
		m = 0o444
	}
	if isDir || h.attributes&0x10 != 0 {
		return typeDir | m | 0o111
	}
	return typeFile | m
}

// path is the name as UTF-8, where it says that it is. Other names stay bytes:
// in which of the many code pages they are is not said.
func (h *zipHeader) path() (name, problem string) {
	p := h.field(zipExtraPath)
	switch {
	case len(p) <= 5 || p[0] != 1:
	case zipLE.Uint32(p[1:]) != crc32.ChecksumIEEE([]byte(h.name)):
		return h.name, "its Unicode path is of another name and not used"
	case string(p[5:]) != h.name && isASCII(h.name):
		return h.name, fmt.Sprintf("programs that read its Unicode path call it %.80q", p[5:])
	case utf8.Valid(p[5:]):
		return string(p[5:]), ""
	}
	if h.flags&zipUTF8 != 0 && !utf8.ValidString(h.name) {
		return h.name, "its name is said to be UTF-8 and is not"
	}
	return h.name, ""
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}
