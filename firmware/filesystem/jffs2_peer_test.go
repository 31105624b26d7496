//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
	"assay/internal/peer"
)

func mkfsJFFS2(t testing.TB, source string, args ...string) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image.jffs2")
	run(t, "mkfs.jffs2", "mtd-utils", append([]string{"-r", source, "-o", image}, args...)...)
	return contents(t, image)
}

func contents(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func openJFFS2(data []byte) (*filesystem.JFFS2, error) {
	return filesystem.NewJFFS2(context.Background(), bytes.NewReader(data), int64(len(data)), budget.New(budget.Limits{}))
}

func soundJFFS2(t testing.TB, data []byte) *filesystem.JFFS2 {
	t.Helper()
	f, err := openJFFS2(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Survey.Problems) > 0 {
		t.Fatalf("problems: %s", strings.Join(f.Survey.Problems, "\n"))
	}
	return f
}

// asJFFS2 is what of a tree JFFS2 keeps: owners of 16 bits, no node for the
// root, and as a directory's time that of the entry written to it last. Of long
// targets of links mkfs.jffs2 keeps 254 bytes.
func asJFFS2(want, got map[string]facts) map[string]facts {
	for name, f := range want {
		f.UID, f.GID = f.UID&0xffff, f.GID&0xffff
		if f.Mode.IsDir() {
			f.Time = got[name].Time
		}
		if name == "." {
			f = got[name]
		}
		f.Target = f.Target[:min(len(f.Target), 254)]
		if f.Target != "" {
			f.Size = int64(len(f.Target))
		}
		want[name] = f
	}
	return want
}

func TestJFFS2ReadsWhatMkfsWrote(t *testing.T) {
	source := sourceTree(t)
	nodes := filepath.Join(t.TempDir(), "devices")
	table := "/tmp/console c 600 0 5 5 1 0 0 -\n/tmp/disk b 660 0 6 31 200 0 0 -\n"
	if err := os.WriteFile(nodes, []byte(table), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, compression := range map[string][]string{
		"uncompressed": {"-m", "none"},
		"rtime":        {"-x", "zlib", "-x", "lzo"},
		"zlib":         {"-x", "rtime", "-x", "lzo"},
		"pages of 8k":  {"-x", "rtime", "-x", "lzo", "-s", "8192"},
		"lzo":          {"-X", "lzo", "-x", "zlib", "-x", "rtime"},
		"smallest":     {"-m", "size", "-X", "lzo"},
	} {
		for _, order := range []string{"-l", "-b"} {
			for _, layout := range []string{"-e 64KiB", "-e 128KiB --pad", "-e 64KiB -n --pad", "-e 128KiB -n", "-e 16KiB --pad", "-e 256KiB --pad=0x600000"} {
				if name != "uncompressed" && name != "zlib" && !strings.HasPrefix(layout, "-e 128KiB") {
					continue
				}
				t.Run(strings.Join([]string{name, order, layout}, " "), func(t *testing.T) {
					args := append([]string{order, "-D", nodes}, strings.Fields(layout)...)
					image := mkfsJFFS2(t, source, append(args, compression...)...)
					f := soundJFFS2(t, image)
					got := survey(t, f)
					want := survey(t, os.DirFS(source))
					for name, n := range map[string]facts{
						"tmp/console": {Mode: 0o600 | fs.ModeDevice | fs.ModeCharDevice, GID: 5, Major: 5, Minor: 1},
						"tmp/disk":    {Mode: 0o660 | fs.ModeDevice, GID: 6, Major: 31, Minor: 200},
					} {
						n.Links, n.Time = 1, got[name].Time
						want[name] = n
					}
					compare(t, got, asJFFS2(want, got))
					if block := "-e " + fmt.Sprint(f.EraseBlock>>10) + "KiB"; !strings.HasPrefix(layout, block) {
						t.Errorf("erase block of %d bytes", f.EraseBlock)
					}
					if strings.Contains(layout, "--pad") && f.Size%f.EraseBlock != 0 {
						t.Errorf("ends at %#x", f.Size)
					}
					if f.BigEndian != (order == "-b") {
						t.Errorf("big endian: %v", f.BigEndian)
					}
				})
			}
		}
	}
}

func TestJFFS2IsAGoodFS(t *testing.T) {
	f := soundJFFS2(t, mkfsJFFS2(t, tameTree(t)))
	if err := fstest.TestFS(f, "bin/busybox", "etc/passwd", "lib/128k+5", "bin/sh", "tmp/fifo"); err != nil {
		t.Error(err)
	}
}

func TestJFFS2ReadsFilesAsJffs2readerDoes(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image.jffs2")
	data := mkfsJFFS2(t, sourceTree(t), "-l")
	if err := os.WriteFile(image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f := soundJFFS2(t, data)
	// jffs2reader mixes up the pages of longer files, and misses the first name
	// that mkfs.jffs2 writes.
	for _, name := range []string{"etc/passwd", "etc/small39", "lib/4k", "usr/a b/ö"} {
		want, err := exec.Command(peer.Need(t, "jffs2reader", "mtd-utils"), image, "-f", "/"+name).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes and not %d, %v", name, len(got), len(want), err)
		}
	}
}

func TestJFFS2SummariesAreReadAndAgreeWithTheNodes(t *testing.T) {
	source := sourceTree(t)
	for _, order := range []string{"-l", "-b"} {
		for _, clean := range [][]string{nil, {"-n"}} {
			dir := t.TempDir()
			plain, summed := filepath.Join(dir, "plain"), filepath.Join(dir, "summed")
			if err := os.WriteFile(plain, mkfsJFFS2(t, source, append(clean, order, "-e", "128KiB")...), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, "sumtool", "mtd-utils", append(clean, order, "-e", "128KiB", "-p", "-i", plain, "-o", summed)...)
			image := contents(t, summed)
			f := soundJFFS2(t, image)
			if blocks := len(image) / (128 << 10); f.Nodes.Summaries < blocks-1 || f.EraseBlock != 128<<10 || f.Size != int64(len(image)) {
				t.Errorf("%d summaries in %d blocks of %#x, %#x bytes of %#x", f.Nodes.Summaries, blocks, f.EraseBlock, f.Size, len(image))
			}
			got := survey(t, f)
			compare(t, got, asJFFS2(survey(t, os.DirFS(source)), got))
		}
	}
}

func TestJFFS2EndsBeforeWhatFollows(t *testing.T) {
	const block = 64 << 10
	source := littleTree(t)
	image := mkfsJFFS2(t, sourceTree(t), "-e", "64KiB", "--pad")
	size := int64(len(image))
	erased := bytes.Repeat([]byte{0xff}, 3*block)
	other := mkfsJFFS2(t, source, "-e", "64KiB", "--pad")
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	unpadded := mkfsJFFS2(t, source, "-n")
	middle := int(size) / 2 / block * block
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"noise":                        {join(image, noise(block)), fmt.Sprintf("jffs2+%#x opaque+0x10000", size)},
		"erased blocks":                {join(image, erased), fmt.Sprintf("jffs2+%#x erased+0x30000", size)},
		"erased blocks and noise":      {join(image, erased, noise(block)), fmt.Sprintf("jffs2+%#x erased+0x30000 opaque+0x10000", size)},
		"another file system":          {join(image, other), fmt.Sprintf("jffs2+%#x jffs2+%#x", size, len(other))},
		"a gap and another":            {join(image, noise(block), other), fmt.Sprintf("jffs2+%#x opaque+0x10000 jffs2+%#x", size, len(other))},
		"an erased block amid its own": {join(image[:middle], erased, image[middle:]), fmt.Sprintf("jffs2+%#x", size+3*block)},
		"data behind an image that is not padded": {
			join(unpadded, []byte(strings.Repeat("signature ", 500))), fmt.Sprintf("jffs2+%#x residue+0x1388", len(unpadded))},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, r := range analyse(t, c.data).Regions {
				kind := r.Format
				if kind == "" {
					kind = r.State.String()
				}
				got = append(got, fmt.Sprintf("%s+%#x", kind, r.Size))
				if r.Format == "jffs2" && (r.State != firmware.Proven || len(r.Problems) > 0) {
					t.Errorf("%s: %q", r.State, r.Problems)
				}
			}
			if all := strings.Join(got, " "); all != c.want {
				t.Errorf("%s\nwant %s", all, c.want)
			}
		})
	}
}

func TestTheCorpusJFFS2IsReadAsJffs2readerReadsIt(t *testing.T) {
	name := "format/jffs2/jffs2_le.img"
	f := soundJFFS2(t, corpusFile(t, name))
	for _, file := range []string{"testfile1", "testfile2"} {
		want, err := exec.Command(peer.Need(t, "jffs2reader", "mtd-utils"), filepath.Join(corpus, name), "-f", "/"+file).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.ReadFile(file); err != nil || !bytes.Equal(got, want) || len(got) == 0 {
			t.Errorf("%s: %q and not %q, %v", file, got, want, err)
		}
	}
	if r := analyse(t, corpusFile(t, name)).Regions[0]; r.Format != "jffs2" || r.State != firmware.Proven {
		t.Errorf("%+v", r)
	}
}

func TestJFFS2HasTheNodesThatJffs2dumpLists(t *testing.T) {
	dir := t.TempDir()
	source := littleTree(t)
	for _, order := range []string{"-l", "-b"} {
		other := map[string]string{"-l": "-b", "-b": "-l"}[order]
		name, converted := filepath.Join(dir, "image"), filepath.Join(dir, "converted")
		data := mkfsJFFS2(t, source, order, "-e", "64KiB", "-X", "lzo")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		out := string(run(t, "jffs2dump", "mtd-utils", "-c", order, name))
		f := soundJFFS2(t, data)
		if dirents, inodes := strings.Count(out, "Dirent "), strings.Count(out, "Inode "); dirents != f.Nodes.Entries || inodes != f.Nodes.Inodes || dirents < 6 {
			t.Errorf("%s: %d and %d nodes, jffs2dump has %d and %d", order, f.Nodes.Entries, f.Nodes.Inodes, dirents, inodes)
		}
		// Converted by it, it is the same in the other byte order.
		run(t, "jffs2dump", "mtd-utils", "-e", converted, "-r", order, name)
		g := soundJFFS2(t, contents(t, converted))
		if g.BigEndian == f.BigEndian {
			t.Errorf("converted from %s, it is not %s", order, other)
		}
		compare(t, survey(t, g), survey(t, f))
	}
}

// lzma packs with the real program, which writes a header of 13 bytes in front
// of what a node holds.
func lzma(t testing.TB, data []byte) []byte {
	cmd := exec.Command(peer.Need(t, "xz", "xz-utils"), "--format=lzma", "--lzma1=lc=0,lp=0,pb=0,dict=8KiB", "-c")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if out[0] != 0 || binary.LittleEndian.Uint32(out[1:]) != 8<<10 {
		t.Fatalf("header %x", out[:13])
	}
	return out[13:]
}

func TestJFFS2ReadsTheLZMAOfOpenWrt(t *testing.T) {
	want := text(4096)
	for _, order := range []byteOrder{binary.LittleEndian, binary.BigEndian} {
		j := jffs2{order: order}
		packed := lzma(t, want)
		j.name(1, 1, 2, dtFile, "a")
		j.put(piece{ino: 2, version: 1, mode: file, isize: 4096, size: 4096, method: 8, data: packed})
		if got, err := soundJFFS2(t, j.image).ReadFile("a"); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}
