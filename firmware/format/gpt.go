package format

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"unicode/utf16"

	"assay/firmware"
)

// gpt is the partition table of UEFI: a protective MBR, a header and an array
// of entries at the start, each with a CRC-32, and both again at the end. The
// contents of partitions are not covered.
var gpt = firmware.Format{
	Name:   "gpt",
	Source: "UEFI specification 2.10, section 5.3",
	Magics: []firmware.Magic{{Offset: 512, Bytes: gptSignature}, {Offset: 4096, Bytes: gptSignature}},
	Parse:  parseGPT,

	About:        "GUID partition table",
	Integrity:    "CRC-32 of the header and of the entries",
	Authenticity: "none",
}

const (
	gptSignature = "EFI PART"
	gptHeader    = 92
	gptEntry     = 128
	maxGPTArray  = 1 << 20
	maxGPTParts  = 256
)

// gptTable is a header that holds and its entries.
type gptTable struct {
	sector                    int64
	own, other, first, last   int64 // sectors
	guid                      string
	array, entries, entrySize int64
	arraySum                  uint32
	raw                       []byte // of the array
}

// readGPT reads the header in the second sector of either size. The array is
// read too; array says whether its CRC-32 holds.
func readGPT(w *firmware.Window) (t *gptTable, array bool, err error) {
	for _, sector := range []int64{512, 4096} {
		if t, array, err = gptAt(w, sector, 1); err == nil {
			return t, array, nil
		}
	}
	return nil, false, err
}

func gptAt(w *firmware.Window, sector, number int64) (*gptTable, bool, error) {
	if number < 1 || number > w.Size()/sector {
		return nil, false, notFormat("gpt: sector %d is past the end", number)
	}
	p, err := w.Bytes(number*sector, gptHeader)
	if err != nil {
		return nil, false, notFormat("gpt: %v", err)
	}
	le := binary.LittleEndian
	size := int64(le.Uint32(p[12:]))
	if string(p[:8]) != gptSignature || size < gptHeader || size > sector {
		return nil, false, notFormat("gpt: no header in sector %d", number)
	}
	if p, err = w.Bytes(number*sector, size); err != nil {
		return nil, false, notFormat("gpt: %v", err)
	}
	declared := le.Uint32(p[16:])
	clear(p[16:20])
	if sum := crc32.ChecksumIEEE(p); sum != declared {
		return nil, false, notFormat("gpt: header in sector %d: CRC-32 is %08x, the header says %08x", number, sum, declared)
	}
	const most = 1 << 50 // sectors: sums and products stay in 64 bits
	t := &gptTable{sector: sector, guid: guid(p[56:]), entries: int64(le.Uint32(p[80:])), entrySize: int64(le.Uint32(p[84:])), arraySum: le.Uint32(p[88:])}
	for i, v := range []*int64{&t.own, &t.other, &t.first, &t.last} {
		if *v = int64(le.Uint64(p[24+8*i:])); *v < 0 || *v > most {
			return nil, false, notFormat("gpt: sector numbers past 2^50")
		}
	}
	if t.array = int64(le.Uint64(p[72:])); t.array < 1 || t.array > most || t.own != number {
		return nil, false, notFormat("gpt: header of sector %d is in sector %d", t.own, number)
	}
	if t.entrySize < gptEntry || t.entrySize > maxGPTArray || t.entries < 1 || t.entries > maxGPTArray/t.entrySize {
		return nil, false, notFormat("gpt: %d entries of %d bytes", t.entries, t.entrySize)
	}
	if t.raw, err = w.Bytes(t.array*sector, t.entries*t.entrySize); err != nil {
		return t, false, nil
	}
	return t, crc32.ChecksumIEEE(t.raw) == t.arraySum, nil
}

// guid writes the mixed-endian form.
func guid(p []byte) string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(p), le.Uint16(p[4:]), le.Uint16(p[6:]), p[8:10], p[10:16])
}

func parseGPT(w *firmware.Window) (*firmware.Region, error) {
	boot, err := w.Bytes(0, mbrSector)
	if err != nil {
		return nil, notFormat("gpt: %v", err)
	}
	if string(boot[510:512]) != mbrSignature {
		return nil, notFormat("gpt: there is no protective MBR")
	}
	t, holds, err := readGPT(w)
	if err != nil {
		return nil, err
	}
	r := &firmware.Region{Role: firmware.RoleContainer, State: firmware.Parsed}
	r.AddField("disk", "%s", t.guid)
	r.AddField("sector size", "%d", t.sector)
	r.AddCheck("header CRC-32", true, "in sector 1")
	r.AddCheck("partition array CRC-32", holds, "%d entries in sector %d", t.entries, t.array)
	if !holds {
		r.AddProblem("gpt: the partition array in sector %d does not match its CRC-32 or is cut short", t.array)
	}
	end := (max(t.other, t.last) + 1) * t.sector
	if r.Size = min(end, w.Size()); r.Size < end {
		r.AddProblem("gpt: the disk ends at %#x and there are %#x bytes", end, w.Size())
	}
	t.backup(w, r, holds)
	if t.first < 2 || t.last < t.first {
		r.AddProblem("gpt: sectors %d to %d cannot be its usable ones", t.first, t.last)
		return r, nil
	}
	layOut(w, r, min(t.first*t.sector, r.Size), min((t.last+1)*t.sector, r.Size), t.parts(r))
	if len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	return r, nil
}

// backup compares the table at the disk's end with the one at its start.
func (t *gptTable) backup(w *firmware.Window, r *firmware.Region, holds bool) {
	other, same, err := gptAt(w, t.sector, t.other)
	ok := err == nil && same && (!holds || bytes.Equal(other.raw, t.raw)) && other.guid == t.guid
	r.AddCheck("backup table CRC-32", ok, "in sector %d", t.other)
	switch {
	case err != nil || !same:
		r.AddProblem("gpt: the backup table in sector %d is not there or does not hold", t.other)
	case !ok:
		r.AddProblem("gpt: the backup table in sector %d has other partitions; those at the start are believed", t.other)
	case !holds:
		r.AddProblem("gpt: the partitions are those of the backup table")
	}
	if !holds && err == nil && same {
		t.raw = other.raw
		t.entrySize = other.entrySize
	}
}

func (t *gptTable) parts(r *firmware.Region) []diskPart {
	le := binary.LittleEndian
	var parts []diskPart
	for number := 1; int64(len(t.raw)) >= t.entrySize && len(parts) < maxGPTParts; number++ {
		p := t.raw[:t.entrySize]
		t.raw = t.raw[t.entrySize:]
		if len(bytes.TrimLeft(p[:16], "\x00")) == 0 {
			continue // unused
		}
		first, last := le.Uint64(p[32:]), le.Uint64(p[40:])
		if first < uint64(t.first) || last > uint64(t.last) || last < first {
			r.AddProblem("gpt: partition %d from sector %d to %d is outside the usable ones, %d to %d", number, first, last, t.first, t.last)
			continue
		}
		var name [36]uint16
		for i := range name {
			name[i] = le.Uint16(p[56+2*i:])
		}
		d := diskPart{off: int64(first) * t.sector, size: int64(last-first+1) * t.sector, name: text([]byte(string(utf16.Decode(name[:]))))}
		if d.name == "" {
			d.name = fmt.Sprintf("partition %d", number)
		}
		d.fields = []firmware.Field{{Name: "partition type", Value: guid(p)}, {Name: "partition", Value: guid(p[16:])}}
		if flags := le.Uint64(p[48:]); flags != 0 {
			d.fields = append(d.fields, firmware.Field{Name: "partition attributes", Value: fmt.Sprintf("%#x", flags)})
		}
		parts = append(parts, d)
	}
	return parts
}
