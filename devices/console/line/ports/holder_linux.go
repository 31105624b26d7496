package ports

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// node is a device by its number, as one device may have several names.
type node struct {
	rdev  uint64
	dev   uint64 // of the file system that the name is in
	inode uint64
}

func stat(path string) (node, bool) {
	info, err := os.Stat(path) // follows names such as /dev/serial/by-id/…
	if err != nil {
		return node{}, false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || s.Mode&syscall.S_IFMT != syscall.S_IFCHR {
		return node{}, false
	}
	return node{uint64(s.Rdev), uint64(s.Dev), s.Ino}, true
}

// Holders returns who else uses a serial port or pseudo-terminal: this process is
// not named. unsure says that some processes could not be looked at.
func Holders(ctx context.Context, device string) (holders []Holder, unsure bool) {
	if real, err := filepath.EvalSymlinks(device); err == nil { // /dev/serial/by-id/… has no lock file
		device = real
	}
	if n, ok := stat(device); !ok || !here.terminal(n) {
		return nil, false // /dev/null is open everywhere
	}
	one := []Port{{Name: device}}
	if err := here.addHolders(ctx, one); err != nil {
		return nil, true
	}
	return one[0].Holders, one[0].HoldersUnsure
}

func (m machine) terminal(n node) bool {
	major, minor := deviceMajor(n.rdev), deviceMinor(n.rdev)
	if major >= 136 && major <= 143 { // pseudo-terminals (Documentation/admin-guide/devices.txt)
		return true
	}
	to, err := os.Readlink(m.path(fmt.Sprintf("sys/dev/char/%d:%d", major, minor)))
	return err == nil && filepath.Base(filepath.Dir(to)) == "tty"
}

// addHolders finds who has the ports open, from three places: the descriptors of
// all processes that may be looked at, the table of locks, which is open to all,
// and the lock files of programs that keep to the UUCP custom.
func (m machine) addHolders(ctx context.Context, all []Port) error {
	if len(all) == 0 {
		return nil
	}
	at := map[uint64][]*Port{}
	nodes := map[*Port]node{}
	for i := range all {
		if n, ok := stat(m.path(all[i].Name)); ok {
			at[n.rdev] = append(at[n.rdev], &all[i])
			nodes[&all[i]] = n
		}
	}
	unsure, err := m.openFiles(ctx, at)
	if err != nil {
		return err
	}
	m.locks(nodes)
	for i := range all {
		m.lockFile(&all[i])
		all[i].HoldersUnsure = unsure && len(all[i].Holders) == 0
	}
	return nil
}

func (p *Port) held(h Holder) {
	if h.PID <= 0 || h.PID == os.Getpid() || slices.ContainsFunc(p.Holders, func(o Holder) bool { return o.PID == h.PID }) {
		return
	}
	p.Holders = append(p.Holders, h)
}

func (m machine) program(pid int) string {
	return attribute(m.path("proc/"+strconv.Itoa(pid)), "comm")
}

func (m machine) openFiles(ctx context.Context, at map[uint64][]*Port) (unsure bool, err error) {
	processes, err := os.ReadDir(m.path("proc"))
	if err != nil {
		return true, nil
	}
	for _, p := range processes {
		if ctx.Err() != nil {
			return true, ctx.Err()
		}
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		dir := m.path("proc/" + p.Name() + "/fd")
		fds, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrPermission) {
			unsure = true
		}
		for _, fd := range fds {
			path := filepath.Join(dir, fd.Name())
			if to, err := os.Readlink(path); err != nil || !strings.HasPrefix(to, "/dev/") {
				continue
			}
			n, ok := stat(path)
			if !ok {
				continue
			}
			for _, port := range at[n.rdev] {
				port.held(Holder{PID: pid, Program: m.program(pid), By: "open"})
			}
		}
	}
	return unsure, nil
}

// locks finds who holds a lock of a port's file.
func (m machine) locks(nodes map[*Port]node) {
	f, err := os.Open(m.path("proc/locks"))
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		l, ok := parseLock(lines.Text())
		if !ok {
			continue
		}
		for port, n := range nodes {
			if n.inode == l.inode && deviceMajor(n.dev) == l.major && deviceMinor(n.dev) == l.minor {
				port.held(Holder{PID: l.pid, Program: m.program(l.pid), By: "lock"})
			}
		}
	}
}

// lock is who holds a lock, and the file by its file system's device and its inode.
type lock struct {
	pid                 int
	major, minor, inode uint64
}

// parseLock reads a line of /proc/locks (Documentation/filesystems/proc.rst):
//
//	1: FLOCK  ADVISORY  WRITE 4711 00:05:123 0 EOF
func parseLock(line string) (l lock, ok bool) {
	words := strings.Fields(line)
	if len(words) < 6 || words[1] == "->" { // "->" waits for the lock
		return lock{}, false
	}
	file := strings.Split(words[5], ":")
	if len(file) != 3 {
		return lock{}, false
	}
	var errs [4]error
	l.pid, errs[0] = strconv.Atoi(words[4])
	l.major, errs[1] = strconv.ParseUint(file[0], 16, 32)
	l.minor, errs[2] = strconv.ParseUint(file[1], 16, 32)
	l.inode, errs[3] = strconv.ParseUint(file[2], 10, 64)
	return l, errors.Join(errs[:]...) == nil && l.pid > 0
}

// The number of a device as Linux packs it (include/linux/kdev_t.h as user space
// sees it).
func deviceMajor(d uint64) uint64 { return d >> 8 & 0xfff }
func deviceMinor(d uint64) uint64 { return d&0xff | d>>12&0xfff00 }

// lockFile reads the file by which minicom, picocom, kermit and others tell each
// other that they use a port: LCK..ttyUSB0 with the process in it, in ten
// characters or, as very old programs write it, in four bytes (Filesystem
// Hierarchy Standard 5.9). The file of a process that is gone counts for nothing.
func (m machine) lockFile(p *Port) {
	name := "LCK.." + strings.ReplaceAll(strings.TrimPrefix(p.Name, "/dev/"), "/", "_")
	for _, dir := range []string{"/run/lock", "/var/lock"} {
		if pid := parseLockFile(readStart(m.path(dir+"/"+name), 64)); pid > 0 && m.alive(pid) {
			p.held(Holder{PID: pid, Program: m.program(pid), By: dir + "/" + name})
		}
	}
}

// parseLockFile returns the process that a lock file names, or 0.
func parseLockFile(b []byte) int {
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil && len(b) == 4 {
		pid = int(int32(binary.NativeEndian.Uint32(b)))
	} else if err != nil {
		return 0
	}
	return max(pid, 0)
}

func readStart(path string, n int) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, n)
	n, _ = f.Read(b)
	return b[:n]
}

func (m machine) alive(pid int) bool {
	_, err := os.Stat(m.path("proc/" + strconv.Itoa(pid)))
	return err == nil
}
