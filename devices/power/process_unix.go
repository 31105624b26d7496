//go:build unix

package power

import (
	"os/exec"
	"syscall"
)

// ownGroup starts a program in a group of its own: Ctrl-C at this program's
// terminal must not end it in the middle of switching, and when it is ended its
// children are.
func ownGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func end(c *exec.Cmd) { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
