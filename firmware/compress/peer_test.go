package compress_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/ulikunitz/xz/lzma"

	"assay/firmware/budget"
	"assay/firmware/compress"
	"assay/internal/peer"
)

// sample is text-like data that compresses to about a third, of n bytes.
func sample(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	words := make([][]byte, 500)
	for i := range words {
		w := make([]byte, 2+r.IntN(9))
		for k := range w {
			w[k] = byte('a' + r.IntN(26))
		}
		words[i] = append(w, ' ')
	}
	var b bytes.Buffer
	for b.Len() < n {
		b.Write(words[r.IntN(len(words))])
		if r.IntN(10) == 0 {
			b.WriteByte(byte(r.Uint32()))
		}
	}
	return b.Bytes()[:n]
}

func pack(t testing.TB, data []byte, program, debianPackage string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(peer.Need(t, program, debianPackage), args...)
	cmd.Stdin = bytes.NewReader(data)
	packed, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v", program, args, err)
	}
	return packed
}

func unpack(packed []byte, m compress.Method) ([]byte, int64, error) {
	z, err := compress.NewReader(context.Background(), m, bytes.NewReader(packed), int64(len(packed)), budget.New(budget.Limits{}))
	if err != nil {
		return nil, 0, err
	}
	defer z.Close()
	data, readErr := io.ReadAll(z)
	if readErr != nil {
		return data, z.Consumed(), readErr
	}
	whole, err := compress.NewReader(context.Background(), m, bytes.NewReader(packed), int64(len(packed)), budget.New(budget.Limits{}))
	if err != nil {
		return nil, 0, err
	}
	defer whole.Close()
	if all, ok, wholeErr := whole.All(compress.XZSize(bytes.NewReader(packed))); ok && (wholeErr != nil || !bytes.Equal(all, data) || whole.Consumed() != z.Consumed()) {
		return nil, 0, fmt.Errorf("whole: %d bytes, %v", len(all), wholeErr)
	}
	return data, z.Consumed(), err
}

func TestStreamsOfTheRealProgramsUnpackAndEndWhereTheyEnd(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	garbage := make([]byte, 70_000)
	for i := range garbage {
		garbage[i] = byte(r.Uint32())
	}
	for _, c := range []struct {
		name    string
		method  compress.Method
		size    int
		program string
		debian  string
		args    []string
	}{
		{"gzip", compress.Gzip, 300_000, "gzip", "gzip", []string{"-c"}},
		{"gzip of nothing", compress.Gzip, 0, "gzip", "gzip", []string{"-c"}},
		{"gzip fastest", compress.Gzip, 300_000, "gzip", "gzip", []string{"-1c"}},
		{"xz", compress.XZ, 300_000, "xz", "xz-utils", []string{"-c"}},
		{"xz of nothing", compress.XZ, 0, "xz", "xz-utils", []string{"-c"}},
		{"xz with SHA-256", compress.XZ, 300_000, "xz", "xz-utils", []string{"-c", "--check=sha256"}},
		{"xz with CRC-32, as the kernel wants it", compress.XZ, 300_000, "xz", "xz-utils", []string{"-c", "--check=crc32"}},
		{"xz without check", compress.XZ, 300_001, "xz", "xz-utils", []string{"-c", "--check=none"}},
		{"xz of many blocks", compress.XZ, 1_000_003, "xz", "xz-utils", []string{"-c", "--block-size=4099"}},
		{"xz of threads, sizes in block headers", compress.XZ, 1_000_003, "xz", "xz-utils", []string{"-c", "-T2", "--block-size=65537"}},
		{"xz with the ARM filter", compress.XZ, 300_000, "xz", "xz-utils", []string{"-c", "--arm", "--lzma2=dict=1MiB"}},
		{"xz with the x86 filter", compress.XZ, 300_000, "xz", "xz-utils", []string{"-c", "--x86", "--lzma2=preset=9e"}},
		{"xz with delta", compress.XZ, 300_000, "xz", "xz-utils", []string{"-c", "--delta=dist=4", "--lzma2"}},
		{"lzma", compress.LZMA, 300_000, "lzma", "xz-utils", []string{"-c"}},
		{"lzma of nothing", compress.LZMA, 0, "lzma", "xz-utils", []string{"-c"}},
		{"lzma -9, as the kernel's build calls it", compress.LZMA, 300_000, "lzma", "xz-utils", []string{"-9c"}},
		{"lzma with other properties", compress.LZMA, 300_000, "xz", "xz-utils", []string{"-c", "-F", "lzma", "--lzma1=lc=1,lp=2,pb=0,dict=64KiB"}},
		{"zstd", compress.Zstd, 300_000, "zstd", "zstd", []string{"-c"}},
		{"zstd of nothing", compress.Zstd, 0, "zstd", "zstd", []string{"-c"}},
		{"zstd -19 without checksum", compress.Zstd, 300_000, "zstd", "zstd", []string{"-19", "-c", "--no-check"}},
		{"zstd with a long window", compress.Zstd, 3_000_000, "zstd", "zstd", []string{"--long=25", "-c"}},
		{"zstd with its size in the header", compress.Zstd, 300_000, "zstd", "zstd", []string{"-c", "--stream-size=300000"}},
		{"lz4", compress.LZ4, 300_000, "lz4", "lz4", []string{"-c"}},
		{"lz4 of nothing", compress.LZ4, 0, "lz4", "lz4", []string{"-c"}},
		{"lz4 of small dependent blocks with checksums", compress.LZ4, 300_000, "lz4", "lz4", []string{"-c", "-B4", "-BD", "-BX"}},
		{"lz4 without frame checksum", compress.LZ4, 300_000, "lz4", "lz4", []string{"-9", "-c", "--no-frame-crc"}},
		{"legacy lz4", compress.LZ4Legacy, 300_000, "lz4", "lz4", []string{"-l", "-c"}},
		{"legacy lz4 of two blocks", compress.LZ4Legacy, 9_000_000, "lz4", "lz4", []string{"-l", "-c"}},
		{"lzop", compress.LZO, 300_000, "lzop", "lzop", []string{"-c"}},
		{"lzop of nothing", compress.LZO, 0, "lzop", "lzop", []string{"-c"}},
		{"lzop -9 of many blocks", compress.LZO, 1_000_000, "lzop", "lzop", []string{"-9", "-c"}},
		{"lzop with CRC-32", compress.LZO, 300_000, "lzop", "lzop", []string{"-c", "--crc32"}},
		{"lzop without checksums", compress.LZO, 300_000, "lzop", "lzop", []string{"-c", "-F"}},
		{"bzip2", compress.Bzip2, 300_000, "bzip2", "bzip2", []string{"-c"}},
		{"bzip2 of nothing", compress.Bzip2, 0, "bzip2", "bzip2", []string{"-c"}},
		{"bzip2 of many blocks", compress.Bzip2, 350_001, "bzip2", "bzip2", []string{"-1c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := sample(c.size)
			packed := pack(t, data, c.program, c.debian, c.args...)
			if m, ok := compress.Detect(packed[:min(len(packed), compress.DetectLen)]); !ok || m != c.method {
				t.Errorf("detected as %q", m)
			}
			ends(t, c.method, data, packed, garbage)
		})
	}
}

// ends reads the stream with different things after it.
func ends(t *testing.T, m compress.Method, data, packed, garbage []byte) {
	t.Helper()
	for name, tail := range map[string][]byte{
		"nothing": nil, "garbage": garbage, "one byte": {0x42}, "zeros": make([]byte, 5000),
		"erased flash": bytes.Repeat([]byte{0xff}, 5000), "itself": packed,
	} {
		got, consumed, err := unpack(append(packed[:len(packed):len(packed)], tail...), m)
		if err != nil {
			t.Errorf("followed by %s: %v", name, err)
			continue
		}
		if !bytes.Equal(got, data) {
			t.Errorf("followed by %s: %d bytes came out that differ from the %d that went in", name, len(got), len(data))
		}
		if consumed != int64(len(packed)) {
			t.Errorf("followed by %s: consumed %d of %d", name, consumed, len(packed))
		}
	}
}

func TestZlibStreamsEndWhereTheyEnd(t *testing.T) {
	for level := -2; level <= 9; level++ {
		data := sample(100_000)
		var packed bytes.Buffer
		w, err := zlib.NewWriterLevel(&packed, level)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(data)
		w.Close()
		ends(t, compress.Zlib, data, packed.Bytes(), sample(20_000))
	}
}

func TestLZMAWithASizeInItsHeaderEndsWithAndWithoutEndMark(t *testing.T) {
	for _, mark := range []bool{false, true} {
		data := sample(100_000)
		var packed bytes.Buffer
		w, err := lzma.WriterConfig{Size: int64(len(data)), EOSMarker: mark}.NewWriter(&packed)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(data)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		ends(t, compress.LZMA, data, packed.Bytes(), sample(20_000))
	}
}

func TestLZMAEndsBeforeTheSizeThatTheKernelsBuildAppends(t *testing.T) {
	data := sample(50_000)
	packed := pack(t, data, "lzma", "xz-utils", "-9c")
	got, consumed, err := unpack(append(packed[:len(packed):len(packed)], 0x50, 0xc3, 0, 0), compress.LZMA)
	if err != nil || !bytes.Equal(got, data) || consumed != int64(len(packed)) {
		t.Errorf("consumed %d of %d, %v", consumed, len(packed), err)
	}
}

// code is bytes that the branch filters find much in.
func code(n int) []byte {
	r := rand.New(rand.NewPCG(8, uint64(n)))
	marks := []byte{0xe8, 0xe9, 0xeb, 0xf0, 0xf8, 0x48, 0x49, 0x40, 0x7f, 0x94, 0x90, 0x10, 0x12, 0x16, 0, 0xff}
	p := make([]byte, n)
	for i := range p {
		if p[i] = byte(r.Uint32()); r.IntN(2) == 0 {
			p[i] = marks[r.IntN(len(marks))]
		}
		if r.IntN(50) == 0 && i > 4000 {
			i += copy(p[i:min(n, i+100)], p[i-4000:])
		}
	}
	return p
}

func TestEachFilterOfXZIsUndoneInPiecesAndWhole(t *testing.T) {
	for _, filters := range [][]string{
		{"--x86"}, {"--powerpc"}, {"--ia64"}, {"--arm"}, {"--armthumb"}, {"--arm64"}, {"--sparc"}, {"--delta"}, {"--delta=dist=256"},
		{"--x86=start=4096"}, {"--ia64=start=160"}, {"--arm=start=4"}, {"--x86", "--delta=dist=3", "--armthumb"}, {"--delta=dist=2", "--arm64", "--x86"},
	} {
		for _, size := range []int{0, 1, 4, 5, 17, 1000, 300_003} {
			for _, block := range []string{"--block-size=0", "--block-size=70001"} {
				data := code(size)
				args := append([]string{"-c", "-T1", block}, filters...)
				packed := pack(t, data, "xz", "xz-utils", append(args, "--lzma2=preset=1,lc=2,lp=1,pb=1")...)
				got, used, err := unpack(append(packed[:len(packed):len(packed)], 1, 2, 3), compress.XZ)
				if err != nil || !bytes.Equal(got, data) || used != int64(len(packed)) {
					t.Errorf("%v of %d bytes in pieces: %d bytes, %v", filters, size, len(got), err)
				}
				dst := make([]byte, size)
				if n, err := compress.Block(compress.XZ, packed, dst); err != nil || !bytes.Equal(dst[:n], data) {
					t.Errorf("%v of %d bytes whole: %d bytes, %v", filters, size, n, err)
				}
			}
		}
	}
}

func TestXZOfEachWindowIsReadInTheMemoryThatItIsChargedFor(t *testing.T) {
	data := sample(2_500_000)
	for _, window := range []string{"4KiB", "64KiB", "1MiB", "8MiB"} {
		packed := pack(t, data, "xz", "xz-utils", "-c", "-T1", "--lzma2=preset=1,dict="+window)
		alone := pack(t, data, "xz", "xz-utils", "-c", "-F", "lzma", "--lzma1=preset=1,dict="+window)
		for m, p := range map[compress.Method][]byte{compress.XZ: packed, compress.LZMA: alone} {
			got, used, err := unpack(p, m)
			if err != nil || !bytes.Equal(got, data) || used != int64(len(p)) {
				t.Errorf("%s with a dictionary of %s: %d bytes, %v", m, window, len(got), err)
			}
		}
	}
}
