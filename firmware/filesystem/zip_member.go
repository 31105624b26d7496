package filesystem

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"assay/firmware/compress"
)

var zipStreams = map[uint16]compress.Method{
	8: compress.Deflate, 9: compress.Deflate64, 12: compress.Bzip2, 14: compress.LZMA, 20: compress.Zstd, 93: compress.Zstd, 95: compress.XZ,
}

const zipAES = 99

// actualMethod is the compression below encryption.
func (m *zipMember) actualMethod() uint16 {
	if p := m.field(zipExtraAES); m.method == zipAES && len(p) >= 7 {
		return zipLE.Uint16(p[5:])
	}
	return m.method
}

// unread says why the member is not read; "" when it is.
func (m *zipMember) unread() string {
	switch {
	case m.method == zipAES:
		bits := map[byte]string{1: "128", 2: "192", 3: "256"}
		if p := m.field(zipExtraAES); len(p) >= 7 {
			return "encrypted, AES-" + bits[p[4]]
		}
		return "encrypted, AES"
	case m.flags&zipStrong != 0:
		return "encrypted, PKWARE strong encryption"
	case m.flags&zipEncrypted != 0:
		return "encrypted, ZipCrypto"
	case m.method != 0 && zipStreams[m.method] == "":
		return zipMethod(m.method)
	}
	return ""
}

// zipStream is a member's unpacked bytes.
type zipStream struct {
	io.Reader
	z    *compress.Reader
	head int64 // bytes put before the packed ones, less those taken away
}

func (s zipStream) Close() error {
	if s.z != nil {
		return s.z.Close()
	}
	return nil
}

func (f *Zip) open(ctx context.Context, m *zipMember) (zipStream, error) {
	return f.openStream(ctx, m, m.packed)
}

func (f *Zip) openStream(ctx context.Context, m *zipMember, packed int64) (zipStream, error) {
	raw := io.Reader(io.NewSectionReader(f.r, m.data, packed))
	if m.method == 0 {
		return zipStream{Reader: raw}, nil
	}
	var head int64
	if m.method == 14 {
		// LZMA has a version, the size of the properties, the properties, and
		// no size where a file of its own has one: APPNOTE 5.8.
		p, err := readSome(f.r, m.data, 9)
		if err != nil {
			return zipStream{}, err
		}
		if packed < 9 || len(p) < 9 || zipLE.Uint16(p[2:]) != 5 {
			return zipStream{}, errors.New("no LZMA properties")
		}
		size := ^uint64(0)
		if m.flags&zipLZMAEndMark == 0 {
			size = uint64(m.size)
		}
		h := binary.LittleEndian.AppendUint64(bytes.Clone(p[4:9]), size)
		raw = io.MultiReader(bytes.NewReader(h), io.NewSectionReader(f.r, m.data+9, packed-9))
		head = int64(len(h)) - 9
	}
	z, err := compress.NewReader(ctx, zipStreams[m.method], raw, packed+head, f.archive.meter)
	if err != nil {
		return zipStream{}, err
	}
	return zipStream{z, z, head}, nil
}

// node makes the member's place in the tree, and reads it for its CRC-32.
func (f *Zip) node(ctx context.Context, m *zipMember) (*archiveNode, error) {
	n := &archiveNode{Inode: Inode{Number: uint64(m.at) + 1, Mode: m.mode(), Links: 1, ModTime: m.modTime()}}
	n.UID, n.GID = m.owner()
	if m.local != nil && n.UID == 0 && n.GID == 0 {
		n.UID, n.GID = m.local.owner() // which some writers leave out of the directory
	}
	switch n.Mode & typeMask {
	case typeFile:
		n.Size = m.size
		n.data = func() (io.ReaderAt, io.Closer, error) { return f.contents(m) }
	case typeLink:
		n.Size = m.size
	case typeChar, typeBlock:
		if p := m.field(zipExtraUnix); len(p) >= 20 {
			n.Major, n.Minor = zipLE.Uint32(p[12:]), zipLE.Uint32(p[16:])
		}
	}
	if m.fault != nil {
		f.Unread["damaged"]++
		return n, nil
	}
	if why := m.unread(); why != "" {
		f.Unread[why]++
		return n, nil
	}
	if m.packed == 0 && m.size == 0 && m.crc == 0 && m.method == 0 {
		return n, nil // of which nothing is to be read
	}
	keep := int64(0)
	if n.is(typeLink) && m.size <= maxTarget {
		keep = m.size
	}
	kept, err := f.verify(ctx, m, keep)
	if n.is(typeLink) {
		n.r, n.Size = bytes.NewReader(kept), int64(len(kept))
	}
	return n, err
}

// verify reads a member to its end and returns its first bytes. The error is of
// the budget, the context or the reader.
func (f *Zip) verify(ctx context.Context, m *zipMember, keep int64) ([]byte, error) {
	f.Summed++
	bad := func(format string, args ...any) {
		f.BadSums++
		f.problem("%q: %s", m.name, fmt.Sprintf(format, args...))
	}
	s, err := f.open(ctx, m)
	if err != nil {
		bad("%v", err)
		return nil, onlyFatal(ctx, err)
	}
	defer s.Close()
	var kept []byte
	var size int64
	sum := crc32.NewIEEE()
	buf := make([]byte, 32<<10)
	for size <= m.size {
		if err := ctx.Err(); err != nil {
			return kept, err
		}
		n, err := s.Read(buf)
		sum.Write(buf[:n])
		size += int64(n)
		if more := keep - int64(len(kept)); more > 0 {
			kept = append(kept, buf[:min(int64(n), more)]...)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			bad("unpacking ended after %d of %d bytes: %v", size, m.size, err)
			return kept, onlyFatal(ctx, err)
		}
	}
	switch {
	case size != m.size:
		bad("its %d bytes unpack to another number, %d or more", m.size, size)
	case sum.Sum32() != m.crc && !m.noSum():
		bad("its CRC-32 is %08x, the archive says %08x", sum.Sum32(), m.crc)
	case s.z != nil && s.z.Consumed()-s.head < m.packed:
		f.problem("%q: %d bytes stand behind the end of its data and before what follows", m.name, m.packed+s.head-s.z.Consumed())
	}
	return kept, nil
}

// onlyFatal drops an error of one stream.
func onlyFatal(ctx context.Context, err error) error {
	if fatal(ctx, err) {
		return err
	}
	return nil
}

// noSum says that there is no CRC-32, because its descriptor is not there.
func (m *zipMember) noSum() bool { return m.found && m.local.sizeless() && m.crc == 0 }

// contents is what a file opens as.
func (f *Zip) contents(m *zipMember) (io.ReaderAt, io.Closer, error) {
	if m.fault != nil {
		return nil, nil, m.fault
	}
	if why := m.unread(); why != "" {
		return nil, nil, fmt.Errorf("%s: not read", why)
	}
	if m.method == 0 {
		return io.NewSectionReader(f.r, m.data, m.packed), nil, nil
	}
	u := &unpacked{size: m.size, meter: f.archive.meter, stream: func() (io.ReadCloser, error) { return f.open(context.Background(), m) }}
	return u, u, nil
}

// withoutDirectory goes on behind the row of local headers, and takes the end of
// members that do not say their size from unpacking them.
func (f *Zip) withoutDirectory(ctx context.Context, row []*zipMember, at int64) error {
	f.members = row
	if f.Size == 0 {
		for {
			m, err := f.nextMember(ctx, at)
			if err != nil {
				return err
			}
			if m == nil {
				break
			}
			f.members = append(f.members, m)
			if at = m.end; at == f.limit {
				break
			}
		}
		// A header that is cut is the archive's as well.
		rest, err := readSome(f.r, at, zipLocalSize)
		if err != nil {
			return err
		}
		if len(rest) >= 4 && len(rest) < zipLocalSize && string(rest[:4]) == f.variant.local && at > 0 {
			at = f.limit
		}
		f.Size = at
	}
	if f.Entries = len(f.members); f.Entries == 0 {
		return fmt.Errorf("%w: a local header and no member", ErrNotZip)
	}
	f.problem("there is no whole central directory: the archive is read as far as its local headers go")
	return nil
}

func (f *Zip) nextMember(ctx context.Context, at int64) (*zipMember, error) {
	h, err := f.local(at)
	if err != nil || h == nil || h.plausible() != nil {
		return nil, err
	}
	m := &zipMember{zipHeader: h, local: h, data: at + h.length, found: true}
	if err := f.charge(m); err != nil {
		return nil, err
	}
	left := f.limit - m.data
	if !h.sizeless() {
		if m.end = m.data + m.packed; m.packed <= left {
			m.end, err = f.descriptor(m)
			return m, err
		}
		// What is not what it says it is does not count as cut short.
		if at == 0 && m.method != 0 && !f.begins(ctx, m, left) {
			return nil, nil
		}
		f.problem("%q: cut short, %d of its %d packed bytes are there", m.name, left, m.packed)
		m.packed, m.end = left, f.limit
		return m, nil
	}
	if zipStreams[m.method] == "" || m.method == 14 && m.flags&zipLZMAEndMark == 0 {
		f.problem("%q: its size stands in the central directory only", m.name)
		return nil, nil
	}
	s, err := f.openStream(ctx, m, left)
	if err == nil {
		defer s.Close()
		m.size, err = io.Copy(io.Discard, s)
	}
	if fatal(ctx, err) {
		return nil, err
	}
	if err != nil {
		if at > 0 {
			f.problem("%q: its end is not found: %v", m.name, err)
		}
		return nil, nil
	}
	local := *h
	m.local, m.packed = &local, s.z.Consumed()-s.head
	p, err := readSome(f.r, m.data+m.packed, 8)
	if err != nil {
		return nil, err
	}
	if len(p) == 8 && string(p[:4]) == zipDescriptor {
		m.crc = zipLE.Uint32(p[4:])
	}
	m.end, err = f.descriptor(m)
	return m, err
}

// begins says whether a stream unpacks up to where it is cut.
func (f *Zip) begins(ctx context.Context, m *zipMember, left int64) bool {
	s, err := f.openStream(ctx, m, left)
	if err != nil {
		return false
	}
	defer s.Close()
	_, err = io.CopyN(io.Discard, s, 1<<20)
	return err == nil || errors.Is(err, io.ErrUnexpectedEOF)
}
