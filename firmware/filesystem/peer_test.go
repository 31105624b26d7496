//go:build linux

// The real programs and the trees they pack (fifos, owners, hard links) are
// Linux's.

package filesystem_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"assay/firmware/filesystem"
	"assay/internal/peer"
)

// facts are what two readings of one file must agree on.
type facts struct {
	Mode         fs.FileMode
	UID, GID     uint32
	Major, Minor uint32
	Links        uint32 // not of directories, which differ by file system
	Size         int64  // not of directories
	Time         int64
	Target, Sum  string
}

func (f facts) String() string { return fmt.Sprintf("%+v", struct{ facts }{f}.facts.fields()) }

func (f facts) fields() []any {
	return []any{f.Mode, f.UID, f.GID, f.Major, f.Minor, f.Links, f.Size, f.Time, f.Target, f.Sum}
}

// survey reads a whole tree.
func survey(t testing.TB, files fs.FS) map[string]facts {
	t.Helper()
	all := make(map[string]facts)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		f := facts{Mode: st.Mode(), Time: st.ModTime().Unix()}
		if !st.IsDir() {
			f.Size = st.Size()
		}
		switch sys := st.Sys().(type) {
		case *filesystem.Inode:
			f.UID, f.GID, f.Links = sys.UID, sys.GID, sys.Links
			f.Major, f.Minor = sys.Major, sys.Minor
		case *syscall.Stat_t:
			f.UID, f.GID, f.Links = sys.Uid, sys.Gid, uint32(sys.Nlink)
		}
		switch {
		case st.IsDir():
			f.Links = 0
		case st.Mode()&fs.ModeSymlink != 0:
			if f.Target, err = fs.ReadLink(files, name); err != nil {
				return err
			}
		case st.Mode().IsRegular():
			r, err := files.Open(name)
			if err != nil {
				return err
			}
			defer r.Close()
			h := sha256.New()
			if _, err := io.Copy(h, r); err != nil {
				return err
			}
			f.Sum = fmt.Sprintf("%x", h.Sum(nil))
		}
		all[name] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func compare(t *testing.T, got, want map[string]facts) {
	t.Helper()
	shown := 0
	for name, w := range want {
		if g, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		} else if g != w {
			t.Errorf("%s:\n got %v\nwant %v", name, g, w)
		} else {
			continue
		}
		if shown++; shown > 10 {
			t.Fatal("more differ")
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s should not be there", name)
		}
	}
}

// text packs well. It repeats itself after a while, with a number in between:
// compressors are slow on what is nearly the same.
func text(n int) []byte {
	r := rand.New(rand.NewPCG(5, uint64(n)))
	var once, b bytes.Buffer
	for once.Len() < min(n, 20_000) {
		fmt.Fprintf(&once, "%x camera %d\n", r.Uint32N(5000), r.IntN(100))
	}
	for b.Len() < n {
		b.Write(once.Bytes())
		fmt.Fprintf(&b, "page %d\n", b.Len())
	}
	return b.Bytes()[:n]
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(6, uint64(n)))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// sourceTree makes a directory with all that a file system can hold, except
// device nodes, for which one must be root.
func sourceTree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	program, err := os.Executable()
	must(err)
	code, err := os.ReadFile(program)
	must(err)
	for name, data := range map[string][]byte{
		"etc/empty": nil, "etc/one": []byte("x"), "etc/passwd": []byte("root::0:0::/root:/bin/sh\n"),
		"bin/busybox": code[4096 : 4096+400_000], "lib/4k": text(4096), "lib/4k+1": text(4097),
		"lib/128k": text(128 << 10), "lib/128k+5": text(128<<10 + 5), "lib/1m+9": text(1<<20 + 9),
		"lib/noise": noise(150_001), "lib/zeros": make([]byte, 300_000),
		"lib/mixed":                       append(append(text(70_000), make([]byte, 400_000)...), noise(5)...),
		"usr/a b/ö":                       []byte("spaces"),
		"usr/" + strings.Repeat("n", 255): []byte("long name"),
	} {
		p := filepath.Join(root, name)
		must(os.MkdirAll(filepath.Dir(p), 0o755))
		must(os.WriteFile(p, data, 0o644))
	}
	for i := range 40 {
		must(os.WriteFile(filepath.Join(root, "etc", fmt.Sprintf("small%02d", i)), text(i*37), 0o600))
	}
	deep := filepath.Join(root, strings.Repeat("d/", 40))
	must(os.MkdirAll(deep, 0o700))
	must(os.WriteFile(filepath.Join(deep, "bottom"), []byte("deep"), 0o400))
	must(os.Mkdir(filepath.Join(root, "tmp"), 0o755))
	must(os.Symlink("busybox", filepath.Join(root, "bin/sh")))
	must(os.Symlink("/bin/busybox", filepath.Join(root, "bin/ls")))
	must(os.Symlink("../../../../etc/passwd", filepath.Join(root, "etc/climbs")))
	must(os.Symlink("nowhere", filepath.Join(root, "etc/dangling")))
	must(os.Symlink("self", filepath.Join(root, "etc/self")))
	must(os.Symlink(strings.Repeat("l", 3000), filepath.Join(root, "etc/long")))
	must(os.Symlink("usr", filepath.Join(root, "opt")))
	must(os.Link(filepath.Join(root, "bin/busybox"), filepath.Join(root, "bin/cp")))
	must(os.Link(filepath.Join(root, "lib/4k+1"), filepath.Join(root, "tmp/linked")))
	must(syscall.Mkfifo(filepath.Join(root, "tmp/fifo"), 0o640))
	must(syscall.Mknod(filepath.Join(root, "tmp/socket"), syscall.S_IFSOCK|0o755, 0))
	sparse, err := os.Create(filepath.Join(root, "lib/sparse"))
	must(err)
	_, err = sparse.WriteAt([]byte("end"), 3<<20+1)
	must(err)
	must(sparse.Close())
	must(os.Chmod(filepath.Join(root, "bin/busybox"), 0o755|fs.ModeSetuid))
	must(os.Chmod(filepath.Join(root, "tmp"), 0o777|fs.ModeSticky))
	if os.Getuid() == 0 {
		must(os.Lchown(filepath.Join(root, "etc/passwd"), 1001, 70_000))
		must(os.Lchown(filepath.Join(root, "bin/sh"), 2_000_000_000, 12))
	}
	must(filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(p, time.Time{}, time.Unix(1_600_000_000+int64(len(p)), 0))
	}))
	return root
}

// littleTree makes a directory whose image has fragments, whole blocks, a link
// and some 50 KB, for tests that read it a thousand times.
func littleTree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"etc/a": text(5000), "etc/b": text(9000), "c": noise(40_000), "d": nil} {
		if err := os.WriteFile(filepath.Join(root, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(root, "etc/l")); err != nil {
		t.Fatal(err)
	}
	return root
}

// manyFiles makes one directory of 3,000 files.
func manyFiles(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for i := range 3000 {
		name := fmt.Sprintf("a rather long name, so that the index of the directory is used %04d", i*7919%3000)
		if err := os.WriteFile(filepath.Join(root, name), fmt.Appendf(nil, "file %d", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func run(t testing.TB, program, debianPackage string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(peer.Need(t, program, debianPackage), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}
