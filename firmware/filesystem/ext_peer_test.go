//go:build linux

package filesystem_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/filesystem"
	"assay/internal/peer"
)

// ramDir is a temporary folder in memory where there is one: the programs wait
// for a disk to have written all of an image.
func ramDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "assay")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// mkfsExt makes a file system of a directory.
func mkfsExt(t testing.TB, source, size string, args ...string) []byte {
	t.Helper()
	image := filepath.Join(ramDir(t), "image.ext")
	all := append([]string{"-q", "-F", "-d", source, "-L", "camera"}, args...)
	run(t, "mke2fs", "e2fsprogs", append(all, image, size)...)
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// debugfs changes an image with commands.
func debugfs(t testing.TB, image []byte, commands ...string) []byte {
	t.Helper()
	dir := ramDir(t)
	file, script := filepath.Join(dir, "image"), filepath.Join(dir, "script")
	for name, data := range map[string][]byte{file: image, script: []byte(strings.Join(commands, "\n") + "\n")} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "debugfs", "e2fsprogs", "-w", "-f", script, file)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func shorten(t testing.TB, link string, n int) {
	t.Helper()
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(strings.Repeat("l", n), link); err != nil {
		t.Fatal(err)
	}
}

func readExt(t testing.TB, image []byte) *filesystem.Ext {
	t.Helper()
	e, err := filesystem.NewExt(context.Background(), bytes.NewReader(image), int64(len(image)), budget.New(budget.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func soundExt(t testing.TB, image []byte) *filesystem.Ext {
	t.Helper()
	e := readExt(t, image)
	if len(e.Survey.Problems) > 0 {
		t.Fatalf("problems: %s", strings.Join(e.Survey.Problems, "\n"))
	}
	return e
}

func TestExtReadsWhatMke2fsWrote(t *testing.T) {
	source := sourceTree(t)
	shorten(t, filepath.Join(source, "etc/long"), 1000) // mke2fs wants a link to be in one block
	want := survey(t, os.DirFS(source))
	for name, c := range map[string]struct {
		kind, size string
		args       []string
	}{
		"ext2":                              {"ext2", "12M", []string{"-t", "ext2"}},
		"ext2 in blocks of 1K":              {"ext2", "12M", []string{"-t", "ext2", "-b", "1024"}},
		"ext2 in blocks of 2K":              {"ext2", "12M", []string{"-t", "ext2", "-b", "2048", "-I", "128"}},
		"ext2 of revision 0":                {"ext2", "12M", []string{"-t", "ext2", "-r", "0", "-b", "1024"}},
		"ext2 without types in directories": {"ext2", "12M", []string{"-t", "ext2", "-O", "^filetype", "-b", "1024"}},
		"ext2 with all copies":              {"ext2", "40M", []string{"-t", "ext2", "-O", "^sparse_super,^resize_inode", "-b", "1024"}},
		"ext2 in meta groups":               {"ext2", "40M", []string{"-t", "ext2", "-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "512"}},
		"ext3":                              {"ext3", "12M", []string{"-t", "ext3"}},
		"ext3 in blocks of 1K":              {"ext3", "20M", []string{"-t", "ext3", "-b", "1024"}},
		"ext4":                              {"ext4", "20M", []string{"-t", "ext4"}},
		"ext4 in blocks of 1K":              {"ext4", "20M", []string{"-t", "ext4", "-b", "1024"}},
		"ext4 in blocks of 64K":             {"ext4", "40M", []string{"-t", "ext4", "-b", "65536", "-m", "0", "-J", "size=64"}},
		"ext4 in blocks of 64K, no journal": {"ext4", "40M", []string{"-t", "ext4", "-b", "65536", "-O", "^has_journal"}},
		"ext4 without checksums":            {"ext4", "20M", []string{"-t", "ext4", "-O", "^metadata_csum,^64bit"}},
		"ext4 with group checksums":         {"ext4", "20M", []string{"-t", "ext4", "-O", "^metadata_csum,uninit_bg"}},
		"ext4 of 32 bits":                   {"ext4", "20M", []string{"-t", "ext4", "-O", "^64bit"}},
		"ext4 with a seed":                  {"ext4", "20M", []string{"-t", "ext4", "-O", "metadata_csum_seed"}},
		"ext4 with inline data":             {"ext4", "20M", []string{"-t", "ext4", "-O", "inline_data", "-I", "512"}},
		"ext4 without extents":              {"ext4", "20M", []string{"-t", "ext4", "-O", "^extents,^64bit"}},
		"ext4 of one group a time":          {"ext4", "40M", []string{"-t", "ext4", "-O", "^flex_bg,^resize_inode", "-b", "1024", "-g", "1024"}},
		"ext4 in meta groups":               {"ext4", "40M", []string{"-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "1024"}},
		"ext4 with two copies":              {"ext4", "40M", []string{"-t", "ext4", "-O", "sparse_super2", "-b", "1024", "-g", "2048"}},
		"ext4 in clusters":                  {"ext4", "60M", []string{"-t", "ext4", "-O", "bigalloc", "-C", "16384"}},
		"ext4 in clusters of 1K blocks":     {"ext4", "60M", []string{"-t", "ext4", "-O", "bigalloc", "-b", "1024", "-C", "4096"}},
		"ext4 with the rest":                {"ext4", "60M", []string{"-t", "ext4", "-O", "ea_inode,large_dir,project,quota,verity,orphan_file,encrypt,casefold"}},
	} {
		t.Run(name, func(t *testing.T) {
			image := mkfsExt(t, source, c.size, c.args...)
			image = debugfs(t, image, "cd tmp", "mknod console c 5 1", "mknod disk b 259 300", "sif console mode 020600", "sif disk gid 6")
			r := analyse(t, image).Regions[0]
			if r.Format != c.kind || r.State != firmware.Proven || r.Size != int64(len(image)) || r.Name != map[bool]string{false: "camera"}[r.Field("revision") == "0"] || r.Role != firmware.RoleRootFS || len(r.Problems) > 0 {
				t.Fatalf("%s %s of %d bytes, %q: %q", r.Format, r.State, r.Size, r.Name, r.Problems)
			}
			got, want := survey(t, r.FS), maps.Clone(want)
			if got["tmp/console"].Mode != fs.ModeDevice|fs.ModeCharDevice|0o600 || got["tmp/console"].Major != 5 || got["tmp/console"].Minor != 1 {
				t.Errorf("console: %v", got["tmp/console"])
			}
			if got["tmp/disk"].Mode != fs.ModeDevice || got["tmp/disk"].Major != 259 || got["tmp/disk"].Minor != 300 || got["tmp/disk"].GID != 6 {
				t.Errorf("disk: %v", got["tmp/disk"])
			}
			for _, extra := range []string{"tmp/console", "tmp/disk", "lost+found"} {
				delete(got, extra)
			}
			for _, touched := range []string{".", "tmp"} {
				f := want[touched]
				f.Time, f.UID, f.GID = got[touched].Time, got[touched].UID, got[touched].GID
				want[touched] = f
			}
			compare(t, got, want)
		})
	}
}

func TestExtWithTheBlockOfAMultipleMountProtectionIsSound(t *testing.T) {
	soundExt(t, mkfsExt(t, littleTree(t), "4M", "-t", "ext4", "-O", "mmp"))
}

func TestExtIndexedDirectoriesAreReadInARow(t *testing.T) {
	source := t.TempDir()
	for i := range 500 {
		name := fmt.Sprintf("a rather long name, so that the index of the directory is used %04d", i*7919%500)
		if err := os.WriteFile(filepath.Join(source, name), fmt.Appendf(nil, "file %d", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := survey(t, os.DirFS(source))
	file := filepath.Join(ramDir(t), "image")
	if err := os.WriteFile(file, mkfsExt(t, source, "4M", "-t", "ext4", "-b", "1024", "-N", "600"), 0o600); err != nil {
		t.Fatal(err)
	}
	e2fsck := exec.Command(peer.Need(t, "e2fsck", "e2fsprogs"), "-fyD", file) // makes the indexes
	if out, err := e2fsck.CombinedOutput(); e2fsck.ProcessState.ExitCode() > 1 {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	image, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := analyse(t, image).Regions[0]
	if r.State != firmware.Proven || !strings.Contains(r.Field("inode flags"), "indexed directories") {
		t.Errorf("%s, %q: %q", r.State, r.Field("inode flags"), r.Problems)
	}
	got := survey(t, r.FS)
	delete(got, "lost+found")
	delete(want, ".")
	delete(got, ".")
	compare(t, got, want)
}

// mkfsSparse makes a large file system and keeps what is not zero of it.
func mkfsSparse(t testing.TB, size string, args ...string) sparse {
	t.Helper()
	file := filepath.Join(ramDir(t), "image")
	all := append([]string{"-q", "-F", "-d", littleTree(t)}, args...)
	run(t, "mke2fs", "e2fsprogs", append(all, file, size)...)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	image := sparse{at: make(map[int64][]byte)}
	if image.size, err = f.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	for at := int64(0); ; {
		if at, err = f.Seek(at, 3); err != nil { // SEEK_DATA
			return image
		}
		at &^= 4095
		page := make([]byte, 4096)
		if _, err := f.ReadAt(page, at); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if len(bytes.Trim(page, "\x00")) > 0 {
			image.at[at>>12] = page
		}
		at += 4096
	}
}
