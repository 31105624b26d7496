package terminal

import (
	"os"

	"golang.org/x/sys/windows"
)

// AllowSequences has a Windows console act on control sequences, which it shows as
// text unless it is told to, and returns what undoes it.
func AllowSequences(f *os.File) (undo func()) {
	var mode uint32
	h := windows.Handle(f.Fd())
	if windows.GetConsoleMode(h, &mode) != nil || windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) != nil {
		return func() {}
	}
	return func() { _ = windows.SetConsoleMode(h, mode) }
}

// TakesUTF8 reports whether the terminal takes UTF-8: what is written to a Windows
// console is turned into its own encoding.
func TakesUTF8() bool { return true }
