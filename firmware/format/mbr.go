package format

import (
	"encoding/binary"
	"fmt"
	"slices"

	"assay/firmware"
)

// mbr is the partition table of PCs, as memory cards and eMMC have it: four
// entries at the end of the first sector, one of which may be the start of a
// chain of further tables. It has no checksum: what it says is only bounded.
// Sectors are taken to have 512 bytes.
var mbr = firmware.Format{
	Name:   "mbr",
	Source: "UEFI specification 2.10, section 5.2; Linux block/partitions/msdos.c",
	Magics: []firmware.Magic{{Offset: 510, Bytes: mbrSignature}},
	Parse:  parseMBR,

	About:        "DOS partition table",
	Integrity:    "none",
	Authenticity: "none",
}

const (
	mbrSignature  = "\x55\xaa"
	mbrSector     = 512
	mbrTable      = 446
	mbrProtective = 0xee
	maxLogical    = 64
)

// diskPart is a partition of any table, in bytes of the window.
type diskPart struct {
	off, size int64
	name      string
	role      firmware.Role
	fields    []firmware.Field
}

// mbrEntry is one entry, in sectors.
type mbrEntry struct {
	status, kind byte
	start, count int64
}

func (e mbrEntry) extended() bool { return e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85 }

// mbrEntries reads a table and turns down bytes that are none: a signature of
// two bytes stands in every 64 KiB by chance, and in boot sectors that
// have code where the table would be.
func mbrEntries(sector []byte) ([]mbrEntry, error) {
	if string(sector[510:512]) != mbrSignature {
		return nil, notFormat("mbr: no signature")
	}
	var list []mbrEntry
	for i := range 4 {
		p := sector[mbrTable+16*i:][:16]
		e := mbrEntry{p[0], p[4], int64(binary.LittleEndian.Uint32(p[8:])), int64(binary.LittleEndian.Uint32(p[12:]))}
		if e.status != 0 && e.status != 0x80 || (e.kind == 0) != (e.count == 0) || e.kind != 0 && e.start == 0 {
			return nil, notFormat("mbr: entry %d is none", i+1)
		}
		list = append(list, e)
	}
	return list, nil
}

func parseMBR(w *firmware.Window) (*firmware.Region, error) {
	sector, err := w.Bytes(0, mbrSector)
	if err != nil {
		return nil, notFormat("mbr: %v", err)
	}
	list, err := mbrEntries(sector)
	if err != nil {
		return nil, err
	}
	r := &firmware.Region{Size: mbrSector, Role: firmware.RoleContainer, State: firmware.Parsed}
	r.AddField("disk signature", "%08x", binary.LittleEndian.Uint32(sector[440:]))
	var parts []diskPart
	end := int64(0)
	for i, e := range list {
		switch {
		case e.kind == 0:
			continue
		case e.kind == mbrProtective:
			if _, _, err := readGPT(w); err == nil {
				return nil, notFormat("mbr: it protects a GPT")
			}
			r.AddProblem("mbr: it protects a GPT, and no GPT header holds behind it")
		case e.extended():
			logical, err := mbrChain(w, e)
			if err != nil {
				r.AddProblem("%v", err)
			}
			parts = append(parts, logical...)
		default:
			parts = append(parts, e.part(0, fmt.Sprintf("partition %d", i+1)))
		}
		if e.start*mbrSector >= w.Size() {
			r.AddProblem("mbr: partition %d starts at %#x and there are %#x bytes", i+1, e.start*mbrSector, w.Size())
			continue
		}
		end = max(end, (e.start+e.count)*mbrSector)
	}
	if end == 0 {
		return nil, notFormat("mbr: no partition lies in the image")
	}
	if r.Size = min(end, w.Size()); r.Size < end && len(r.Problems) == 0 {
		r.AddProblem("mbr: its partitions end at %#x and there are %#x bytes", end, w.Size())
	}
	layOut(w, r, mbrSector, r.Size, parts)
	return r, nil
}

func (e mbrEntry) part(base int64, name string) diskPart {
	p := diskPart{off: (base + e.start) * mbrSector, size: e.count * mbrSector, name: name}
	p.fields = []firmware.Field{{Name: "partition type", Value: fmt.Sprintf("%#02x", e.kind)}}
	if e.status == 0x80 {
		p.fields = append(p.fields, firmware.Field{Name: "partition status", Value: "active"})
	}
	return p
}

// mbrChain reads the tables of an extended partition. Each has one partition,
// counted from itself, and the place of the next, counted from the first; they
// only go forward, so that the chain ends.
func mbrChain(w *firmware.Window, extended mbrEntry) ([]diskPart, error) {
	var parts []diskPart
	for at := extended.start; len(parts) < maxLogical; {
		sector, err := w.Bytes(at*mbrSector, mbrSector)
		if err != nil {
			return parts, fmt.Errorf("mbr: extended table at sector %d: %w", at, err)
		}
		list, err := mbrEntries(sector)
		if err != nil {
			return parts, fmt.Errorf("mbr: extended table at sector %d holds none", at)
		}
		if list[0].kind != 0 {
			parts = append(parts, list[0].part(at, fmt.Sprintf("partition %d", 5+len(parts))))
		}
		next := extended.start + list[1].start
		if !list[1].extended() {
			return parts, nil
		}
		if next <= at {
			return parts, fmt.Errorf("mbr: extended table at sector %d leads back to %d", at, next)
		}
		at = next
	}
	return parts, fmt.Errorf("mbr: more than %d logical partitions are not read", maxLogical)
}

// layOut makes children of the partitions and of the bytes between them, in
// which something may be hidden, from one place in the window to another.
func layOut(w *firmware.Window, r *firmware.Region, from, to int64, parts []diskPart) {
	slices.SortStableFunc(parts, func(a, b diskPart) int {
		switch {
		case a.off < b.off:
			return -1
		case a.off > b.off:
			return 1
		}
		return 0
	})
	pos := from
	for _, p := range parts {
		if p.off < pos || p.off >= to {
			if p.off < to {
				r.AddProblem("%s at %#x overlaps what is before it and is left out", p.name, p.off)
			}
			continue
		}
		r.Children = append(r.Children, w.Analyse(pos, p.off-pos)...)
		size := min(p.size, to-p.off)
		c := part(w, p.off, size, p.name, p.role)
		c.Fields = append(p.fields, c.Fields...)
		if size < p.size {
			c.AddProblem("%s declares %d bytes and %d are there", p.name, p.size, size)
		}
		r.Children = append(r.Children, c)
		pos = p.off + size
	}
	r.Children = append(r.Children, w.Analyse(pos, to-pos)...)
}
