//go:build 386 || amd64 || arm

package sandbox

import "golang.org/x/sys/unix"

// Calls that newer machines do without.
var (
	legacy      = []uintptr{unix.SYS_SYMLINK, unix.SYS_LINK, unix.SYS_MKNOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_FORK, unix.SYS_VFORK}
	legacyOpens = []uintptr{unix.SYS_OPEN, unix.SYS_CREAT, unix.SYS_UNLINK, unix.SYS_RENAME, unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_CHMOD, unix.SYS_RENAMEAT}
)
