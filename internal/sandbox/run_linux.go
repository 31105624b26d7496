package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// grace is how long a child has to end by itself when it is asked to.
var grace = 5 * time.Second

const self = "/proc/self/exe"

var registered = map[string]bool{}

// Main runs the child of that name and does not return, when this process is one.
func Main(name string, run func(*Inside) error) {
	registered[name] = true
	if len(os.Args) != 2 || os.Args[1] != argument(name) {
		return
	}
	if err := inside(run); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func argument(name string) string { return "confined-" + name }

func inside(run func(*Inside) error) error {
	in := &Inside{Out: os.NewFile(outFD, "out")}
	requests := bufio.NewReader(os.Stdin)
	line, err := requests.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("this is for the program's own use: %w", err)
	}
	var e envelope
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	in.Request = e.Request
	for i := range e.Files {
		in.Files = append(in.Files, os.NewFile(uintptr(filesFD+i), "file"))
	}
	folder := ""
	if e.Folder {
		folder = fdPath(folderFD)
		if in.Root, err = os.OpenRoot(folder); err != nil {
			return err
		}
	}
	if in.Status, err = confine(e.Limits, folder); err != nil {
		return err
	}
	var cancel context.CancelFunc
	in.Context, cancel = context.WithCancel(context.Background())
	go func() { // nothing more is sent: its end is the parent's wish, or end
		_, _ = io.Copy(io.Discard, requests)
		cancel()
	}()
	return run(in)
}

func fdPath(fd int) string { return filepath.Join("/proc/self/fd", strconv.Itoa(fd)) }

// Run starts the child and gives what it writes to read. It returns what read
// does, or why the child ended before it was done.
func (c Child) Run(ctx context.Context, read func(io.Reader) error) error {
	if !registered[c.Name] {
		return ErrUnavailable
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	request, err := json.Marshal(c.Request)
	if err != nil {
		return err
	}
	first, err := json.Marshal(envelope{c.Limits, c.Folder != nil, len(c.Files), request})
	if err != nil {
		return err
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	defer theirs.Close()
	files := []*os.File{theirs, c.Folder}
	if c.Folder == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		defer null.Close()
		files[1] = null
	}
	for _, f := range c.Files {
		// Another descriptor, since ours may be able to write.
		again, err := os.Open(fdPath(int(f.Fd())))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		defer again.Close()
		files = append(files, again)
	}
	// The kernel ends the child with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.CommandContext(ctx, self)
	cmd.Args = []string{os.Args[0], argument(c.Name)}
	// Half as much garbage as usual: peak memory counts, and collecting is cheap
	// where most of what is held are large pieces without pointers.
	cmd.Env = []string{"GOTRACEBACK=none", "GOGC=50"}
	if c.Limits.Memory > 0 {
		cmd.Env = append(cmd.Env, "GOMEMLIMIT="+strconv.FormatInt(c.Limits.Memory/2, 10))
	}
	cmd.ExtraFiles = files
	cmd.Dir = "/"
	var said tail
	cmd.Stderr = &said
	// Its own group: a Ctrl-C on the terminal is ours to hand on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Cancel = stdin.Close
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	theirs.Close()
	_, sendErr := io.Copy(stdin, bytes.NewReader(append(first, '\n')))
	done := make(chan error, 1)
	go func() { done <- read(out) }()
	// A child that is told to end and does not, is killed by Wait; its end of the
	// pipe closes with it, and read ends.
	var readErr error
	waited := make(chan error, 1)
	go func() {
		readErr = <-done
		if readErr != nil {
			_ = cmd.Process.Kill() // it says what makes no sense
		}
		waited <- readErr
	}()
	err = cmd.Wait()
	readErr = <-waited
	switch {
	case ctx.Err() != nil && (readErr != nil || err != nil && !errors.Is(err, ctx.Err())):
		return ctx.Err()
	case err != nil && !errors.Is(err, ctx.Err()) && (readErr == nil || errors.Is(readErr, io.ErrUnexpectedEOF) || !killedByUs(cmd.ProcessState)):
		return why(c.Limits, cmd.ProcessState, string(said.head))
	case readErr != nil:
		return readErr
	}
	return sendErr
}

// killedByUs tells a child that read gave up on from one that ended by itself.
func killedByUs(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
