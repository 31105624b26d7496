package camera

import (
	"encoding/binary"
	"fmt"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// novatekPackage is the firmware of Novatek's SDK for cameras: a header known by
// its GUID, a table of partitions by number, and the partitions. Its sum is over
// all of it.
var novatekPackage = firmware.Format{
	Name:         "novatek-nvtpack",
	Source:       "EgorKin Novatek-FW-info, NTKFWinfo.py, NVTPACK_FW_HDR2",
	Magics:       []firmware.Magic{{Bytes: "\x07\x2e\x01\xd6\xbc\x10\x91\x4f\xb2\x8a\x35\x2f\x82\x26\x1a\x50"}},
	About:        "Novatek camera firmware: numbered partitions",
	Integrity:    "16-bit sum over all of it",
	Authenticity: "none",
	Parse:        parseNovatekPackage,
}

// novatekCKSM is the wrapper of one partition.
var novatekCKSM = firmware.Format{
	Name:         "novatek-cksm",
	Source:       "EgorKin Novatek-FW-info, NTKFWinfo.py, NVTPACK_CHKSUM_HDR",
	Magics:       []firmware.Magic{{Bytes: "CKSM\x19\x07\x04\x16"}},
	About:        "wrapper of a partition in a Novatek firmware",
	Integrity:    "16-bit sum over it",
	Authenticity: "none",
	Parse:        parseCKSM,
}

const (
	nvtVersion  = 0x16071515
	nvtSum      = 0x24
	nvtHeader   = 40
	nvtEntry    = 12
	nvtMaxParts = 256

	cksmHeader = 32
	cksmSum    = 12
	cksmUsual  = 64

	nvtProtection = "a 16-bit sum: integrity only, proves no origin; public tools correct it"
)

var nvtTypes = []string{"unknown", "uITRON", "eCos", "U-Boot", "Linux", "DSP", "PStore", "FAT", "exFAT", "UBIFS", "RAM disk", "U-Boot environment"}

// nvtSummer is Novatek's sum: of little-endian 16-bit words and of their numbers,
// negated. The word at skip counts as zero. An odd last byte does not count.
type nvtSummer struct {
	skip, at int64
	sum      uint16
	low      byte
}

func (s *nvtSummer) Write(p []byte) (int, error) {
	for _, c := range p {
		if s.at&1 == 0 {
			s.low = c
		} else {
			word := uint16(c)<<8 | uint16(s.low)
			if s.at-1 == s.skip {
				word = 0
			}
			s.sum += word + uint16(s.at/2)
		}
		s.at++
	}
	return len(p), nil
}

func (s *nvtSummer) value() uint16 { return -s.sum }

// nvtCheck compares Novatek's sum over the first n bytes with what is stated.
func nvtCheck(w *firmware.Window, r *firmware.Region, n, skip int64, stated uint32) (bool, error) {
	sum := &nvtSummer{skip: skip}
	if err := stream(w, 0, n, sum); err != nil {
		return false, err
	}
	ok := uint32(sum.value()) == stated && r.State == firmware.Parsed
	r.AddCheck("16-bit sum", ok, "computed %04x, declared %04x", sum.value(), stated)
	if !ok {
		r.AddProblem("its 16-bit sum does not hold")
	}
	return ok, nil
}

func parseNovatekPackage(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, nvtHeader)
	if err != nil {
		return nil, notFormat("nvtpack: %v", err)
	}
	le := binary.LittleEndian
	header, count, total := int64(le.Uint32(b[20:])), int64(le.Uint32(b[24:])), int64(le.Uint32(b[28:]))
	if le.Uint32(b[16:]) != nvtVersion || header < nvtHeader || header > 4096 || count == 0 || count > nvtMaxParts {
		return nil, notFormat("nvtpack: version %#x, %d partitions", le.Uint32(b[16:]), count)
	}
	table, err := w.Bytes(header, count*nvtEntry)
	if err != nil {
		return nil, notFormat("nvtpack: %v", err)
	}
	first := header + int64(len(table))
	var parts []*section
	for e := table; len(e) > 0; e = e[nvtEntry:] {
		parts = append(parts, &section{name: fmt.Sprintf("partition %d", le.Uint32(e[8:])), off: int64(le.Uint32(e)), size: int64(le.Uint32(e[4:]))})
	}
	if total < first {
		return nil, notFormat("nvtpack: %d bytes in all", total)
	}
	r := begin(w, total)
	r.AddField("partitions", "%d", count)
	r.AddField("protection", nvtProtection)
	lay(w, r, first, parts)
	ok, err := nvtCheck(w, r, r.Size, nvtSum, le.Uint32(b[nvtSum:]))
	if ok && len(r.Problems) == 0 {
		r.State, r.Children = firmware.Proven, container.Covered(r.Children)
	}
	return r, err
}

func parseCKSM(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, cksmHeader)
	if err != nil {
		return nil, notFormat("cksm: %v", err)
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	off, size, pad, kind := int64(word(4)), int64(word(5)), int64(word(6)), word(7)
	if off < cksmHeader || off > 4096 || size == 0 || pad > 64<<10 {
		return nil, notFormat("cksm: %d bytes at %#x", size, off)
	}
	r := begin(w, off+size+pad)
	name := "unknown"
	if int(kind) < len(nvtTypes) && kind < 64 {
		name = nvtTypes[kind]
	}
	r.AddField("declared type", "%d, %s", kind, name)
	r.AddField("checksum method", "%d", word(2))
	r.AddField("padding", "%d", pad)
	r.AddField("protection", nvtProtection)
	if off > w.Size() {
		return r, nil
	}
	lay(w, r, off, []*section{{name: "data", off: off, size: size}})
	ok, err := nvtCheck(w, r, r.Size, cksmSum, word(3))
	if ok && len(r.Problems) == 0 {
		r.State, r.Children = firmware.Proven, container.Covered(r.Children)
	}
	return r, err
}
