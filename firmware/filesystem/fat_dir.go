package filesystem

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf16"

	"golang.org/x/text/encoding/charmap"
)

// Attributes of a directory entry.
const (
	fatReadOnly = 0x01
	fatVolume   = 0x08
	fatDir      = 0x10
	fatLong     = 0x0f // a part of a long name
	fatLongMask = 0x3f

	fatDeleted   = 0xe5
	fatLowerName = 0x08 // in the byte behind the attributes, of Windows NT
	fatLowerType = 0x10
	fatLastPart  = 0x40
)

// fatNode is a directory entry.
type fatNode struct {
	Inode
	f     *FAT
	first uint32 // cluster, or 0
}

// load reads an entry again; its number is where it is, 0 that of the root.
func (f *FAT) load(number uint64) (node, error) {
	if number == 0 {
		return &fatNode{Inode: Inode{Mode: typeDir | 0o755, Links: 1}, f: f, first: f.boot.rootCluster}, nil
	}
	p := make([]byte, fatEntry)
	if err := readFull(f.r, p, int64(number)); err != nil {
		return nil, err
	}
	return f.parseEntry(p, int64(number)), nil
}

func (f *FAT) parseEntry(p []byte, at int64) *fatNode {
	le := binary.LittleEndian
	n := &fatNode{f: f, first: uint32(le.Uint16(p[26:]))}
	if f.Bits == 32 {
		n.first |= uint32(le.Uint16(p[20:])) << 16
	}
	n.Inode = Inode{Number: uint64(at), Mode: typeFile | 0o755, Links: 1, Size: int64(le.Uint32(p[28:])), ModTime: fatTime(le.Uint16(p[24:]), le.Uint16(p[22:]))}
	switch {
	case p[11]&fatDir != 0:
		n.Mode, n.Size = typeDir|0o755, 0
	case p[11]&fatReadOnly != 0:
		n.Mode = typeFile | 0o555
	}
	return n
}

// fatTime reads a date and a time of two seconds' resolution. A date of 0 is
// none.
func fatTime(date, clock uint16) time.Time {
	if date == 0 {
		return time.Time{}
	}
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31), int(clock>>11), int(clock>>5&63), 2*int(clock&31), 0, time.UTC)
}

func (n *fatNode) inode() *Inode                    { return &n.Inode }
func (n *fatNode) list() ([]entry, error)           { return n.f.dirs.list(n.Number) }
func (n *fatNode) lookup(name string) (node, error) { return n.f.dirs.lookup(n.Number, name) }
func (n *fatNode) target() (string, error)          { return "", fmt.Errorf("no symbolic link") }

func (n *fatNode) open() (io.ReaderAt, io.Closer, error) {
	f := n.f
	p := &pieces{r: f.r, meter: f.meter, size: n.Size, shared: f.shared}
	table := f.table(f.boot.active)
	cluster := n.first
	for at, steps := int64(0), int64(0); at < n.Size; at, steps = at+f.boot.cluster, steps+1 {
		err := error(nil)
		switch {
		case !f.valid(cluster):
			err = fmt.Errorf("its chain of clusters ends after %d of %d bytes", at, n.Size)
		case steps > f.boot.clusters:
			err = fmt.Errorf("its chain of clusters is a loop")
		default:
			if err = p.extend(piece{at, f.at(cluster), f.boot.cluster}); err == nil {
				cluster, err = table.next(cluster)
			}
		}
		if err != nil {
			p.Close()
			return nil, nil, fmt.Errorf("fat: %w", err)
		}
	}
	return p, p, nil
}

// fatListing puts together the entries of one directory.
type fatListing struct {
	s       *fatScan
	name    string
	own     uint32 // first cluster of the directory
	parent  uint32 // the first cluster of the directory above
	root    bool
	long    []byte // of the name whose parts come in front of an entry, from the end
	want    byte   // the next part's number
	sum     byte
	entries []listed
	dots    int
	ended   bool
}

// block reads the entries in a cluster or in the root's fixed place.
func (l *fatListing) block(p []byte, at int64) error {
	for ; len(p) >= fatEntry && !l.ended; p, at = p[fatEntry:], at+fatEntry {
		switch kind := p[11] & fatLongMask; {
		case p[0] == 0:
			l.ended = true
		case p[0] == fatDeleted:
			l.s.f.deleted++
			l.want = 0
		case kind == fatLong:
			l.part(p)
		default:
			if err := l.entry(p, at); err != nil {
				return err
			}
			l.want = 0
		}
	}
	return nil
}

// part takes in 13 characters of a long name. The last come first.
func (l *fatListing) part(p []byte) {
	number := p[0] &^ fatLastPart
	if p[0]&fatLastPart != 0 && number >= 1 && number <= 20 {
		l.long, l.want, l.sum = nil, number, p[13]
	}
	if l.want == 0 || number != l.want || p[13] != l.sum {
		l.s.f.Survey.problem("%s: a part of a long name is out of place", l.name)
		l.want, l.long = 0, nil
		return
	}
	chars := append(append(append([]byte(nil), p[1:11]...), p[14:26]...), p[28:32]...)
	l.long = append(chars, l.long...)
	if l.want--; l.want == 0 {
		l.want = 0xff // complete
	}
}

// shown is the name of an entry: the long one that stands in front of it, or the
// short one.
func (l *fatListing) shown(p []byte) string {
	if l.want == 0xff && fatShortSum(p[:11]) == l.sum {
		return fatLongName(l.long)
	}
	if l.want != 0 {
		l.s.f.Survey.problem("%s: a long name does not belong to the entry behind it", l.name)
	}
	return fatShortName(p)
}

func fatLongName(p []byte) string {
	var units []uint16
	for ; len(p) >= 2; p = p[2:] {
		u := binary.LittleEndian.Uint16(p)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// fatShortName reads a name of 8 and 3 characters in code page 437, as Linux
// does unless it is told otherwise.
func fatShortName(p []byte) string {
	name := append([]byte(nil), p[:11]...)
	if name[0] == 5 {
		name[0] = fatDeleted // as a character
	}
	decode := func(p []byte, lower bool) string {
		var b strings.Builder
		for _, c := range p {
			b.WriteRune(charmap.CodePage437.DecodeByte(c))
		}
		text := strings.TrimRight(b.String(), " ")
		if lower {
			text = strings.ToLower(text)
		}
		return text
	}
	own, kind := decode(name[:8], p[12]&fatLowerName != 0), decode(name[8:], p[12]&fatLowerType != 0)
	if kind != "" {
		return own + "." + kind
	}
	return own
}

// fatShortSum is what the parts of a long name have of the short one.
func fatShortSum(name []byte) (sum byte) {
	for _, c := range name {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

func (l *fatListing) entry(p []byte, at int64) error {
	s := l.s
	n := s.f.parseEntry(p, at)
	if p[11]&fatVolume != 0 {
		if l.root && p[11]&fatDir == 0 {
			s.f.Label = fatLabel(p[:11])
		}
		return nil
	}
	own := l.shown(p)
	if !l.root && (own == "." || own == "..") {
		l.dots++
		want := l.own
		if own == ".." {
			want = l.parent
		}
		if n.first != want {
			s.f.Survey.problem("%s: its %q leads to cluster %d and not %d", l.name, own, n.first, want)
		}
		return nil
	}
	if err := s.f.dirs.charge(own); err != nil {
		return err
	}
	if !validName(own) {
		s.f.Survey.problem("%s: the name %q is not possible and left out", l.name, own)
		return nil
	}
	if date := binary.LittleEndian.Uint16(p[24:]); date != 0 && (date>>5&15 == 0 || date>>5&15 > 12 || date&31 == 0) {
		s.f.Survey.problem("%s/%s: its date %#04x is none", l.name, own, date)
	}
	l.entries = append(l.entries, listed{own, n.Number, n.Mode & typeMask})
	return nil
}

func fatLabel(p []byte) string {
	var b strings.Builder
	for _, c := range p {
		b.WriteRune(charmap.CodePage437.DecodeByte(c))
	}
	return strings.TrimRight(extText([]byte(b.String())), " ")
}
