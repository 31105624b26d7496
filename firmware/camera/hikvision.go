package camera

import (
	"encoding/binary"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// hikvisionSWKH is the digicap.dav of Hikvision and EZVIZ of the first
// generation: a header under a fixed XOR, then files in plain. The header has a
// byte sum over itself and one over each file.
//
// The order of a file's offset and size differs between public parsers; two of
// three, and the sums, say offset first.
var hikvisionSWKH = firmware.Format{
	Name:         "hikvision-swkh",
	Source:       "MatrixEditor hiktools, hiktools/fmod/digicap.py; renaudallard hikvision_R2_firmware, README",
	Magics:       []firmware.Magic{{Bytes: "\xe9\x9a\xf7\xb6"}}, // SWKH under the XOR
	About:        "Hikvision and EZVIZ digicap.dav, first generation: files behind an XORed header",
	Integrity:    "byte sum of the header and of each file",
	Authenticity: "none: the hashes in _cfgUpgSecPls stand under a published key, public tools write them anew",
	Parse:        parseSWKH,
}

const (
	hikEntries  = 0x40 // where the entries begin
	hikEntry    = 44
	hikSummed   = 12  // where the header's sum starts
	hikMaxFiles = 256 // real ones have up to about 30
	hikSlack    = 256 // header bytes behind the last entry
	hikSigned   = "_cfgUpgSecPls"
)

// hikTable covers headers of the makers' update files. It hides nothing: it is
// the same for all of them, and needed to read a header.
var hikTable = [16]byte{0xba, 0xcd, 0xbc, 0xfe, 0xd6, 0xca, 0xdd, 0xd3, 0xba, 0xb9, 0xa3, 0xab, 0xbf, 0xcb, 0xb5, 0xbe}

func hikUncover(p []byte) {
	for i := range p {
		p[i] ^= hikTable[(i+i>>4)&15]
	}
}

func parseSWKH(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, hikEntries)
	if err != nil {
		return nil, notFormat("hikvision: %v", err)
	}
	hikUncover(b)
	le := binary.LittleEndian
	length, count := int64(le.Uint32(b[8:])), int64(le.Uint32(b[12:]))
	table := hikEntries + count*hikEntry
	if string(b[:4]) != "SWKH" || count == 0 || count > hikMaxFiles || length < table || length > table+hikSlack {
		return nil, notFormat("hikvision: a header of %d bytes for %d files", length, count)
	}
	if b, err = w.Bytes(0, length); err != nil {
		return nil, notFormat("hikvision: %v", err)
	}
	hikUncover(b)
	var sum byteSum
	sum.Write(b[hikSummed:])
	stated := le.Uint32(b[4:])
	var files []*section
	var sums []uint32
	for e := b[hikEntries:table]; len(e) > 0; e = e[hikEntry:] {
		s := &section{name: container.Text(e[:32]), off: int64(le.Uint32(e[32:])), size: int64(le.Uint32(e[36:]))}
		if uint32(sum) != stated && (!printable(e[:32]) || s.name == "" || s.off < length) {
			return nil, notFormat("hikvision: the header's byte sum does not hold, and %q is no file", s.name)
		}
		s.role = roleOf(s.name)
		files, sums = append(files, s), append(sums, le.Uint32(e[40:]))
	}
	r := begin(w, extent(length, files))
	r.Name = container.Text(b[0x28:0x40])
	hikFields(r, b)
	r.AddField("version", "%s", r.Name)
	r.AddField("protection", "byte sums and a fixed XOR over the header: integrity only, proves no origin; anyone can compute them, and public tools do")
	r.AddCheck("header byte sum", uint32(sum) == stated, "computed %08x, declared %08x", uint32(sum), stated)
	if uint32(sum) != stated {
		r.AddProblem("the header's byte sum does not hold")
	}
	lay(w, r, length, files)
	for i, s := range files {
		if s.region == nil {
			continue
		}
		var sum byteSum
		if err := stream(w, s.off, s.region.Size, &sum); err != nil {
			return r, err
		}
		s.check(r, "byte sum", s.whole && uint32(sum) == sums[i], "computed %08x, declared %08x", uint32(sum), sums[i])
		if s.name == hikSigned {
			if err := hikDescribeSigned(w, r, s); err != nil {
				return r, err
			}
		}
	}
	if len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	return r, nil
}

// hikFields lists the header words, of which the meaning of all but the count
// and the language is a guess of the public parsers.
func hikFields(r *firmware.Region, b []byte) {
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	r.AddField("files", "%d", word(12))
	language := "unknown"
	switch word(16) {
	case 1:
		language = "English or multilingual"
	case 2:
		language = "Chinese"
	}
	r.AddField("language", "%d, %s", word(16), language)
	r.AddField("device class", "%#08x", word(20))
	r.AddField("OEM code", "%#08x", word(24))
	r.AddField("firmware version word", "%#08x", word(28))
	r.AddField("total size word", "%d", word(32))
	r.AddField("build date word", "%#08x", word(36))
}

// hikDescribeSigned recognises the file that holds hashes of the others: its
// length, then blocks of AES-256 in ECB mode.
func hikDescribeSigned(w *firmware.Window, r *firmware.Region, s *section) error {
	s.region.AddField("signature", "SHA-0 hashes of the files under AES-256-ECB with a published key; not decrypted and not verified here, and would prove no origin")
	b, err := w.Bytes(s.off, min(4, s.region.Size))
	if err != nil || len(b) < 4 {
		return err
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n == 0 || n%cipherBlock != 0 || n > s.size-4 {
		r.AddProblem("%v declares %d encrypted bytes, which do not fit its %d", s, n, s.size)
		return nil
	}
	s.region.AddField("encrypted bytes", "%d", n)
	return nil
}
