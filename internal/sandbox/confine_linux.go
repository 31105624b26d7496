package sandbox

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// confine takes from this process what it does not need, and says in words how
// far that went. What the kernel does not have is left out and said; what it has
// and refuses is an error.
func confine(l Limits, folder string) (string, error) {
	var how []string
	abi, err := ll.LandlockGetABIVersion()
	if err != nil || abi < 1 {
		how = append(how, "Landlock not available")
	} else {
		var rules []landlock.Rule
		if folder != "" {
			rules = append(rules, landlock.PathAccess(ll.AccessFSReadDir|ll.AccessFSMakeDir|ll.AccessFSMakeReg|ll.AccessFSWriteFile|ll.AccessFSRemoveFile|ll.AccessFSTruncate, folder))
		}
		if err := landlock.V10.BestEffort().Restrict(rules...); err != nil {
			return "", fmt.Errorf("landlock: %w", err)
		}
		how = append(how, fmt.Sprintf("Landlock ABI %d", abi))
	}
	if err := limit(l); err != nil {
		return "", err
	}
	switch err := filter(folder == ""); {
	case errors.Is(err, errNoFilter):
		how = append(how, "seccomp not available")
	case err != nil:
		return "", fmt.Errorf("seccomp: %w", err)
	default:
		how = append(how, "seccomp")
	}
	return strings.Join(append(how, "limits"), ", "), nil
}

// limit sets what setrlimit(2) bounds. RLIMIT_DATA and not RLIMIT_AS bounds the
// memory, since the Go runtime reserves much more address space than it uses.
// RLIMIT_NPROC is of no use: it counts the processes of the user and not ours.
func limit(l Limits) error {
	between := func(name string, resource int, soft, hard uint64) error {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: soft, Max: hard}); err != nil {
			return fmt.Errorf("limit of %s: %w", name, err)
		}
		return nil
	}
	set := func(name string, resource int, value uint64) error { return between(name, resource, value, value) }
	errs := []error{
		set("core", unix.RLIMIT_CORE, 0),
		set("file size", unix.RLIMIT_FSIZE, uint64(max(l.FileSize, 0))),
		set("open files", unix.RLIMIT_NOFILE, 128),
	}
	if l.Memory > 0 {
		errs = append(errs, set("memory", unix.RLIMIT_DATA, uint64(l.Memory)))
	}
	if l.CPU > 0 {
		seconds := uint64(math.Ceil(l.CPU.Seconds()))
		errs = append(errs, between("processor time", unix.RLIMIT_CPU, seconds, seconds+2)) // SIGXCPU says why, SIGKILL does not
	}
	return errors.Join(errs...)
}

var errNoFilter = errors.New("no filter for this machine")

// denied are the calls that reading and writing what is open needs none of: to
// other machines and processes, to run programs, to change the system.
var denied = []uintptr{
	unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG,
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT,
	unix.SYS_FSOPEN, unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_REBOOT, unix.SYS_SETHOSTNAME,
	unix.SYS_PRLIMIT64, unix.SYS_SYMLINKAT, unix.SYS_LINKAT, unix.SYS_MKNODAT, unix.SYS_FCHOWNAT, unix.SYS_FCHOWN,
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT,
}

// opens are denied too where no folder is to be written to: all that may be read
// is open already.
var opens = []uintptr{unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT2, unix.SYS_MKDIRAT, unix.SYS_TRUNCATE}

// filter has denied calls fail with EPERM, on all threads (seccomp(2)). Calls of
// another machine's numbering are denied whole, so that no number means two
// things.
func filter(nothing bool) error {
	arch, own := architectures[runtime.GOARCH]
	if !own {
		return errNoFilter
	}
	calls := append(append([]uintptr{}, denied...), legacy...)
	if nothing {
		calls = append(append(calls, opens...), legacyOpens...)
	}
	if runtime.GOARCH == "386" {
		const socketcall = 102 // one call for all that sockets do
		calls = append(calls, socketcall)
	}
	const (
		nr         = 0 // offsets in struct seccomp_data
		archOffset = 4
		x32        = 0x40000000
	)
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	ret := func(v uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v} }
	deny := ret(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	program := []unix.SockFilter{
		load(archOffset),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: arch, Jt: 1},
		deny,
		load(nr),
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: x32, Jf: 1},
		deny,
	}
	for _, call := range calls {
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(call), Jf: 1}, deny)
	}
	program = append(program, ret(unix.SECCOMP_RET_ALLOW))

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&p)))
	switch {
	case errno == unix.ENOSYS || errno == unix.EINVAL:
		return errNoFilter
	case errno != 0:
		return errno
	}
	return nil
}

// architectures are AUDIT_ARCH of linux/audit.h.
var architectures = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64, "386": unix.AUDIT_ARCH_I386, "arm": unix.AUDIT_ARCH_ARM,
	"riscv64": unix.AUDIT_ARCH_RISCV64,
}
