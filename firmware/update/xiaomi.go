package update

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// xiaomiHDR is Xiaomi's HDR1 and HDR2: blobs with names and flash addresses, a
// CRC-32 without final inversion over all behind it, and an RSA signature.
var xiaomiHDR = firmware.Format{
	Name:   "xiaomi-hdr",
	Source: "OpenWrt firmware-utils src/xiaomifw.c; unblob handlers/archive/xiaomi/hdr.py",
	Magics: []firmware.Magic{{Bytes: "HDR1"}, {Bytes: "HDR2"}},
	Parse:  parseXiaomiHDR,
}

const (
	xiaomiSum  = 12 // where the CRC starts
	xiaomiBlob = 48
)

func parseXiaomiHDR(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, 80)
	if err != nil {
		return nil, notFormat("xiaomi-hdr: %v", err)
	}
	le := binary.LittleEndian
	table := 16
	if b[3] == '2' {
		table = 48
	}
	header, signature := int64(table+32), int64(le.Uint32(b[4:]))
	offsets, err := xiaomiOffsets(b[table:], header, signature)
	if err != nil {
		return nil, err
	}
	r := &firmware.Region{Role: firmware.RoleContainer, State: firmware.Parsed}
	r.AddField("version", "HDR%c", b[3])
	if b[3] == '1' {
		r.AddField("device id", "%#04x", le.Uint16(b[14:]))
	} else {
		r.AddField("device id", "%s", text(b[16:24]))
		r.AddField("region", "%s", text(b[24:32]))
	}
	size := signature
	if s, err := w.Bytes(signature, 16); err == nil {
		n := int64(le.Uint32(s))
		if n != 128 && n != 256 && n != 512 {
			r.AddField("signature", "its place is there, with a size of %d that none has", n) // as of a tool that cannot sign
			n = 256
		} else {
			r.AddField("signature", "RSA of %d bytes; %s", n, notVerified)
		}
		size = signature + 16 + n
	} else {
		size = w.Size() + 1
	}
	r.Size = min(size, w.Size())
	if size > w.Size() {
		r.State = firmware.Opaque
		r.AddProblem("xiaomi-hdr: the header declares a signature behind the %d bytes that are there", w.Size())
	}
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, w.Section(xiaomiSum, r.Size-xiaomiSum)); err != nil {
		return r, err
	}
	ok := ^sum.Sum32() == le.Uint32(b[8:]) && r.State == firmware.Parsed
	r.AddCheck("CRC-32", ok, "computed %08x, declared %08x", ^sum.Sum32(), le.Uint32(b[8:]))
	for _, off := range offsets {
		xiaomiPart(w, r, off, min(signature, r.Size))
	}
	if ok {
		r.State, r.Children = firmware.Proven, container.Covered(r.Children)
	} else if r.State == firmware.Parsed {
		r.AddProblem("xiaomi-hdr: its CRC-32 does not hold")
	}
	return r, nil
}

// xiaomiOffsets reads the table of blobs, which ends with a zero.
func xiaomiOffsets(table []byte, header, signature int64) ([]int64, error) {
	var offsets []int64
	pos := header
	for i := range 8 {
		off := int64(binary.LittleEndian.Uint32(table[4*i:]))
		if off == 0 {
			break
		}
		if off < pos || off > signature-xiaomiBlob {
			return nil, notFormat("xiaomi-hdr: blob %d at %#x is out of place", i, off)
		}
		offsets, pos = append(offsets, off), off+xiaomiBlob
	}
	if len(offsets) == 0 {
		return nil, notFormat("xiaomi-hdr: it has no blobs")
	}
	return offsets, nil
}

// xiaomiPart reads one blob, which ends before limit.
func xiaomiPart(w *firmware.Window, r *firmware.Region, off, limit int64) {
	b, err := w.Bytes(off, xiaomiBlob)
	if err != nil || binary.LittleEndian.Uint16(b) != 0xbabe {
		r.AddProblem("xiaomi-hdr: there is no blob at %#x", off)
		return
	}
	address, size, kind, name := binary.LittleEndian.Uint32(b[4:]), int64(binary.LittleEndian.Uint32(b[8:])), binary.LittleEndian.Uint16(b[12:]), text(b[16:])
	if size == 0 || size > limit-off-xiaomiBlob {
		r.AddProblem("xiaomi-hdr: blob %s at %#x of %d bytes does not end in the file", name, off, size)
		return
	}
	role := map[uint16]firmware.Role{1: firmware.RoleBootLoader}[kind]
	c := container.Part(w, off+xiaomiBlob, size, name, role)
	c.AddField("blob type", "%#04x", kind)
	if address != 0xffffffff {
		c.AddField("flash address", "%#08x", address)
	}
	r.Children = append(r.Children, c)
}
