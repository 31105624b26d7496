package format

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"assay/firmware"
)

// ahab is the container of NXP's i.MX 8 and 9 (Advanced High Assurance Boot): a
// header with up to 32 images, each with its hash, and a signature block. Two
// containers, 1 KiB apart, may share the images that follow.
var ahab = firmware.Format{
	Name:         "imx-ahab",
	Source:       "U-Boot include/imx8image.h, tools/imx8image.c; arch/arm/include/asm/mach-imx/image.h",
	About:        "container of NXP i.MX 8 and 9 chips",
	Integrity:    "SHA-2 of each image",
	Authenticity: "ECDSA or RSA signature block (AHAB): worth the keys in fuses, not verified here",
	Every:        1024, // where boot ROMs look; its tag alone is too common
	Parse:        parseAHAB,
}

const (
	ahabHead  = 16
	ahabImage = 128
	ahabTag   = 0x87
)

var errNoAHAB = notFormat("imx-ahab: no container header")

func parseAHAB(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Peek(0, ahabHead)
	if err != nil || b[0] != 0 || b[3] != ahabTag {
		return nil, errNoAHAB
	}
	b = bytes.Clone(b)
	le := binary.LittleEndian
	length, images, block := int64(le.Uint16(b[1:])), int64(b[11]), int64(le.Uint16(b[12:]))
	if b[0] != 0 || images == 0 || images > 32 || ahabHead+images*ahabImage > length || block < ahabHead+images*ahabImage || block > length || le.Uint16(b[14:]) != 0 {
		return nil, notFormat("imx-ahab: %d images in %d bytes, signature block at %#x", images, length, block)
	}
	table, err := w.Bytes(ahabHead, images*ahabImage)
	if err != nil {
		return nil, notFormat("imx-ahab: %v", err)
	}
	r := &firmware.Region{Size: length, Role: firmware.RoleBootLoader, State: firmware.Parsed}
	flags := le.Uint32(b[4:])
	r.AddField("flags", "%#08x", flags)
	r.AddField("fuse version", "%d", b[10])
	r.AddField("software version", "%d", le.Uint16(b[8:]))
	sets := []string{"not signed", "signed by NXP", "signed by the maker"}
	set := int(flags & 3)
	r.AddField("signature", "claims to be %s; %s", append(sets, "of a kind that does not exist")[set], notVerified)
	describeAHABSignature(w, r, block)
	ok, bad := 0, 0
	for i := range images {
		good, err := readAHABImage(w, r, i, table[i*ahabImage:])
		if err != nil {
			return r, err
		}
		if good {
			ok++
		} else {
			bad++
		}
	}
	if len(r.Checks) == 0 {
		return nil, notFormat("imx-ahab: no image lies in the window")
	}
	if ok > 0 && bad == 0 {
		r.State, r.Children = firmware.Proven, covered(r.Children)
	} else {
		r.AddProblem("%d of %d images are not as the container says", bad, images)
	}
	return r, nil
}

func describeAHABSignature(w *firmware.Window, r *firmware.Region, at int64) {
	b, err := w.Bytes(at, 16)
	if err != nil || b[3] != 0x90 {
		return
	}
	word := func(i int) uint16 { return binary.LittleEndian.Uint16(b[i:]) }
	r.AddField("signature block", "at %#x, %d bytes: keys at %#x, certificate at %#x, blob at %#x, signature at %#x", at, word(1), word(6), word(4), word(8), word(10))
}

// readAHABImage compares one image with its hash and grows the region over it.
func readAHABImage(w *firmware.Window, r *firmware.Region, i int64, b []byte) (bool, error) {
	le := binary.LittleEndian
	off, size, flags := int64(le.Uint32(b)), int64(le.Uint32(b[4:])), le.Uint32(b[24:])
	name := fmt.Sprintf("image %d", i)
	r.AddField(name, "%d bytes at %#x, load address %#x, entry %#x, type %d, core %d", size, off, le.Uint64(b[8:]), le.Uint64(b[16:]), flags&0xf, flags>>4&0xf)
	if size == 0 {
		return true, nil
	}
	if off < 0 || size > w.Size()-min(off, w.Size()) {
		r.AddProblem("%s does not lie in the image", name)
		return false, nil
	}
	var h hash.Hash
	switch flags >> 8 & 7 {
	case 0:
		h = sha256.New()
	case 1:
		h = sha512.New384()
	case 2:
		h = sha512.New()
	default:
		r.AddProblem("%s has a hash of unknown kind %d", name, flags>>8&7)
		return false, nil
	}
	if _, err := io.Copy(h, w.Section(off, size)); err != nil {
		return false, err
	}
	match := bytes.Equal(h.Sum(nil), b[32:32+h.Size()])
	r.AddCheck("hash of "+name, match, "SHA-%d, computed %x", 8*h.Size(), h.Sum(nil))
	if flags&(1<<11) != 0 {
		r.AddField(name+" content", "encrypted, key not known")
	}
	if off >= r.Size || len(r.Children) > 0 && w.Offset()+off >= r.Children[len(r.Children)-1].End() {
		r.Size = max(r.Size, off+size)
		r.Children = append(r.Children, part(w, off, size, name, firmware.RoleBootLoader))
	}
	return match, nil
}
