package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"assay/attest"
	"assay/devices"
)

// flashrom is the installed program. It is run without a shell, with arguments
// made here and nowhere else (see the methods): none of them writes, erases,
// verifies or unprotects.
type flashrom struct {
	path       string
	programmer string // -p
	version    string // the first line it prints
	digest     attest.Digest
	progress   bool // knows --progress
}

// Bounds on a run of flashrom.
const (
	maxLog     = 4 << 20 // bytes that it may print; a probe with -V prints 60 KiB
	maxProgram = 256 << 20
	helpTime   = 20 * time.Second
	probeTime  = 3 * time.Minute
	// The slowest programmers (a Bus Pirate, a serial port at 115,200) read some
	// kilobytes a second.
	slowest   = 1 << 10 // bytes a second
	readExtra = 5 * time.Minute
)

// besidePath are folders that Debian and others install flashrom to and that
// are not in the PATH of every user.
var besidePath = []string{"/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin"}

// findFlashrom returns where the program is.
func findFlashrom() (string, error) {
	path, err := exec.LookPath("flashrom")
	if err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range besidePath {
		if path, err := exec.LookPath(filepath.Join(dir, "flashrom")); err == nil && runtime.GOOS != "windows" {
			return path, nil
		}
	}
	return "", fmt.Errorf("flashrom is not installed, or not in the PATH: %w: install the package flashrom (Debian, Fedora, Homebrew, MSYS2)", devices.ErrUnreachable)
}

// learn reads which flashrom it is.
func (f *flashrom) learn(ctx context.Context) error {
	var err error
	if f.digest, err = digestOf(f.path); err != nil {
		return fmt.Errorf("%s: %w: %w", f.path, devices.ErrUnreachable, err)
	}
	log, err := f.run(ctx, helpTime, nil, "--help")
	if errors.Is(err, errFailed) {
		return fmt.Errorf("%s --help fails: %w: %s", f.path, devices.ErrUnreachable, lastLines(log))
	}
	if err != nil {
		return err
	}
	f.version = versionIn(log)
	f.progress = bytes.Contains(log, []byte("--progress"))
	return nil
}

// probe looks for the chip, and says all that it sees.
func (f *flashrom) probe(ctx context.Context, chip string) ([]byte, error) {
	return f.run(ctx, probeTime, nil, f.args(chip, "-V", "--flash-size")...)
}

// read reads the whole chip into a new file.
func (f *flashrom) read(ctx context.Context, chip, file string, size int64, percent func(int)) ([]byte, error) {
	args := []string{"-V", "-r", file}
	if f.progress {
		args = append(args, "--progress")
	}
	limit := readExtra + time.Duration(size/slowest)*time.Second
	return f.run(ctx, limit, percent, f.args(chip, args...)...)
}

func (f *flashrom) args(chip string, more ...string) []string {
	args := []string{"-p", f.programmer}
	if chip != "" {
		args = append(args, "-c", chip)
	}
	return append(args, more...)
}

// run runs the program to its end and returns what it printed, on both its
// outputs in their order.
func (f *flashrom) run(ctx context.Context, limit time.Duration, percent func(int), args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("flashrom was still busy after %s and was ended: %w", limit, devices.ErrUnreachable))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	log := &boundedLog{stop: stop, percent: percent}
	cmd := exec.CommandContext(ctx, f.path, args...)
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = 2 * time.Second // for what it left running with our pipe open
	inGroup(cmd)
	err := cmd.Run()
	if cause := context.Cause(ctx); cause != nil {
		return log.bytes(), cause
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return log.bytes(), errFailed
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return log.bytes(), fmt.Errorf("%s does not run: %w: %w", f.path, devices.ErrUnreachable, err)
	}
	return log.bytes(), nil
}

// errFailed says that flashrom ended with a failure: its log says which.
var errFailed = errors.New("flashrom failed")

// environment is what the program is given: no locale, and nothing of the
// user's own.
func environment() []string {
	env := []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if runtime.GOOS == "windows" {
		env = []string{"PATH=" + os.Getenv("PATH"), "SystemRoot=" + os.Getenv("SystemRoot")}
	}
	return env
}

// boundedLog keeps what a program prints, and stops it where it is too much.
type boundedLog struct {
	stop    context.CancelCauseFunc
	percent func(int)

	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *boundedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := maxLog - l.buf.Len(); len(p) > room {
		l.buf.Write(p[:room])
		err := fmt.Errorf("flashrom prints without end (%d bytes) and was ended: %w", maxLog, devices.ErrHostile)
		l.stop(err)
		return room, err
	}
	l.buf.Write(p)
	if l.percent != nil {
		const window = 64 // more than one message
		tail := l.buf.Bytes()
		if n, ok := percentIn(tail[max(0, len(tail)-len(p)-window):]); ok {
			l.percent(n)
		}
	}
	return len(p), nil
}

func (l *boundedLog) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.buf.Bytes())
}

func digestOf(path string) (attest.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digestReader(io.LimitReader(f, maxProgram))
}

// called is the command as a person would type it, for messages.
func (f *flashrom) called() string {
	return strings.Join([]string{"flashrom", "-p", f.programmer}, " ")
}
