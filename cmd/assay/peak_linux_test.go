package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// peak runs a program and prints its peak memory in KiB. It is a small process
// of its own because Linux counts the memory of whoever starts a program into
// the program's peak (exec_mmap in fs/exec.c).
func peak() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stderr = os.Stderr
	if path := os.Getenv("ASSAY_PEAK_OUT"); path != "" {
		out, err := os.Create(path)
		if err != nil {
			panic(err)
		}
		cmd.Stdout = out
	}
	_ = cmd.Run()
	fmt.Println(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	os.Exit(cmd.ProcessState.ExitCode())
}

// peak is the most memory in KiB that a command took. Its exit code is not
// looked at.
func (b *bench) peak(args ...string) int64 {
	b.t.Helper()
	cmd := exec.Command("peak", append([]string{b.binary}, args...)...)
	cmd.Dir, cmd.Env = b.dir, b.env
	out, err := cmd.Output()
	kilobytes, perr := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if perr != nil {
		b.t.Fatalf("%v: %v: %s", args, err, out)
	}
	return kilobytes
}
