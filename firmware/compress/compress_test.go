package compress

import (
	"bytes"
	stdgzip "compress/gzip"
	stdzlib "compress/zlib"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"assay/firmware/budget"
)

// hello is one small stream of each method, made by the usual programs.
func hello(t testing.TB) map[Method][]byte {
	text := []byte(strings.Repeat("hello, hello, camera. ", 20))
	write := func(open func(io.Writer) (io.WriteCloser, error)) []byte {
		var b bytes.Buffer
		w, err := open(&b)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(text)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	block := make([]byte, lz4.CompressBlockBound(len(text)))
	var c lz4.Compressor
	n, err := c.CompressBlock(text, block)
	if err != nil {
		t.Fatal(err)
	}
	legacy := append([]byte{0x02, 0x21, 0x4c, 0x18, byte(n), byte(n >> 8), 0, 0}, block[:n]...)
	unhex := func(s string) []byte {
		p, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	return map[Method][]byte{
		None:      text,
		Gzip:      write(func(w io.Writer) (io.WriteCloser, error) { return stdgzip.NewWriter(w), nil }),
		Zlib:      write(func(w io.Writer) (io.WriteCloser, error) { return stdzlib.NewWriter(w), nil }),
		XZ:        write(func(w io.Writer) (io.WriteCloser, error) { return xz.WriterConfig{DictCap: 1 << 20}.NewWriter(w) }),
		LZMA:      write(func(w io.Writer) (io.WriteCloser, error) { return lzma.WriterConfig{DictCap: 1 << 20}.NewWriter(w) }),
		Zstd:      write(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)) }),
		LZ4:       write(func(w io.Writer) (io.WriteCloser, error) { return lz4.NewWriter(w), nil }),
		LZ4Legacy: legacy,
		// printf 'hello, hello, camera. ' 20 times | bzip2, lzop.
		Bzip2: unhex(helloBzip2),
		LZO:   unhex(helloLzop),
	}
}

func read(m Method, packed []byte, limits budget.Limits) (int64, *Reader, error) {
	z, err := NewReader(context.Background(), m, bytes.NewReader(packed), int64(len(packed)), budget.New(limits))
	if err != nil {
		return 0, nil, err
	}
	defer z.Close()
	n, err := io.Copy(io.Discard, z)
	return n, z, err
}

func TestEveryMethodReadsItsSampleAndIsDetected(t *testing.T) {
	for m, packed := range hello(t) {
		n, z, err := read(m, packed, budget.Limits{})
		if err != nil || n != 440 || z.Consumed() != int64(len(packed)) {
			t.Errorf("%s: %d bytes, %v", m, n, err)
		}
		if m == None {
			continue
		}
		if got, ok := Detect(packed); !ok || got != m {
			t.Errorf("%s detected as %q", m, got)
		}
	}
}

func TestAStreamCutShortAnywhereIsAnErrorAndNeverAnEnd(t *testing.T) {
	for m, packed := range hello(t) {
		if m == None {
			continue
		}
		for n := range packed {
			_, _, err := read(m, packed[:n], budget.Limits{})
			if err == nil {
				t.Errorf("%s of %d bytes cut at %d: no error", m, len(packed), n)
			}
			if errors.Is(err, errFault) {
				t.Errorf("%s cut at %d: %v", m, n, err)
			}
		}
	}
}

func TestAFlippedBitNeverBreaksADecoder(t *testing.T) {
	for m, packed := range hello(t) {
		for bit := range len(packed) * 8 {
			flipped := bytes.Clone(packed)
			flipped[bit/8] ^= 1 << (bit % 8)
			n, _, err := read(m, flipped, budget.Limits{})
			if errors.Is(err, errFault) {
				t.Errorf("%s with bit %d flipped: %v", m, bit, err)
			}
			if err == nil && n > 2000 {
				t.Errorf("%s with bit %d flipped: %d bytes and no error", m, bit, n)
			}
		}
	}
}

func TestASpentBudgetEndsAStream(t *testing.T) {
	var b bytes.Buffer
	w := stdgzip.NewWriter(&b)
	w.Write(make([]byte, 3<<20))
	w.Close()
	packed := b.Bytes()
	if _, _, err := read(Gzip, packed, budget.Limits{Bytes: 1 << 20}); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("over its bytes: %v", err)
	}
	if _, _, err := read(Gzip, packed, budget.Limits{Ratio: 100}); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("over its ratio: %v", err)
	}
	z, err := NewReader(context.Background(), Gzip, bytes.NewReader(packed), -1, budget.New(budget.Limits{Ratio: 100}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, z); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("over its ratio with no packed size: %v", err)
	}
}

func TestMemoryForWindowsIsHeldAsItFillsAndGivenBack(t *testing.T) {
	meter := budget.New(budget.Limits{Held: 3 << 19})
	var packed bytes.Buffer
	w, err := lzma.WriterConfig{DictCap: 1 << 20}.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	w.Write(noise)
	w.Close()
	open := func() *Reader {
		t.Helper()
		z, err := NewReader(context.Background(), LZMA, bytes.NewReader(packed.Bytes()), -1, meter)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	first, second := open(), open()
	if n, err := io.Copy(io.Discard, first); n != int64(len(noise)) || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if _, err := io.Copy(io.Discard, second); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("a second dictionary was allowed: %v", err)
	}
	first.Close()
	second.Close()
	if _, err := io.Copy(io.Discard, open()); err != nil {
		t.Errorf("after both were closed: %v", err)
	}
}

func TestAWindowLargerThanAllowedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		m      Method
		packed string
	}{
		"LZMA dictionary of 3 GiB":  {LZMA, "\x5d\x00\x00\x00\xc0\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00"},
		"Zstandard window of 2 GiB": {Zstd, "\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"},
		"Zstandard frame of 2^63":   {Zstd, "\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x00\x00\x00\x80\x01\x00\x00"},
		"LZO block of 2 GiB": {LZO, string(append(bytes.Clone(hello(t)[LZO][:len(hello(t)[LZO])-4]),
			0x7f, 0xff, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 0, 0))},
	} {
		if _, _, err := read(c.m, []byte(c.packed), budget.Limits{}); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACancelledContextEndsAStream(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	packed := hello(t)[Gzip]
	z, err := NewReader(ctx, Gzip, bytes.NewReader(packed), -1, budget.New(budget.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := z.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAMethodThatDoesNotExistIsRefused(t *testing.T) {
	if _, _, err := read("rar", nil, budget.Limits{}); !errors.Is(err, ErrMethod) {
		t.Error(err)
	}
	if _, err := Block("rar", nil, nil); !errors.Is(err, ErrMethod) {
		t.Error(err)
	}
}

// blocks are hello's text as blocks.
func blocks(t testing.TB) map[Method][]byte {
	list := hello(t)
	list[LZ4] = list[LZ4Legacy][8:]
	list[LZ4Legacy] = list[LZ4]
	lzop := list[LZO]
	list[LZO] = lzop[helloLzopBlock : len(lzop)-4]
	return list
}

func TestABlockFillsItsDestinationAndNeverMore(t *testing.T) {
	for m, packed := range blocks(t) {
		for _, size := range []int{0, 1, 439, 440, 441, 10_000} {
			buf := bytes.Repeat([]byte{0xa5}, size+100)
			n, err := Block(m, packed, buf[:size])
			if (err == nil) != (size >= 440) || err == nil && n != 440 {
				t.Errorf("%s into %d bytes: %d, %v", m, size, n, err)
			}
			if errors.Is(err, errFault) {
				t.Errorf("%s into %d bytes: %v", m, size, err)
			}
			for _, b := range buf[size:] {
				if b != 0xa5 {
					t.Fatalf("%s into %d bytes wrote past them", m, size)
				}
			}
		}
	}
}

func FuzzReader(f *testing.F) {
	methods := []Method{None, Gzip, Zlib, XZ, LZMA, LZO, LZ4, LZ4Legacy, Zstd, Bzip2}
	list := hello(f)
	for i, m := range methods {
		f.Add(byte(i), list[m])
	}
	f.Fuzz(func(t *testing.T, which byte, packed []byte) {
		m := methods[int(which)%len(methods)]
		n, z, err := read(m, packed, budget.Limits{Bytes: 4 << 20, Held: 80 << 20})
		if errors.Is(err, errFault) {
			t.Fatal(err)
		}
		if n > 4<<20+maxRead {
			t.Fatalf("%d bytes came through a budget of 4 MiB", n)
		}
		if z != nil && (z.Consumed() < 0 || z.Consumed() > int64(len(packed))) {
			t.Fatalf("consumed %d of %d", z.Consumed(), len(packed))
		}
		Detect(packed)
	})
}

func FuzzBlock(f *testing.F) {
	methods := []Method{None, Gzip, Zlib, XZ, LZMA, LZO, LZ4, Zstd, Bzip2}
	list := blocks(f)
	for i, m := range methods {
		f.Add(byte(i), uint16(440), list[m])
	}
	f.Fuzz(func(t *testing.T, which byte, size uint16, packed []byte) {
		m := methods[int(which)%len(methods)]
		n, err := Block(m, packed, make([]byte, size))
		if errors.Is(err, errFault) {
			t.Fatal(err)
		}
		if n > int(size) {
			t.Fatalf("%d bytes in a destination of %d", n, size)
		}
	})
}
