package line

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"go.bug.st/serial"

	"assay/devices"
	"assay/devices/console/line/ports"
)

// openError says what to do about a device that could not be opened.
func openError(device string, err error) error {
	code := serial.PortErrorCode(-1) // the library's codes start at 0
	if pe := (*serial.PortError)(nil); errors.As(err, &pe) {
		code = pe.Code()
	}
	switch {
	case errors.Is(err, errBusy), code == serial.PortBusy:
		if held := inUse(device); held != nil {
			return held
		}
		return fmt.Errorf("serial port %s: %w: another program holds it: close that program%s", device, devices.ErrAccess, findHolder(device))
	case errors.Is(err, fs.ErrPermission), code == serial.PermissionDenied:
		if runtime.GOOS == "windows" { // which says the same of a port that is in use
			return fmt.Errorf("serial port %s: %w: another program holds it, or this user may not open it: close the terminal programs that are open", device, devices.ErrAccess)
		}
		return fmt.Errorf("serial port %s: %w: %s", device, devices.ErrAccess, ports.Denied(device))
	case errors.Is(err, fs.ErrNotExist), code == serial.PortNotFound:
		return fmt.Errorf("no such serial port %s: %w: plug the adapter in and look for its name with `assay ports`", device, devices.ErrUnreachable)
	case code == serial.InvalidSerialPort:
		return fmt.Errorf("%s is not a serial port: %w: `assay ports` lists those of this machine", device, devices.ErrUnreachable)
	}
	return fmt.Errorf("serial port %s: %w: %w", device, devices.ErrUnreachable, err)
}

// inUse is the error that names who has a device open, or nil when nobody is
// seen to have it. Root opens a port that is in use, and programs that only keep
// to lock files do not stop anyone: two readers of one port get half of the bytes
// each.
func inUse(device string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	holders, _ := ports.Holders(ctx, device)
	if len(holders) == 0 {
		return nil
	}
	var names []string
	what := "close it first"
	for i, h := range holders {
		if i == 3 {
			names = append(names, fmt.Sprintf("and %d more", len(holders)-i))
			break
		}
		name := fmt.Sprintf("process %d", h.PID)
		if h.Program != "" {
			name = fmt.Sprintf("%s (process %d)", h.Program, h.PID)
		}
		if strings.HasPrefix(h.By, "/") {
			name += " by its lock file " + h.By
		}
		names = append(names, name)
		if w := services[h.Program]; w != "" {
			what = w
		}
	}
	return fmt.Errorf("serial port %s: %w: held by %s: %s", device, devices.ErrAccess, strings.Join(names, ", "), what)
}

// services take ports without being asked to.
var services = map[string]string{
	"ModemManager": "it looks for modems on every new port: wait until it lets go, or run `sudo systemctl stop ModemManager`",
	"brltty":       "it looks for Braille displays: `sudo systemctl stop brltty-udev brltty`",
	"agetty":       "it offers a login on this port: `sudo systemctl stop 'serial-getty@*'`",
	"getty":        "it offers a login on this port: stop that service",
}

func findHolder(device string) string {
	switch runtime.GOOS {
	case "linux":
		return fmt.Sprintf(" (`sudo fuser -v %s` names it)", device)
	case "darwin":
		return fmt.Sprintf(" (`lsof %s` names it)", device)
	}
	return ""
}

// pseudoTerminal reports a device that is no port: a simulated unit's, which
// whoever simulates it has open as well.
func pseudoTerminal(device string) bool {
	real, err := filepath.EvalSymlinks(device)
	return err == nil && strings.HasPrefix(real, "/dev/pts/")
}
