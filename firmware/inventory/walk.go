package inventory

import (
	"path"
	"strings"

	"assay/firmware"
)

// Walk calls fn for each region of an image and for each file in those, with its
// path as reports have it: a region (f is nil) before its children, those before
// what it unpacks to, that before its files, and a file before what is in it. An
// error from fn ends the walk and is returned.
func Walk(img *firmware.Image, fn func(where string, r *firmware.Region, f *firmware.File) error) error {
	return walk(img.Regions, "", fn)
}

func walk(regions []*firmware.Region, where string, fn func(string, *firmware.Region, *firmware.File) error) error {
	for _, r := range regions {
		at := path.Join(where, r.Label())
		if err := fn(at, r, nil); err != nil {
			return err
		}
		if err := walk(r.Children, at, fn); err != nil {
			return err
		}
		if r.Contents != nil {
			if err := walk(r.Contents.Regions, at, fn); err != nil {
				return err
			}
		}
		for _, f := range r.Files {
			name := path.Join(at, Printable(f.Path))
			if err := fn(name, r, f); err != nil {
				return err
			}
			if f.Contents != nil {
				if err := walk(f.Contents.Regions, name, fn); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// holder is the path up to the innermost region.
func holder(where string) string {
	parts := strings.Split(where, "/")
	for i := len(parts) - 1; i > 0; i-- {
		if strings.Contains(parts[i], "@0x") {
			return strings.Join(parts[:i+1], "/")
		}
	}
	return parts[0]
}

// Printable keeps a name from an image on one line and a terminal unharmed.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' {
			return '.'
		}
		return r
	}, s)
}

// word is a short text from an image, on one line, without what it was cut from.
func word(s string) string {
	const longest = 200
	if len(s) > longest {
		s = s[:longest]
	}
	return Printable(strings.Clone(s))
}
