package format

import (
	"strconv"

	"assay/firmware"
)

// U-Boot may keep its environment twice. Each copy then has a flag byte: in
// parallel NOR flash 1 for the active copy and 0 for the obsolete one, elsewhere
// a number that grows with each save and starts again behind 255. U-Boot
// env/common.c, env_import_redund.

const envCopy = "redundant copy"

// adoptEnvironments says of each two copies in an extent which one U-Boot
// takes. All stay as they are.
func adoptEnvironments(_ *firmware.Window, parts []*firmware.Region) []*firmware.Region {
	var before *firmware.Region
	found := false
	for _, p := range parts {
		if p.Format != environmentName || p.Field(envFlag) == "" || p.Field(envCopy) != "" {
			continue
		}
		if before == nil {
			before = p
			continue
		}
		comparePair(before, p)
		before, found = nil, true
	}
	if !found {
		return nil
	}
	return parts
}

func comparePair(a, b *firmware.Region) {
	first, why := true, "the CRC of the other one does not hold"
	switch {
	case a.State == firmware.Proven && b.State == firmware.Proven:
		first, why = newer(flagOf(a), flagOf(b)), "by its flag"
		if flagOf(a) == flagOf(b) {
			why = "both flags are equal: the first one counts"
		}
		if a.Size != b.Size {
			a.AddProblem("the other copy at %#x has %d bytes", b.Offset, b.Size)
		}
	case b.State == firmware.Proven:
		first = false
	case a.State != firmware.Proven:
		a.AddField(envCopy, "of two, of which neither counts")
		b.AddField(envCopy, "of two, of which neither counts")
		return
	}
	if !first {
		a, b = b, a
	}
	a.AddField(envCopy, "active, %s; the other is at %#x", why, b.Offset)
	b.AddField(envCopy, "not active; the other is at %#x", a.Offset)
}

func flagOf(r *firmware.Region) byte {
	n, _ := strconv.ParseUint(r.Field(envFlag), 10, 8) // written by us
	return byte(n)
}

// newer tells whether the first flag is not older than the second.
func newer(a, b byte) bool {
	switch {
	case a == 255 && b == 0:
		return false
	case a == 0 && b == 255:
		return true
	}
	return a >= b
}
