package shell

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"assay/attest"
	"assay/devices"
	wire "assay/devices/simulator/line"
	"assay/internal/peer"
)

func without(applets []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(applets), func(a string) bool { return slices.Contains(names, a) })
}

func TestEveryKindOfShellIsRead(t *testing.T) {
	t.Parallel()
	image := random(160 << 10)
	for name, x := range map[string]struct {
		program []string
		prompt  string
		env     []string
		loose   bool
	}{
		"BusyBox's ash":            {},
		"bash with its line edits": {program: []string{"bash", "--norc", "--noprofile", "-i"}, prompt: "root@cam:/# ", env: []string{"PS1=root@cam:/# "}},
		"dash, a terminal's echo":  {program: []string{"dash", "-i"}},
		"no job control":           {loose: true},
		"a coloured prompt":        {env: []string{"PS1=\x1b[1;32m[cam]\x1b[0m$ "}, prompt: "[cam]$ "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCamera(t, image, parts(96<<10, 64<<10)...)
			c.program, c.env, c.loose = slices.Clone(x.program), x.env, x.loose
			if len(c.program) > 0 {
				c.program[0] = peer.Need(t, c.program[0], c.program[0])
			}
			p, log := c.plug(t, wire.Config{}, Options{Quiet: quick, Prompt: x.prompt})
			s := onlySource(t, p, &kept{})
			got, errs := readAll(t, within(t, time.Minute), s)
			if !bytes.Equal(got, image) || len(errs) > 0 {
				t.Fatalf("the dump differs: %v\n%s", errs, log.Take())
			}
		})
	}
}

func TestAShellThatHasLessIsReadInTheNextBestWay(t *testing.T) {
	t.Parallel()
	image := random(96 << 10)
	for name, x := range map[string]struct {
		applets []string
		seven   bool // the terminal passes seven bits only
		form    string
		sum     string
	}{
		"no gzip":                      {applets: without(cameraApplets, "gzip"), form: "raw"},
		"seven bits and base64":        {applets: append([]string{"base64"}, cameraApplets...), seven: true, form: "gzip+base64", sum: "crc32"},
		"seven bits, hexdump, no gzip": {applets: append([]string{"hexdump", "md5sum"}, without(cameraApplets, "gzip")...), seven: true, form: "hexdump", sum: "md5"},
		"seven bits and od":            {applets: append([]string{"od", "sha256sum"}, cameraApplets...), seven: true, form: "gzip+od", sum: "sha256"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCamera(t, image, parts(96<<10)...)
			c.applets = x.applets
			far := c.console(t)
			if x.seven {
				far = sevenBits{far}
			}
			p, log := plugInto(t, far, wire.Config{}, c.root, Options{Quiet: quick})
			s := onlySource(t, p, &kept{})
			if got := p.can.form().name; got != x.form || s.Checksum().Name != x.sum {
				t.Errorf("bytes come as %q, sums as %q", got, s.Checksum().Name)
			}
			got, errs := readAll(t, within(t, time.Minute), s)
			if !bytes.Equal(got, image) || len(errs) > 0 {
				t.Fatalf("the dump differs: %v\n%s", errs, log.Take())
			}
			ranges := []attest.Extent{{Size: 64 << 10}, {Offset: 64 << 10, Size: 32 << 10}}
			err := s.Sums(within(t, time.Minute), ranges, func(r attest.Extent, sum []byte, err error) error {
				if want := s.Checksum().Of(image[r.Offset : r.Offset+r.Size]); err != nil || !bytes.Equal(sum, want) {
					t.Errorf("%v: %x, want %x, %v", r, sum, want, err)
				}
				return nil
			})
			if (err != nil) != (x.sum == "") {
				t.Errorf("sums: %v", err)
			}
		})
	}
}

// sevenBits is a terminal that strips the eighth bit of what the unit sends.
type sevenBits struct{ io.ReadWriteCloser }

func (s sevenBits) Read(b []byte) (int, error) {
	n, err := s.ReadWriteCloser.Read(b)
	for i := range b[:n] {
		b[i] &= 0x7f
	}
	return n, err
}

func TestWithoutDDAndWithoutAnyWayForBytesTheFlashIsRefusedClearly(t *testing.T) {
	t.Parallel()
	image := random(64 << 10)
	for name, x := range map[string]struct {
		applets []string
		seven   bool
		says    string
	}{
		"no dd":      {applets: without(cameraApplets, "dd"), says: "no dd"},
		"seven bits": {applets: cameraApplets, seven: true, says: "changes some bytes"},
	} {
		c := newCamera(t, image, parts(64<<10)...)
		c.applets = x.applets
		far := c.console(t)
		if x.seven {
			far = sevenBits{far}
		}
		p, _ := plugInto(t, far, wire.Config{}, c.root, Options{Quiet: quick})
		sink := &kept{}
		if err := p.Identify(within(t, time.Minute), sink); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := sink.values(attest.SubjectFlash, "partitions"); len(got) != 1 {
			t.Errorf("%s: partitions %q, problems %v", name, got, sink.problems)
			continue
		}
		if _, err := p.Source(t.Context(), p.Banks()[0]); !errors.Is(err, devices.ErrAccess) || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNothingIsLeftOnTheUnit(t *testing.T) {
	t.Parallel()
	image := random(128 << 10)
	c := newCamera(t, image, parts(128<<10)...)
	before := tree(t, c.root)
	far := c.console(t)
	p, _ := plugInto(t, far, wire.Config{}, c.root, Options{Quiet: quick})
	pid := far.(*terminal).cmd.Process.Pid
	environment := func() string {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		return string(b)
	}
	env := environment()
	s := onlySource(t, p, &kept{})
	readAll(t, within(t, time.Minute), s)
	tpm := p.TPM(within(t, time.Minute))
	tpm.Send([]byte{0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 4})
	if after := tree(t, c.root); after != before {
		t.Errorf("files before:\n%s\nafter:\n%s", before, after)
	}
	children, _ := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output()
	if len(children) > 0 || environment() != env {
		t.Errorf("processes %q", children)
	}
	fds, _ := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
	for _, fd := range fds {
		if fd.Name() == "9" {
			t.Error("descriptor 9 is open")
		}
	}
}

// tree is the names, sizes and contents of all files but the shell's own programs.
func tree(t *testing.T, root string) string {
	t.Helper()
	var all strings.Builder
	filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || strings.HasPrefix(path, filepath.Join(root, "bin")) {
			return err
		}
		all.WriteString(path)
		if !d.IsDir() {
			b, _ := os.ReadFile(path)
			all.WriteString(string(attest.DigestOf(b)))
		}
		all.WriteByte('\n')
		return nil
	})
	return all.String()
}

// fused is a unit whose line is switched to another when it has said so much.
type fused struct {
	mu    sync.Mutex
	now   io.ReadWriteCloser
	left  int
	blown func() io.ReadWriteCloser
}

func (f *fused) current() io.ReadWriteCloser {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fused) Read(b []byte) (int, error) {
	n, err := f.current().Read(b)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left -= n; f.left <= 0 && f.blown != nil || err != nil && f.blown != nil {
		f.now.Close()
		f.now, f.blown = f.blown(), nil
		return copy(b, "\r\n\r\nU-Boot 2016.11 (Jun 01 2021)\r\nDRAM:  64 MiB\r\n\r\nStarting kernel ...\r\n[    0.000000] Booting Linux\r\n"), nil
	}
	return n, err
}

func (f *fused) Write(b []byte) (int, error) { return f.current().Write(b) }
func (f *fused) Close() error                { return f.current().Close() }

func TestAUnitThatRestartsIsRegainedAndReadOn(t *testing.T) {
	t.Parallel()
	image := random(512 << 10)
	c := newCamera(t, image, parts(512<<10)...)
	first, second := c.console(t), c.console(t)
	f := &fused{now: first, left: 250 << 10, blown: func() io.ReadWriteCloser { return second }}
	regained := 0
	var p *Prompt
	p, log := plugInto(t, f, wire.Config{}, c.root, Options{Quiet: quick, Regain: func(ctx context.Context, seen []byte) (string, error) {
		regained++
		if !strings.Contains(string(seen), "U-Boot 2016.11") {
			t.Errorf("seen %q", seen)
		}
		return Login(ctx, p.line, p.o)
	}})
	s := onlySource(t, p, &kept{})
	got, errs := readAll(t, within(t, time.Minute), s)
	if !bytes.Equal(got, image) || len(errs) > 0 || regained != 1 {
		t.Fatalf("regained %d times, %v\n%s", regained, errs, log.Take())
	}
}

func TestAUnitThatRestartsWithoutAWayBackIsAnError(t *testing.T) {
	t.Parallel()
	c := newCamera(t, random(512<<10), parts(512<<10)...)
	first, second := c.console(t), c.console(t)
	f := &fused{now: first, left: 250 << 10, blown: func() io.ReadWriteCloser { return second }}
	p, _ := plugInto(t, f, wire.Config{}, c.root, Options{Quiet: quick})
	s := onlySource(t, p, &kept{})
	err := s.Read(within(t, time.Minute), []attest.Extent{{Size: s.Size()}}, func(attest.Extent, []byte, error) error { return nil })
	if !errors.Is(err, ErrRestarted) || !errors.Is(err, devices.ErrUnreachable) {
		t.Errorf("%v", err)
	}
}
