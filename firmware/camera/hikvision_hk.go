package camera

import (
	"encoding/binary"

	"assay/firmware"
)

// hikvisionHK is the digicap.dav of the second generation: an XORed header with
// the magic HK20, and behind it one with HK20 or HK30 of which only the first 16
// bytes are under the XOR. The rest of it, with the table of files, and the files
// are encrypted. Files may also begin with the second header.
//
// The keys are published and of no use here: what is encrypted under a published
// key proves no origin.
var hikvisionHK = firmware.Format{
	Name:         "hikvision-hk",
	Source:       "public parsers of HK20 and HK30 digicap.dav files: the layout of the two headers",
	Magics:       []firmware.Magic{{Bytes: "\x8a\xff\xf7\xb6"}, {Bytes: "\x8a\xfe\xf7\xb6"}}, // 02KH and 03KH under the XOR
	About:        "Hikvision digicap.dav, second generation: HK20/HK30 headers before an encrypted body",
	Integrity:    "byte sum of the outer header; a CRC-32 of what is encrypted, not checked",
	Authenticity: "none by its header: the body is AES-ECB under published keys",
	Parse:        parseHK,
}

const (
	hk20       = "02KH"
	hk30       = "03KH"
	hkCommon   = 16   // magic, sum, length, files: under the XOR in both headers
	hkOuter    = 0x6c // the outer header's length in all that were described
	hkMaxOuter = 4 << 10
	hkMaxInner = 1 << 20
)

// hkHead is the common beginning of a header.
type hkHead struct {
	magic               string
	sum, length, number uint32
}

func readHKHead(w *firmware.Window, at int64) (hkHead, error) {
	b, err := w.Bytes(at, hkCommon)
	if err != nil {
		return hkHead{}, notFormat("hikvision: %v", err)
	}
	hikUncover(b)
	le := binary.LittleEndian
	return hkHead{string(b[:4]), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])}, nil
}

// inner tells whether h can be the header that is encrypted behind its first 16
// bytes: whole cipher blocks, with room for its table of files.
func (h hkHead) inner() bool {
	return (h.magic == hk20 || h.magic == hk30) && h.number > 0 && h.number <= hikMaxFiles &&
		h.length%cipherBlock == 0 && int64(h.length) >= int64(h.number)*hikEntry && h.length <= hkMaxInner
}

func parseHK(w *firmware.Window) (*firmware.Region, error) {
	outer, err := readHKHead(w, 0)
	if err != nil {
		return nil, err
	}
	at, head := int64(0), outer
	if outer.magic == hk20 && outer.length >= hkOuter && outer.length <= hkMaxOuter {
		at = int64(outer.length)
		if head, err = readHKHead(w, at); err != nil {
			return nil, err
		}
	}
	if !head.inner() {
		return nil, notFormat("hikvision: no encrypted header at %#x", at)
	}
	r := &firmware.Region{Size: w.Size(), Role: firmware.RoleContainer, State: firmware.Parsed}
	if at > 0 {
		if err := hkDescribeOuter(w, r, outer); err != nil {
			return r, err
		}
	}
	body := at + hkCommon
	r.AddField("inner header", "%s at %#x, %d encrypted bytes", head.magic, at, head.length)
	r.AddField("files in the encrypted table", "%d", head.number)
	r.AddField("inner CRC-32", "%08x, not checked: what it covers is encrypted", head.sum)
	r.AddField("extent", "to the end of the image: the table of files is encrypted")
	r.AddField("protection", "vendor-encrypted, AES-ECB: not decrypted here; the keys are published, so that it proves no origin either")
	if int64(head.length) > w.Size()-body {
		r.State = firmware.Opaque
		r.AddProblem("the encrypted header declares %d bytes and %d are left", head.length, w.Size()-body)
		r.Children = w.Analyse(body, w.Size()-body)
		return r, nil
	}
	repeats, err := ecbRepeats(w, body, w.Size()-body)
	r.AddField("equal cipher blocks", "%s", repeats)
	r.Children = w.Analyse(body, w.Size()-body)
	return r, err
}

// hkDescribeOuter reads the outer header, whose sum is that of the first
// generation where it holds. That it is so in all of them is not known.
func hkDescribeOuter(w *firmware.Window, r *firmware.Region, outer hkHead) error {
	b, err := w.Bytes(0, int64(outer.length))
	if err != nil {
		return err
	}
	hikUncover(b)
	hikFields(r, b)
	var sum byteSum
	sum.Write(b[hikSummed:])
	if uint32(sum) == outer.sum {
		r.AddCheck("outer header byte sum", true, "computed and declared %08x", outer.sum)
	} else {
		r.AddField("outer header sum", "%08x, which is not its byte sum; the rule is not public", outer.sum)
	}
	return nil
}
