package ports

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// List returns the callout devices, /dev/cu.*: those of the other kind,
// /dev/tty.*, wait for a carrier that a console does not have. What hangs on a
// port shows in its name alone, as the driver made it: usbserial with the serial
// number or the socket, usbmodem likewise, Bluetooth.
func List(ctx context.Context) ([]Port, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/dev")
	if err != nil {
		return nil, fmt.Errorf("serial ports: %w", err)
	}
	var all []Port
	for _, e := range entries {
		kind, ok := strings.CutPrefix(e.Name(), "cu.")
		if !ok {
			continue
		}
		p := Port{Name: "/dev/" + e.Name(), HoldersUnsure: true}
		switch {
		case strings.HasPrefix(kind, "usbserial"), strings.HasPrefix(kind, "wchusbserial"), strings.HasPrefix(kind, "SLAB_USB"), strings.HasPrefix(kind, "PL2303"):
			p.What = "USB adapter"
		case strings.HasPrefix(kind, "usbmodem"):
			p.What = "USB adapter (CDC ACM)"
		case strings.Contains(kind, "Bluetooth"):
			p.What = "Bluetooth"
		case strings.Contains(kind, "debug-console"):
			p.What = "the machine's own debug console"
		}
		if err := syscall.Access(p.Name, 6); errors.Is(err, syscall.EACCES) { // read and write
			p.Denied = Denied(p.Name)
		}
		all = append(all, p)
	}
	return all, nil
}

// Denied says what to do about a device that may not be opened.
func Denied(device string) string {
	return "this user may not open " + device + ": look at `ls -l " + device + "`"
}
