package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	firmware.Register(firmware.Format{
		Name:         "tar",
		Source:       "POSIX.1-2017 pax, \"ustar Interchange Format\"; GNU tar manual, \"Basic Tar Format\" and \"Storing Sparse Files\"; libarchive tar(5)",
		About:        "tar archive",
		Integrity:    "sum of each header, none of contents",
		Authenticity: "none",
		Magics:       []firmware.Magic{{Offset: tarMagicAt, Bytes: "ustar"}},
		Every:        tarBlock, // the oldest has no magic
		Parse:        parseTar,
	})
}

// ErrNotTar says that there is no tar header.
var ErrNotTar = errors.New("no tar header")

const (
	tarBlock   = 512
	tarMagicAt = 257
	tarSumAt   = 148
	tarRecord  = 20 * tarBlock // archives are padded to it
	tarMaxName = 4096          // bytes of a path in a header of its own
	tarMaxPax  = 1 << 20
)

// Tar is a tar archive. It may be used from several goroutines.
type Tar struct {
	tree
	Variant string // v7, ustar, gnu or pax
	Size    int64  // to the end of the two blocks of zeros
	Entries int
	Headers int // whose checksum holds
	Ended   bool
	Survey  *Survey

	archive *archive
	r       io.ReaderAt
	limit   int64
	global  tarPax
	next    tarPax // for the next entry
}

// tarHeader is one header block.
type tarHeader struct {
	at    int64
	block []byte
	kind  byte
	name  string
	link  string
	size  int64
	Inode
}

// NewTar reads an archive that starts at r's first byte: all headers, whose
// checksums it verifies. Those of contents do not exist. What is wrong with
// single entries is in the survey's problems.
//
// The error wraps ErrNotTar when the first header is none. For another error the
// archive of what came before is returned beside it.
func NewTar(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*Tar, error) {
	f := &Tar{archive: newArchive(meter), r: r, limit: size}
	f.tree = f.archive.tree()
	f.Survey = &f.archive.survey
	defer f.archive.finish()
	for {
		if err := ctx.Err(); err != nil {
			return f, err
		}
		done, err := f.entry(ctx)
		if err != nil && f.Headers == 0 && !fatal(ctx, err) {
			return nil, fmt.Errorf("%w: %w", ErrNotTar, err)
		}
		if err != nil {
			return f, fmt.Errorf("tar: header %d at %#x: %w", f.Headers, f.Size, err)
		}
		if done {
			return f, nil
		}
	}
}

func (f *Tar) problem(format string, args ...any) { f.archive.survey.problem(format, args...) }

// block reads the block at an offset; nil when it is not there whole.
func (f *Tar) block(at int64) ([]byte, error) {
	if at > f.limit-tarBlock {
		return nil, nil
	}
	p := make([]byte, tarBlock)
	n, err := f.r.ReadAt(p, at)
	if n == tarBlock {
		return p, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return nil, err
}

// entry reads the next header, and what it is the header of.
func (f *Tar) entry(ctx context.Context) (done bool, err error) {
	p, err := f.block(f.Size)
	if err != nil {
		return false, err
	}
	if p == nil {
		if f.Headers == 0 {
			return false, fmt.Errorf("%d bytes are too few", f.limit)
		}
		f.problem("the archive has no end: it breaks off at %#x", f.Size)
		return true, nil
	}
	if isZero(p) {
		return true, f.end()
	}
	h, err := parseTarHeader(p, f.Size)
	if err != nil {
		if f.Headers > 0 {
			f.problem("no header at %#x, and there was no end before: %v", f.Size, err)
			return true, nil
		}
		return false, err
	}
	if err := f.archive.meter.Entries(1); err != nil {
		return false, err
	}
	if f.Headers++; f.Headers == 1 {
		f.Variant = tarVariant(p)
	}
	data := f.Size + tarBlock
	switch h.kind {
	case 'L', 'K', 'x', 'g', 'X':
		return f.prefix(h, data)
	}
	return false, f.member(h, data)
}

func isZero(p []byte) bool { return len(bytes.Trim(p, "\x00")) == 0 }

// end takes the blocks of zeros: there are two.
func (f *Tar) end() error {
	if f.Headers == 0 {
		return errors.New("it begins with zeros")
	}
	f.Size += tarBlock
	p, err := f.block(f.Size)
	if err != nil {
		return err
	}
	if p == nil || !isZero(p) {
		f.problem("a lone block of zeros ends the archive, and there are to be two")
		return nil
	}
	f.Size += tarBlock
	f.Ended = true
	return nil
}

func tarVariant(p []byte) string {
	switch {
	case string(p[tarMagicAt:tarMagicAt+8]) == "ustar  \x00":
		return "gnu"
	case string(p[tarMagicAt:tarMagicAt+5]) != "ustar":
		return "v7"
	case p[156] == 'x' || p[156] == 'g':
		return "pax"
	}
	return "ustar"
}

// parseTarHeader turns down what is none. Without a magic it takes a header that
// is plain in all its fields.
func parseTarHeader(p []byte, at int64) (*tarHeader, error) {
	want, err := tarNumber(p[tarSumAt : tarSumAt+8])
	if err != nil {
		return nil, fmt.Errorf("checksum: %w", err)
	}
	// Some early programs summed signed bytes.
	var sum, signed int64
	for i, b := range p {
		if i >= tarSumAt && i < tarSumAt+8 {
			b = ' '
		}
		sum, signed = sum+int64(b), signed+int64(int8(b))
	}
	if want != sum && want != signed {
		return nil, fmt.Errorf("checksum is %o, the header says %o", sum, want)
	}
	h := &tarHeader{at: at, block: p, kind: p[156], name: tarText(p[:100]), link: tarText(p[157:257])}
	variant := tarVariant(p)
	if variant == "v7" && (h.name == "" || strings.IndexFunc(h.name, unicode.IsControl) >= 0 || h.kind != 0 && (h.kind < '0' || h.kind > '6')) {
		return nil, fmt.Errorf("name %.20q of type %q without a magic", h.name, h.kind)
	}
	number := func(from, to int) (v int64) {
		if err == nil {
			if v, err = tarNumber(p[from:to]); err != nil {
				err = fmt.Errorf("field at %d: %w", from, err)
			}
		}
		return v
	}
	h.Mode, h.UID, h.GID = uint32(number(100, 108))&0o7777, uint32(number(108, 116)), uint32(number(116, 124))
	h.size = number(124, 136)
	h.ModTime = time.Unix(number(136, 148), 0).UTC()
	if variant != "v7" && (h.kind == '3' || h.kind == '4') {
		h.Major, h.Minor = uint32(number(329, 337)), uint32(number(337, 345))
	}
	if err != nil {
		return nil, err
	}
	if h.size < 0 {
		return nil, fmt.Errorf("size of %d bytes", h.size)
	}
	if prefix := tarText(p[345:500]); prefix != "" && variant != "v7" && variant != "gnu" {
		if string(p[508:]) == "tar\x00" {
			prefix = tarText(p[345 : 345+131]) // star keeps two times behind it
		}
		h.name = prefix + "/" + h.name
	}
	return h, nil
}

func tarText(p []byte) string {
	p, _, _ = bytes.Cut(p, []byte{0})
	return string(p)
}

// tarNumber reads octal digits, or GNU's base 256 marked by the first bit.
func tarNumber(p []byte) (int64, error) {
	if p[0]&0x80 != 0 {
		v := int64(p[0] & 0x3f)
		if p[0]&0x40 != 0 {
			v -= 0x40
		}
		for _, b := range p[1:] {
			if v >= 1<<55 || v < -1<<55 {
				return 0, errors.New("number of more than 63 bits")
			}
			v = v<<8 | int64(b)
		}
		return v, nil
	}
	s := strings.Trim(tarText(bytes.TrimLeft(p, " \x00")), " ")
	if s == "" {
		return 0, nil
	}
	v, err := strconv.ParseInt(s, 8, 64)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("%.12q is no octal number", p)
	}
	return v, nil
}

func tarUp(n int64) int64 { return (n + tarBlock - 1) &^ (tarBlock - 1) }

// text reads the data of a header that only speaks of the next one.
func (f *Tar) text(h *tarHeader, data, most int64) ([]byte, error) {
	if h.size > most || h.size > f.limit-data {
		return nil, fmt.Errorf("header of type %q with %d bytes", h.kind, h.size)
	}
	if err := f.archive.meter.Hold(h.size); err != nil {
		return nil, err
	}
	p := make([]byte, h.size)
	if h.size > 0 {
		if err := readFull(f.r, p, data); err != nil {
			return nil, err
		}
	}
	f.Size = min(data+tarUp(h.size), f.limit)
	return p, nil
}

// prefix reads a header that is about the next one, or about all that follow.
func (f *Tar) prefix(h *tarHeader, data int64) (done bool, err error) {
	most := int64(tarMaxPax)
	if h.kind == 'L' || h.kind == 'K' {
		most = tarMaxName + 1
	}
	p, err := f.text(h, data, most)
	if err != nil {
		return false, err
	}
	switch h.kind {
	case 'L':
		f.next.set("path", tarText(p))
	case 'K':
		f.next.set("linkpath", tarText(p))
	case 'g':
		err = f.global.read(p, f.archive.meter)
	default:
		f.Variant = "pax"
		err = f.next.read(p, f.archive.meter)
	}
	var bad paxError
	if errors.As(err, &bad) {
		f.problem("extended header at %#x: %v", h.at, err)
		err = nil
	}
	return false, err
}

// member adds the entry to the tree.
func (f *Tar) member(h *tarHeader, data int64) error {
	f.Entries++
	if err := f.extend(h); err != nil {
		f.problem("%q: %v", h.name, err)
	}
	n := &archiveNode{Inode: h.Inode, r: f.r, off: data}
	n.Number, n.Links = uint64(h.at/tarBlock)+1, 1
	stored := int64(0) // bytes behind the header
	var err error
	switch kind := h.kind; kind {
	case '2':
		n.Mode |= typeLink
		n.r, n.off, n.Size = strings.NewReader(h.link), 0, int64(len(h.link))
	case '3', '4':
		n.Mode |= map[byte]uint32{'3': typeChar, '4': typeBlock}[kind]
	case '5':
		n.Mode |= typeDir
	case '6':
		n.Mode |= typeFIFO
	case '1':
		if h.size > 0 { // which most write without the data, and some with
			next, err := f.block(data)
			if err != nil {
				return err
			}
			if next != nil && !isZero(next) {
				if _, err := parseTarHeader(next, data); err != nil {
					stored = h.size
				}
			}
		}
		err = f.hardLink(h)
	case 'V', 'M', 'D', 'N':
		f.problem("%q: an entry of type %q is not read", h.name, kind)
		stored = h.size
	default:
		stored = h.size
		n.Mode |= typeFile
		if kind != 'S' && kind != '7' && kind != 0 && (kind < '0' || kind > '9') {
			f.problem("%q: type %q is not known and taken for a file", h.name, kind)
		}
		if strings.HasSuffix(h.name, "/") && (kind == 0 || kind == '0') {
			n.Mode ^= typeFile | typeDir
			break
		}
		n.Size = h.size
		if data, stored, err = f.contents(h, n, data); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if stored > f.limit-data {
		f.problem("%q: cut short, %d of its %d bytes are there", h.name, f.limit-data, stored)
		if n.data == nil {
			n.Size = min(n.Size, f.limit-data)
		}
		f.Size = f.limit
	} else {
		f.Size = min(data+tarUp(stored), f.limit)
	}
	f.next = tarPax{}
	if h.kind == '1' || n.Mode&typeMask == 0 {
		return nil
	}
	return f.archive.add(h.name, n)
}

// hardLink is another name of an entry that came before.
func (f *Tar) hardLink(h *tarHeader) error {
	n := f.archive.at(h.link)
	if n == nil || n.is(typeDir) {
		f.problem("%q: a hard link to %q, which is no file before it; left out", h.name, h.link)
		return nil
	}
	if n == f.archive.at(h.name) {
		return nil
	}
	n.Links++
	return f.archive.add(h.name, n)
}

func parseTar(w *firmware.Window) (*firmware.Region, error) {
	// Most places have no number where the checksum stands. A checksum fits
	// into six octal digits.
	p, err := w.Peek(tarSumAt, 8)
	if err != nil {
		return nil, firmware.ErrNotFormat
	}
	digits := 0
	for _, c := range p {
		if c >= '0' && c <= '7' {
			digits++
		} else if c != ' ' && c != 0 {
			return nil, firmware.ErrNotFormat
		}
	}
	if digits == 0 {
		return nil, firmware.ErrNotFormat
	}
	f, err := NewTar(w.Context(), w, w.Size(), w.Meter())
	if f == nil {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	r := &firmware.Region{Format: "tar", Size: f.Size, State: firmware.Parsed, Role: firmware.RoleContainer, FS: f}
	if looksLikeRoot(f) {
		r.Role = firmware.RoleRootFS
	}
	r.AddField("variant", "%s", f.Variant)
	r.AddField("entries", "%d", f.Entries)
	f.Survey.describe(r)
	r.AddCheck("header checksums", true, "%d hold; contents of files are not covered", f.Headers)
	if err != nil {
		r.AddProblem("%v", err)
		return r, err
	}
	if len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	if !f.Ended {
		return r, nil
	}
	return r, padTar(w, r)
}

// padTar takes what fills the last record.
func padTar(w *firmware.Window, r *firmware.Region) error {
	n := min((tarRecord-r.Size%tarRecord)%tarRecord, w.Size()-r.Size)
	p, err := w.Bytes(r.Size, n)
	if err != nil {
		return err
	}
	if n > 0 && isZero(p) {
		r.AddField("padding", "%d zeros to a multiple of %d", n, tarRecord)
		r.Size += n
	}
	return nil
}
