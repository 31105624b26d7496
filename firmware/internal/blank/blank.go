// Package blank tells erased bytes from others. bytes.Trim with "\xff" does not:
// it takes bytes that are no UTF-8 for one rune, and so all of them for 0xFF.
package blank

import "encoding/binary"

// Run counts how often p begins with c.
func Run(p []byte, c byte) int {
	i := 0
	for all := uint64(c) * 0x0101010101010101; i+8 <= len(p) && binary.LittleEndian.Uint64(p[i:]) == all; {
		i += 8
	}
	for i < len(p) && p[i] == c {
		i++
	}
	return i
}

// Is tells whether p is nothing but c. An empty p is.
func Is(p []byte, c byte) bool { return Run(p, c) == len(p) }
