package format

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"assay/firmware"
)

// What lies in a U-Boot binary besides code: an SPL with a banner of its own
// before it, a control device tree, and the environment that it falls back on,
// default_environment of include/env_default.h: variables, each ended by a NUL,
// all by an empty one.

const defaultEnvironment = "u-boot-default-env"

// describeUBoot looks into a U-Boot's extent.
func describeUBoot(w *firmware.Window, r *firmware.Region) {
	at := r.Offset - w.Offset()
	if off, b := findText(w.Section(at, r.Size), "U-Boot SPL ", bannerLength, uBootBanner.Match); off >= 0 {
		r.AddField("SPL banner", "%s", uBootBanner.Find(b))
	}
	for _, c := range r.Children {
		if c.Format == "fdt" {
			r.AddField("control device tree", "%s at %#x", c.Name, c.Offset-r.Offset)
		}
	}
	b, err := w.Bytes(at, r.Size)
	if err != nil {
		return // more than one read: no U-Boot is so large
	}
	start, end, ok := findVariables(b)
	if !ok {
		return
	}
	c := &firmware.Region{Offset: r.Offset + int64(start), Size: int64(end - start), Format: defaultEnvironment, Name: "default environment", Role: firmware.RoleEnvironment, State: firmware.Parsed}
	for _, other := range r.Children {
		if c.Offset < other.End() && other.Offset < c.End() {
			return // it belongs to what was recognised there
		}
	}
	listVariables(b[start:end], c)
	r.Children = append(r.Children, c)
	slices.SortFunc(r.Children, func(a, b *firmware.Region) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, name := range []string{"arch", "cpu", "soc", "board", "board_name", "vendor", "mtdids", "mtdparts", "bootargs"} {
		r.AddField("default "+name, "%s", c.Field(name))
	}
}

// usualVariables are in each default environment, so that one of them leads to
// it.
var usualVariables = []string{"bootcmd=", "bootargs=", "bootdelay=", "baudrate="}

// findVariables returns the extent of a default environment: at least three
// variables in a row with two of the usual ones, and the empty one.
func findVariables(b []byte) (start, end int, ok bool) {
	for _, name := range usualVariables {
		mark := []byte("\x00" + name)
		for at := 0; at < len(b); {
			i := bytes.Index(b[at:], mark)
			if i < 0 {
				break
			}
			start, end = aroundVariable(b, at+i+1)
			if vars := b[start:end]; end > start && bytes.Count(vars, []byte{0}) >= 4 && usualCount(vars) >= 2 {
				return start, end, true
			}
			at = max(at+i+1, end)
		}
	}
	return 0, 0, false
}

func usualCount(vars []byte) (n int) {
	for _, name := range usualVariables {
		if bytes.HasPrefix(vars, []byte(name)) || bytes.Contains(vars, []byte("\x00"+name)) {
			n++
		}
	}
	return n
}

// aroundVariable extends a variable that starts at pos over its neighbours.
func aroundVariable(b []byte, pos int) (start, end int) {
	start = pos
	for start > 1 && b[start-1] == 0 {
		before := bytes.LastIndexByte(b[:start-1], 0) + 1
		if before >= start-1 || !wholeVariable(b[before:start-1]) {
			break
		}
		start = before
	}
	for end = pos; end < len(b); {
		n := bytes.IndexByte(b[end:], 0)
		if n < 0 {
			return pos, pos
		}
		if n == 0 {
			return start, end + 1
		}
		if !wholeVariable(b[end : end+n]) {
			return pos, pos
		}
		end += n + 1
	}
	return pos, pos
}

// wholeVariable wants a name as U-Boot's are and text.
func wholeVariable(b []byte) bool {
	name, _, ok := strings.Cut(string(b[:min(len(b), envMaxName+1)]), "=")
	return ok && len(name) <= envMaxName && startsVariable(b)
}
