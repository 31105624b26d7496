package filesystem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"assay/firmware"
	"assay/firmware/budget"
)

func init() {
	firmware.Register(firmware.Format{
		Name:         "zip",
		Source:       "PKWARE APPNOTE.TXT 6.3.10; Info-ZIP proginfo/extrafld.txt; poisoned signatures: binwalk src/signatures/dahua_zip.rs, unblob instar_hd.py",
		About:        "zip archive, also with the poisoned signatures of camera makers",
		Integrity:    "CRC-32 of each file",
		Authenticity: "none",
		Magics:       []firmware.Magic{{Bytes: "PK\x03\x04"}, {Bytes: "DH\x03\x04"}, {Bytes: "PK\x03\x07"}, {Bytes: "PK\x05\x06\x00\x00\x00\x00\x00\x00\x00\x00"}},
		Parse:        parseZip,
	})
}

// ErrNotZip says that there is no archive, or only the signature of one.
var ErrNotZip = errors.New("no zip archive")

// Zip is a zip archive. It lists its members twice, beside each in a local
// header and at its end in the central directory, and which of the two a
// program believes differs: what only one of them says is hidden from half of
// the programs. Both are read here. It may be used from several goroutines.
type Zip struct {
	tree
	Variant   string // how the signatures are written
	Size      int64  // to the end of the comment behind the directory
	Base      int64  // what its offsets count from, from the first local header on; less than 0 when bytes are before it
	Entries   int    // in the central directory, or local headers where that is missing
	Directory bool   // it has a central directory
	Zip64     bool
	Comment   string
	Summed    int            // members whose CRC-32 was computed
	BadSums   int            // and of these, how many have another one
	Unread    map[string]int // members that are not read, by why
	Methods   map[string]int // members by compression
	Signing   int64          // bytes of an APK signing block
	Survey    *Survey

	archive *archive
	r       io.ReaderAt
	limit   int64 // bytes that there are
	variant *zipVariant
	dir     int64 // where the central directory starts
	members []*zipMember
	gaps    []zipGap
	folded  map[string]string // names in lower case
}

// zipMember is a file, with what is believed about it.
type zipMember struct {
	*zipHeader
	local *zipHeader // nil when there is none
	data  int64
	end   int64 // of the data and the descriptor
	found bool  // only by its local header
	fault error // why it cannot be read
}

// zipGap is bytes before the directory that no member has.
type zipGap struct{ from, to int64 }

// NewZip reads an archive whose first local header is at r's first byte: its
// directory, each local header, and each member to its end for its CRC-32. What
// is wrong with single members is in the survey's problems.
//
// The error wraps ErrNotZip when there is none; it is of the budget, of ctx or
// of r otherwise, and what was read before is beside it.
func NewZip(ctx context.Context, r io.ReaderAt, size int64, meter *budget.Meter) (*Zip, error) {
	f := &Zip{archive: newArchive(meter), r: r, limit: size, Unread: make(map[string]int), Methods: make(map[string]int), folded: make(map[string]string)}
	f.tree = f.archive.tree()
	f.Survey = &f.archive.survey
	if err := f.begin(); err != nil {
		return nil, err
	}
	defer f.archive.finish()
	err := f.read(ctx)
	if errors.Is(err, ErrNotZip) {
		return nil, err
	}
	if err != nil {
		err = fmt.Errorf("zip: %w", err)
	}
	return f, err
}

func (f *Zip) problem(format string, args ...any) { f.archive.survey.problem(format, args...) }

// begin tells the variant by the first signature.
func (f *Zip) begin() error {
	p, err := readSome(f.r, 0, 4)
	if err != nil {
		return err
	}
	for _, v := range zipVariants {
		if string(p) == v.first || string(p) == v.end {
			f.variant, f.Variant = v, v.name
			return nil
		}
	}
	return fmt.Errorf("%w: it begins with %q", ErrNotZip, p)
}

// local reads the local header at a place; the first may have its own signature.
func (f *Zip) local(at int64) (*zipHeader, error) {
	if at == 0 {
		return zipLocal(f.r, at, f.limit, f.variant.first)
	}
	return zipLocal(f.r, at, f.limit, f.variant.local)
}

func (f *Zip) read(ctx context.Context) error {
	row, at, err := f.row(ctx, 0, f.limit)
	if err != nil {
		return err
	}
	if first, err := f.local(0); err != nil {
		return err
	} else if first != nil && first.plausible() != nil {
		return fmt.Errorf("%w: %w", ErrNotZip, first.plausible())
	}
	central, err := f.directory(ctx, at)
	if err != nil {
		return err
	}
	if f.Directory {
		err = f.pair(ctx, central)
	} else {
		err = f.withoutDirectory(ctx, row, at)
	}
	if err != nil {
		return err
	}
	f.overlaps()
	if f.Directory {
		if err := f.between(ctx); err != nil {
			return err
		}
	}
	if err := f.list(ctx); err != nil {
		return err
	}
	return f.archive.spent
}

// row reads local headers from a place on, each behind the data of the one
// before, as far as they say their sizes. at is where that ends.
func (f *Zip) row(ctx context.Context, at, limit int64) (row []*zipMember, _ int64, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return row, at, err
		}
		h, err := f.local(at)
		if err != nil || h == nil || h.plausible() != nil || h.sizeless() || h.packed > limit-at-h.length {
			return row, at, err
		}
		m := &zipMember{zipHeader: h, local: h, data: at + h.length, found: true}
		if err := f.charge(m); err != nil {
			return row, at, err
		}
		if m.end, err = f.descriptor(m); err != nil {
			return row, at, err
		}
		row = append(row, m)
		at = m.end
	}
}

// sizeless says whether the sizes are only behind the data.
func (h *zipHeader) sizeless() bool { return h.flags&zipHasDesc != 0 && h.packed == 0 && h.size == 0 }

func (f *Zip) charge(m *zipMember) error {
	if err := f.archive.meter.Entries(1); err != nil {
		return err
	}
	const held = 600 // of both headers, about
	return f.archive.meter.Hold(held + 3*int64(len(m.name)) + 2*int64(len(m.extra)+len(m.comment)))
}

// descriptor is the end of the data descriptor, which may lack its signature.
func (f *Zip) descriptor(m *zipMember) (int64, error) {
	end := m.data + m.packed
	if m.local.flags&zipHasDesc == 0 {
		return end, nil
	}
	p, err := readSome(f.r, end, 24)
	if err != nil {
		return end, err
	}
	start := int64(0)
	if len(p) >= 4 && string(p[:4]) == zipDescriptor {
		start, p = 4, p[4:]
	}
	switch {
	case len(p) >= 20 && int64(zipLE.Uint64(p[4:])) == m.packed && int64(zipLE.Uint64(p[12:])) == m.size:
		return end + start + 20, nil
	case len(p) >= 12 && (start > 0 || int64(zipLE.Uint32(p[4:])) == m.packed && int64(zipLE.Uint32(p[8:])) == m.size):
		return end + start + 12, nil
	}
	return end, nil
}

// pair finds each member's local header and compares what both say.
func (f *Zip) pair(ctx context.Context, central []*zipHeader) error {
	f.base(central)
	for _, c := range central {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := &zipMember{zipHeader: c, data: -1, end: -1}
		if err := f.charge(m); err != nil {
			return err
		}
		f.members = append(f.members, m)
		at := c.offset + f.Base
		local, err := f.local(at)
		if err != nil {
			return err
		}
		switch {
		case local == nil:
			m.fault = fmt.Errorf("there is no local header at %#x", at)
		case c.packed > f.dir-at-local.length:
			m.fault = fmt.Errorf("its %d bytes at %#x reach into the central directory at %#x", c.packed, at+local.length, f.dir)
		}
		if m.local = local; local == nil {
			f.problem("%q: %v", c.name, m.fault)
			continue
		}
		if what := disagreement(c, local); what != "" {
			f.problem("%q: central directory and local header disagree on %s", c.name, what)
		}
		m.data = at + local.length
		if m.end = m.data; m.fault != nil {
			f.problem("%q: %v", c.name, m.fault)
		} else if m.end, err = f.descriptor(m); err != nil {
			return err
		}
	}
	return nil
}

// base settles what offsets count from, when the directory's place and its size
// lead to no local header.
func (f *Zip) base(central []*zipHeader) {
	if len(central) == 0 {
		return
	}
	first := slices.MinFunc(central, func(a, b *zipHeader) int { return cmp.Compare(a.offset, b.offset) }).offset
	if h, _ := f.local(first + f.Base); h != nil {
		return
	}
	for _, base := range []int64{0, -first} {
		if h, _ := f.local(first + base); h != nil {
			f.problem("the central directory is not where its end record says: offsets are taken to count from %#x", base)
			f.Base = base
			return
		}
	}
}

// disagreement names the first thing that both headers say and not alike.
func disagreement(c, l *zipHeader) string {
	differ := func(what, format string, a, b any) string {
		return fmt.Sprintf("%s: "+format+" and "+format, what, a, b)
	}
	later := l.flags&zipHasDesc != 0 // what was not known yet is zero
	switch {
	case c.name != l.name:
		return differ("the name", "%.80q", c.name, l.name)
	case c.method != l.method:
		return differ("the compression", "%s", zipMethod(c.method), zipMethod(l.method))
	case (c.flags^l.flags)&zipSameInBoth != 0:
		return differ("the flags", "%#04x", c.flags, l.flags)
	case l.flags&zipMasked != 0:
		return ""
	case c.crc != l.crc && !(later && l.crc == 0):
		return differ("the CRC-32", "%08x", c.crc, l.crc)
	case c.packed != l.packed && !(later && l.packed == 0):
		return differ("the packed size", "%d", c.packed, l.packed)
	case c.size != l.size && !(later && l.size == 0):
		return differ("the size", "%d", c.size, l.size)
	}
	return ""
}

// overlaps finds members that share bytes, as of an archive that unpacks to more
// than it could hold. The later one is not read.
func (f *Zip) overlaps() {
	sorted := make([]*zipMember, 0, len(f.members))
	for _, m := range f.members {
		if m.local != nil {
			sorted = append(sorted, m)
		}
	}
	slices.SortStableFunc(sorted, func(a, b *zipMember) int { return cmp.Compare(a.local.at, b.local.at) })
	end, before := int64(0), ""
	for _, m := range sorted {
		if m.local.at < end && m.fault == nil {
			m.fault = fmt.Errorf("it starts at %#x, inside of %q", m.local.at, before)
			f.problem("%q: %v, and is not read", m.name, m.fault)
		}
		if m.local.at > end {
			f.gaps = append(f.gaps, zipGap{end, m.local.at})
		}
		if m.end > end {
			end, before = m.end, m.name
		}
	}
	if f.Directory && end < f.dir {
		f.gaps = append(f.gaps, zipGap{end, f.dir})
	}
}

const (
	apkSigningMagic = "APK Sig Block 42"
	apkSigningSize  = 32 // of the block without pairs: its size twice, and the magic
)

// between looks for members in the gaps: who reads the archive as a stream
// meets them, and who reads its directory does not.
func (f *Zip) between(ctx context.Context) error {
	gaps := f.gaps
	f.gaps = nil
	for _, g := range gaps {
		row, at, err := f.row(ctx, g.from, g.to)
		if err != nil {
			return err
		}
		for _, m := range row {
			f.problem("%q: its local header at %#x is not in the central directory", m.name, m.local.at)
			f.members = append(f.members, m)
		}
		if at >= g.to {
			continue
		}
		if g.to == f.dir && g.to-at >= apkSigningSize {
			tail, err := readSome(f.r, g.to-24, 24)
			if err != nil {
				return err
			}
			if len(tail) == 24 && string(tail[8:]) == apkSigningMagic && int64(zipLE.Uint64(tail)) == g.to-at-8 {
				f.Signing = g.to - at
				continue
			}
		}
		f.gaps = append(f.gaps, zipGap{at, g.to})
	}
	return nil
}

// list puts the members into the tree.
func (f *Zip) list(ctx context.Context) error {
	for _, m := range f.members {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.Methods[zipMethod(m.actualMethod())]++
		n, err := f.node(ctx, m)
		if err != nil && (ctx.Err() != nil || !f.archive.affords(err)) {
			return err
		}
		name, problem := m.path()
		if problem != "" {
			f.problem("%q: %s", m.name, problem)
		}
		f.suspicious(name)
		if m.found && f.Directory {
			// It must not take the place of what the directory lists.
			if _, err := f.Lstat(strings.Trim(name, "/")); err == nil {
				f.problem("%q: the one at %#x is not listed, since the central directory has another of this name", name, m.local.at)
				continue
			}
		}
		if err := f.archive.add(name, n); err != nil {
			return err
		}
	}
	return nil
}

// suspicious names what a program that unpacks on its own account may fall for.
func (f *Zip) suspicious(name string) {
	if strings.HasPrefix(name, "/") {
		f.problem("%q: the path is absolute", name)
	}
	if strings.Contains(name, `\`) {
		f.problem("%q: Windows takes its backslashes for separators", name)
	}
	folded := strings.ToLower(name)
	if other, ok := f.folded[folded]; ok && other != name {
		f.problem("%q: differs from %q only in case", name, other)
	}
	f.folded[folded] = name
}

func parseZip(w *firmware.Window) (*firmware.Region, error) {
	f, err := NewZip(w.Context(), w, w.Size(), w.Meter())
	if errors.Is(err, ErrNotZip) {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	if f == nil {
		return nil, err
	}
	r := &firmware.Region{Format: "zip", Size: f.Size, State: firmware.Parsed, Role: firmware.RoleContainer, FS: f}
	if looksLikeRoot(f) {
		r.Role = firmware.RoleRootFS
	}
	f.describe(r)
	if err != nil {
		r.AddProblem("not read to its end: %v", err)
		return r, err
	}
	if len(r.Problems) == 0 && f.Directory && len(f.Unread) == 0 && f.Signing == 0 {
		r.State = firmware.Proven
	}
	for _, g := range f.gaps {
		r.AddProblem("%d bytes at %#x are in no member", g.to-g.from, g.from)
		r.State = firmware.Parsed
		r.Children = append(r.Children, w.Analyse(g.from, g.to-g.from)...)
	}
	return r, nil
}

func (f *Zip) describe(r *firmware.Region) {
	variant := f.Variant
	// Xiongmai's updates are plain zip files with a script in JSON.
	if _, err := f.Lstat("InstallDesc"); err == nil {
		variant += "; Xiongmai update (InstallDesc)"
	}
	r.AddField("variant", "%s", variant)
	r.AddField("entries", "%d", f.Entries)
	if f.Zip64 {
		r.AddField("zip64", "yes")
	}
	if f.Base != 0 {
		r.AddField("offsets count from", "%d", f.Base)
	}
	if f.Comment != "" {
		r.AddField("comment", "%q", f.Comment)
	}
	if f.Signing > 0 {
		r.AddField("APK signing block", "%d bytes, not verified here", f.Signing)
	}
	r.AddField("compression", "%s", tally(f.Methods))
	r.AddField("not read", "%s", tally(f.Unread))
	f.Survey.describe(r)
	r.AddCheck("CRC-32 of members", f.BadSums == 0, "%d of %d match, %d are not read", f.Summed-f.BadSums, f.Summed, f.notSummed())
}

func (f *Zip) notSummed() (n int) {
	for _, count := range f.Unread {
		n += count
	}
	return n
}
