// Package report shows an analysed image to people: as a tree on a terminal, as
// a plot of its entropy and as one web page that needs nothing beside it.
//
// All text in an image is hostile. What is written to a terminal has no control
// characters and no line wider than asked for; what is written to a page is
// escaped.
package report

import (
	"fmt"
	"io/fs"
	"strings"
	"unicode"

	"golang.org/x/text/width"

	"assay/firmware"
)

// Printable keeps a text from an image on one line and a terminal unharmed: what
// does not print, or would turn the line around, becomes a full stop.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '.'
		}
		return r
	}, s)
}

// columns is how many columns of a terminal a printable text takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	if r < 0x300 {
		return 1
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	if r >= 0x1f000 && r < 0x20000 { // pictures are wide in most terminals, whatever the table says
		return 2
	}
	return 1
}

// Size writes a number of bytes with three digits at most.
func Size(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		v /= 1024
		switch {
		case v < 9.95:
			return fmt.Sprintf("%.1f %s", v, unit)
		case v < 999.5:
			return fmt.Sprintf("%.0f %s", v, unit)
		}
	}
	return fmt.Sprintf("%.0f EiB", v/1024)
}

// Count writes a number with commas between its thousands.
func Count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// States lists the bytes of an image by state, most first.
func States(img *firmware.Image) string {
	tally := img.Tally()
	var parts []string
	for len(tally) > 0 {
		var most firmware.State
		found := false
		for s, n := range tally {
			if have := tally[most]; !found || n > have || n == have && s > most {
				most, found = s, true
			}
		}
		if tally[most] > 0 {
			parts = append(parts, Size(tally[most])+" "+most.String())
		}
		delete(tally, most)
	}
	return strings.Join(parts, ", ")
}

// checks by their strength, strongest first.
var kinds = []struct{ in, word string }{
	{"sha-512", "sha512"}, {"sha512", "sha512"}, {"sha-384", "sha384"}, {"sha384", "sha384"}, {"sha-256", "sha256"},
	{"sha256", "sha256"}, {"verity", "verity"}, {"sha-1", "sha1"}, {"sha1", "sha1"}, {"md5", "md5"}, {"crc", "crc"}, {"sum", "sum"},
	{"adler", "sum"}, {"xxh", "sum"}, {"digest", "hash"}, {"hash", "hash"}, {"walk", "walk"},
}

// Integrity says in a word or two what the checks of a region came to: FAILED
// when one did, else the strongest that held. None of them proves an origin.
func Integrity(r *firmware.Region) string {
	best := len(kinds)
	for _, c := range r.Checks {
		if !c.OK {
			return "FAILED"
		}
		name := strings.ToLower(c.Name)
		for i, k := range kinds[:best] {
			if strings.Contains(name, k.in) {
				best = i
				break
			}
		}
	}
	switch {
	case len(r.Checks) == 0:
		return "none"
	case best == len(kinds):
		return "ok"
	}
	return kinds[best].word + " ok"
}

// Signed tells whether a region carries a signature. Nothing here verifies it.
func Signed(r *firmware.Region) bool {
	for _, f := range r.Fields {
		name := strings.ToLower(f.Name)
		if (name == "signature" || strings.HasSuffix(name, "signing block")) && f.Value != "none" {
			return true
		}
	}
	return false
}

// Origin says whose word there is for where a region comes from.
func Origin(r *firmware.Region) string {
	switch {
	case r.State == firmware.Erased:
		return "-"
	case Signed(r):
		return "signed (1)"
	}
	return "not proven"
}

// SignedNote explains the word that Origin has for a signed region.
const SignedNote = "(1) signed, not verified here: assay verify"

// What names a region: its format, its role and what the format calls it.
func What(r *firmware.Region) string {
	var parts []string
	if r.Format != "" {
		parts = append(parts, r.Format)
	}
	if r.Role != firmware.RoleNone && string(r.Role) != r.Format {
		parts = append(parts, string(r.Role))
	}
	if r.Name != "" {
		parts = append(parts, r.Name)
	}
	if r.State == firmware.Opaque || r.State == firmware.Residue {
		parts = append(parts, fmt.Sprintf("entropy %.2f", r.Entropy))
	}
	if parts == nil {
		return "-"
	}
	return Printable(strings.Join(parts, " "))
}

// Files counts the entries of a file system.
type Files struct {
	Regular, Directories, Links, Devices, Unread int64
	Bytes                                        int64 // of regular files, each once
	Images                                       int64 // files that are images themselves
}

// CountFiles counts what Open found in a file system.
func CountFiles(list []*firmware.File) Files {
	var n Files
	for _, f := range list {
		switch t := f.Mode.Type(); {
		case f.Mode.IsRegular():
			n.Regular++
			if f.Link == "" {
				n.Bytes += f.Size
			}
		case t == fs.ModeDir:
			n.Directories++
		case t == fs.ModeSymlink:
			n.Links++
		default:
			n.Devices++
		}
		if f.Problem != "" {
			n.Unread++
		}
		if f.Contents != nil {
			n.Images++
		}
	}
	return n
}

func (n Files) String() string {
	parts := []string{counted(n.Regular, "file", "files"), Size(n.Bytes)}
	if n.Links > 0 {
		parts = append(parts, counted(n.Links, "link", "links"))
	}
	if n.Devices > 0 {
		parts = append(parts, counted(n.Devices, "device or pipe", "devices or pipes"))
	}
	if n.Images > 0 {
		parts = append(parts, counted(n.Images, "image inside", "images inside"))
	}
	if n.Unread > 0 {
		parts = append(parts, Count(n.Unread)+" not read")
	}
	return strings.Join(parts, ", ")
}
