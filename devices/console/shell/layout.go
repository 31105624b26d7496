package shell

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"assay/attest"
	"assay/devices"
)

// chip is one flash memory as it can be read: the devices that its bytes are
// behind, in order.
type chip struct {
	devices.Bank
	segments []segment
	bad      []attest.Extent // bad blocks of a NAND, by the kernel's table
	gaps     []attest.Extent // no device shows these bytes
}

// segment is a part of a chip behind one device.
type segment struct {
	at, size int64 // in the chip
	device   string
	from     int64 // in the device
}

// placed is a row of /proc/mtd and where it lies.
type placed struct {
	mtdRow
	offset int64
	known  bool
	chip   string // the kernel's name of the chip, where one is known
	kind   string // "nor", "nand", ...
}

// place finds out where in its chip each MTD device lies: by sysfs, by mtdparts,
// by the kernel's log.
func placeRows(rows []mtdRow, offsets map[int]int64, kinds map[int]string, cmdline, log []part) []placed {
	var all []placed
	used := map[*part]bool{}
	find := func(parts []part, r mtdRow, offset int64, exact bool) *part {
		for i := range parts {
			p := &parts[i]
			if !used[p] && p.name == r.name && (p.size == r.size || p.size == 0) && (!exact || p.offset == offset) {
				return p
			}
		}
		return nil
	}
	for _, r := range rows {
		x := placed{mtdRow: r, kind: kinds[r.index]}
		x.offset, x.known = offsets[r.index]
		if !x.known && (len(offsets) > 0 || alone(rows, kinds, r)) {
			// Only partitions have an offset in sysfs (drivers/mtd/mtdpart.c): a
			// device without one is a whole chip.
			x.known, x.chip = true, r.name
		}
		p := find(cmdline, r, x.offset, x.known)
		if p == nil {
			p = find(log, r, x.offset, x.known)
		}
		if p != nil {
			used[p] = true
			x.chip, x.known = p.chip, true
			if _, sysfs := offsets[r.index]; !sysfs {
				x.offset = p.offset
			}
		}
		all = append(all, x)
	}
	return all
}

// alone reports a device that is the only one of its kind.
func alone(rows []mtdRow, kinds map[int]string, r mtdRow) bool {
	for _, x := range rows {
		if x.index != r.index && kinds[x.index] == kinds[r.index] {
			return false
		}
	}
	return true
}

// layOutFlash makes chips of MTD devices. device names the device of an index.
func layOutFlash(rows []placed, sizes map[string]int64, bad []int64, device func(int) string) []chip {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r placed) bool { return r.kind == "ubi" || r.kind == "absent" })
	groups := groupRows(rows)
	var all []chip
	counts := map[string]int{}
	for _, g := range groups {
		kind := g[0].kind
		switch kind {
		case "nor", "nand", "ram", "rom", "dataflash":
		case "mlc-nand":
			kind = "nand"
		default:
			kind = "flash"
		}
		name := fmt.Sprintf("%s%d", kind, counts[kind])
		if !g[0].known && len(rows) > 1 {
			name = fmt.Sprintf("mtd%d", g[0].index)
		} else {
			counts[kind]++
		}
		c := assemble(name, g, sizes, device)
		if kind == "nand" {
			for _, at := range bad {
				if erase := g[0].erase; erase > 0 && at < c.Size {
					c.bad = append(c.bad, attest.Extent{Offset: at, Size: min(erase, c.Size-at)})
				}
			}
		}
		all = append(all, c)
	}
	return all
}

// groupRows puts the devices of one chip together. Two that overlap without one
// holding the other are of two chips.
func groupRows(rows []placed) [][]placed {
	var groups [][]placed
	for _, r := range rows {
		i := -1
		if r.known {
			i = slices.IndexFunc(groups, func(g []placed) bool {
				if !g[0].known || g[0].kind != r.kind || g[0].chip != "" && r.chip != "" && g[0].chip != r.chip {
					return false
				}
				return !slices.ContainsFunc(g, func(x placed) bool { return crosses(x, r) })
			})
		}
		if i < 0 {
			groups = append(groups, []placed{r})
			continue
		}
		groups[i] = append(groups[i], r)
	}
	// The whole chip may have a device of its own besides, which no table places.
	return adoptWhole(groups)
}

// crosses reports two devices that cannot be of one chip.
func crosses(a, b placed) bool {
	aEnd, bEnd := a.offset+a.size, b.offset+b.size
	if aEnd <= b.offset || bEnd <= a.offset {
		return false
	}
	inside := a.offset >= b.offset && aEnd <= bEnd || b.offset >= a.offset && bEnd <= aEnd
	return !inside || a.offset == b.offset && a.size == b.size
}

// adoptWhole gives a chip the device that shows all of it: one that no table
// places, named as the kernel names the chip.
func adoptWhole(groups [][]placed) [][]placed {
	var out [][]placed
	for _, g := range groups {
		if r := g[0]; !r.known && len(groups) > 1 {
			i := slices.IndexFunc(groups, func(o []placed) bool { return o[0].known && o[0].chip != "" && o[0].chip == r.name && end(o) <= r.size })
			if i >= 0 {
				r.known, r.chip = true, r.name
				groups[i] = append(groups[i], r)
			}
		}
	}
	for _, g := range groups {
		adopted := !g[0].known && slices.ContainsFunc(groups, func(o []placed) bool {
			return o[0].known && slices.ContainsFunc(o, func(x placed) bool { return x.index == g[0].index })
		})
		if !adopted {
			out = append(out, g)
		}
	}
	return out
}

func end(g []placed) int64 {
	var n int64
	for _, r := range g {
		n = max(n, r.offset+r.size)
	}
	return n
}

// assemble covers a chip with as few devices as show all of it.
func assemble(name string, g []placed, sizes map[string]int64, device func(int) string) chip {
	c := chip{Bank: devices.Bank{Name: name, Size: end(g), Acquisition: attest.A1}}
	for _, r := range g {
		if n := sizes[r.chip]; r.chip != "" && n > c.Size && n <= flashMax {
			c.Size = n
		}
	}
	byPlace := slices.Clone(g)
	slices.SortStableFunc(byPlace, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(b.size, a.size))
	})
	for _, r := range byPlace {
		if whole := r.offset == 0 && r.size == c.Size; !whole || len(g) == 1 {
			c.Partitions = append(c.Partitions, devices.Partition{Name: r.name, Extent: attest.Extent{Offset: r.offset, Size: r.size}})
		}
	}
	for at := int64(0); at < c.Size; {
		best, next := -1, c.Size
		for i, r := range byPlace {
			switch e := r.offset + r.size; {
			case r.offset <= at && e > at:
				if best < 0 || e > byPlace[best].offset+byPlace[best].size {
					best = i
				}
			case r.offset > at:
				next = min(next, r.offset)
			}
		}
		if best < 0 {
			c.gaps = append(c.gaps, attest.Extent{Offset: at, Size: next - at})
			at = next
			continue
		}
		r := byPlace[best]
		stop := r.offset + r.size
		c.segments = append(c.segments, segment{at: at, size: stop - at, device: device(r.index), from: at - r.offset})
		at = stop
	}
	return c
}

// describe is the partitions as a claim has them.
func describe(parts []devices.Partition) string {
	var all []string
	for _, p := range parts {
		all = append(all, fmt.Sprintf("%s 0x%08x-0x%08x", p.Name, p.Offset, p.Offset+p.Size))
	}
	return strings.Join(all, ", ")
}
