package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"assay/firmware"
)

// trx is Broadcom's container: a header with up to four offsets of parts, and a
// CRC-32 over all behind its own place. Version 2 has the fourth offset.
var trx = firmware.Format{
	Name:   "trx",
	Source: "Linux drivers/mtd/parsers/parser_trx.c; OpenWrt tools/firmware-utils src/trx.c",
	Magics: []firmware.Magic{{Bytes: "HDR0"}},
	Parse:  parseTRX,

	About:        "Broadcom TRX container of routers and some cameras",
	Integrity:    "CRC-32 over all behind it",
	Authenticity: "none",
}

const (
	trxSum   = 12 // where the sum starts
	trxParts = 16
)

func parseTRX(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, 32)
	if err != nil {
		return nil, notFormat("trx: %v", err)
	}
	le := binary.LittleEndian
	size, declared, flags, version := int64(le.Uint32(b[4:])), le.Uint32(b[8:]), le.Uint16(b[12:]), le.Uint16(b[14:])
	if version != 1 && version != 2 {
		return nil, notFormat("trx: version %d", version)
	}
	header := int64(24 + 4*version)
	var offsets []int64
	for i := range 2 + int(version) {
		off := int64(le.Uint32(b[trxParts+4*i:]))
		if off == 0 {
			continue // parts that are not there
		}
		if last := len(offsets) - 1; off < header || off >= size || last >= 0 && off <= offsets[last] {
			return nil, notFormat("trx: part %d at %#x is out of place", i, off)
		}
		offsets = append(offsets, off)
	}
	if len(offsets) == 0 {
		return nil, notFormat("trx: it has no parts")
	}
	r := &firmware.Region{Size: min(size, w.Size()), Role: firmware.RoleContainer, State: firmware.Parsed}
	r.AddField("version", "%d", version)
	r.AddField("flags", "%#04x", flags)
	if size > w.Size() {
		r.State = firmware.Opaque
		r.AddProblem("trx: the header declares %d bytes and %d are there", size, w.Size())
	}
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, w.Section(trxSum, r.Size-trxSum)); err != nil {
		return r, fmt.Errorf("trx: %w", err)
	}
	ok := ^sum.Sum32() == declared && r.Size == size
	r.AddCheck("CRC-32", ok, "computed %08x, declared %08x", ^sum.Sum32(), declared)
	if !ok {
		r.AddProblem("trx: its CRC-32 does not hold, which is so on a unit that writes into its last part")
	}
	for i, off := range offsets {
		end := r.Size
		if i+1 < len(offsets) {
			end = min(end, offsets[i+1])
		}
		if off < end {
			r.Children = append(r.Children, part(w, off, end-off, fmt.Sprintf("part %d", i), firmware.RoleNone))
		}
	}
	if ok {
		r.State, r.Children = firmware.Proven, covered(r.Children)
	}
	return r, nil
}
