package ports

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Denied says why this user may not open a device and what to do about it. It is
// empty where the user may, as far as the device's mode tells.
func Denied(device string) string { return denied(device, device) }

func denied(path, name string) string {
	err := unix.Faccessat(unix.AT_FDCWD, path, unix.R_OK|unix.W_OK, unix.AT_EACCESS)
	if err == nil {
		return ""
	}
	info, statErr := os.Stat(path)
	if errors.Is(statErr, fs.ErrNotExist) {
		return "there is no " + name + ", although the system has this port: this may be a container that the device was not given to"
	}
	if statErr != nil {
		return err.Error()
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return err.Error()
	}
	if !errors.Is(err, fs.ErrPermission) {
		return err.Error()
	}
	return advice(name, info.Mode().Perm(), s.Gid, currentUser(), groupName(s.Gid), memberOf)
}

// advice says what a user must do to be let in by a device's mode.
func advice(name string, mode fs.FileMode, gid uint32, login, group string, member func(login string, gid uint32) bool) string {
	switch {
	case mode&0o060 != 0o060:
		return fmt.Sprintf("only the owner of %s may open it (mode %04o): run this as root, or give the port a group by a udev rule", name, mode)
	case gid == 0:
		return fmt.Sprintf("%s belongs to the group root: give it another group by a udev rule, as distributions do with dialout", name)
	case login != "" && member(login, gid):
		return fmt.Sprintf("%s belongs to the group %s, which %s has joined since this session began: log out and in again", name, group, login)
	}
	if login == "" {
		login = "USER"
	}
	return fmt.Sprintf("%s belongs to the group %s: run `sudo usermod -aG %s %s`, then log out and in again", name, group, group, login)
}

func currentUser() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	g, err := user.LookupGroupId(id)
	if err != nil {
		return id
	}
	return g.Name
}

// memberOf reports whether the user database has the user in the group, which
// counts from the next login on.
func memberOf(login string, gid uint32) bool {
	u, err := user.Lookup(login)
	if err != nil {
		return false
	}
	ids, err := u.GroupIds()
	return err == nil && slices.Contains(ids, strconv.FormatUint(uint64(gid), 10))
}
