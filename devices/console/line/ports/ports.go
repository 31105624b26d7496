// Package ports lists the serial ports of this machine without opening any: what
// hangs on each, by which name it can be found again, who has it open, and
// whether this user may open it.
//
// Opening a port raises its modem lines, which resets boards whose power or reset
// hangs on them, and takes bytes away from whoever else reads; so everything here
// is read beside the ports. On Linux that is sysfs (Documentation/ABI/testing/
// sysfs-tty and sysfs-bus-usb), /proc and the lock files of the UUCP custom; on
// Windows the registry and the setup API; on macOS the names in /dev alone, since
// the rest needs C.
package ports

import (
	"runtime"
	"strings"
	"unicode"
)

// Port is one serial port.
type Port struct {
	Name    string   `json:"name"`              // as a target names it: /dev/ttyUSB0, COM3
	Aliases []string `json:"aliases,omitempty"` // names that stay the same when ports are plugged in another order
	Driver  string   `json:"driver,omitempty"`
	What    string   `json:"what,omitempty"` // of a port that is not USB: "UART 16550A", "Bluetooth"
	USB     *USB     `json:"usb,omitempty"`
	Adapter *Adapter `json:"adapter,omitempty"` // nil where it is not known
	Holders []Holder `json:"holders,omitempty"` // who uses it
	// HoldersUnsure says that some processes could not be looked at: nobody may be
	// named although somebody holds the port.
	HoldersUnsure bool `json:"holdersUnsure,omitempty"`
	// Denied says why this user may not open the port and what to do, and is
	// empty where the user may.
	Denied string `json:"denied,omitempty"`
}

// USB is what an adapter says of itself. Nobody checks it: counterfeits say what
// the original says.
type USB struct {
	ID           string `json:"id"` // vendor:product in hexadecimal, as in "1a86:7523"
	Manufacturer string `json:"manufacturer,omitempty"`
	Product      string `json:"product,omitempty"`
	Serial       string `json:"serial,omitempty"`
	Interface    string `json:"interface,omitempty"` // of an adapter with several ports, as in "01"
	Path         string `json:"path,omitempty"`      // the socket it is in, as in "1-2.4"
}

// Holder is a program that uses a port.
type Holder struct {
	PID     int    `json:"pid"`
	Program string `json:"program,omitempty"`
	By      string `json:"by"` // how that is known: "open", "lock", or the path of a lock file
}

func (p *Port) identify() {
	if p.USB != nil {
		p.Adapter = lookUp(p.USB.ID, p.USB.Serial, runtime.GOOS)
	}
}

const maxText = 80

// printable is text from an adapter, a process or a file as one line that a
// terminal can be given.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if r := []rune(s); len(r) > maxText {
		s = string(r[:maxText]) + "…"
	}
	return s
}
