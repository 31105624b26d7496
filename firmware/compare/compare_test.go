package compare

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
)

func noise(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func raw(name string, b []byte) Image {
	return Image{Name: name, Data: bytes.NewReader(b), Size: int64(len(b))}
}

// laid is an image whose regions are given, without any analysis.
func laid(name string, b []byte, regions ...*firmware.Region) Image {
	x := raw(name, b)
	x.Found = []Found{{Image: &firmware.Image{Size: x.Size, SHA256: "of " + name, Regions: regions}}}
	return x
}

func compared(t *testing.T, a, b Image) *Report {
	t.Helper()
	r, err := Compare(t.Context(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func region(format string, role firmware.Role, offset, size int64) *firmware.Region {
	state := firmware.Proven
	if format == "" {
		state = firmware.Opaque
	}
	return &firmware.Region{Format: format, Role: role, Offset: offset, Size: size, State: state}
}

func erased(offset, size int64) *firmware.Region {
	return &firmware.Region{Offset: offset, Size: size, State: firmware.Erased}
}

func TestEveryByteThatDiffersIsCountedAndCloseOnesAreListedAsOne(t *testing.T) {
	a := noise(3<<20, 1)
	b := bytes.Clone(a)
	for _, at := range []int{0, 100, 110, 141, 142, 1<<20 - 1, 1 << 20, 3<<20 - 1} {
		b[at] ^= 3
	}
	r := compared(t, raw("a", a), raw("b", b))
	if r.Differing != 8 || r.Bits != 16 || r.Compared != 3<<20 || r.Shift != 0 {
		t.Fatalf("%+v", r)
	}
	var got [][3]int64
	for _, d := range r.Extents {
		got = append(got, [3]int64{d.A, d.Size, d.Differing})
	}
	if want := [][3]int64{{0, 1, 1}, {100, 43, 4}, {1<<20 - 1, 2, 2}, {3<<20 - 1, 1, 1}}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	if r.Verdict != Unexplained || len(r.Extents[0].BytesA) != 2 || len(r.Extents[1].BytesA) != 32 {
		t.Fatalf("%s %+v", r.Verdict, r.Extents)
	}
}

func TestWhatDiffersIsJudgedByWhatBothImagesHaveThere(t *testing.T) {
	const n = 4096
	kernel := func() *firmware.Region { return region("uimage", firmware.RoleKernel, 0, n) }
	data := func() *firmware.Region { return region("jffs2", firmware.RoleData, 0, n) }
	blob := func() *firmware.Region { return region("", "", 0, n) }
	for name, c := range map[string]struct {
		a, b *firmware.Region
		want Verdict
	}{
		"a kernel":                                     {kernel(), kernel(), Immutable},
		"a kernel where the unit says erased":          {erased(0, n), kernel(), Immutable},
		"a kernel where the unit says data":            {data(), kernel(), Immutable},
		"user data":                                    {data(), data(), Expected},
		"user data that grew into erased flash":        {erased(0, n), data(), Expected},
		"an environment":                               {region("u-boot-env", firmware.RoleEnvironment, 0, n), region("u-boot-env", firmware.RoleEnvironment, 0, n), Expected},
		"unknown bytes":                                {blob(), blob(), Unexplained},
		"unknown bytes where the unit says erased":     {erased(0, n), blob(), Unexplained},
		"unknown bytes where the unit says user data":  {data(), blob(), Unexplained},
		"a default environment inside the boot loader": {nested("u-boot", "u-boot-env"), nested("u-boot", "u-boot-env"), Immutable},
		"a data partition in a partition table":        {nested("gpt", "ext4"), nested("gpt", "ext4"), Expected},
		"a kernel partition in a partition table":      {nested("gpt", "squashfs"), nested("gpt", "squashfs"), Immutable},
	} {
		a := noise(n, 1)
		b := bytes.Clone(a)
		b[2000] ^= 0xff
		if r := compared(t, laid("a", a, c.a), laid("b", b, c.b)); r.Verdict != c.want || len(r.Places) != 1 || r.Places[0].Differing != 1 {
			t.Errorf("%s: %s, want %s: %+v", name, r.Verdict, c.want, r.Places)
		}
	}
}

func nested(outer, inner string) *firmware.Region {
	r := region(outer, "", 0, 4096)
	r.Children = []*firmware.Region{region(inner, "", 1024, 2048)}
	return r
}

func TestOneBitIsReadAgainBeforeItIsCalledTampered(t *testing.T) {
	const n = 8192
	lay := func() []*firmware.Region {
		return []*firmware.Region{region("uimage", firmware.RoleKernel, 0, 4096), region("jffs2", firmware.RoleData, 4096, 4096)}
	}
	a := noise(n, 1)
	for name, c := range map[string]struct {
		change func(b []byte)
		want   Verdict
	}{
		"one bit of the kernel":                   {func(b []byte) { b[100] ^= 4 }, OneBit},
		"one bit of the kernel, and user data":    {func(b []byte) { b[100] ^= 4; copy(b[5000:], "a log line") }, OneBit},
		"two bits of the kernel":                  {func(b []byte) { b[100] ^= 6 }, Immutable},
		"one bit of user data and nothing else":   {func(b []byte) { b[5000] ^= 1 }, OneBit},
		"two bits in two places of the same kind": {func(b []byte) { b[100] ^= 4; b[200] ^= 4 }, Immutable},
	} {
		b := bytes.Clone(a)
		c.change(b)
		r := compared(t, laid("a", a, lay()...), laid("b", b, lay()...))
		if r.Verdict != c.want || c.want == OneBit && !strings.Contains(r.Says, "read both again before you call it tampered") {
			t.Errorf("%s: %s, want %s: %s", name, r.Verdict, c.want, r.Says)
		}
	}
}

func TestOneImageIsFoundInTheOther(t *testing.T) {
	flash := append(bytes.Repeat([]byte{0xff}, 1<<20), noise(3<<20+12345, 1)...)
	other := noise(1<<20, 9)
	for name, c := range map[string]struct {
		a, b         []byte
		shift        int64
		onlyA, onlyB int64
		verdict      Verdict
	}{
		"a partition":            {flash, flash[1<<20+777 : 2<<20], 1<<20 + 777, int64(len(flash)) - (1<<20 - 777), 0, Part},
		"in the other order":     {flash[1<<20+777 : 2<<20], flash, -(1<<20 + 777), 0, int64(len(flash)) - (1<<20 - 777), Part},
		"a start":                {flash, flash[:2<<20], 0, int64(len(flash)) - 2<<20, 0, Part},
		"a header before it":     {flash, append(noise(64, 3), flash...), -64, 0, 64, Part},
		"less at both ends":      {flash[:3<<20], flash[1<<20+5:], 1<<20 + 5, 1<<20 + 5, -1, Part},
		"nothing alike":          {flash, other, 0, int64(len(flash)) - 1<<20, 0, Unexplained},
		"the same size, shifted": {flash, append(bytes.Clone(flash[100:]), other[:100]...), 100, 100, 100, Part},
		"too small to be found":  {flash, []byte{1, 2, 3}, 0, int64(len(flash)) - 3, 0, Unexplained},
	} {
		r := compared(t, raw("a", c.a), raw("b", c.b))
		if r.Shift != c.shift || r.Verdict != c.verdict {
			t.Errorf("%s: shift %d (%s), %s; want %d, %s", name, r.Shift, r.Alignment, r.Verdict, c.shift, c.verdict)
			continue
		}
		if sum(r.OnlyA) != c.onlyA || c.onlyB >= 0 && sum(r.OnlyB) != c.onlyB {
			t.Errorf("%s: only in A %d, only in B %d", name, sum(r.OnlyA), sum(r.OnlyB))
		}
		if sum(r.OnlyA)+r.Compared != int64(len(c.a)) || sum(r.OnlyB)+r.Compared != int64(len(c.b)) {
			t.Errorf("%s: bytes are lost: %+v", name, r)
		}
	}
}

func sum(list []Extent) (n int64) {
	for _, x := range list {
		n += x.Size
	}
	return n
}

func TestBytesThatWereNotReadAreNotCompared(t *testing.T) {
	a := noise(1<<20, 1)
	b := bytes.Clone(a)
	clear(a[4096:8192])
	clear(b[1<<19 : 1<<19+4096])
	x, y := raw("a", a), raw("b", b)
	x.Unread = []Extent{{4096, 4096}}
	y.Unread = []Extent{{1 << 19, 4096}, {1<<20 - 10, 100}}
	r := compared(t, x, y)
	if r.Verdict != SameAsRead || r.Unread != 8192+10 || r.Compared != 1<<20-8202 {
		t.Fatalf("%+v", r)
	}
	x.Unread = []Extent{{0, 1 << 20}}
	if r := compared(t, x, y); r.Verdict != SameAsRead || r.Compared != 0 || !strings.Contains(r.Says, "No byte") {
		t.Fatalf("%+v", r)
	}
}

func TestMoreDifferencesThanAreListedAreJoinedAndNotLost(t *testing.T) {
	a := noise(4<<20, 1)
	b := bytes.Clone(a)
	n := int64(0)
	for at := 0; at < len(b); at += 100 {
		b[at] ^= 1
		n++
	}
	r := compared(t, raw("a", a), raw("b", b))
	var listed int64
	for _, d := range r.Extents {
		listed += d.Differing
	}
	if r.Differing != n || listed != n || len(r.Extents) > maxExtents || r.Joined == 0 || r.MoreExtents != 0 {
		t.Fatalf("%d differ, %d listed in %d extents, joined over %d, %d more", r.Differing, listed, len(r.Extents), r.Joined, r.MoreExtents)
	}
}

// sparse is an image of zeros with a few other bytes, of any size.
type sparse struct {
	size int64
	at   map[int64]byte
}

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), s.size-off))
	clear(p[:n])
	for at, c := range s.at {
		if at >= off && at < off+n {
			p[at-off] = c
		}
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func TestImagesBeyondFourGiBAreStreamed(t *testing.T) {
	if testing.Short() {
		t.Skip("8 GiB are read")
	}
	const size = 4<<30 + 4097
	a := Image{Name: "a", Data: sparse{size, nil}, Size: size}
	b := Image{Name: "b", Data: sparse{size, map[int64]byte{4<<30 + 4096: 3, 7: 1}}, Size: size}
	r := compared(t, a, b)
	if r.Differing != 2 || r.Bits != 3 || len(r.Extents) != 2 || r.Extents[1].A != 4<<30+4096 {
		t.Fatalf("%+v", r)
	}
}

func TestAnImageThatShrinksOrAnEndedContextIsAnError(t *testing.T) {
	a, b := raw("a", noise(1<<16, 1)), raw("b", noise(1<<16, 1))
	b.Data = bytes.NewReader(noise(1<<15, 1))
	if _, err := Compare(t.Context(), a, b); !errors.Is(err, errShrunk) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compare(ctx, a, a); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := Compare(t.Context(), a, Image{Name: "none", Size: 5}); err == nil {
		t.Fatal("an image without bytes")
	}
	if r := compared(t, raw("a", nil), raw("b", nil)); r.Verdict != SameAsRead {
		t.Fatal(r.Verdict)
	}
}

// FuzzCompare holds the counts against a comparison byte by byte, and the listing
// to its rules.
func FuzzCompare(f *testing.F) {
	f.Add([]byte("the same"), []byte("the sane"), uint16(3), uint16(2))
	f.Add(noise(300, 1), noise(300, 1)[64:], uint16(0), uint16(0))
	f.Add(noise(300, 1)[100:], noise(300, 1), uint16(9), uint16(100))
	f.Fuzz(func(t *testing.T, p, q []byte, at, size uint16) {
		a, b := raw("a", p), raw("b", q)
		a.Unread = []Extent{{int64(at), int64(size)}}
		a.Found = []Found{{Image: &firmware.Image{Size: a.Size, Regions: fuzzRegions(a.Size, int64(at))}}}
		b.Found = []Found{{Image: &firmware.Image{Size: b.Size, Regions: fuzzRegions(b.Size, int64(size))}}}
		r, err := Compare(t.Context(), a, b)
		if err != nil {
			t.Fatal(err)
		}
		var differing, both, unread int64
		for i := range p {
			j := int64(i) - r.Shift
			if j < 0 || j >= b.Size {
				continue
			}
			both++
			switch {
			case int64(i) >= int64(at) && int64(i) < int64(at)+int64(size):
				unread++
			case p[i] != q[j]:
				differing++
			}
		}
		if r.Differing != differing || r.Compared+r.Unread != both || r.Unread != unread || sum(r.OnlyA)+both != a.Size || sum(r.OnlyB)+both != b.Size {
			t.Fatalf("%d differ of %d, %d unread: %+v", differing, both, unread, r)
		}
		var listed, byClass int64
		for i, d := range r.Extents {
			listed += d.Differing
			if i > 0 && d.A < r.Extents[i-1].A+r.Extents[i-1].Size || d.A-d.B != r.Shift || d.Place >= len(r.Places) {
				t.Fatalf("%+v", r.Extents)
			}
		}
		for _, n := range r.ByClass {
			byClass += n
		}
		if listed != differing || byClass != differing || (r.Verdict == Same) != (bytes.Equal(p, q) && unread == 0 && len(p) > 0) {
			t.Fatalf("%d listed, %d by class, %s", listed, byClass, r.Verdict)
		}
	})
}

// fuzzRegions cuts an image in up to three.
func fuzzRegions(size, at int64) (out []*firmware.Region) {
	if at = min(at, size); at > 0 {
		out = append(out, region("uimage", firmware.RoleKernel, 0, at))
		if at > 4 {
			out[0].Children = []*firmware.Region{region("gzip", "", 2, at-3)}
		}
	}
	if at < size {
		out = append(out, region("jffs2", firmware.RoleData, at, (size-at+1)/2))
		if end := at + (size-at+1)/2; end < size {
			out = append(out, erased(end, size-end))
		}
	}
	return out
}

func BenchmarkCompare(b *testing.B) {
	x := noise(64<<20, 1)
	y := bytes.Clone(x)
	for i := 0; i < len(y); i += 65536 {
		y[i] ^= 1
	}
	b.Run("64 MiB", func(b *testing.B) {
		b.SetBytes(64 << 20)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Compare(context.Background(), raw("a", x), raw("b", y)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("found at an offset", func(b *testing.B) {
		b.SetBytes(64 << 20)
		b.ReportAllocs()
		for b.Loop() {
			if r, err := Compare(context.Background(), raw("a", x), raw("b", x[32<<20+5:])); err != nil || r.Shift != 32<<20+5 {
				b.Fatal(r, err)
			}
		}
	})
}
