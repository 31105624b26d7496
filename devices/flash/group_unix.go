//go:build unix

package flash

import (
	"os/exec"
	"syscall"
)

// inGroup starts the program in a process group of its own and ends all of it,
// since flashrom may be a script that starts the real one. A terminal's Ctrl-C
// reaches us alone, and through the context the program.
func inGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
