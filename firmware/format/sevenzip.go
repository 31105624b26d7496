package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"assay/firmware"
)

// sevenZip is a 7z archive: a start header, packed streams, and at the end a
// header, most often packed as well, that lists the members. Both headers carry
// a CRC-32; the streams' are in the header. Members are not read: what unpacks
// them allocates by numbers in the packed header before anything checks them.
var sevenZip = firmware.Format{
	Name:         "7z",
	Source:       "7-Zip DOC/7zFormat.txt",
	About:        "7-Zip archive",
	Integrity:    "CRC-32 of headers and files",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Bytes: "7z\xbc\xaf\x27\x1c"}},
	Parse:        parseSevenZip,
}

const (
	sevenZipStart = 32

	// What a header begins with.
	sevenZipHeader = 0x01
	sevenZipPacked = 0x17
)

func parseSevenZip(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, sevenZipStart)
	if err != nil {
		return nil, notFormat("7z: %v", err)
	}
	le := binary.LittleEndian
	sum, declared := crc32.ChecksumIEEE(b[12:]), le.Uint32(b[8:])
	offset, size := le.Uint64(b[12:]), le.Uint64(b[20:])
	if b[6] != 0 || sum != declared {
		return nil, notFormat("7z: version %d.%d, start header CRC-32 is %08x, the header says %08x", b[6], b[7], sum, declared)
	}
	if offset > 1<<62 || size > 1<<62 {
		return nil, notFormat("7z: a header of %d bytes at %d", size, offset)
	}
	end := sevenZipStart + int64(offset) + int64(size)
	r := &firmware.Region{Size: min(end, w.Size()), Role: firmware.RoleContainer, State: firmware.Parsed}
	r.AddField("version", "%d.%d", b[6], b[7])
	r.AddField("packed streams", "%d bytes", offset)
	r.AddField("header", "%d bytes", size)
	r.AddCheck("start header CRC-32", true, "%08x", sum)
	if end > w.Size() {
		r.State = firmware.Opaque
		r.AddProblem("7z: the header declares %d bytes and %d are there", end, w.Size())
		return r, nil
	}
	if size == 0 {
		r.AddField("members", "none")
		r.State = firmware.Proven
		return r, nil
	}
	h := crc32.NewIEEE()
	if _, err := io.Copy(h, w.Section(end-int64(size), int64(size))); err != nil {
		return r, fmt.Errorf("7z: header: %w", err)
	}
	ok := h.Sum32() == le.Uint32(b[28:])
	r.AddCheck("header CRC-32", ok, "computed %08x, declared %08x; the packed streams are not covered", h.Sum32(), le.Uint32(b[28:]))
	if !ok {
		r.AddProblem("7z: the header's CRC-32 does not hold")
		return r, nil
	}
	kind, err := w.Bytes(end-int64(size), 1)
	if err != nil {
		return r, fmt.Errorf("7z: header: %w", err)
	}
	switch kind[0] {
	case sevenZipHeader:
		r.AddField("header form", "plain")
	case sevenZipPacked:
		r.AddField("header form", "packed or encrypted")
	default:
		r.AddProblem("7z: the header begins with %#02x, which is none", kind[0])
	}
	r.AddField("members", "not read")
	return r, nil
}
