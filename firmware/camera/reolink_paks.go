package camera

import (
	"encoding/binary"
	"hash/crc32"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// reolinkPAKS is Reolink's update file for small units: a header, then sections
// with a header each. What rule its checksums follow is not public; the usual
// ones are tried.
var reolinkPAKS = firmware.Format{
	Name:         "reolink-paks",
	Source:       "vmallet pakler, pakler/structure.py",
	Magics:       []firmware.Magic{{Bytes: "SKAP"}},
	About:        "Reolink update for small units: sections in a row",
	Integrity:    "a checksum a section, whose rule is not public",
	Authenticity: "none known",
	Parse:        parsePAKS,
}

const (
	paksHeader  = 104
	paksSection = 88
	paksMax     = 64
)

func parsePAKS(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, paksHeader)
	if err != nil {
		return nil, notFormat("reolink paks: %v", err)
	}
	le := binary.LittleEndian
	size, data, count := int64(le.Uint32(b[8:])), int64(le.Uint32(b[92:])), le.Uint32(b[96:])
	if size != data+paksHeader || count == 0 || count > paksMax || !printable(b[28:60]) || !printable(b[60:92]) {
		return nil, notFormat("reolink paks: %d bytes, %d of data, %d sections", size, data, count)
	}
	r := begin(w, size)
	r.Name = container.Text(b[60:92])
	r.AddField("board", "%#x", le.Uint32(b[20:]))
	r.AddField("hardware version", "%s", container.Text(b[28:60]))
	r.AddField("firmware version", "%s", r.Name)
	r.AddField("header words", "%08x at 4, %08x at 24: checksums of a rule that is not public, not checked", le.Uint32(b[4:]), le.Uint32(b[24:]))
	r.AddField("protection", "checksums of an unpublished rule and nothing else: integrity at most, proves no origin")
	var sections []*section
	var stated []uint32
	at := int64(paksHeader)
	for i := range count {
		h, err := w.Bytes(at, paksSection)
		if err != nil || at+paksSection > r.Size {
			r.AddProblem("the header of section %d at %#x is not there", i, at)
			break
		}
		s := &section{name: container.Text(h[8:40]), off: at + paksSection, size: int64(le.Uint32(h[72:])), lead: paksSection}
		s.role = roleOf(s.name)
		s.fields = []firmware.Field{{Name: "section version", Value: container.Text(h[40:72])}}
		sections, stated = append(sections, s), append(stated, le.Uint32(h[4:]))
		at = s.off + s.size
	}
	lay(w, r, paksHeader, sections)
	for i, s := range sections {
		if s.region == nil {
			continue
		}
		rule, err := sumRule(w, s.off, s.region.Size, stated[i])
		if err != nil {
			return r, err
		}
		if rule != "" && s.whole {
			s.check(r, rule, true, "computed and declared %08x", stated[i])
		} else {
			s.region.AddField("checksum", "%08x, which is none of CRC-32, its plain register and the byte sum: the rule is not public", stated[i])
		}
	}
	return r, nil
}

// sumRule names the usual checksum that has the stated value over n bytes.
func sumRule(w *firmware.Window, off, n int64, stated uint32) (string, error) {
	crc, plain, sum := crc32.NewIEEE(), &plainCRC{}, new(byteSum)
	if err := stream(w, off, n, crc, plain, sum); err != nil {
		return "", err
	}
	switch stated {
	case crc.Sum32():
		return "CRC-32", nil
	case ^crc.Sum32():
		return "CRC-32 without its last inversion", nil
	case plain.sum():
		return "plain CRC-32 register", nil
	case uint32(*sum):
		return "byte sum", nil
	}
	return "", nil
}
