package format

import (
	"bytes"
	"io"

	"assay/firmware"
	"assay/firmware/compress"
)

// Streams that are written behind each other are one file to the programs that
// unpack it: members of gzip (RFC 1952, section 2.2), streams of xz with padding
// of four bytes each between them (The .xz File Format, section 2), and what
// parallel compressors write for bzip2. A member that breaks is not of it.

const (
	maxMembers    = 4096
	maxXZPadding  = 64 << 10
	membersField  = "members"
	memberMinimum = 18 // bytes of the shortest member of any kind
)

// memberMagics are how a further member begins.
var memberMagics = map[compress.Method]string{compress.Gzip: "\x1f\x8b\x08", compress.XZ: "\xfd7zXZ\x00", compress.Bzip2: "BZh"}

// members reads one stream and those that follow it.
type members struct {
	w         *firmware.Window
	m         compress.Method
	off, size int64 // what there is of the window
	z         *compress.Reader
	in        *counter
	start     int64 // of the current one, from off on
	count     int
	err       error
}

func newMembers(w *firmware.Window, m compress.Method, off, size int64) (*members, error) {
	s := &members{w: w, m: m, off: off, size: size}
	return s, s.open(0)
}

func (s *members) open(start int64) error {
	in := &counter{r: s.w.Section(s.off+start, s.size-start)}
	z, err := compress.NewReader(s.w.Context(), s.m, in, -1, s.w.Meter())
	if err != nil {
		return err
	}
	s.z, s.in, s.start, s.count = z, in, start, s.count+1
	return nil
}

// Keep reads the first member, where its decoder unpacks into memory that can be
// kept.
func (s *members) Keep() ([]byte, error) {
	total := int64(-1)
	if s.m == compress.XZ {
		total = compress.XZSize(s.w.Section(s.off, s.size))
	}
	p, ok, err := s.z.All(total)
	if !ok {
		return nil, nil
	}
	if err == nil {
		err = io.EOF
	}
	return p, s.ended(err)
}

// Read gives each decoder's memory back as soon as there is nothing more to
// read: what was unpacked is analysed before the region is returned.
func (s *members) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.z.Read(p)
	if err == nil {
		return n, nil
	}
	return n, s.ended(err)
}

// ended closes a member that was read to its end, and opens the next.
func (s *members) ended(err error) error {
	s.z.Close()
	if err == io.EOF {
		if next, ok := s.next(); ok && s.open(next) == nil {
			return nil
		}
	}
	s.err = err
	return err
}

// next is where a further member begins that is whole: it is read to its end
// before anything of it is taken.
func (s *members) next() (int64, bool) {
	magic := memberMagics[s.m]
	at := s.start + s.z.Consumed()
	if magic == "" || s.count == maxMembers || s.size-at < memberMinimum {
		return 0, false
	}
	if s.m == compress.XZ {
		at = s.skipPadding(at)
	}
	b, err := s.w.Bytes(s.off+at, int64(len(magic)))
	if err != nil || !bytes.Equal(b, []byte(magic)) || at+int64(len(magic)) > s.size {
		return 0, false
	}
	z, err := compress.NewReader(s.w.Context(), s.m, s.w.Section(s.off+at, s.size-at), -1, s.w.Meter())
	if err != nil {
		return 0, false
	}
	defer z.Close()
	_, err = io.Copy(io.Discard, z)
	return at, err == nil
}

// skipPadding passes zeros that another stream follows.
func (s *members) skipPadding(at int64) int64 {
	b, err := s.w.Bytes(s.off+at, min(maxXZPadding, s.size-at))
	if err != nil {
		return at
	}
	n := 0
	for n+4 <= len(b) && bytes.Equal(b[n:n+4], []byte{0, 0, 0, 0}) {
		n += 4
	}
	return at + int64(n)
}

// consumed is the number of bytes that all members take.
func (s *members) consumed() int64 { return s.start + s.z.Consumed() }

// reached is how far was read when a stream broke, which has no end then.
func (s *members) reached() int64 { return s.start + s.in.n }
