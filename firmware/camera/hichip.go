package camera

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// hichipPKG is the .pkg of HiChip and CamHi cameras ("V9X"): a header of 512
// bytes, then up to six images. The header has the MD5 of each followed by the
// letters IPCAM, in hexadecimal.
//
// The last image is a zip with altered magics of which, from its second KiB on,
// every sixteenth is encrypted; its MD5 is over the zip as it was before.
var hichipPKG = firmware.Format{
	Name:         "hichip-pkg",
	Source:       "public packers of PIHC files: v9x-firmware-repacker; coupler camhi pkg",
	Magics:       []firmware.Magic{{Bytes: "PIHC"}},
	About:        "HiChip, CamHi and V9X update: images and a zip",
	Integrity:    "MD5 of each image and a published salt",
	Authenticity: "none: the salt is published, public tools write the MD5s anew",
	Parse:        parseHichip,
}

const (
	hichipHeader  = 512
	hichipRestore = 4097
	hichipUpgrade = 4098
	hichipSizes   = 8
	hichipName    = 32
	hichipSums    = 72 // of 40 bytes each, of which 32 are used
	hichipClear   = 1024
	hichipSalt    = "IPCAM"
)

var hichipParts = []struct {
	name string
	role firmware.Role
}{
	{"boot", firmware.RoleBootLoader}, {"bootarg", firmware.RoleEnvironment}, {"kernel", firmware.RoleKernel},
	{"rootfs", firmware.RoleRootFS}, {"ipc", firmware.RoleData}, {"zip", firmware.RoleData},
}

func parseHichip(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, hichipHeader)
	if err != nil {
		return nil, notFormat("hichip: %v", err)
	}
	le := binary.LittleEndian
	kind := le.Uint32(b[4:])
	if kind != hichipRestore && kind != hichipUpgrade || !printable(b[hichipName:hichipSums]) {
		return nil, notFormat("hichip: a package of type %d", kind)
	}
	var parts []*section
	var sums [][]byte
	at := int64(hichipHeader)
	for i, p := range hichipParts {
		size := int64(le.Uint32(b[hichipSizes+4*i:]))
		if size == 0 {
			continue // is not there
		}
		parts = append(parts, &section{name: p.name, role: p.role, off: at, size: size})
		sums = append(sums, b[hichipSums+40*i:][:40])
		at += size
	}
	if len(parts) == 0 {
		return nil, notFormat("hichip: a package of nothing")
	}
	r := begin(w, at)
	r.Name = container.Text(b[hichipName:hichipSums])
	r.AddField("type", "%d, %s", kind, map[uint32]string{hichipRestore: "restore", hichipUpgrade: "upgrade"}[kind])
	r.AddField("protection", "MD5 of each image and the published salt %q: integrity only, proves no origin; public tools write them anew", hichipSalt)
	lay(w, r, hichipHeader, parts)
	proven := r.State == firmware.Parsed
	for i, s := range parts {
		if s.region == nil {
			continue
		}
		done, err := hichipCheck(w, r, s, container.Text(sums[i]))
		if err != nil {
			return r, err
		}
		proven = proven && done
	}
	if proven && len(r.Problems) == 0 {
		r.State = firmware.Proven
	}
	return r, nil
}

// hichipCheck computes the MD5 of an image, and says whether it could be checked.
func hichipCheck(w *firmware.Window, r *firmware.Region, s *section, stated string) (bool, error) {
	const check = "MD5 with salt"
	if _, err := hex.DecodeString(stated); err != nil || len(stated) != 2*md5.Size {
		r.AddProblem("%v has no MD5", s)
		return false, nil
	}
	sum := md5.New()
	if err := stream(w, s.off, s.region.Size, sum); err != nil {
		return false, err
	}
	sum.Write([]byte(hichipSalt))
	computed := hex.EncodeToString(sum.Sum(nil))
	if s.name != "zip" || computed == stated && s.whole {
		s.check(r, check, computed == stated && s.whole, "computed %s, declared %s", computed, stated)
		return true, nil
	}
	if s.size > hichipClear {
		s.region.AddField("MD5 with salt", "%s, over the zip before parts of it were encrypted: not checked", stated)
		return false, nil
	}
	b, err := w.Bytes(s.off, s.region.Size)
	if err != nil {
		return false, err
	}
	computed = fmt.Sprintf("%x", md5.Sum(append(hichipRestored(b), hichipSalt...)))
	s.check(r, check, computed == stated && s.whole, "computed %s over the zip with its own magics, declared %s", computed, stated)
	return true, nil
}

// hichipRestored gives a zip back its magics.
func hichipRestored(b []byte) []byte {
	for from, to := range map[string]string{"PK\x03\x07": "PK\x03\x04", "PK\x01\x08": "PK\x01\x02", "PK\x05\x09": "PK\x05\x06"} {
		b = bytes.ReplaceAll(b, []byte(from), []byte(to))
	}
	return b
}
