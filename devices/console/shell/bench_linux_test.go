package shell

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"assay/attest"
	"assay/devices"
	"assay/devices/console/line"
	"assay/devices/console/readout"
	wire "assay/devices/simulator/line"
	"assay/internal/peer"
)

// cameraApplets are what the BusyBox 1.19.3 of four real cameras has (READMEs of
// the ipc-vatilon collection), as far as Debian's has them.
var cameraApplets = strings.Fields("[ ash awk cat chmod cp date dd df dmesg du echo egrep env fdisk free ftpget ftpput grep gunzip gzip hostname ifconfig insmod kill login ls lsmod mdev mount netstat ping ps reboot sed sh sleep sync tail tar telnet test tftp top touch usleep wc zcat")

// kept is a sink that remembers.
type kept struct {
	mu        sync.Mutex
	claims    []attest.Claim
	marks     []attest.Mark
	problems  []attest.Problem
	artefacts map[string][]byte
}

func (k *kept) Artefact(_, what string, raw []byte) attest.Digest {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.artefacts == nil {
		k.artefacts = map[string][]byte{}
	}
	k.artefacts[what] = append(k.artefacts[what], raw...)
	return attest.DigestOf(raw)
}

func (k *kept) Claim(c attest.Claim) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.claims = append(k.claims, c)
	return fmt.Sprint("c", len(k.claims))
}

func (k *kept) Mark(m attest.Mark) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.marks = append(k.marks, m)
	return fmt.Sprint("m", len(k.marks))
}

func (k *kept) Problem(kind attest.ProblemKind, source, says string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.problems = append(k.problems, attest.Problem{Kind: kind, Source: source, Says: says})
}

// values are those of the claims with a subject and a name.
func (k *kept) values(subject attest.Subject, name string) (all []string) {
	for _, c := range k.claims {
		if c.Subject == subject && c.Name == name {
			all = append(all, c.Value)
		}
	}
	return all
}

func (k *kept) wants(t *testing.T, want [][3]string) {
	t.Helper()
	for _, w := range want {
		got := k.values(attest.Subject(w[0]), w[1])
		if len(got) == 0 || got[0] != w[2] {
			t.Errorf("%s %s is %q, want %q", w[0], w[1], got, w[2])
		}
	}
}

// terminal is a program on a pseudo-terminal.
type terminal struct {
	*os.File
	cmd *exec.Cmd
}

func (t *terminal) Close() error {
	t.cmd.Process.Kill()
	t.cmd.Wait()
	return t.File.Close()
}

// onTerminal starts a program as a unit's console would have it.
func onTerminal(t testing.TB, controlling bool, env []string, program string, args ...string) *terminal {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = env
	cmd.Dir = "/"
	f, err := pty.StartWithAttrs(cmd, &pty.Winsize{Rows: 24, Cols: 80}, &syscall.SysProcAttr{Setsid: true, Setctty: controlling})
	if err != nil {
		t.Fatal(err)
	}
	return &terminal{f, cmd}
}

// camera is a unit on the bench: a real shell over files that look like a
// camera's.
type camera struct {
	root    string
	applets []string
	program []string // what runs on the console; BusyBox's ash when empty
	env     []string
	loose   bool // the terminal does not control the shell, as /dev/console does not
}

// newCamera makes the files of a unit whose flash holds image in partitions.
func newCamera(t testing.TB, image []byte, parts ...devices.Partition) *camera {
	t.Helper()
	root, err := os.MkdirTemp("", "cam")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	c := &camera{root: root, applets: cameraApplets}
	mtd := "dev:    size   erasesize  name\n"
	for i, p := range parts {
		mtd += fmt.Sprintf("mtd%d: %08x 00010000 %q\n", i, p.Size, p.Name)
		c.file(t, fmt.Sprintf("/sys/class/mtd/mtd%d/offset", i), fmt.Sprintln(p.Offset))
		c.file(t, fmt.Sprintf("/sys/class/mtd/mtd%d/type", i), "nor\n")
		c.file(t, fmt.Sprintf("/dev/mtd%dro", i), string(image[p.Offset:p.Offset+p.Size]))
	}
	c.file(t, "/proc/mtd", mtd)
	exe, err := os.ReadFile(peer.Need(t, "busybox", "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	c.file(t, "/proc/self/exe", string(exe[:64<<10]))
	return c
}

func (c *camera) file(t testing.TB, name, content string) {
	t.Helper()
	path := filepath.Join(c.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// console starts the unit's shell, with the camera's applets and no others.
func (c *camera) console(t testing.TB) io.ReadWriteCloser {
	t.Helper()
	busybox := peer.Need(t, "busybox", "busybox")
	bin := filepath.Join(c.root, "bin")
	os.RemoveAll(bin)
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, a := range c.applets {
		if err := os.Symlink(busybox, filepath.Join(bin, a)); err != nil {
			t.Fatal(err)
		}
	}
	program := c.program
	if len(program) == 0 {
		program = []string{busybox, "ash", "-i"}
	}
	return onTerminal(t, !c.loose, append([]string{"PATH=" + bin, "PS1=~ # ", "TERM=vt100"}, c.env...), program[0], program[1:]...)
}

// plug connects to a unit through a line.
func (c *camera) plug(t testing.TB, w wire.Config, o Options) (*Prompt, *line.Transcript) {
	t.Helper()
	return plugInto(t, c.console(t), w, c.root, o)
}

func plugInto(t testing.TB, far io.ReadWriteCloser, w wire.Config, root string, o Options) (*Prompt, *line.Transcript) {
	t.Helper()
	wired := wire.New(far, w)
	log := line.NewTranscript(nil, "")
	l := line.New("serial:test", wired.Plug(), log)
	l.SetBaud(115200)
	t.Cleanup(func() {
		l.Close()
		wired.Close()
	})
	o.Root = root
	if o.Prompt == "" {
		o.Prompt = "~ # "
	}
	return New(l, o), log
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// parts cuts a flash into partitions of given sizes.
func parts(sizes ...int64) (all []devices.Partition) {
	at := int64(0)
	for i, n := range sizes {
		all = append(all, devices.Partition{Name: fmt.Sprint("part", i), Extent: attest.Extent{Offset: at, Size: n}})
		at += n
	}
	return all
}

// readAll reads a flash and returns its bytes; what was not read is 0xEE.
func readAll(t testing.TB, ctx context.Context, s readout.Source, ranges ...attest.Extent) ([]byte, []error) {
	t.Helper()
	if len(ranges) == 0 {
		ranges = []attest.Extent{{Size: s.Size()}}
	}
	got := []byte(strings.Repeat("\xee", int(s.Size())))
	var errs []error
	if err := s.Read(ctx, ranges, func(r attest.Extent, b []byte, err error) error {
		if err != nil {
			errs = append(errs, err)
		}
		copy(got[r.Offset:], b)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got, errs
}
