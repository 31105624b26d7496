//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
)

// byteOrder is either of package binary's.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// jffs2 writes nodes by hand.
type jffs2 struct {
	order byteOrder
	image []byte
}

const (
	dtDir  = 4
	dtFile = 8
	dtLink = 10
)

// piece is an inode node.
type piece struct {
	ino, version, mode, isize, offset, size uint32
	method                                  byte
	data                                    []byte
}

func kernelCRC(p []byte) uint32 { return ^crc32.Update(^uint32(0), crc32.IEEETable, p) }

// node completes a node: p begins where the header ends and has a node CRC over
// its first covered bytes, header included, at sum.
func (j *jffs2) node(kind uint16, p []byte, covered, sum int) int {
	o := j.order
	n := o.AppendUint32(o.AppendUint16(o.AppendUint16(nil, 0x1985), kind), uint32(12+len(p)))
	h := bytes.Clone(n)
	copy(h[2:], o.AppendUint16(nil, kind|0x2000))
	n = append(o.AppendUint32(n, kernelCRC(h)), p...)
	if sum > 0 {
		copy(n[sum:], o.AppendUint32(nil, kernelCRC(n[:covered])))
	}
	at := len(j.image)
	j.image = append(j.image, n...)
	for len(j.image)%4 != 0 {
		j.image = append(j.image, 0xff)
	}
	return at
}

func (j *jffs2) words(v ...uint32) (p []byte) {
	for _, x := range v {
		p = j.order.AppendUint32(p, x)
	}
	return p
}

func (j *jffs2) name(dir, version, ino uint32, kind byte, name string) int {
	p := append(j.words(dir, version, ino, 1_600_000_000), byte(len(name)), kind, 0, 0)
	p = append(append(p, j.words(0, kernelCRC([]byte(name)))...), name...)
	return j.node(0xe001, p, 32, 32)
}

func (j *jffs2) put(n piece) int {
	p := j.words(n.ino, n.version, n.mode)
	p = j.order.AppendUint16(j.order.AppendUint16(p, 7), 8)
	p = append(p, j.words(n.isize, 1, 1_600_000_000, 3, n.offset, uint32(len(n.data)), n.size)...)
	p = append(p, n.method, 0, 0, 0)
	p = append(append(p, j.words(kernelCRC(n.data), 0)...), n.data...)
	return j.node(0xe002, p, 60, 64)
}

func (j *jffs2) bytes(ino, version, isize, offset uint32, data string) int {
	return j.put(piece{ino: ino, version: version, mode: file, isize: isize, offset: offset, size: uint32(len(data)), data: []byte(data)})
}

func (j *jffs2) clean() { j.node(0x2003, nil, 0, 0) }

// handmade has a directory, a file, a link and a device.
func handmade(order byteOrder) []byte {
	j := jffs2{order: order}
	j.clean()
	j.name(1, 1, 2, dtDir, "etc")
	j.put(piece{ino: 2, version: 1, mode: dir})
	j.name(2, 1, 3, dtFile, "a")
	j.bytes(3, 1, 5, 0, "hello")
	j.name(2, 2, 4, dtLink, "l")
	j.put(piece{ino: 4, version: 1, mode: link, isize: 1, size: 1, data: []byte("a")})
	j.name(1, 2, 5, 2, "null")
	j.put(piece{ino: 5, version: 1, mode: 0o020666, size: 2, data: order.AppendUint16(nil, 1<<8|3)})
	return j.image
}

func TestAJFFS2SaysWhatItsNewestNodesSay(t *testing.T) {
	for name, c := range map[string]struct {
		write   func(j *jffs2)
		a       string // contents of a; "-" when it must not be there
		problem string
	}{
		"a file":                     {func(j *jffs2) { j.bytes(2, 1, 3, 0, "abc") }, "abc", ""},
		"a newer node over an older": {func(j *jffs2) { j.bytes(2, 1, 6, 0, "abcdef"); j.bytes(2, 2, 6, 2, "XY") }, "abXYef", ""},
		"an older node written later": {func(j *jffs2) { j.bytes(2, 2, 6, 2, "XY"); j.bytes(2, 1, 6, 0, "abcdef") },
			"abXYef", ""},
		"a hole":                    {func(j *jffs2) { j.bytes(2, 1, 5, 3, "de") }, "\x00\x00\x00de", ""},
		"a hole at the end":         {func(j *jffs2) { j.bytes(2, 1, 4, 0, "ab") }, "ab\x00\x00", ""},
		"zeros":                     {func(j *jffs2) { j.put(piece{ino: 2, version: 1, mode: file, isize: 3, size: 3, method: 1}) }, "\x00\x00\x00", ""},
		"a file that was truncated": {func(j *jffs2) { j.bytes(2, 1, 6, 0, "abcdef"); j.bytes(2, 2, 3, 0, "") }, "abc", ""},
		"truncated, and grown again": {func(j *jffs2) {
			j.bytes(2, 1, 6, 0, "abcdef")
			j.bytes(2, 2, 3, 0, "")
			j.put(piece{ino: 2, version: 3, mode: file, isize: 5, offset: 3, size: 2, method: 1})
		}, "abc\x00\x00", ""},
		"rtime": {func(j *jffs2) {
			j.put(piece{ino: 2, version: 1, mode: file, isize: 6, size: 6, method: 2, data: []byte("a\x00b\x00a\x03")})
		}, "aba" + "bab", ""},
		"a name that was deleted":     {func(j *jffs2) { j.bytes(2, 1, 3, 0, "abc"); j.name(1, 2, 0, dtFile, "a") }, "-", ""},
		"a deletion of an older name": {func(j *jffs2) { j.bytes(2, 1, 3, 0, "abc"); j.name(1, 0, 0, dtFile, "a") }, "abc", ""},
		"a name that was moved":       {func(j *jffs2) { j.bytes(2, 1, 3, 0, "old"); j.bytes(3, 1, 3, 0, "new"); j.name(1, 2, 3, dtFile, "a") }, "new", ""},
		"an obsolete node": {func(j *jffs2) {
			j.bytes(2, 1, 3, 0, "abc")
			at := j.bytes(2, 2, 3, 0, "XYZ")
			j.order.PutUint16(j.image[at+2:], 0xc002)
		}, "abc", ""},
		"a node with a bad data sum":   {func(j *jffs2) { j.bytes(2, 1, 3, 0, "abc"); j.image[j.bytes(2, 2, 3, 0, "XYZ")+68] ^= 1 }, "abc", "data CRC-32"},
		"a node with a bad sum":        {func(j *jffs2) { j.bytes(2, 1, 3, 0, "abc"); j.image[j.bytes(2, 2, 3, 0, "XYZ")+20] ^= 1 }, "abc", "node CRC-32"},
		"a node with a bad header sum": {func(j *jffs2) { j.bytes(2, 1, 3, 0, "abc"); j.image[j.bytes(2, 2, 3, 0, "XYZ")+8] ^= 1 }, "abc", "header CRC-32"},
		"a name with a bad sum":        {func(j *jffs2) { j.bytes(2, 1, 3, 0, "abc"); j.image[j.name(1, 2, 0, dtFile, "a")+40] ^= 1 }, "abc", "name CRC-32"},
		"a name without a file":        {func(j *jffs2) {}, "-", "no sound node"},
		"a name that climbs":           {func(j *jffs2) { j.bytes(2, 1, 1, 0, "x"); j.name(1, 2, 2, dtFile, "../a") }, "x", "not possible"},
		"a directory in itself": {func(j *jffs2) {
			j.bytes(2, 1, 1, 0, "x")
			j.name(1, 2, 3, dtDir, "d")
			j.put(piece{ino: 3, version: 1, mode: dir})
			j.name(3, 1, 3, dtDir, "d")
		}, "x", "already at another place"},
		"the root in itself": {func(j *jffs2) {
			j.bytes(2, 1, 1, 0, "x")
			j.name(1, 2, 1, dtDir, "r")
			j.put(piece{ino: 1, version: 1, mode: dir})
		}, "x", "already at another place"},
		"a root that is a file": {func(j *jffs2) { j.bytes(2, 1, 1, 0, "x"); j.bytes(1, 1, 1, 0, "y") }, "x", "is no directory"},
		"a type that is not the mode's": {func(j *jffs2) { j.bytes(2, 1, 1, 0, "x"); j.name(1, 2, 2, dtDir, "a") },
			"x", "listed as of type 4"},
		"two nodes of one version": {func(j *jffs2) { j.bytes(2, 1, 3, 0, "abc"); j.bytes(2, 1, 3, 0, "XYZ") }, "XYZ", "both state version 1"},
		"an unknown compression": {func(j *jffs2) {
			j.bytes(2, 1, 1, 0, "x")
			j.put(piece{ino: 2, version: 2, mode: file, isize: 1, size: 1, method: 9, data: []byte("y")})
		}, "x", "compression 9"},
		"a page of 4 GiB": {func(j *jffs2) {
			j.bytes(2, 1, 1, 0, "x")
			j.put(piece{ino: 2, version: 2, mode: file, isize: 1, size: 1<<32 - 1, method: 6, data: []byte("y")})
		}, "x", "a node holds at most"},
		"an unknown, incompatible node": {func(j *jffs2) { j.bytes(2, 1, 1, 0, "x"); j.node(0xe00f, nil, 0, 0) }, "x", "no kernel that does not know"},
		"an unknown, harmless node":     {func(j *jffs2) { j.bytes(2, 1, 1, 0, "x"); j.node(0x200f, nil, 0, 0) }, "x", ""},
		"dirt between nodes":            {func(j *jffs2) { j.image = append(j.image, "dirt"...); j.bytes(2, 1, 1, 0, "x") }, "x", ""},
	} {
		for order, o := range map[string]byteOrder{"little": binary.LittleEndian, "big": binary.BigEndian} {
			t.Run(name+", "+order, func(t *testing.T) {
				j := jffs2{order: o}
				j.name(1, 1, 2, dtFile, "a")
				c.write(&j)
				f, err := openJFFS2(j.image)
				if err != nil {
					t.Fatal(err)
				}
				if all := strings.Join(f.Survey.Problems, "\n"); (all == "") != (c.problem == "") || !strings.Contains(all, c.problem) {
					t.Errorf("problems: %s", all)
				}
				got, err := f.ReadFile("a")
				if c.a == "-" {
					if !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("it is there: %q, %v", got, err)
					}
				} else if err != nil || string(got) != c.a {
					t.Errorf("%q, %v", got, err)
				}
				walkAll(t, f)
			})
		}
	}
}

func TestAJFFS2SummaryThatDisagreesIsAProblem(t *testing.T) {
	for name, c := range map[string]struct {
		inode   uint32
		both    bool
		problem string
	}{
		"one that agrees":        {2, true, ""},
		"of another inode":       {3, true, "is another there"},
		"that leaves a node out": {2, false, "leaves out the node"},
	} {
		t.Run(name, func(t *testing.T) {
			j := jffs2{order: binary.LittleEndian}
			at := j.name(1, 1, 2, dtFile, "a")
			node := j.bytes(2, 1, 1, 0, "x")
			o := j.order
			list := o.AppendUint16(nil, 0xe001)
			list = append(append(list, j.words(41, uint32(at), 1, 1, 2)...), 1, dtFile, 'a')
			count := uint32(1)
			if c.both {
				list = append(o.AppendUint16(list, 0xe002), j.words(c.inode, 1, uint32(node), 69)...)
				count++
			}
			list = append(list, j.words(uint32(len(j.image)), 0x02851885)...)
			j.node(0x2006, append(j.words(count, 0, 0, kernelCRC(list), 0), list...), 24, 28)
			f, err := openJFFS2(j.image)
			if err != nil || f.Nodes.Summaries != 1 {
				t.Fatalf("%d summaries, %v", f.Nodes.Summaries, err)
			}
			if all := strings.Join(f.Survey.Problems, "\n"); (all == "") != (c.problem == "") || !strings.Contains(all, c.problem) {
				t.Errorf("problems: %s", all)
			}
		})
	}
}

func TestAJFFS2SaysThatExtendedAttributesAreThereUntilTheyAreRemoved(t *testing.T) {
	j := jffs2{order: binary.BigEndian}
	for i, name := range []string{"kept", "removed"} {
		ino := uint32(2 + i)
		j.name(1, ino, ino, dtFile, name)
		j.bytes(ino, 1, 1, 0, "x")
		j.node(0xe009, j.words(ino, 1, 2, 0), 24, 24)
	}
	j.node(0xe009, j.words(3, 1, 5, 0), 24, 24)
	p := append(j.words(1, 1), 1, 1, 0, 1)
	j.node(0xe008, append(append(p, j.words(kernelCRC([]byte("n\x00v")), 0)...), "n\x00v"...), 28, 28)
	f := soundJFFS2(t, j.image)
	for name, want := range map[string]bool{"kept": true, "removed": false} {
		st, err := fs.Stat(f, name)
		if err != nil || st.Sys().(*filesystem.Inode).XAttrs != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f.Nodes.XAttrs != 4 {
		t.Errorf("%d nodes", f.Nodes.XAttrs)
	}
}

func TestAJFFS2DeviceNumberHasTwoOrFourBytes(t *testing.T) {
	for _, order := range []byteOrder{binary.LittleEndian, binary.BigEndian} {
		j := jffs2{order: order}
		for i, number := range [][]byte{order.AppendUint16(nil, 31<<8|200), order.AppendUint32(nil, 0x11100<<12|300<<8|0x70)} {
			ino := uint32(2 + i)
			j.name(1, ino, ino, 6, fmt.Sprint(len(number)))
			j.put(piece{ino: ino, version: 1, mode: 0o060660, size: uint32(len(number)), data: number})
		}
		f := soundJFFS2(t, j.image)
		for name, want := range map[string][2]uint32{"2": {31, 200}, "4": {300, 0x11170}} {
			st, err := fs.Stat(f, name)
			if err != nil {
				t.Fatal(err)
			}
			if n := st.Sys().(*filesystem.Inode); [2]uint32{n.Major, n.Minor} != want {
				t.Errorf("%s bytes: %d, %d", name, n.Major, n.Minor)
			}
		}
	}
}

func TestAJFFS2OfTheOldMagicIsNamedAndNotRead(t *testing.T) {
	j := jffs2{order: binary.LittleEndian}
	j.clean()
	copy(j.image, "\x84\x19")
	copy(j.image[8:], j.words(kernelCRC(j.image[:8])))
	r := analyse(t, append(j.image, bytes.Repeat([]byte{0xff}, 4084)...)).Regions[0]
	if r.Format != "jffs2" || r.FS != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "0x1984") {
		t.Errorf("%+v", r)
	}
}

func TestTheRegionOfAUsedJFFS2IsNoMoreThanParsed(t *testing.T) {
	j := jffs2{order: binary.LittleEndian, image: handmade(binary.LittleEndian)}
	if r := analyse(t, j.image).Regions[0]; r.State != firmware.Proven || r.Size != int64(len(j.image)) {
		t.Errorf("%s of %d: %+v", r.State, len(j.image), r)
	}
	j.order.PutUint16(j.image[j.bytes(3, 2, 5, 0, "HELLO")+2:], 0xc002)
	if r := analyse(t, j.image).Regions[0]; r.State != firmware.Parsed || r.Field("obsolete nodes") != "1" || len(r.Problems) > 0 {
		t.Errorf("%s: %+v", r.State, r)
	}
}

func TestAJFFS2SpendsItsBudgetAndKeepsWhatItRead(t *testing.T) {
	j := jffs2{order: binary.LittleEndian}
	for i := range uint32(1000) {
		j.name(1, i, i+2, dtFile, fmt.Sprint(i))
		j.bytes(i+2, 1, 1, 0, "x")
	}
	read := func(l budget.Limits) (*filesystem.JFFS2, error) {
		return filesystem.NewJFFS2(context.Background(), bytes.NewReader(j.image), int64(len(j.image)), budget.New(l))
	}
	if f, err := read(budget.Limits{Entries: 100}); !errors.Is(err, budget.ErrExceeded) || f == nil || f.Size == 0 {
		t.Errorf("by entries: %v", err)
	}
	if f, err := read(budget.Limits{Held: 400_000}); !errors.Is(err, budget.ErrExceeded) || f.Survey.Files == 0 {
		t.Errorf("by memory: %v", err)
	}
	big := jffs2{order: binary.LittleEndian}
	big.name(1, 1, 2, dtFile, "a")
	big.put(piece{ino: 2, version: 1, mode: file, isize: 1<<32 - 1})
	if _, err := soundJFFS2(t, big.image).ReadFile("a"); !errors.Is(err, budget.ErrExceeded) {
		t.Errorf("4 GiB of hole: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := filesystem.NewJFFS2(ctx, bytes.NewReader(j.image), int64(len(j.image)), tight()); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
}

func TestAJFFS2CutOrFlippedAnywhereIsNoPanic(t *testing.T) {
	for _, order := range []byteOrder{binary.LittleEndian, binary.BigEndian} {
		whole := handmade(order)
		for n := range whole {
			attackJFFS2(t, whole[:n], int64(n))
			attackJFFS2(t, whole[:n], int64(len(whole)))
		}
		for bit := range len(whole) * 8 {
			flipped := bytes.Clone(whole)
			flipped[bit/8] ^= 1 << (bit % 8)
			attackJFFS2(t, flipped, int64(len(flipped)))
		}
	}
}

func attackJFFS2(t testing.TB, data []byte, size int64) {
	t.Helper()
	f, err := filesystem.NewJFFS2(context.Background(), bytes.NewReader(data), size, tight())
	if f == nil {
		if err == nil {
			t.Fatal("neither a file system nor an error")
		}
		return
	}
	if f.Size > size || err == nil && f.Size == 0 {
		t.Fatalf("of %d bytes, %d are the file system's: %v", size, f.Size, err)
	}
	walkAll(t, f)
}

func FuzzJFFS2(f *testing.F) {
	f.Add(handmade(binary.LittleEndian))
	f.Add(handmade(binary.BigEndian))
	j := jffs2{order: binary.LittleEndian}
	j.clean()
	j.name(1, 1, 2, dtFile, "a")
	j.put(piece{ino: 2, version: 1, mode: file, isize: 6, size: 6, method: 2, data: []byte("a\x00b\x00a\x03")})
	j.node(0x2006, append(j.words(0, 0, 0, kernelCRC(j.words(0, 0x02851885)), 0), j.words(0, 0x02851885)...), 24, 28)
	f.Add(j.image)
	f.Fuzz(func(t *testing.T, data []byte) {
		// Sums are made right, so that what is behind them is reached.
		attackJFFS2(t, data, int64(len(data)))
		attackJFFS2(t, resummed(data), int64(len(data)))
	})
}

// resummed walks nodes by their lengths and corrects their sums.
func resummed(data []byte) []byte {
	data = bytes.Clone(data)
	var o binary.ByteOrder = binary.LittleEndian
	if len(data) > 1 && data[0] == 0x19 {
		o = binary.BigEndian
	}
	for at := 0; at+12 <= len(data); {
		n := data[at:]
		length := uint64(o.Uint32(n[4:]))
		if length < 12 || length > uint64(len(n)) {
			at += 4
			continue
		}
		n = n[:length]
		kind := o.Uint16(n[2:])
		h := bytes.Clone(n[:8])
		o.PutUint16(h[2:], kind|0x2000)
		o.PutUint32(n[8:], kernelCRC(h))
		switch {
		case kind == 0xe001 && len(n) >= 40 && len(n) >= 40+int(n[28]):
			o.PutUint32(n[36:], kernelCRC(n[40:40+int(n[28])]))
			o.PutUint32(n[32:], kernelCRC(n[:32]))
		case kind == 0xe002 && len(n) >= 68:
			if packed := uint64(o.Uint32(n[48:])); packed <= length-68 {
				o.PutUint32(n[60:], kernelCRC(n[68:68+packed]))
			}
			o.PutUint32(n[64:], kernelCRC(n[:60]))
		case kind == 0x2006 && len(n) >= 32:
			o.PutUint32(n[24:], kernelCRC(n[32:]))
			o.PutUint32(n[28:], kernelCRC(n[:24]))
		}
		at += int(length+3) &^ 3
	}
	return data
}
