package camera

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"assay/firmware"
	"assay/firmware/filesystem"
	"assay/firmware/internal/blank"
	"assay/firmware/internal/container"
)

// ambarellaROMFS is Ambarella's read-only file system: a table of files, then the
// files, each at a multiple of 2048. The older kind counts before its magic, fills
// the header with 0xFF and has a magic in each entry; the newer one has the magic
// first and a CRC-32 in each entry.
var ambarellaROMFS = firmware.Format{
	Name:         "ambarella-romfs",
	Source:       "binaryanalysis-ng romfs_ambarella.ksy; dji-firmware-tools amba_romfs.py; public packers of the kind with CRC-32",
	Magics:       []firmware.Magic{{Offset: 4, Bytes: ambaROMMagic}, {Bytes: ambaROMMagic}},
	About:        "Ambarella read-only file system",
	Integrity:    "CRC-32 of each file in the newer kind, none in the older",
	Authenticity: "none",
	Parse:        parseAmbarellaROMFS,
}

const (
	ambaROMMagic = "\x8a\x32\xfc\x66"
	ambaROMFile  = "\x76\xab\x87\x23"
	ambaROMBlock = 2048
	ambaROMMax   = 4096 // files
)

// ambaROMKind is where the fields of an entry lie.
type ambaROMKind struct {
	name                        string
	table, entry                int64
	nameSize, size, place, last int
}

var (
	ambaROMOld = ambaROMKind{"magic in each entry", 2048, 128, 116, 120, 116, 124}
	ambaROMNew = ambaROMKind{"CRC-32 in each entry", 8, 76, 64, 64, 68, 72}
)

func parseAmbarellaROMFS(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, min(ambaROMBlock, w.Size()))
	if err != nil || len(b) < ambaROMBlock {
		return nil, notFormat("ambarella romfs: no room for a header")
	}
	kind, count := ambaROMOld, int64(binary.LittleEndian.Uint32(b))
	if string(b[:4]) == ambaROMMagic {
		kind, count = ambaROMNew, int64(binary.LittleEndian.Uint32(b[4:]))
	} else if !blank.Is(b[8:], 0xff) {
		return nil, notFormat("ambarella romfs: the header is not filled")
	}
	if count == 0 || count > ambaROMMax {
		return nil, notFormat("ambarella romfs: %d files", count)
	}
	table, err := w.Bytes(kind.table, count*kind.entry)
	if err != nil {
		return nil, notFormat("ambarella romfs: %v", err)
	}
	if !kind.plausible(table) {
		return nil, notFormat("ambarella romfs: no entry of a file")
	}
	r := &firmware.Region{Size: kind.table + int64(len(table)), Role: firmware.RoleData, State: firmware.Parsed}
	r.AddField("kind", "%s", kind.name)
	err = kind.read(w, r, table)
	r.AddField("protection", "none but what the kind says: integrity at most, proves no origin")
	if err != nil {
		return r, err
	}
	return r, ambaROMPad(w, r)
}

// plausible looks at the first entry, so that four bytes by chance are no file
// system.
func (k ambaROMKind) plausible(e []byte) bool {
	place := int64(binary.LittleEndian.Uint32(e[k.place:]))
	return e[0] != 0 && printable(e[:k.nameSize]) && place >= k.table && place%ambaROMBlock == 0 &&
		(k == ambaROMNew || string(e[k.last:k.last+4]) == ambaROMFile)
}

func (k ambaROMKind) read(w *firmware.Window, r *firmware.Region, table []byte) error {
	files := filesystem.NewListing(w.Meter())
	defer files.Describe(r)
	le := binary.LittleEndian
	header, good, count := r.Size, 0, 0
	for e := table; len(e) > 0; e = e[k.entry:] {
		name, size, place := container.Text(e[:k.nameSize]), int64(le.Uint32(e[k.size:])), int64(le.Uint32(e[k.place:]))
		count++
		switch {
		case k == ambaROMOld && string(e[k.last:k.last+4]) != ambaROMFile:
			r.AddProblem("the entry of %q has no magic", name)
			continue
		case size == 0:
			r.AddProblem("file %q has no bytes", name)
		case place < header || place >= w.Size():
			r.AddProblem("file %q at %#x lies in the header or outside", name, place)
			continue
		case size > w.Size()-place:
			r.AddProblem("file %q of %d bytes at %#x reaches past the end", name, size, place)
			r.State, size = firmware.Opaque, w.Size()-place
		case place < r.Size:
			r.AddProblem("file %q at %#x lies over the one before", name, place)
			continue
		}
		if err := files.Add(name, w, place, size); err != nil {
			return err
		}
		if size == 0 {
			continue
		}
		r.Size = max(r.Size, place+size)
		if k == ambaROMNew {
			crc := crc32.NewIEEE()
			if err := stream(w, place, size, crc); err != nil {
				return err
			}
			if crc.Sum32() == le.Uint32(e[k.last:]) {
				good++
			} else {
				r.AddProblem("the CRC-32 of file %q does not hold", name)
			}
		}
	}
	if k == ambaROMNew {
		r.AddCheck("CRC-32 of files", good == count, "%d of %d match", good, count)
		if good == count && len(r.Problems) == 0 {
			r.State = firmware.Proven
		}
	}
	return nil
}

// ambaROMPad counts the filling to the next block, which is a whole one behind a
// file that ends at one.
func ambaROMPad(w *firmware.Window, r *firmware.Region) error {
	n := min(ambaROMBlock-r.Size%ambaROMBlock, w.Size()-r.Size)
	b, err := w.Bytes(r.Size, n)
	if err != nil {
		return err
	}
	if len(b) > 0 && (len(bytes.Trim(b, "\x00")) == 0 || blank.Is(b, 0xff)) {
		r.AddField("padding", "%d bytes", n)
		r.Size += n
	}
	return nil
}
