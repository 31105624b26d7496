package filesystem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	firmware.Register(firmware.Format{
		Name:   "cpio",
		Source: "libarchive cpio(5); kernel Documentation/driver-api/early-userspace/buffer-format.rst",
		Magics: []firmware.Magic{{Bytes: "070701"}, {Bytes: "070702"}, {Bytes: "070707"}, {Bytes: "\xc7\x71"}, {Bytes: "\x71\xc7"}},
		Parse:  parseCpio,

		About:        "cpio archive, also as initramfs",
		Integrity:    "sum of bytes in its crc kind, none in the others",
		Authenticity: "none",
	})
}

// ErrNotCpio says that there is no cpio header at all.
var ErrNotCpio = errors.New("no cpio header")

const (
	cpioTrailer = "TRAILER!!!"
	cpioBlock   = 512 // archives are padded to it
	cpioMaxName = 4096
)

// cpioVariant is one of the ways to write a header.
type cpioVariant struct {
	name   string
	magic  string
	header int64 // bytes before the name
	align  int64 // of the data and the next header
	sums   bool
	parse  func(h []byte) (cpioHeader, error)
}

var cpioVariants = []*cpioVariant{
	{"newc", "070701", 110, 4, false, parseNewc},
	{"crc", "070702", 110, 4, true, parseNewc},
	{"odc", "070707", 76, 1, false, parseOdc},
	{"binary, little endian", "\xc7\x71", 26, 2, false, func(h []byte) (cpioHeader, error) { return parseOldCpio(h, binary.LittleEndian), nil }},
	{"binary, big endian", "\x71\xc7", 26, 2, false, func(h []byte) (cpioHeader, error) { return parseOldCpio(h, binary.BigEndian), nil }},
}

// cpioHeader is one entry.
type cpioHeader struct {
	Inode
	major, minor uint32 // of the device that it was on
	nameSize     int64  // with its NUL
	sum          uint32
}

func parseNewc(h []byte) (cpioHeader, error) {
	v, err := cpioNumbers(h[6:], 16, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8)
	if err != nil {
		return cpioHeader{}, err
	}
	return cpioHeader{
		Inode: Inode{
			Number: v[0], Mode: uint32(v[1]), UID: uint32(v[2]), GID: uint32(v[3]), Links: uint32(v[4]),
			ModTime: time.Unix(int64(v[5]), 0).UTC(), Size: int64(v[6]), Major: uint32(v[9]), Minor: uint32(v[10]),
		},
		major: uint32(v[7]), minor: uint32(v[8]), nameSize: int64(v[11]), sum: uint32(v[12]),
	}, nil
}

func parseOdc(h []byte) (cpioHeader, error) {
	v, err := cpioNumbers(h[6:], 8, 6, 6, 6, 6, 6, 6, 6, 11, 6, 11)
	if err != nil {
		return cpioHeader{}, err
	}
	return cpioHeader{
		Inode: Inode{
			Number: v[1], Mode: uint32(v[2]), UID: uint32(v[3]), GID: uint32(v[4]), Links: uint32(v[5]),
			Major: uint32(v[6] >> 8), Minor: uint32(v[6] & 0xff), ModTime: time.Unix(int64(v[7]), 0).UTC(), Size: int64(v[9]),
		},
		minor: uint32(v[0]), nameSize: int64(v[8]),
	}, nil
}

// parseOldCpio reads 16-bit words in the order of the machine that wrote them;
// of a 32-bit number the upper word is always first.
func parseOldCpio(h []byte, order binary.ByteOrder) cpioHeader {
	word := func(i int) uint32 { return uint32(order.Uint16(h[2*i:])) }
	return cpioHeader{
		Inode: Inode{
			Number: uint64(word(2)), Mode: word(3), UID: word(4), GID: word(5), Links: word(6),
			Major: word(7) >> 8, Minor: word(7) & 0xff,
			ModTime: time.Unix(int64(word(8)<<16|word(9)), 0).UTC(), Size: int64(word(11)<<16 | word(12)),
		},
		minor: word(1), nameSize: int64(word(10)),
	}
}

// cpioNumbers reads a row of ASCII numbers of the given widths.
func cpioNumbers(p []byte, base int, widths ...int) ([]uint64, error) {
	numbers := make([]uint64, len(widths))
	for i, width := range widths {
		v, err := strconv.ParseUint(string(p[:width]), base, 64)
		if err != nil {
			return nil, fmt.Errorf("header field %d is %q and no number", i, p[:width])
		}
		numbers[i] = v
		p = p[width:]
	}
	return numbers, nil
}

// Cpio is a cpio archive. It may be used from several goroutines.
type Cpio struct {
	tree
	Variant string // newc, crc, odc, or binary with its byte order
	Size    int64  // bytes from the first header to the trailer's end
	Entries int    // without the trailer
	Summed  int    // files whose checksum was computed
	BadSums int    // and of these, how many have another one
	Survey  *Survey

	archive *archive
	variant *cpioVariant
	links   map[cpioLink]*archiveNode
}

// cpioLink tells which entries are one inode.
type cpioLink struct {
	major, minor uint32
	number       uint64
}

// NewCpio reads an archive that starts at r's first byte, from its first header
// to its trailer, in which it verifies checksums where there are any. What is
// wrong with single entries is in the survey's problems.
//
// The error wraps ErrNotCpio when the first header is none. For another error
// (a later header is broken, the archive is cut short, the budget is spent) the
// archive of what came before is returned beside it.
func NewCpio(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*Cpio, error) {
	c := &Cpio{archive: newArchive(meter), links: make(map[cpioLink]*archiveNode)}
	c.tree = c.archive.tree()
	c.Survey = &c.archive.survey
	defer c.archive.finish()
	for {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		done, err := c.next(ctx, r, size)
		if err != nil && c.Entries == 0 && !fatal(ctx, err) {
			return nil, fmt.Errorf("%w: %w", ErrNotCpio, err)
		}
		if err != nil {
			return c, fmt.Errorf("cpio: entry %d at %#x: %w", c.Entries, c.Size, err)
		}
		if done {
			return c, nil
		}
		c.Entries++
	}
}

func (c *Cpio) next(ctx context.Context, r io.ReaderAt, size int64) (done bool, err error) {
	at := c.Size
	head := make([]byte, min(110, size-at))
	if _, err := r.ReadAt(head, at); err != nil && err != io.EOF {
		return false, err
	}
	v, err := c.variantOf(head)
	if err != nil {
		return false, err
	}
	h, err := v.parse(head)
	if err != nil {
		return false, err
	}
	name, err := cpioName(r, at+v.header, h.nameSize, size)
	if err != nil {
		return false, err
	}
	up := func(n int64) int64 { return (n + v.align - 1) / v.align * v.align }
	data := at + up(v.header+h.nameSize)
	if name == cpioTrailer {
		if h.Size != 0 {
			return false, fmt.Errorf("the trailer has %d bytes of data", h.Size)
		}
		c.Size = min(data, size)
		return true, nil
	}
	if h.Size > size-data {
		return false, fmt.Errorf("%.100q has %d bytes and %d are there: the archive is cut short", name, h.Size, max(0, size-data))
	}
	if err := h.plausible(); err != nil {
		return false, err
	}
	if err := c.archive.meter.Entries(1); err != nil {
		return false, err
	}
	if v.sums && h.is(typeFile) && h.Size > 0 {
		if err := c.verify(ctx, name, h, io.NewSectionReader(r, data, h.Size)); err != nil {
			return false, err
		}
	}
	if err := c.archive.add(name, c.node(name, h, r, data)); err != nil {
		return false, err
	}
	c.Size = min(data+up(h.Size), size)
	return false, nil
}

// variantOf tells the variant by the magic. All entries of an archive are of one.
func (c *Cpio) variantOf(head []byte) (*cpioVariant, error) {
	for _, v := range cpioVariants {
		if len(head) < len(v.magic) || string(head[:len(v.magic)]) != v.magic {
			continue
		}
		if int64(len(head)) < v.header {
			return nil, fmt.Errorf("header of %d bytes is cut short", len(head))
		}
		if c.variant == nil {
			c.variant, c.Variant = v, v.name
		}
		if c.variant == v {
			return v, nil
		}
	}
	return nil, fmt.Errorf("no %s header, and there was no trailer before", c.Variant)
}

func cpioName(r io.ReaderAt, at, n, size int64) (string, error) {
	if n < 2 || n > cpioMaxName {
		return "", fmt.Errorf("name of %d bytes", n)
	}
	if n > size-at {
		return "", fmt.Errorf("name of %d bytes is cut short", n)
	}
	p := make([]byte, n)
	if _, err := r.ReadAt(p, at); err != nil && err != io.EOF {
		return "", err
	}
	if p[n-1] != 0 {
		return "", fmt.Errorf("name %.40q does not end in a NUL", p)
	}
	return string(p[:n-1]), nil
}

// plausible turns down what only looks like a header. The old binary magic is
// two bytes long, so that this is what tells it from chance.
func (h *cpioHeader) plausible() error {
	switch h.Mode & typeMask {
	case typeFile, typeDir, typeLink, typeChar, typeBlock, typeFIFO, typeSocket:
	default:
		return fmt.Errorf("mode %#o is of no file type", h.Mode)
	}
	if h.Mode&^(typeMask|0o7777) != 0 {
		return fmt.Errorf("mode %#o has bits that do not exist", h.Mode)
	}
	if h.is(typeLink) && (h.Size == 0 || h.Size > maxTarget) {
		return fmt.Errorf("symbolic link target of %d bytes", h.Size)
	}
	if !h.is(typeFile) && !h.is(typeLink) && h.Size != 0 {
		return fmt.Errorf("%d bytes of data in a file of mode %#o", h.Size, h.Mode)
	}
	return nil
}

// node returns the entry's node: that of an earlier entry when both are links
// to one inode. Of these only one has the data in newc and crc, and all have it
// in the older variants.
func (c *Cpio) node(name string, h cpioHeader, r io.ReaderAt, data int64) *archiveNode {
	n := &archiveNode{Inode: h.Inode, r: r, off: data}
	if h.is(typeDir) || h.Links < 2 {
		return n
	}
	key := cpioLink{h.major, h.minor, h.Number}
	first := c.links[key]
	if first == nil || (first.Mode^h.Mode)&typeMask != 0 {
		c.links[key] = n
		return n
	}
	if first.Size != 0 && h.Size != 0 && first.Size != h.Size {
		c.archive.survey.problem("%q: links of inode %d have %d and %d bytes; the later are kept", name, h.Number, first.Size, h.Size)
	}
	if h.Size != 0 {
		*first = *n
	}
	return first
}

// verify sums the bytes of a file: the crc variant's c_check.
func (c *Cpio) verify(ctx context.Context, name string, h cpioHeader, r io.Reader) error {
	var sum uint32
	buf := make([]byte, 32<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		for _, b := range buf[:n] {
			sum += uint32(b)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	c.Summed++
	if sum != h.sum {
		c.archive.survey.problem("%q: its bytes sum to %#08x and the header says %#08x", name, sum, h.sum)
		c.BadSums++
	}
	return nil
}

// mayBeCpio looks at the file type in an old binary header, whose magic stands in
// any data by chance.
func mayBeCpio(w *firmware.Window) bool {
	h, err := w.Peek(0, 26)
	if err != nil || h[0] == '0' {
		return err == nil
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if h[0] == 0x71 {
		order = binary.BigEndian
	}
	switch parseOldCpio(h, order).Mode & typeMask {
	case typeFIFO, typeChar, typeDir, typeBlock, typeFile, typeLink, typeSocket:
		return true
	}
	return parseOldCpio(h, order).Mode == 0 // of the trailer
}

func parseCpio(w *firmware.Window) (*firmware.Region, error) {
	if !mayBeCpio(w) {
		return nil, firmware.ErrNotFormat
	}
	c, err := NewCpio(w.Context(), w, w.Size(), w.Meter())
	if c == nil {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if err != nil && c.Entries < 2 && c.variant != nil && len(c.variant.magic) == 2 {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	r := &firmware.Region{Format: "cpio", Size: c.Size, State: firmware.Parsed, Role: firmware.RoleData, FS: c}
	r.AddField("variant", "%s", c.Variant)
	r.AddField("entries", "%d", c.Entries)
	c.Survey.describe(r)
	if c.Summed > 0 {
		r.AddCheck("sums of file contents", c.BadSums == 0, "%d of %d match", c.Summed-c.BadSums, c.Summed)
	}
	if _, e := c.Lstat("init"); e == nil || looksLikeRoot(c) {
		r.Role = firmware.RoleRAMDisk
	}
	if err != nil {
		if errors.Is(err, budget.ErrExceeded) {
			r.AddProblem("%v", err)
		}
		return r, err
	}
	if len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	return r, padRegion(w, r, cpioBlock)
}
