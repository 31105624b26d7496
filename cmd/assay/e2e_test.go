package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"assay/devices/simulator"
	"assay/devices/simulator/console"
)

// The end-to-end tests run the program as it is released, as a process of its
// own, against real peers: U-Boot under QEMU, cosign, and hostile cameras on
// loopback.

// release builds the program once for all tests.
var release = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "assay-e2e-")
	if err != nil {
		return "", err
	}
	releaseDir = dir
	path := filepath.Join(dir, "assay")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return path, nil
})

var releaseDir string

// cleaned removes the program when all tests are done.
type cleaned struct{ *testing.M }

func (c cleaned) Run() int {
	defer func() { os.RemoveAll(releaseDir) }()
	return c.M.Run()
}

// program is the path of the release build.
func program(t testing.TB) string {
	t.Helper()
	path, err := release()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// bench is a station with a key, Fjordlens as a maker that it knows, and a
// folder to work in.
type bench struct {
	t      testing.TB
	dir    string
	binary string
	env    []string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, dir: dir, binary: program(t)}
	b.env = append(os.Environ(), "ASSAY_HOME="+b.path("home"), "ASSAY_PASSPHRASE=correct horse")
	entities, err := os.ReadFile("../../testdata/demo/fjordlens.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b.write("home/data/fjordlens.yaml", entities)
	b.want(exitOK, "key", "init")
	return b
}

// path is a path in the bench's folder.
func (b *bench) path(name string) string { return filepath.Join(b.dir, filepath.FromSlash(name)) }

func (b *bench) write(name string, content []byte) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(b.path(name)), 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(b.path(name), content, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(name string) []byte {
	b.t.Helper()
	content, err := os.ReadFile(b.path(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return content
}

// has says whether there is such a file.
func (b *bench) has(name string) bool {
	_, err := os.Stat(b.path(name))
	return err == nil
}

// demo unpacks a flash image of the demonstration.
func (b *bench) demo(name string) []byte {
	b.t.Helper()
	image, err := unpacked("../../testdata/demo/" + name + ".bin.gz")
	if err != nil {
		b.t.Fatal(err)
	}
	return image
}

// trust imports the demonstration's keys.
func (b *bench) trust() {
	b.t.Helper()
	for _, name := range []string{"fjordlens-boot.pem", "fjordlens-release.pem"} {
		b.want(exitOK, "trust", "add", "--maker", "fjordlens", demoPath(b.t, name))
	}
}

func demoPath(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs("../../testdata/demo/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// outcome is what a command left.
type outcome struct {
	code           int
	stdout, stderr string
}

func (b *bench) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.binary, args...)
	cmd.Dir, cmd.Env = b.dir, b.env
	cmd.WaitDelay = time.Second
	return cmd
}

// run runs the program. It must end by itself, well before the bound.
func (b *bench) run(args ...string) outcome {
	b.t.Helper()
	const bound = 3 * time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	return b.finish(ctx, b.command(ctx, args...))
}

func (b *bench) finish(ctx context.Context, cmd *exec.Cmd) outcome {
	b.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	o := outcome{stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		b.t.Fatalf("%q did not end: %s", cmd.Args[1:], o.stderr)
	case errors.As(err, &exit):
		o.code = exit.ExitCode()
	case err != nil:
		b.t.Fatal(err)
	}
	if bytes.Contains(stderr.Bytes(), []byte("goroutine ")) {
		b.t.Fatalf("%q panicked:\n%s", cmd.Args[1:], o.stderr)
	}
	return o
}

// want runs the program, which must end with this code.
func (b *bench) want(code int, args ...string) outcome {
	b.t.Helper()
	o := b.run(args...)
	if o.code != code {
		b.t.Fatalf("%q ended with %d, want %d\n%s%s", args, o.code, code, o.stderr, tail(o.stdout))
	}
	return o
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

// fields are the values of a path in a command's JSON output.
func (o outcome) fields(t testing.TB, path string) []string {
	t.Helper()
	doc, err := oneDocument(o.stdout)
	if err != nil {
		t.Fatalf("%v: %.200s %s", err, o.stdout, o.stderr)
	}
	return pick(doc, path)
}

// has checks that one of a field's values is this one.
func (o outcome) has(t testing.TB, path, value string) {
	t.Helper()
	if got := o.fields(t, path); !slices.Contains(got, value) {
		t.Errorf("%s is %q, want %q", path, got, value)
	}
}

// simulatedCamera starts a camera in this process.
func simulatedCamera(t testing.TB, name string) *simulator.Server {
	t.Helper()
	cam, err := simulator.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := cam.Start(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// simulatedConsole starts a serial console with an image in its flash.
func simulatedConsole(t testing.TB, name, image string, change func(*console.Config)) *console.Console {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("a simulated console needs pseudo-terminals")
	}
	cfg, err := console.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.WithImage(image)
	if change != nil {
		change(&cfg)
	}
	s, err := console.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// serial is the target of a device.
func serial(device string) string { return "serial:" + device }
