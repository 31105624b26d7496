package compress

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anchore/go-lzo"
	xi2 "github.com/therootcompany/xz"
	"github.com/ulikunitz/xz/lzma"

	"assay/firmware/budget"
)

// Each of our decoders has one that others wrote beside it, which must unpack
// the same. Where only one of the two turns something down, it must be for a
// reason that is known.

// limit is what the fuzz targets unpack at most.
const limit = 1 << 20

func oracle(r io.Reader, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, limit+1))
}

// agree compares both of our ways to decode with another's.
func agree(t *testing.T, m Method, packed []byte, theirs []byte, theirErr error) {
	t.Helper()
	var stream bytes.Buffer
	z, err := NewReader(t.Context(), m, bytes.NewReader(packed), -1, budget.New(budget.Limits{Ratio: 1 << 40, Held: 96 << 20}))
	if err == nil {
		_, err = io.Copy(&stream, io.LimitReader(z, limit+1))
		if n := z.Consumed(); n < 0 || n > int64(len(packed)) {
			t.Fatalf("consumed %d of %d", n, len(packed))
		}
		z.Close()
	}
	if errors.Is(err, errFault) {
		t.Fatal(err)
	}
	dst := make([]byte, limit)
	n, blockErr := Block(m, packed, dst)
	if errors.Is(blockErr, errFault) {
		t.Fatal(blockErr)
	}
	if err == nil && blockErr == nil && !bytes.Equal(stream.Bytes(), dst[:n]) {
		t.Fatalf("a stream of %d bytes, and a block of %d that differ", stream.Len(), n)
	}
	if err == nil && stream.Len() <= limit && blockErr != nil {
		t.Fatalf("good as a stream of %d bytes, and as a block: %v", stream.Len(), blockErr)
	}
	if stream.Len() <= limit {
		agreeWhole(t, m, packed, stream.Bytes(), err)
	}
	if theirErr == nil && err == nil && !bytes.Equal(stream.Bytes()[:min(stream.Len(), limit)], theirs[:min(len(theirs), limit)]) {
		t.Fatalf("%d bytes of ours and %d of theirs differ", stream.Len(), len(theirs))
	}
}

func FuzzLZMA(f *testing.F) {
	f.Add(hello(f)[LZMA])
	for seed := range uint64(8) {
		f.Add(lzmaSample(f, seed))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		if len(packed) > 5 && binary.LittleEndian.Uint32(packed[1:]) > 1<<22 {
			return // theirs would allocate it
		}
		z, err := lzma.ReaderConfig{DictCap: 1 << 22}.NewReader(bytes.NewReader(packed))
		theirs, err := oracle(z, err)
		agree(t, LZMA, packed, theirs, err)
	})
}

func FuzzXZDecoder(f *testing.F) {
	f.Add(hello(f)[XZ])
	for _, props := range [][]byte{{xzX86, 0}, {xzARM, 0}, {xzDelta, 1, 3}, {xzIA64, 4, 0, 0, 1, 0}, {xzARMThumb, 0, xzPowerPC, 0}} {
		f.Add(withFilters(hello(f)[XZ], props))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		z, err := xi2.NewReader(bytes.NewReader(packed), 8<<20)
		if err == nil {
			z.Multistream(false)
		}
		theirs, err := oracle(z, err)
		agree(t, XZ, packed, theirs, err)
	})
}

// withFilters puts filters (identifier, size and properties of each) before the
// LZMA2 filter of the first block, and mends the sums. What comes out has a
// wrong check, unless the filter finds nothing to do.
func withFilters(packed, filters []byte) []byte {
	count := 0
	for i := 0; i < len(filters); i += 2 + int(filters[i+1]) {
		count++
	}
	end := 12 + (int(packed[12])+1)*4
	flags := packed[13]
	body := append([]byte{0, flags | byte(count)}, filters...)
	body = append(body, packed[14:end-4]...)
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	body[0] = byte(len(body) / 4)
	body = binary.LittleEndian.AppendUint32(body, crc32IEEE(body))
	return append(append(bytes.Clone(packed[:12]), body...), packed[end:]...)
}

func FuzzZlibBlock(f *testing.F) {
	f.Add(hello(f)[Zlib])
	for level := -2; level <= 9; level++ {
		var b bytes.Buffer
		w, _ := zlib.NewWriterLevel(&b, level)
		w.Write(textAndNoise(uint64(level+3), 3000))
		w.Close()
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		z, err := zlib.NewReader(bytes.NewReader(packed))
		theirs, err := oracle(z, err)
		dst := make([]byte, limit)
		n, ours := Block(Zlib, packed, dst)
		switch {
		case errors.Is(ours, errFault):
			t.Fatal(ours)
		case (ours == nil) != (err == nil) && len(theirs) <= limit:
			t.Fatalf("ours: %v; theirs: %v", ours, err)
		case ours == nil && !bytes.Equal(dst[:n], theirs):
			t.Fatalf("%d bytes of ours and %d of theirs differ", n, len(theirs))
		}
	})
}

func FuzzLZOBlock(f *testing.F) {
	f.Add(blocks(f)[LZO])
	f.Add([]byte{0x11, 0, 0})
	f.Add([]byte{20, 'a', 'b', 'c', 0x11, 0, 0})
	f.Fuzz(func(t *testing.T, packed []byte) {
		dst, other := make([]byte, limit), make([]byte, limit)
		n, ours := Block(LZO, packed, dst)
		if errors.Is(ours, errFault) {
			t.Fatal(ours)
		}
		m, theirs := decompressLZO(packed, other)
		if ours == nil && theirs == nil && !bytes.Equal(dst[:n], other[:m]) {
			t.Fatalf("%d bytes of ours and %d of theirs differ", n, m)
		}
	})
}

func decompressLZO(src, dst []byte) (n int, err error) {
	defer guard(&err)
	return lzo.Decompress(src, dst)
}

// FuzzBCJ gives each filter the same bytes whole and in pieces.
func FuzzBCJ(f *testing.F) {
	for id := byte(xzDelta); id <= xzRISCV; id++ {
		f.Add(id, uint8(7), uint32(0), branchy(id))
	}
	f.Fuzz(func(t *testing.T, id, piece uint8, start uint32, p []byte) {
		props := binary.LittleEndian.AppendUint32(nil, start)
		if id == xzDelta {
			props = props[:1]
		}
		whole, pos := newXZFilter(uint64(id), props)
		if whole == nil {
			return
		}
		pieces, _ := newXZFilter(uint64(id), props)
		a, b := bytes.Clone(p), bytes.Clone(p)
		began := time.Now()
		whole.undo(a, pos)
		if time.Since(began) > 10*time.Second {
			t.Fatal("it does not end")
		}
		done := 0
		for have := 0; have < len(b); {
			have = min(len(b), have+1+int(piece))
			done += pieces.undo(b[done:have], pos+uint32(done))
		}
		if !bytes.Equal(a, b) {
			t.Fatalf("filter %#x makes another thing of %d bytes in pieces of %d", id, len(p), piece+1)
		}
	})
}

// branchy is noise with the bytes in it that filters look for.
func branchy(seed byte) []byte {
	r := rand.New(rand.NewPCG(9, uint64(seed)))
	p := make([]byte, 2000)
	marks := []byte{0xe8, 0xe9, 0xeb, 0xf0, 0xf8, 0x48, 0x40, 0x94, 0x90, 0xef, 0x17, 0, 0xff}
	for i := range p {
		if p[i] = byte(r.Uint32()); r.IntN(3) == 0 {
			p[i] = marks[r.IntN(len(marks))]
		}
	}
	return p
}

// textAndNoise is bytes that matches of all kinds are found in.
func textAndNoise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 11))
	var p []byte
	for len(p) < n {
		switch k := r.IntN(4); {
		case k == 0 || len(p) < 10:
			for range 1 + r.IntN(20) {
				p = append(p, byte(r.Uint32()))
			}
		case k == 1:
			p = append(p, bytes.Repeat([]byte{byte(r.Uint32N(4))}, 1+r.IntN(400))...)
		default:
			from := r.IntN(len(p))
			p = append(p, p[from:min(len(p), from+1+r.IntN(60))]...)
		}
	}
	return p[:n]
}

// lzmaSample packs such bytes with properties that differ by seed.
func lzmaSample(t testing.TB, seed uint64) []byte {
	data := textAndNoise(seed, 4000)
	var b bytes.Buffer
	c := lzma.WriterConfig{DictCap: 1 << 16, EOSMarker: seed&1 == 0, Properties: &lzma.Properties{LC: int(seed) % 9, LP: int(seed/2) % 5, PB: int(seed/3) % 5}}
	if !c.EOSMarker || seed%4 == 0 {
		c.Size, c.SizeInHeader = int64(len(data)), true
	}
	w, err := c.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLZMAOfAllPropertiesUnpacksInPiecesAndAsABlock(t *testing.T) {
	for seed := range uint64(90) {
		packed := lzmaSample(t, seed)
		agree(t, LZMA, packed, textAndNoise(seed, 4000), nil)
		n, z, err := read(LZMA, append(bytes.Clone(packed), 1, 2, 3), budget.Limits{})
		if err != nil || n != 4000 || z.Consumed() != int64(len(packed)) {
			t.Errorf("seed %d: %d bytes, consumed %d of %d, %v", seed, n, z.Consumed(), len(packed), err)
		}
	}
}

func crc32IEEE(p []byte) uint32 {
	var c xzCheck
	c.write(xzCheckCRC32, p)
	return c.crc32
}

func TestRawLZMATakesAllOfItsBlockWithAndWithoutEndMark(t *testing.T) {
	for seed := range uint64(24) {
		packed := lzmaSample(t, seed)
		lc, lp, pb, _ := lzmaProps(packed[0])
		want := textAndNoise(seed, 4000)
		for _, room := range []int{4000, 8192} {
			dst := make([]byte, room)
			n, taken, err := RawLZMA(uint8(lc), uint8(lp), uint8(pb), packed[lzmaHeader:], dst)
			if err != nil || taken != len(packed)-lzmaHeader || !bytes.Equal(dst[:n], want) {
				t.Errorf("seed %d into %d: %d bytes, %d of %d taken, %v", seed, room, n, taken, len(packed)-lzmaHeader, err)
			}
		}
		// Other properties do not take all of it.
		if n, taken, err := RawLZMA(uint8(lc+1)%9, uint8(lp), uint8(pb), packed[lzmaHeader:], make([]byte, 8192)); err == nil && taken == len(packed)-lzmaHeader {
			t.Errorf("seed %d: with wrong properties, %d bytes", seed, n)
		}
	}
}
