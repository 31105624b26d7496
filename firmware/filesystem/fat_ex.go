package filesystem

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"assay/firmware"
)

// exFAT, which memory cards above 32 GB have, is recognised by its boot region
// and verified as far as that. Its files are not read.
func init() {
	firmware.Register(firmware.Format{
		Name:         "exfat",
		Source:       "Microsoft exFAT file system specification 1.00, section 3",
		About:        "exFAT file system",
		Integrity:    "sum of the boot region",
		Authenticity: "none",
		Magics:       []firmware.Magic{{Bytes: "\xeb\x76\x90EXFAT   "}},
		Parse:        parseExFAT,
	})
}

const exfatRegion = 12 // sectors of the boot region; the same follow as a copy

func parseExFAT(w *firmware.Window) (*firmware.Region, error) {
	p, err := w.Bytes(0, fatSector)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", firmware.ErrNotFormat, err)
	}
	le := binary.LittleEndian
	sectorBits, clusterBits := uint(p[108]), uint(p[109])
	sectors, heap, clusters, root := le.Uint64(p[72:]), uint64(le.Uint32(p[88:])), uint64(le.Uint32(p[92:])), le.Uint32(p[96:])
	table, tableSize, tables := uint64(le.Uint32(p[80:])), uint64(le.Uint32(p[84:])), uint64(p[110])
	switch {
	case string(p[510:]) != "\x55\xaa" || len(bytes.Trim(p[11:64], "\x00")) > 0:
		return nil, fmt.Errorf("%w: exfat: no signature, or a parameter block of FAT", firmware.ErrNotFormat)
	case sectorBits < 9 || sectorBits > 12 || clusterBits > 25-sectorBits || tables < 1 || tables > 2 || sectors > 1<<50:
		return nil, fmt.Errorf("%w: exfat: sectors of 2^%d bytes in clusters of 2^%d", firmware.ErrNotFormat, sectorBits, clusterBits)
	case table < 24 || heap < table+tables*tableSize || heap+clusters<<clusterBits > sectors || clusters == 0 || root < 2 || uint64(root) > clusters+1:
		return nil, fmt.Errorf("%w: exfat: a table at sector %d and data at %d of %d", firmware.ErrNotFormat, table, heap, sectors)
	}
	size := int64(sectors) << sectorBits
	r := &firmware.Region{Format: "exfat", Size: min(size, w.Size()), State: firmware.Parsed, Role: firmware.RoleData}
	r.AddField("revision", "%d.%02d", p[105], p[104])
	r.AddField("serial number", "%08x", le.Uint32(p[100:]))
	r.AddField("sector size", "%d", 1<<sectorBits)
	r.AddField("cluster size", "%d", 1<<(sectorBits+clusterBits))
	r.AddField("clusters", "%d", clusters)
	r.AddField("sectors before it", "%d", le.Uint64(p[64:]))
	r.AddField("files", "not read: this file system is only recognised")
	if flags := le.Uint16(p[106:]); flags&2 != 0 {
		r.AddProblem("exfat: it was not unmounted cleanly")
	} else if flags&4 != 0 {
		r.AddProblem("exfat: its own record says that errors were found in it")
	}
	if size > w.Size() {
		r.AddProblem("exfat: %d bytes are said and %d are there: the image is cut short", size, w.Size())
	}
	return r, exfatSums(w, r, 1<<sectorBits)
}

// exfatSums verifies the boot region and its copy: the last sector is full of a
// sum over the others.
func exfatSums(w *firmware.Window, r *firmware.Region, sector int64) error {
	for i, what := range []string{"checksum of the boot region", "checksum of its copy"} {
		p, err := w.Bytes(int64(i)*exfatRegion*sector, exfatRegion*sector)
		if err != nil {
			r.AddProblem("exfat: %s: %v", what, err)
			continue
		}
		sum := uint32(0)
		for k, c := range p[:(exfatRegion-1)*sector] {
			if k != 106 && k != 107 && k != 112 { // flags and the percentage in use
				sum = sum>>1 | sum<<31
				sum += uint32(c)
			}
		}
		last := p[(exfatRegion-1)*sector:]
		want := binary.LittleEndian.Uint32(last)
		ok := sum == want && bytes.Equal(last[4:], last[:len(last)-4])
		r.AddCheck(what, ok, "computed %08x, declared %08x; nothing else is covered", sum, want)
		if !ok {
			r.AddProblem("exfat: %s is %08x, and it says %08x", what, sum, want)
		}
	}
	return nil
}
