package format

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"assay/firmware"
)

// androidSparse is an image of a partition of which only the blocks with data
// are stored, in chunks. CRC-32s over what it unpacks to are optional.
var androidSparse = firmware.Format{
	Name:         "android-sparse",
	Source:       "AOSP system/core/libsparse/sparse_format.h and sparse_crc32.c",
	About:        "Android sparse image",
	Integrity:    "CRC-32 where its maker wrote them",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Bytes: "\x3a\xff\x26\xed"}},
	Parse:        parseAndroidSparse,
}

const (
	sparseHeader   = 28
	sparseChunk    = 12
	sparseRaw      = 0xcac1
	sparseFill     = 0xcac2
	sparseDontCare = 0xcac3
	sparseCRC      = 0xcac4
	sparseMaxBlock = 64 << 20
)

// sparseRun is blocks that a chunk stands for.
type sparseRun struct {
	from, to int64 // unpacked
	at       int64 // of the bytes in the image; less than 0 when there are none
	fill     [4]byte
}

// sparseView is the unpacked image. Nothing of it is held.
type sparseView struct {
	w    *firmware.Window
	runs []sparseRun // of don't-care blocks there are none
	size int64
}

func (v *sparseView) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= v.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > v.size-off {
		p, end = p[:v.size-off], io.EOF
	}
	i, _ := slices.BinarySearchFunc(v.runs, off, func(r sparseRun, off int64) int { return cmp.Compare(r.to, off+1) })
	for done := 0; done < len(p); {
		at, rest := off+int64(done), p[done:]
		if i == len(v.runs) || v.runs[i].from > at {
			if i < len(v.runs) {
				rest = rest[:min(int64(len(rest)), v.runs[i].from-at)]
			}
			clear(rest)
			done += len(rest)
			continue
		}
		run := v.runs[i]
		rest = rest[:min(int64(len(rest)), run.to-at)]
		if run.at >= 0 {
			if n, err := v.w.ReadAt(rest, run.at+at-run.from); n < len(rest) {
				return done + n, err
			}
		} else {
			for k := range rest {
				rest[k] = run.fill[(at+int64(k))&3]
			}
		}
		done += len(rest)
		i++
	}
	return len(p), end
}

// sparseImage is what reading the chunks finds.
type sparseImage struct {
	sparseView
	end                         int64 // of the chunks in the window
	block                       int64
	chunks                      uint32
	raw, filled, skipped        int64 // unpacked bytes
	sums                        []sparseSum
	blocks                      int64 // that the header declares
	checksum                    uint32
	headerSize, chunkHeaderSize int64
}

// sparseSum is a CRC-32 chunk: over all that came before.
type sparseSum struct {
	to   int64
	want uint32
}

func parseAndroidSparse(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, sparseHeader)
	if err != nil {
		return nil, notFormat("android-sparse: %v", err)
	}
	le := binary.LittleEndian
	s := &sparseImage{sparseView: sparseView{w: w}, headerSize: int64(le.Uint16(b[8:])), chunkHeaderSize: int64(le.Uint16(b[10:])),
		block: int64(le.Uint32(b[12:])), blocks: int64(le.Uint32(b[16:])), chunks: le.Uint32(b[20:]), checksum: le.Uint32(b[24:])}
	if le.Uint16(b[4:]) != 1 || s.headerSize < sparseHeader || s.chunkHeaderSize < sparseChunk || s.headerSize > 4096 || s.chunkHeaderSize > 4096 ||
		s.block == 0 || s.block%4 != 0 || s.block > sparseMaxBlock || s.chunks == 0 || s.blocks == 0 {
		return nil, notFormat("android-sparse: version %d, headers of %d and %d bytes, %d blocks of %d in %d chunks",
			le.Uint16(b[4:]), s.headerSize, s.chunkHeaderSize, s.blocks, s.block, s.chunks)
	}
	r := &firmware.Region{Role: firmware.RoleContainer, State: firmware.Parsed}
	r.AddField("version", "%d.%d", le.Uint16(b[4:]), le.Uint16(b[6:]))
	r.AddField("block size", "%d", s.block)
	r.AddField("blocks", "%d", s.blocks)
	r.AddField("chunks", "%d", s.chunks)
	err = s.scan(r)
	if r.Size = s.end; err != nil {
		return r, err
	}
	if s.end == s.headerSize {
		return nil, notFormat("android-sparse: no chunk: %v", r.Problems)
	}
	if s.size != s.blocks*s.block {
		r.AddProblem("android-sparse: the chunks have %d blocks and the header says %d", s.size/s.block, s.blocks)
	}
	r.AddField("raw", "%d bytes", s.raw)
	r.AddField("filled", "%d bytes", s.filled)
	r.AddField("not stored", "%d bytes", s.skipped)
	if err := w.Meter().Bytes(s.filled + s.skipped); err != nil {
		r.AddProblem("android-sparse: not unpacked: %v", err)
		return r, fmt.Errorf("android-sparse: %w", err)
	}
	if err := s.verify(r); err != nil {
		return r, fmt.Errorf("android-sparse: %w", err)
	}
	view := s.sparseView
	if r.Contents, err = w.View(fmt.Sprintf("android-sparse at %#x", w.Offset()), &view, s.size); r.Contents != nil {
		if role := soleRole(r.Contents); role != firmware.RoleNone {
			r.Role = role
		}
	}
	return r, err
}

// scan reads the chunk headers. What is wrong is a problem, and ends it.
func (s *sparseImage) scan(r *firmware.Region) error {
	s.end = s.headerSize
	for n := range s.chunks {
		b, err := s.w.Bytes(s.end, s.chunkHeaderSize)
		if err != nil {
			r.AddProblem("android-sparse: chunk %d of %d: %v", n, s.chunks, err)
			return s.w.Context().Err()
		}
		le := binary.LittleEndian
		kind, size, total := le.Uint16(b), int64(le.Uint32(b[4:]))*s.block, int64(le.Uint32(b[8:]))
		data := total - s.chunkHeaderSize
		if err := s.w.Meter().Entries(1); err != nil {
			return fmt.Errorf("android-sparse: %w", err)
		}
		if err := s.chunk(kind, size, data); err != nil {
			r.AddProblem("android-sparse: chunk %d of type %#04x at %#x: %v", n, kind, s.end, err)
			if errors.Is(err, errSparseCut) {
				s.end = s.w.Size()
			}
			return budgetOnly(err)
		}
		s.end += total
	}
	return nil
}

var errSparseCut = errors.New("cut short")

// chunk adds what a chunk of data bytes stands for: size bytes, but for a CRC-32.
func (s *sparseImage) chunk(kind uint16, size, data int64) error {
	want := map[uint16]int64{sparseRaw: size, sparseFill: 4, sparseDontCare: 0, sparseCRC: 4}
	n, known := want[kind]
	at := s.end + s.chunkHeaderSize
	switch {
	case !known:
		return errors.New("the type is not known")
	case data != n:
		return fmt.Errorf("%d bytes of data, and %d are to be there", data, n)
	case data > s.w.Size()-at:
		return fmt.Errorf("%w: %d bytes of data, and %d are there", errSparseCut, data, s.w.Size()-at)
	case kind != sparseCRC && size > s.blocks*s.block-s.size:
		return fmt.Errorf("%d bytes are more than the header's blocks have", size)
	}
	var value [4]byte
	if kind == sparseFill || kind == sparseCRC {
		if _, err := s.w.ReadAt(value[:], at); err != nil && err != io.EOF {
			return err
		}
	}
	const held = 40
	if err := s.w.Meter().Hold(held); err != nil {
		return err
	}
	switch kind {
	case sparseCRC:
		s.sums = append(s.sums, sparseSum{s.size, binary.LittleEndian.Uint32(value[:])})
		return nil
	case sparseRaw:
		s.raw += size
		s.runs = append(s.runs, sparseRun{from: s.size, to: s.size + size, at: at})
	case sparseFill:
		s.filled += size
		s.runs = append(s.runs, sparseRun{from: s.size, to: s.size + size, at: -1, fill: value})
	default:
		s.skipped += size
	}
	s.size += size
	return nil
}

// verify computes the CRC-32s in one pass.
func (s *sparseImage) verify(r *firmware.Region) error {
	sums := s.sums
	if s.checksum != 0 {
		sums = append(sums, sparseSum{s.size, s.checksum})
	}
	if len(sums) == 0 {
		r.AddField("CRC-32", "none")
		return nil
	}
	h := crc32.NewIEEE()
	at, bad := int64(0), 0
	for _, sum := range sums {
		if _, err := io.Copy(h, io.NewSectionReader(&s.sparseView, at, sum.to-at)); err != nil {
			return err
		}
		at = sum.to
		if h.Sum32() != sum.want {
			bad++
			r.AddProblem("android-sparse: CRC-32 of the first %d bytes is %08x, declared %08x", at, h.Sum32(), sum.want)
		}
	}
	r.AddCheck("CRC-32 of the unpacked image", bad == 0, "%d of %d hold, over the first %d of %d bytes", len(sums)-bad, len(sums), at, s.size)
	if bad == 0 && at == s.size && len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	return nil
}
