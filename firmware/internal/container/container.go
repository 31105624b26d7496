// Package container is what the formats that wrap others share: how a part is
// analysed under the name that its container gives it, what a checksum over a
// payload accounts for, and how words from an image are made printable.
package container

import (
	"bytes"
	"fmt"
	"strings"

	"assay/firmware"
)

// NotFormat says that the bytes are not the format. A sweep turns down very many
// places, and hardly anybody reads why: the words are put together when asked for.
func NotFormat(format string, args ...any) error { return &notFormat{format, args} }

type notFormat struct {
	format string
	args   []any
}

func (e *notFormat) Error() string {
	return firmware.ErrNotFormat.Error() + ": " + fmt.Errorf(e.format, e.args...).Error()
}

func (e *notFormat) Unwrap() error { return firmware.ErrNotFormat }

// Text makes a fixed-size, NUL-padded name printable.
func Text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return Printable(string(b))
}

// Printable replaces what could steer a terminal or break a line.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' {
			return '.'
		}
		return r
	}, s)
}

// Part analyses the payload of a container under the name and role that the
// container gives it. What a lone region inside is called stays its Format.
func Part(w *firmware.Window, off, size int64, name string, role firmware.Role) *firmware.Region {
	inner := w.Analyse(off, size)
	if len(inner) == 1 {
		r := inner[0]
		if r.State == firmware.Erased {
			r = &firmware.Region{Offset: r.Offset, Size: r.Size, State: firmware.Erased, SHA256: r.SHA256}
		}
		if r.Name == "" || r.Format == "" {
			r.Name = name
		} else if r.Name != name {
			r.Fields = append([]firmware.Field{{Name: "image node", Value: name}}, r.Fields...)
		}
		if role != firmware.RoleNone {
			r.Role = role
		}
		return r
	}
	return &firmware.Region{Offset: w.Offset() + off, Size: size, Name: name, Role: role, State: firmware.Parsed, Children: inner}
}

// Known drops the regions of a partition that nothing was recognised in: their
// bytes then count for the region around them, which must account for them.
func Known(regions []*firmware.Region) []*firmware.Region {
	kept := regions[:0]
	for _, r := range regions {
		if r.Format != "" {
			kept = append(kept, r)
		}
	}
	return kept
}

// Covered is [Known] for the parts of a payload that a checksum holds over:
// parts that the container names stay, and their bytes are accounted for.
func Covered(regions []*firmware.Region) []*firmware.Region {
	kept := regions[:0]
	for _, r := range regions {
		if r.Format == "" && r.Name == "" {
			continue
		}
		if r.Format == "" {
			r.State, r.Children = firmware.Proven, Known(r.Children)
		}
		kept = append(kept, r)
	}
	return kept
}
