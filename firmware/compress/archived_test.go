package compress_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"assay/firmware/budget"
	"assay/firmware/compress"
	"assay/internal/peer"
)

// zipped is the bare stream of a zip file's only member, as 7z packs it.
func zipped(t testing.TB, data []byte, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "m"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(peer.Need(t, "7z", "p7zip-full"), append([]string{"a", "-tzip", "z.zip", "m"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("7z: %v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "z.zip"))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	from := 30 + int(le.Uint16(b[26:])) + int(le.Uint16(b[28:]))
	return b[from : from+int(le.Uint32(b[18:]))]
}

func TestStreamsOfArchivesUnpackAndEndWhereTheyEnd(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 5))
	garbage := make([]byte, 200_000)
	for i := range garbage {
		garbage[i] = byte(r.Uint32())
	}
	// Matches longer than DEFLATE's 258 and further back than its 32 KiB.
	far := bytes.Join([][]byte{garbage[:50_000], sample(10_000), garbage[:50_000], make([]byte, 300_000), sample(200_000), garbage}, nil)
	for name, data := range map[string][]byte{"nothing": nil, "text": sample(300_000), "far matches": far, "noise": garbage, "one byte": {7}} {
		for method, packed := range map[compress.Method][]byte{
			compress.Deflate:   zipped(t, data, "-mm=Deflate"),
			compress.Deflate64: zipped(t, data, "-mm=Deflate64", "-mx=9"),
			compress.Lzip:      pack(t, data, "lzip", "lzip", "-c", "-6"),
		} {
			if method != compress.Lzip && (len(data) < 2 || name == "noise") {
				continue // which 7z stores
			}
			got, used, err := unpack(append(bytes.Clone(packed), "what follows"...), method)
			if err != nil || !bytes.Equal(got, data) || used != int64(len(packed)) {
				t.Errorf("%s of %s: %d bytes and not %d, %d of %d used, %v", method, name, len(got), len(data), used, len(packed), err)
			}
			for n := 0; n < len(packed); n += 1 + len(packed)/50 {
				if _, _, err := unpack(packed[:n], method); err == nil {
					t.Errorf("%s of %s cut at %d: no error", method, name, n)
				}
			}
		}
	}
}

func TestALzipTrailerThatLiesIsSeen(t *testing.T) {
	packed := pack(t, sample(5000), "lzip", "lzip", "-c")
	for _, at := range []int{20, 16, 8, 1} { // CRC-32, unpacked size, member size
		b := bytes.Clone(packed)
		b[len(b)-at] ^= 1
		if _, _, err := unpack(b, compress.Lzip); err == nil {
			t.Errorf("byte %d from the end: no error", at)
		}
	}
}

func FuzzArchived(f *testing.F) {
	f.Add([]byte("\x4b\xcb\xcc\x49\x55\x30\x04\x00"), false)
	f.Add([]byte("\x05\xc0\x81\x08\x00\x00\x00\x00\x20\x7f\xeb\x0b"), false)
	f.Add([]byte("LZIP\x01\x0c\x00\x83\xff\xfb\xff\xff\xc0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x24\x00\x00\x00\x00\x00\x00\x00"), true)
	f.Fuzz(func(t *testing.T, b []byte, isLzip bool) {
		method := compress.Deflate64
		if isLzip {
			method = compress.Lzip
		}
		z, err := compress.NewReader(context.Background(), method, bytes.NewReader(b), -1, budget.New(budget.Limits{Bytes: 8 << 20, Held: 4 << 20}))
		if err != nil {
			return
		}
		defer z.Close()
		if _, err := io.Copy(io.Discard, z); err == nil && z.Consumed() > int64(len(b)) {
			t.Fatalf("%d of %d bytes used", z.Consumed(), len(b))
		}
	})
}
