// Package sandbox runs a part of this program in a child process that is
// confined before it sees what it works on: on Linux by Landlock (no file but
// those it was handed, no connection), by a seccomp filter that backs it and
// stands alone on older kernels, and by limits on memory, processor time, file
// size and open files. The child has an empty environment and ends with its
// parent.
//
// The program's main function calls [Main] before anything else:
//
//	sandbox.Main("work", func(in *sandbox.Inside) error { ... })
//
// and a [Child] of that name can then be run. What comes out of a child is as
// hostile as what it worked on.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// ErrUnavailable says that no child can be confined: on this system, or since
// the program has no such child.
var ErrUnavailable = errors.New("no confined child process")

// ErrStopped says that a child ended before it was done.
var ErrStopped = errors.New("the confined process was stopped")

// Limits bound what a child may take. Zero fields are no limits, but for
// FileSize, where zero means that no file can be written.
type Limits struct {
	Memory   int64         `json:"memory"`   // bytes of data
	CPU      time.Duration `json:"cpu"`      // of all its threads, in whole seconds
	FileSize int64         `json:"fileSize"` // bytes of one file
}

// Child is a part of this program to be run on its own.
type Child struct {
	Name    string
	Files   []*os.File // what it may read, reopened read-only
	Folder  *os.File   // what it may write into; nil for nothing
	Limits  Limits
	Request any // for the child, as JSON
}

// Inside is what a child has.
type Inside struct {
	Context context.Context // ends when the parent wants the child to end, or is gone
	Request json.RawMessage
	Files   []*os.File
	Root    *os.Root // of the folder, or nil
	Out     io.Writer
	Status  string // how it is confined, in words
}

// Where a child finds what it was handed.
const (
	outFD    = 3
	folderFD = 4 // the null device when there is none
	filesFD  = 5
)

// envelope is what a child reads first.
type envelope struct {
	Limits  Limits          `json:"limits"`
	Folder  bool            `json:"folder"`
	Files   int             `json:"files"`
	Request json.RawMessage `json:"request"`
}

// tail keeps the beginning and the end of what a dying child says: the reason
// comes first, and it may not fill our memory.
type tail struct{ head []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	t.head = append(t.head, p[:min(len(p), most-len(t.head))]...)
	return len(p), nil
}

// why explains the end of a child.
func why(limits Limits, state *os.ProcessState, said string) error {
	var reason string
	switch {
	case strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate memory") || strings.Contains(said, "failed to create new OS thread"):
		reason = fmt.Sprintf("it needed more than the %d MiB of memory that it may have", limits.Memory>>20)
	case strings.Contains(said, "SIGXCPU") || limits.CPU > 0 && state.SystemTime()+state.UserTime() >= limits.CPU*9/10:
		reason = fmt.Sprintf("it took more than the %v of processor time that it may have", limits.CPU)
	case strings.Contains(said, "SIGXFSZ"):
		reason = fmt.Sprintf("it wrote a file of more than %d bytes", limits.FileSize)
	case said != "":
		line, _, _ := strings.Cut(strings.TrimSpace(said), "\n")
		reason = fmt.Sprintf("%s: %.200s", state, line)
	default:
		reason = state.String()
	}
	return fmt.Errorf("%w: %s", ErrStopped, reason)
}
