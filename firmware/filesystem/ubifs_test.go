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

const (
	smallLEB = 15872
	smallMin = 512
)

var smallPages = []string{"-m", "512", "-e", "15872", "-c", "60", "-x", "none"}

// ubifsNode makes a node of its bytes behind the common header.
func ubifsNode(kind byte, sequence uint64, fields ...any) []byte {
	le := binary.LittleEndian
	n := make([]byte, 24)
	for _, f := range fields {
		n, _ = binary.Append(n, le, f)
	}
	le.PutUint32(n, 0x06101831)
	le.PutUint64(n[8:], sequence)
	le.PutUint32(n[16:], uint32(len(n)))
	n[20] = kind
	sealUBIFS(n)
	return n
}

func sealUBIFS(n []byte) { binary.LittleEndian.PutUint32(n[4:], ^crc32.ChecksumIEEE(n[8:])) }

func ubifsKey(inode uint32, kind, low uint32) []byte {
	k := make([]byte, 16)
	binary.LittleEndian.PutUint32(k, inode)
	binary.LittleEndian.PutUint32(k[4:], kind<<29|low)
	return k
}

func inodeNode(sequence uint64, inode uint32, mode uint32, size int64, links int, inline string) []byte {
	return ubifsNode(0, sequence, ubifsKey(inode, 0, 0), sequence, uint64(size), [3]uint64{1_600_000_000, 1_600_000_000, 1_600_000_000}, [3]uint32{},
		uint32(links), uint32(0), uint32(0), mode, uint32(0), uint32(len(inline)), [2]uint32{}, [4]byte{}, uint32(0), uint16(0), [26]byte{}, []byte(inline))
}

// r5 is the hash of short ASCII names.
func r5(name string) uint32 {
	h := uint32(0)
	for _, c := range []byte(name) {
		h = (h + uint32(c)<<4 + uint32(c)>>4) * 11
	}
	return h & (1<<29 - 1)
}

func entryNode(sequence uint64, dir uint32, name string, inode uint64, kind byte) []byte {
	return ubifsNode(2, sequence, ubifsKey(dir, 2, r5(name)), inode, byte(0), kind, uint16(len(name)), uint32(0), []byte(name+"\x00"))
}

func dataNode(sequence uint64, inode, block uint32, data []byte) []byte {
	return ubifsNode(1, sequence, ubifsKey(inode, 1, block), uint32(len(data)), uint16(0), uint16(0), data)
}

func truncation(sequence uint64, inode uint32, from, to uint64) []byte {
	return ubifsNode(4, sequence, inode, [12]byte{}, from, to)
}

// journal adds a LEB with nodes to an image and a reference to it to the log, as
// a unit leaves it that was switched off before the next commit.
func journal(t testing.TB, image []byte, nodes ...[]byte) []byte {
	t.Helper()
	le := binary.LittleEndian
	image = bytes.Clone(image)
	lebs := le.Uint32(image[40:])
	le.PutUint32(image[40:], lebs+1)
	sealUBIFS(image[:4096])
	bud := bytes.Repeat([]byte{0xff}, smallLEB)
	at := 0
	for _, n := range nodes {
		at += (copy(bud[at:], n) + 7) &^ 7
	}
	image = append(image[:int(lebs)*smallLEB:int(lebs)*smallLEB], bud...)
	log := image[3*smallLEB:]
	for free := 0; free < smallLEB; free += smallMin {
		if le.Uint32(log[free:]) == 1<<32-1 {
			copy(log[free:], ubifsNode(8, 1<<40, lebs, uint32(0), uint32(1), [28]byte{}))
			return image
		}
	}
	t.Fatal("the log is full")
	return nil
}

const newer = 1 << 41 // sequence numbers past those of mkfs.ubifs

// numberOf finds an inode's number.
func numberOf(t testing.TB, image []byte, name string) uint32 {
	t.Helper()
	u, _ := soundUBIFS(t, image)
	st, err := u.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(st.Sys().(*filesystem.Inode).Number)
}

func TestTheJournalOfAUBIFSIsReplayed(t *testing.T) {
	image := mkfsUBIFS(t, littleTree(t), smallPages...)
	c, d := numberOf(t, image, "c"), numberOf(t, image, "d")
	const reg, dir, link = 0o100644, 0o040755, 0o120777
	for name, x := range map[string]struct {
		nodes [][]byte
		check func(u *filesystem.UBIFS) error
	}{
		"a new file": {[][]byte{
			inodeNode(newer, 500, reg, 5, 1, ""), entryNode(newer+1, 1, "new", 500, 0), dataNode(newer+2, 500, 0, []byte("hello")),
		}, holds("new", "hello")},
		"nodes in the order of their sequence numbers": {[][]byte{
			dataNode(newer+9, 500, 0, []byte("later")), dataNode(newer+2, 500, 0, []byte("early")), inodeNode(newer, 500, reg, 5, 1, ""), entryNode(newer+1, 1, "new", 500, 0),
		}, holds("new", "later")},
		"a file written over": {[][]byte{
			inodeNode(newer, d, reg, 3, 1, ""), dataNode(newer+1, d, 0, []byte("abc")),
		}, holds("d", "abc")},
		"a removed file": {[][]byte{
			entryNode(newer, 1, "d", 0, 0), inodeNode(newer+1, d, reg, 0, 0, ""),
		}, lacks("d")},
		"a name removed and made again": {[][]byte{
			entryNode(newer, 1, "d", 0, 0), entryNode(newer+1, 1, "d", uint64(d), 0),
		}, holds("d", "")},
		"an inode that was linked again": {[][]byte{
			inodeNode(newer, 500, reg, 0, 0, ""), inodeNode(newer+1, 500, reg, 0, 1, ""), entryNode(newer+2, 1, "tmp", 500, 0),
		}, holds("tmp", "")},
		"a truncated file": {[][]byte{
			truncation(newer, c, 40_000, 4096), inodeNode(newer+1, c, reg, 4096, 1, ""),
		}, holds("c", string(noise(40_000)[:4096]))},
		"a file truncated and grown again": {[][]byte{
			truncation(newer, c, 40_000, 0), inodeNode(newer+1, c, reg, 10, 1, ""),
		}, holds("c", strings.Repeat("\x00", 10))},
		"a link and a directory": {[][]byte{
			inodeNode(newer, 501, dir, 0, 2, ""), entryNode(newer+1, 1, "sub", 501, 1), inodeNode(newer+2, 502, link, 0, 1, "../etc/a"), entryNode(newer+3, 501, "to", 502, 2),
		}, holds("sub/to", string(text(5000)))},
	} {
		t.Run(name, func(t *testing.T) {
			u, _ := soundUBIFS(t, journal(t, image, x.nodes...))
			if err := x.check(u); err != nil {
				t.Error(err)
			}
			if _, err := u.ReadFile("etc/b"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestExtendedAttributesOfAUBIFSAreCounted(t *testing.T) {
	le := binary.LittleEndian
	host := inodeNode(newer, 500, 0o100644, 0, 1, "")
	le.PutUint32(host[116:], 1) // attributes
	sealUBIFS(host)
	attribute := inodeNode(newer+1, 501, 0o100644, 0, 1, "value")
	le.PutUint32(attribute[108:], 0x20) // an attribute's inode
	sealUBIFS(attribute)
	named := ubifsNode(3, newer+2, ubifsKey(500, 3, r5("user.x")), uint64(501), byte(0), byte(0), uint16(6), uint32(0), []byte("user.x\x00"))
	image := mkfsUBIFS(t, littleTree(t), smallPages...)
	u, found := soundUBIFS(t, journal(t, image, host, attribute, named, entryNode(newer+3, 1, "x", 500, 0)))
	if found.XAttrs != 1 || found.Files != 5 {
		t.Errorf("%+v", found)
	}
	if st, err := u.Stat("x"); err != nil || !st.Sys().(*filesystem.Inode).XAttrs {
		t.Errorf("%v, %v", st, err)
	}
}

func holds(name, want string) func(*filesystem.UBIFS) error {
	return func(u *filesystem.UBIFS) error {
		got, err := u.ReadFile(name)
		if err == nil && string(got) != want {
			err = fmt.Errorf("%s has %d bytes %.20q", name, len(got), got)
		}
		return err
	}
}

func lacks(name string) func(*filesystem.UBIFS) error {
	return func(u *filesystem.UBIFS) error {
		if _, err := u.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %v", name, err)
		}
		return nil
	}
}

func TestAWrongUBIFSIsNamedForWhatIsWrong(t *testing.T) {
	image := mkfsUBIFS(t, littleTree(t), smallPages...)
	torn := dataNode(newer+5, 500, 0, []byte("torn"))
	torn[len(torn)-1] ^= 1
	dir := inodeNode(newer, 501, 0o040755, 0, 2, "")
	for name, c := range map[string]struct {
		nodes [][]byte
		want  string
	}{
		"a torn node":                     {[][]byte{torn}, "is broken at 0x0: its CRC-32"},
		"a directory that holds itself":   {[][]byte{dir, entryNode(newer+1, 1, "x", 501, 1), entryNode(newer+2, 501, "y", 501, 1)}, "already at another place"},
		"a directory that holds the root": {[][]byte{dir, entryNode(newer+1, 1, "x", 501, 1), entryNode(newer+2, 501, "y", 1, 1)}, "already at another place"},
		"one directory under two names":   {[][]byte{dir, entryNode(newer+1, 1, "x", 501, 1), entryNode(newer+2, 1, "y", 501, 1)}, "already at another place"},
		"a name with a slash":             {[][]byte{inodeNode(newer, 500, 0o100644, 0, 1, ""), entryNode(newer+1, 1, "a/b", 500, 0)}, `the name "a/b" is not possible`},
		"a name of two dots":              {[][]byte{inodeNode(newer, 500, 0o100644, 0, 1, ""), entryNode(newer+1, 1, "..", 500, 0)}, `the name ".." is not possible`},
		"a name that leads nowhere":       {[][]byte{entryNode(newer+1, 1, "x", 500, 0)}, "inode 500 is not in the index"},
		"a name of another type":          {[][]byte{inodeNode(newer, 500, 0o100644, 0, 1, ""), entryNode(newer+1, 1, "x", 500, 1)}, "listed as type 1"},
		"a wrong link count":              {[][]byte{inodeNode(newer, 500, 0o100644, 0, 7, ""), entryNode(newer+1, 1, "x", 500, 0)}, "has 1 names and counts 7"},
		"an inode without name":           {[][]byte{inodeNode(newer, 500, 0o100644, 0, 1, "")}, "has no name"},
		"a device without number":         {[][]byte{inodeNode(newer, 500, 0o020644, 0, 1, ""), entryNode(newer+1, 1, "x", 500, 4)}, "device number of 0 bytes"},
		"a key of another type":           {[][]byte{ubifsNode(1, newer, ubifsKey(500, 2, 9), [3]uint64{})}, "has a key of type 2"},
		"a compressor that does not exist": {[][]byte{inodeNode(newer, 500, 0o100644, 9, 1, ""), entryNode(newer+1, 1, "x", 500, 0),
			ubifsNode(1, newer+2, ubifsKey(500, 1, 0), uint32(9), uint16(77), uint16(0), []byte("data"))}, "by compressor 77"},
		"a file of 8 EiB": {[][]byte{inodeNode(newer, 500, 0o100644, 1<<62, 1, ""), entryNode(newer+1, 1, "x", 500, 0)}, "larger than one can be"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := journal(t, image, c.nodes...)
			u, err := filesystem.NewUBIFS(bytes.NewReader(bad), int64(len(bad)), tight())
			if err != nil {
				t.Fatal(err)
			}
			r := analyse(t, bad).Regions[0]
			if all := strings.Join(r.Problems, "\n"); r.State == firmware.Proven || !strings.Contains(all, c.want) {
				t.Errorf("%s, problems:\n%s\nand none says %q", r.State, all, c.want)
			}
			walkAll(t, u)
		})
	}
}

// attackUBIFS reads hostile bytes: it ends, and the only errors are about the
// image or the budget.
func attackUBIFS(t testing.TB, image []byte, size int64) {
	t.Helper()
	u, err := filesystem.NewUBIFS(bytes.NewReader(image), size, tight())
	if err != nil {
		return
	}
	if _, err := u.Prove(context.Background()); err != nil && !errors.Is(err, budget.ErrExceeded) {
		t.Fatalf("an error that is none of the budget: %v", err)
	}
	walkAll(t, u)
}

func TestAUBIFSCutAnywhereIsNoPanicAndNotProven(t *testing.T) {
	image := mkfsUBIFS(t, littleTree(t), smallPages...)
	for n := 0; n < len(image); n += 2048 {
		attackUBIFS(t, image[:n], int64(n))
		attackUBIFS(t, image[:n], int64(len(image)))
	}
	r := analyse(t, image[:len(image)-2*smallLEB]).Regions[0]
	if r.Format != "ubifs" || r.State == firmware.Proven || len(r.Problems) == 0 {
		t.Errorf("%+v", r)
	}
}

func TestABrokenUBIFSSuperblockIsSaidToBe(t *testing.T) {
	image := mkfsUBIFS(t, littleTree(t), smallPages...)
	image[100] ^= 1
	r := analyse(t, image).Regions[0]
	if r.Format != "ubifs" || r.State != firmware.Opaque || r.Size != 4096 || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "its CRC-32 is") {
		t.Errorf("%+v", r)
	}
}

// resealed flips a bit of the node that starts at a place and gives it a CRC
// that holds, so that what reads it is what is tested.
func resealed(image []byte, at, bit int) []byte {
	b := bytes.Clone(image)
	b[at+bit/8] ^= 1 << (bit % 8)
	size := int(binary.LittleEndian.Uint32(image[at+16:]))
	sealUBIFS(b[at : at+size])
	return b
}

func TestEachFlippedBitOfAUBIFSWithARightCRCIsNoPanic(t *testing.T) {
	image := mkfsUBIFS(t, littleTree(t), smallPages...)
	le := binary.LittleEndian
	for bit := 24 * 8; bit < 128*8; bit++ { // the superblock
		attackUBIFS(t, resealed(image, 0, bit), int64(len(image)))
	}
	for bit := 24 * 8; bit < 64*8; bit++ { // both master nodes
		b := resealed(image, smallLEB, bit)
		attackUBIFS(t, resealed(b, 2*smallLEB, bit), int64(len(b)))
	}
	master := image[smallLEB:]
	root := int(le.Uint32(master[48:]))*smallLEB + int(le.Uint32(master[52:]))
	for bit := 24 * 8; bit < 80*8; bit++ { // the root of the index
		attackUBIFS(t, resealed(image, root, bit), int64(len(image)))
	}
}

func TestAnIndexNodeThatHoldsItselfIsRefused(t *testing.T) {
	image := mkfsUBIFS(t, littleTree(t), append([]string{"-f", "3"}, smallPages...)...)
	le := binary.LittleEndian
	master := image[smallLEB:]
	root := int(le.Uint32(master[48:]))*smallLEB + int(le.Uint32(master[52:]))
	if le.Uint16(image[root+26:]) < 2 {
		t.Fatal("the index is too flat for this test")
	}
	first := image[root+28:]
	for i := 1; i < int(le.Uint16(image[root+24:])); i++ {
		copy(first[20*i:20*i+12], first[:12]) // all branches lead to one place
	}
	sealUBIFS(image[root : root+int(le.Uint32(image[root+16:]))])
	_, err := filesystem.NewUBIFS(bytes.NewReader(image), int64(len(image)), tight())
	if err == nil || !strings.Contains(err.Error(), "is there twice") {
		t.Error(err)
	}
}

// FuzzUBIFS mutates changes to an image: each is two bytes that choose one of
// the bytes at the nodes' starts, and one that is put there. The smallest UBIFS
// has 200 KB, nearly all of them erased, and a wrong CRC hides everything behind
// it, so that mutations of the image itself find nothing.
func FuzzUBIFS(f *testing.F) {
	image := mkfsUBIFS(f, littleTree(f), smallPages...)
	image = journal(f, image, inodeNode(newer, 500, 0o100644, 5, 1, ""), entryNode(newer+1, 1, "new", 500, 0), dataNode(newer+2, 500, 0, []byte("hello")), truncation(newer+3, 500, 5, 1))
	var nodes, places []int
	for at := 0; at+24 <= len(image); at += 8 {
		if string(image[at:at+4]) == "\x31\x18\x10\x06" {
			nodes = append(nodes, at)
			for i := 8; i < 160 && at+i < len(image); i++ {
				places = append(places, at+i)
			}
		}
	}
	f.Add([]byte{})
	f.Add([]byte{0, 20, 9, 1, 0, 0xff})
	f.Fuzz(func(t *testing.T, changes []byte) {
		b := bytes.Clone(image)
		for ; len(changes) >= 3; changes = changes[3:] {
			b[places[int(binary.LittleEndian.Uint16(changes))%len(places)]] = changes[2]
		}
		for _, at := range nodes {
			if size := binary.LittleEndian.Uint32(b[at+16:]); size >= 24 && uint64(size) <= uint64(len(b)-at) {
				sealUBIFS(b[at : at+int(size)])
			}
		}
		attackUBIFS(t, b, int64(len(b)))
	})
}
