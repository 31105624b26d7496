package format

import (
	"encoding/binary"
	"io"
	"strings"

	"assay/firmware"
)

// rockchipLoader is what Rockchip's tools send to a chip and what updates carry:
// entries for the stages, and a CRC at the end.
var rockchipLoader = firmware.Format{
	Name:         "rockchip-loader",
	Source:       "rkdeveloptool RKBoot.h; Kaitai grammar rkboot of BANG; the CRC: rkdeveloptool crc.cpp",
	About:        "loader file of Rockchip's tools",
	Integrity:    "CRC-32 over the file",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Bytes: "BOOT\x66\x00"}, {Bytes: "LDR \x66\x00"}},
	Parse:        parseRockchipLoader,
}

func parseRockchipLoader(w *firmware.Window) (*firmware.Region, error) {
	const header, entry = 0x66, 57
	b, err := w.Bytes(0, header)
	if err != nil {
		return nil, notFormat("rockchip-loader: %v", err)
	}
	le := binary.LittleEndian
	r := &firmware.Region{Role: firmware.RoleBootLoader, State: firmware.Parsed}
	r.AddField("version", "%x", le.Uint32(b[6:]))
	r.AddField("released", "%04d-%02d-%02d %02d:%02d:%02d", le.Uint16(b[14:]), b[16], b[17], b[18], b[19], b[20])
	r.AddField("chip", "%#08x", le.Uint32(b[21:]))
	r.AddField("RC4", "%s", map[bool]string{true: "off", false: "each sector of the stages; the key is public and proves no origin"}[b[44] != 0])
	r.AddField("signed flag", "%c", b[43])
	end := int64(header)
	for i, group := range []string{"471", "472", "loader"} {
		g := b[25+6*i:]
		count, off, size := int64(g[0]), int64(le.Uint32(g[1:])), int64(g[5])
		if count > 32 || count > 0 && size != entry {
			return nil, notFormat("rockchip-loader: %d entries of %d bytes", count, size)
		}
		for n := range count {
			e, err := w.Bytes(off+n*size, entry)
			if err != nil {
				return nil, notFormat("rockchip-loader: %v", err)
			}
			name := wide(e[5:45])
			at, length := int64(le.Uint32(e[45:])), int64(le.Uint32(e[49:]))
			r.AddField("entry "+group, "%s: %d bytes at %#x", name, length, at)
			end = max(end, off+(n+1)*size, at+length)
			if length > 0 && at+length <= w.Size() {
				r.Children = append(r.Children, part(w, at, length, name, firmware.RoleBootLoader))
			}
		}
	}
	if end > header+64<<20 || end == header {
		return nil, notFormat("rockchip-loader: %d bytes", end)
	}
	r.Size = end + 4
	if r.Size > w.Size() {
		r.Size, r.State = w.Size(), firmware.Opaque
		r.AddProblem("the entries need %d bytes and %d are there", end+4, w.Size())
		return r, nil
	}
	sum, err := rkCRC(w.Section(0, end))
	if err != nil {
		return r, err
	}
	last, err := w.Bytes(end, 4)
	if err != nil {
		return r, err
	}
	ok := sum == le.Uint32(last)
	r.AddCheck("CRC-32 of Rockchip", ok, "computed %08x, declared %08x", sum, le.Uint32(last))
	if ok {
		r.State, r.Children = firmware.Proven, covered(r.Children)
	} else {
		r.AddProblem("its CRC does not hold")
	}
	return r, nil
}

// wide makes a name of 16-bit characters printable.
func wide(b []byte) string {
	var s strings.Builder
	for ; len(b) >= 2 && b[0]|b[1] != 0; b = b[2:] {
		s.WriteRune(rune(binary.LittleEndian.Uint16(b)))
	}
	return printable(s.String())
}

// rkTable is of the polynomial 0x04c10db7, which is the usual one with two
// digits changed, most significant bit first.
var rkTable = func() (table [256]uint32) {
	for i := range table {
		c := uint32(i) << 24
		for range 8 {
			if c&(1<<31) != 0 {
				c = c<<1 ^ 0x04c10db7
			} else {
				c <<= 1
			}
		}
		table[i] = c
	}
	return table
}()

func rkCRC(r io.Reader) (uint32, error) {
	var sum uint32
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			sum = sum<<8 ^ rkTable[byte(sum>>24)^c]
		}
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
	}
}
