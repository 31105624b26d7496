package camera

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// ambarellaFirmware is a device firmware of Ambarella's SDK: a main header, then
// images that each have a partition header. There are two main headers: one with
// 32 starts and 32 ends, the magic of its extras and the sizes of the flash
// partitions; and one with a magic at 0x20, the sizes of the images in a row and a
// trailer with MD5s, which action and web cameras have.
var ambarellaFirmware = firmware.Format{
	Name:   "ambarella-firmware",
	Source: "Ambarella SDK fio/firmfl.h, devfw_header_t; binaryanalysis-ng ambarella.ksy; public packers of 0x230-byte headers",
	Magics: []firmware.Magic{
		{Offset: ambaExtras, Bytes: ambaExtraMagic},
		{Offset: ambaPacked, Bytes: ambaFlashMagic},
	},
	About:        "Ambarella device firmware: partition images behind a main header",
	Integrity:    "CRC-32 of each image; in one kind MD5s in a trailer",
	Authenticity: "none",
	Parse:        parseAmbarella,
}

// ambarellaPart is one partition image: 256 bytes of header with the CRC-32 of
// the data behind it.
var ambarellaPart = firmware.Format{
	Name:         ambaPartName,
	Source:       "Ambarella SDK fio/firmfl.h, partimg_header_t; dji-firmware-tools amba_fwpak.py",
	Magics:       []firmware.Magic{{Offset: ambaPartAt, Bytes: ambaPartMagic}},
	About:        "partition image of an Ambarella firmware",
	Integrity:    "CRC-32 of the data",
	Authenticity: "none",
	Parse:        parseAmbarellaPart,
}

// ambarellaTable is the partition table in the flash of an Ambarella unit: what
// each partition was programmed with. Where the partitions lie is compiled into
// the boot loader and not in it.
var ambarellaTable = firmware.Format{
	Name:         "ambarella-ptb",
	Source:       "Ambarella SDK fio/firmfl.h, flpart_table_t",
	Magics:       []firmware.Magic{{Offset: 24, Bytes: ambaFlashMagic}},
	About:        "flash partition table of an Ambarella unit",
	Integrity:    "CRC-32 of each partition's image, elsewhere in flash; none over the table",
	Authenticity: "none",
	Parse:        parseAmbarellaTable,
}

const (
	ambaFlashMagic = "\xe6\xdf\x32\x87"
	ambaExtraMagic = "\xbd\x9f\x21\x33"
	ambaPartMagic  = "\x90\xeb\x24\xa3"
	ambaPartAt     = 24
	ambaPartName   = "ambarella-part"
	ambaHeader     = 256

	ambaSlots   = 32
	ambaExtras  = 4 * 2 * ambaSlots // behind the starts and the ends
	ambaSizes   = ambaExtras + 4
	ambaSizeEnd = ambaSizes + 4*ambaSlots

	ambaPacked      = 0x20
	ambaPackedTable = 0x30
	ambaPackedSlots = 16
	ambaPackedData  = 0x230
	ambaTrailer     = 116 // with the MD5 at its end
)

func parseAmbarella(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, min(ambaPackedData, w.Size()))
	if err != nil || len(b) < ambaPackedData {
		return nil, notFormat("ambarella: no room for a header")
	}
	if string(b[ambaExtras:ambaExtras+4]) == ambaExtraMagic {
		return parseAmbarellaSlots(w, b)
	}
	if string(b[ambaPacked:ambaPacked+4]) == ambaFlashMagic {
		return parseAmbarellaPacked(w, b)
	}
	return nil, notFormat("ambarella: no magic")
}

const ambaProtection = "CRC-32 of the images: integrity only, proves no origin; public tools compute them anew"

// parseAmbarellaSlots reads the header of starts and ends.
func parseAmbarellaSlots(w *firmware.Window, b []byte) (*firmware.Region, error) {
	word := func(at int) int64 { return int64(binary.LittleEndian.Uint32(b[at:])) }
	var images []*section
	var slots []int64
	header := int64(maxDeclared)
	for i := range ambaSlots {
		start, end := word(4*i), word(4*(ambaSlots+i))
		if start == 0 {
			continue
		}
		if start < ambaSizeEnd || end <= start {
			return nil, notFormat("ambarella: image %d from %#x to %#x", i, start, end)
		}
		slots = append(slots, word(ambaSizes+4*i))
		images = append(images, &section{
			name: fmt.Sprintf("image %d", i), off: start, size: end - start,
			fields: []firmware.Field{{Name: "flash partition size", Value: fmt.Sprint(word(ambaSizes + 4*i))}},
		})
		header = min(header, start)
	}
	if len(images) == 0 || !ambaAt(w, header) {
		return nil, notFormat("ambarella: no image")
	}
	r := begin(w, extent(header, images))
	r.AddField("images", "%d", len(images))
	r.AddField("protection", ambaProtection)
	lay(w, r, header, images)
	ambaProve(r, images)
	for i, s := range images {
		if slots[i] != 0 && s.size-ambaHeader > slots[i] {
			r.AddProblem("%v of %d bytes does not fit its flash partition of %d", s, s.size-ambaHeader, slots[i])
		}
	}
	return r, nil
}

// ambaAt tells whether an image begins at a place.
func ambaAt(w *firmware.Window, at int64) bool {
	b, err := w.Bytes(at+ambaPartAt, 4)
	return err == nil && string(b) == ambaPartMagic
}

// ambaProve makes the firmware proven when each of its images is.
func ambaProve(r *firmware.Region, images []*section) {
	proven := r.State == firmware.Parsed && len(r.Problems) == 0
	for _, s := range images {
		if s.region == nil || s.region.Format != ambaPartName || s.region.State != firmware.Proven {
			proven = false
			if s.region != nil && s.region.Format != ambaPartName {
				r.AddProblem("%v does not begin with a partition header", s)
			}
		}
	}
	if proven {
		r.State = firmware.Proven
	}
}

// parseAmbarellaPacked reads the header of sizes. The last image's is stored as
// zero, so that its own header tells.
func parseAmbarellaPacked(w *firmware.Window, b []byte) (*firmware.Region, error) {
	le := binary.LittleEndian
	var images []*section
	at, missing := int64(ambaPackedData), false
	for i := range ambaPackedSlots {
		size, sum := int64(le.Uint32(b[ambaPackedTable+8*i:])), le.Uint32(b[ambaPackedTable+8*i+4:])
		if size == 0 && sum == 0 {
			break
		}
		h, err := w.Bytes(at, ambaHeader)
		if err != nil || !ambaAt(w, at) {
			missing = true
			break
		}
		if size == 0 {
			size = ambaHeader + int64(le.Uint32(h[12:]))
		}
		images = append(images, &section{name: fmt.Sprintf("image %d", i), off: at, size: size})
		at += size
	}
	if len(images) == 0 {
		return nil, notFormat("ambarella: no image behind the header")
	}
	r := begin(w, at)
	if missing {
		r.AddProblem("image %d is not at %#x", len(images), at)
	}
	r.Name = container.Text(b[:ambaPacked])
	r.AddField("model", "%s", r.Name)
	r.AddField("images", "%d", len(images))
	r.AddField("protection", ambaProtection)
	lay(w, r, ambaPackedData, images)
	crc := crc32.NewIEEE()
	if err := stream(w, ambaPackedData, r.Size-ambaPackedData, crc); err != nil {
		return r, err
	}
	stated := le.Uint32(b[ambaPacked+4:])
	r.AddCheck("CRC-32 of all images", crc.Sum32() == stated, "computed %08x, declared %08x", crc.Sum32(), stated)
	if crc.Sum32() != stated {
		r.AddProblem("the CRC-32 of all images does not hold")
	}
	if err := ambaReadTrailer(w, r); err != nil {
		return r, err
	}
	ambaProve(r, images)
	return r, nil
}

// ambaReadTrailer reads the trailer of a packed firmware, if one follows that
// declares its size: product, version, MD5 of what is before, and an MD5 over
// that and the trailer.
func ambaReadTrailer(w *firmware.Window, r *firmware.Region) error {
	t, err := w.Bytes(r.Size, min(ambaTrailer, w.Size()-r.Size))
	if err != nil || len(t) < ambaTrailer || int64(binary.LittleEndian.Uint32(t)) != r.Size {
		return nil
	}
	body := md5.New()
	if err := stream(w, 0, r.Size, body); err != nil {
		return err
	}
	first := body.Sum(nil)
	body.Write(t[:ambaTrailer-md5.Size])
	second := body.Sum(nil)
	r.AddField("product", "%s", container.Text(t[4:36]))
	r.AddField("version", "%s", container.Text(t[36:68]))
	r.AddField("hardware", "%s, revision %d", container.Text(t[84:92]), binary.LittleEndian.Uint64(t[92:]))
	for _, c := range []struct {
		name             string
		computed, stated []byte
	}{{"MD5 of header and images", first, t[68:84]}, {"MD5 with the trailer", second, t[ambaTrailer-md5.Size:]}} {
		ok := bytes.Equal(c.computed, c.stated)
		r.AddCheck(c.name, ok, "computed %s, declared %s", hex.EncodeToString(c.computed), hex.EncodeToString(c.stated))
		if !ok {
			r.AddProblem("the %s does not hold", c.name)
		}
	}
	r.Size += ambaTrailer
	return nil
}

// ambaFields lists what partition headers and the flash table have in common.
func ambaFields(b []byte) []firmware.Field {
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
	date := word(8)
	return []firmware.Field{
		{Name: "version", Value: fmt.Sprintf("%d.%d", word(4)>>16, word(4)&0xffff)},
		{Name: "date", Value: fmt.Sprintf("%04d-%02d-%02d", date>>16, date>>8&0xff, date&0xff)},
		{Name: "load address", Value: fmt.Sprintf("%#08x", word(16))},
		{Name: "flags", Value: ambaFlags(word(20))},
	}
}

func ambaFlags(flags uint32) string {
	names := []string{"not loaded", "compressed", "read only", "with spare bytes", "erases Android partitions", "sparse"}
	var set []string
	for i, name := range names {
		if flags>>i&1 != 0 {
			set = append(set, name)
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%#x %s", flags, strings.Join(set, ", ")))
}

func parseAmbarellaPart(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, ambaHeader)
	if err != nil {
		return nil, notFormat("ambarella: %v", err)
	}
	le := binary.LittleEndian
	size, stated := int64(le.Uint32(b[12:])), le.Uint32(b)
	if size == 0 || len(bytes.Trim(b[32:], "\x00")) > 0 {
		return nil, notFormat("ambarella: an image of %d bytes", size)
	}
	r := begin(w, ambaHeader+size)
	r.Fields = ambaFields(b)
	crc := crc32.NewIEEE()
	if err := stream(w, ambaHeader, r.Size-ambaHeader, crc); err != nil {
		return r, err
	}
	ok := crc.Sum32() == stated && r.State == firmware.Parsed
	r.AddCheck("CRC-32", ok, "computed %08x, declared %08x", crc.Sum32(), stated)
	r.AddField("protection", "a CRC-32: integrity only, proves no origin")
	r.Children = w.Analyse(ambaHeader, r.Size-ambaHeader)
	if ok {
		r.State, r.Children = firmware.Proven, container.Known(r.Children)
	} else {
		r.AddProblem("its CRC-32 does not hold")
	}
	if len(r.Children) == 1 && r.Children[0].Role != firmware.RoleNone {
		r.Role = r.Children[0].Role
	}
	return r, nil
}

const (
	ambaEntry     = 28
	ambaTableSize = 4096
	ambaLeast     = 3 // entries in a row that have the magic
	ambaMostSlots = 32
)

func parseAmbarellaTable(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, min(ambaTableSize, w.Size()))
	if err != nil {
		return nil, notFormat("ambarella: %v", err)
	}
	n := 0
	for at := ambaEntry - 4; n < ambaMostSlots && at+4 <= len(b) && string(b[at:at+4]) == ambaFlashMagic; at += ambaEntry {
		n++
	}
	if n < ambaLeast {
		return nil, notFormat("ambarella: a table of %d entries", n)
	}
	r := begin(w, ambaTableSize)
	r.Role = firmware.RoleData
	r.AddField("partitions", "%d", n)
	for i := range n {
		e := b[i*ambaEntry:]
		if size := binary.LittleEndian.Uint32(e[12:]); size != 0 && size != 0xffffffff {
			r.AddField(fmt.Sprintf("partition %d", i), "image of %d bytes, CRC-32 %08x, load address %#08x, flags %s", size, binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[16:]), ambaFlags(binary.LittleEndian.Uint32(e[20:])))
		}
	}
	r.AddField("places", "not in the table: the boot loader has them")
	r.AddField("protection", "none over the table")
	return r, nil
}
