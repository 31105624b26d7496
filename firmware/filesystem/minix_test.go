//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
)

// minixImage writes a MINIX file system, of which fsck.minix is the judge.
type minixImage struct {
	version, name        int
	order                binary.ByteOrder
	img                  []byte
	inodes, zones, first int
	nextInode, nextZone  int
}

func newMinix(version, name int, order binary.ByteOrder, zones int) *minixImage {
	m := &minixImage{version: version, name: name, order: order, img: make([]byte, zones<<10), inodes: 64, zones: zones, nextInode: 1}
	m.first = 4 + (m.inodes*m.inodeSize()+1023)/1024
	m.nextZone = m.first
	super := m.img[1024:]
	put := func(off int, v int) { order.PutUint16(super[off:], uint16(v)) }
	if version == 3 {
		order.PutUint32(super, uint32(m.inodes))
		put(6, 1)
		put(8, 1)
		put(10, m.first)
		order.PutUint32(super[16:], 0x7fffffff)
		order.PutUint32(super[20:], uint32(zones))
		put(24, 0x4d5a)
		put(28, 1024)
	} else {
		put(0, m.inodes)
		put(4, 1)
		put(6, 1)
		put(8, m.first)
		order.PutUint32(super[12:], map[int]uint32{1: 0x10081c00, 2: 0x7fffffff}[version])
		put(16, map[int]int{114: 0x137f, 130: 0x138f, 214: 0x2468, 230: 0x2478}[100*version+name])
		put(18, 1)
		if version == 1 {
			put(2, zones)
		} else {
			order.PutUint32(super[20:], uint32(zones))
		}
	}
	for i := range 8192 { // what is past the end is in use
		if i == 0 || i > m.inodes {
			m.use(2, i)
		}
		if i == 0 || i > zones-m.first {
			m.use(3, i)
		}
	}
	return m
}

func (m *minixImage) use(block, bit int) { m.img[block<<10+bit/8] |= 1 << (bit % 8) }

func (m *minixImage) inodeSize() int { return map[int]int{1: 32, 2: 64, 3: 64}[m.version] }

func (m *minixImage) zone() int {
	m.nextZone++
	m.use(3, m.nextZone-m.first)
	return m.nextZone - 1
}

// add makes an inode of data and returns its number.
func (m *minixImage) add(mode, links int, data []byte, device int) int {
	number := m.nextInode
	m.nextInode++
	m.set(number, mode, links, data, device)
	return number
}

func (m *minixImage) set(number, mode, links int, data []byte, device int) {
	m.use(2, number)
	width, zones := 4, make([]int, 10)
	if m.version == 1 {
		width, zones = 2, make([]int, 9)
	}
	per := 1024 / width
	pointer := func(table, i int) func(int) {
		return func(zone int) {
			if p := m.img[table<<10+width*i:]; width == 2 {
				m.order.PutUint16(p, uint16(zone))
			} else {
				m.order.PutUint32(p, uint32(zone))
			}
		}
	}
	single, double := map[int]int{}, 0
	for i := 0; i<<10 < len(data); i++ {
		part := data[i<<10 : min(len(data), (i+1)<<10)]
		if len(bytes.Trim(part, "\x00")) == 0 {
			continue // a hole
		}
		zone := m.zone()
		copy(m.img[zone<<10:], part)
		switch k := i - 7; {
		case k < 0:
			zones[i] = zone
		case k < per:
			if zones[7] == 0 {
				zones[7] = m.zone()
			}
			pointer(zones[7], k)(zone)
		default:
			if double == 0 {
				double = m.zone()
				zones[8] = double
			}
			at := (k - per) / per
			if single[at] == 0 {
				single[at] = m.zone()
				pointer(double, at)(single[at])
			}
			pointer(single[at], (k-per)%per)(zone)
		}
	}
	if device != 0 {
		zones[0] = device
	}
	p := m.img[4<<10+(number-1)*m.inodeSize():]
	put := func(off, v int) { m.order.PutUint16(p[off:], uint16(v)) }
	put(0, mode)
	if m.version == 1 {
		put(2, 1000)
		m.order.PutUint32(p[4:], uint32(len(data)))
		m.order.PutUint32(p[8:], 1_600_000_000)
		p[12], p[13] = 100, byte(links)
		for i, z := range zones {
			put(14+2*i, z)
		}
		return
	}
	put(2, links)
	put(4, 1000)
	put(6, 100)
	m.order.PutUint32(p[8:], uint32(len(data)))
	m.order.PutUint32(p[16:], 1_600_000_000)
	for i, z := range zones {
		m.order.PutUint32(p[24+4*i:], uint32(z))
	}
}

func (m *minixImage) listing(entries ...any) []byte {
	var b []byte
	for i := 0; i < len(entries); i += 2 {
		e := make([]byte, m.name+2)
		if m.version == 3 {
			e = make([]byte, m.name+4)
			m.order.PutUint32(e, uint32(entries[i+1].(int)))
			copy(e[4:], entries[i].(string))
		} else {
			m.order.PutUint16(e, uint16(entries[i+1].(int)))
			copy(e[2:], entries[i].(string))
		}
		b = append(b, e...)
	}
	return b
}

// minix is a file system with files of all kinds.
func minix(version, name int, order binary.ByteOrder, zones int) []byte {
	m := newMinix(version, name, order, zones)
	m.nextInode = 2
	long := strings.Repeat("n", m.name)
	small := m.add(0o100644, 2, []byte("hello"), 0)
	big := m.add(0o100755, 1, minixBig(zones), 0)
	link := m.add(0o120777, 1, []byte("../etc/small"), 0)
	console := m.add(0o020600, 1, nil, 5<<8|1)
	fifo := m.add(0o010640, 1, nil, 0)
	etc := m.add(0o040755, 2, nil, 0)
	bin := m.add(0o040700, 2, nil, 0)
	m.set(etc, 0o040755, 2, m.listing(".", etc, "..", 1, "small", small, "gone", 0, long, small), 0)
	m.set(bin, 0o040700, 2, m.listing(".", bin, "..", 1, "big", big, "link", link), 0)
	m.set(1, 0o040755, 4, m.listing(".", 1, "..", 1, "etc", etc, "bin", bin, "console", console, "fifo", fifo), 0)
	return m.img
}

// minixBig needs blocks of all levels, with a hole, where there is room.
func minixBig(zones int) []byte {
	if zones < 1000 {
		return append(text(9000), 'x')
	}
	return append(append(text(20_000), make([]byte, 300_000)...), noise(400_001)...)
}

var minixKinds = []struct{ version, name int }{{1, 14}, {1, 30}, {2, 14}, {2, 30}, {3, 60}}

func TestMinixOfEachVersionIsReadInBothByteOrders(t *testing.T) {
	for _, k := range minixKinds {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			t.Run(fmt.Sprintf("version %d, names of %d, %v", k.version, k.name, order), func(t *testing.T) {
				image := minix(k.version, k.name, order, 1200)
				state := firmware.Parsed
				if order == binary.LittleEndian {
					state = firmware.Proven
					file := filepath.Join(t.TempDir(), "image")
					if err := os.WriteFile(file, image, 0o600); err != nil {
						t.Fatal(err)
					}
					run(t, "fsck.minix", "util-linux", "-f", file)
				}
				r := analyse(t, image).Regions[0]
				if r.Format != "minix" || r.State != state || r.Size != int64(len(image)) || len(r.Problems) > 0 || r.Role != firmware.RoleRootFS {
					t.Fatalf("%s %s of %d: %q", r.Format, r.State, r.Size, r.Problems)
				}
				got := survey(t, r.FS)
				base := facts{UID: 1000, GID: 100, Links: 1, Time: 1_600_000_000}
				with := func(change func(*facts)) facts {
					f := base
					change(&f)
					return f
				}
				sum := func(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }
				hello := with(func(f *facts) { f.Mode, f.Links, f.Size, f.Sum = 0o644, 2, 5, sum([]byte("hello")) })
				want := map[string]facts{
					".":                                  with(func(f *facts) { f.Mode, f.Links = fs.ModeDir|0o755, 0 }),
					"etc":                                with(func(f *facts) { f.Mode, f.Links = fs.ModeDir|0o755, 0 }),
					"bin":                                with(func(f *facts) { f.Mode, f.Links = fs.ModeDir|0o700, 0 }),
					"bin/big":                            with(func(f *facts) { f.Mode, f.Size, f.Sum = 0o755, 720_001, sum(minixBig(1200)) }),
					"bin/link":                           with(func(f *facts) { f.Mode, f.Size, f.Target = fs.ModeSymlink|0o777, 12, "../etc/small" }),
					"console":                            with(func(f *facts) { f.Mode, f.Major, f.Minor = fs.ModeDevice|fs.ModeCharDevice|0o600, 5, 1 }),
					"fifo":                               with(func(f *facts) { f.Mode = fs.ModeNamedPipe | 0o640 }),
					"etc/small":                          hello,
					"etc/" + strings.Repeat("n", k.name): hello,
				}
				compare(t, got, want)
			})
		}
	}
}

func TestMinixReadsWhatMkfsWrote(t *testing.T) {
	for _, args := range [][]string{{"-1", "-n14"}, {"-1", "-n30"}, {"-2", "-n14"}, {"-2", "-n30"}, {"-3"}} {
		file := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(file, make([]byte, 300<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, "mkfs.minix", "util-linux", append(args, file)...)
		image, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if r := analyse(t, image).Regions[0]; r.Format != "minix" || r.State != firmware.Proven || r.Size != 300<<10 {
			t.Errorf("%v: %s %s of %d: %q", args, r.Format, r.State, r.Size, r.Problems)
		}
	}
}

func TestTheDamageOfAMinixIsTold(t *testing.T) {
	image := minix(2, 30, binary.LittleEndian, 60)
	inode := func(n int) int { return 4<<10 + 64*(n-1) }
	for name, k := range map[string]struct {
		change func(p []byte)
		want   string
	}{
		"a block free in the bitmap":   {func(p []byte) { p[3<<10] &^= 2 }, "1 blocks are in use and free in the bitmap"},
		"a block in use by nothing":    {func(p []byte) { p[3<<10+5] |= 2 }, "1 are not in use and not free in it"},
		"an inode free in the bitmap":  {func(p []byte) { p[2<<10] &^= 4 }, "1 inodes are in use and free in the bitmap"},
		"a link count":                 {func(p []byte) { p[inode(2)+2] = 7 }, "inode 2 has 2 links and says 7"},
		"a file system in use":         {func(p []byte) { p[1024+18] = 0 }, "it was not unmounted cleanly"},
		"errors on record":             {func(p []byte) { p[1024+18] = 3 }, "errors were found in it"},
		"blocks of another file":       {func(p []byte) { copy(p[inode(3)+24:][:4], p[inode(2)+24:][:4]) }, "are in use by another or not there"},
		"blocks outside":               {func(p []byte) { p[inode(2)+25] = 9 }, "1 of its blocks are in use by another or not there"},
		"blocks past the end":          {func(p []byte) { p[inode(2)+8] = 0; p[inode(2)+28] = 59 }, "of its blocks are past its end at 0 bytes"},
		"a directory in itself":        {func(p []byte) { p[bytes.Index(p, []byte("bin\x00"))-2] = 1 }, "bin: the directory is in another place as well"},
		"an inode that is not there":   {func(p []byte) { p[bytes.Index(p, []byte("fifo"))-2] = 99 }, "fifo: minix: inode 99, and there are 64"},
		"a directory without a parent": {func(p []byte) { p[bytes.Index(p, []byte("..\x00"))+1] = 'x' }, "it has no \".\" or no \"..\""},
		"an image cut short":           {nil, "the image is cut short"},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := bytes.Clone(image)
			if k.change != nil {
				k.change(damaged)
			} else {
				damaged = damaged[:30<<10]
			}
			r := analyse(t, damaged).Regions[0]
			if r.Format != "minix" || r.State != firmware.Parsed || !strings.Contains(strings.Join(r.Problems, "\n"), k.want) {
				t.Errorf("%s %s: %q", r.Format, r.State, r.Problems)
			}
		})
	}
}

func attackMinix(t testing.TB, img []byte) {
	t.Helper()
	m, err := filesystem.NewMinix(context.Background(), bytes.NewReader(img), int64(len(img)), tight())
	if err != nil && !errors.Is(err, budget.ErrExceeded) && !errors.Is(err, filesystem.ErrNotMinix) {
		t.Fatalf("an error that is none of the budget: %v", err)
	}
	if m != nil {
		walkAll(t, m)
	}
}

func FuzzMinix(f *testing.F) {
	f.Add([]byte{})
	for _, k := range minixKinds {
		f.Add(minix(k.version, k.name, binary.LittleEndian, 40))
		f.Add(minix(k.version, k.name, binary.BigEndian, 40))
	}
	f.Fuzz(func(t *testing.T, img []byte) { attackMinix(t, img) })
}
