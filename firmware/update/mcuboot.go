package update

import (
	"crypto"
	"encoding/binary"
	"fmt"
	"strings"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// mcuboot is an image of MCUboot: a header, the program, and records (TLVs) of
// which the protected ones are hashed with header and program. The hash is a
// TLV itself and is what the signature is over.
var mcuboot = firmware.Format{
	Name:         "mcuboot",
	Source:       "MCUboot docs/design.md, section Image format; scripts/imgtool/image.py",
	About:        "MCUboot image with its TLVs",
	Integrity:    "SHA-2 over header, image and protected TLVs",
	Authenticity: "RSA, ECDSA or Ed25519 signature TLVs: worth the key that their hash names, not verified here",
	Magics:       []firmware.Magic{{Bytes: "\x3d\xb8\xf3\x96"}, {Bytes: "\x96\xf3\xb8\x3d"}},
	Parse:        parseMCUboot,
}

// mcubootTrailer is the end of a slot: the state of a swap, then a magic.
var mcubootTrailer = firmware.Format{
	Name:         "mcuboot-trailer",
	Source:       "MCUboot docs/design.md, section Image trailer; boot/bootutil/src/bootutil_public.c (boot_img_magic)",
	About:        "MCUboot state of an update in progress",
	Integrity:    "none",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Offset: 3 * 8, Bytes: mcubootMagic8}, {Offset: 3 * 16, Bytes: "\x10\x00" + mcubootMagic}, {Offset: 3 * 32, Bytes: "\x20\x00" + mcubootMagic}},
	Parse:        parseMCUbootTrailer,
}

const (
	mcubootMagic8 = "\x77\xc2\x95\xf3\x60\xd2\xef\x7f\x35\x52\x50\x0f\x2c\xb6\x79\x80"
	mcubootMagic  = "\x2d\xe1\x5d\x29\x41\x0b\x8d\x77\x67\x9c\x11\x0f\x1f\x8a" // behind the alignment

	mcubootHeader    = 32
	mcubootTLV       = 0x6907
	mcubootProtected = 0x6908
	mcubootMaxImage  = 64 << 20
)

var mcubootFlags = []struct {
	bit  uint32
	name string
}{{0x1, "pic"}, {0x4, "encrypted-aes128"}, {0x8, "encrypted-aes256"}, {0x10, "non-bootable"}, {0x20, "ram-load"}, {0x100, "rom-fixed"},
	{0x200, "lzma1"}, {0x400, "lzma2"}, {0x800, "arm-thumb"}}

// mcubootTLVs are names of docs/design.md.
var mcubootTLVs = map[uint16]string{
	0x01: "KEYHASH", 0x02: "PUBKEY", 0x10: "SHA256", 0x11: "SHA384", 0x12: "SHA512", 0x20: "RSA2048_PSS", 0x21: "ECDSA224", 0x22: "ECDSA_SIG", 0x23: "RSA3072_PSS",
	0x24: "ED25519", 0x25: "SIG_PURE", 0x30: "ENC_RSA2048", 0x31: "ENC_KW", 0x32: "ENC_EC256", 0x33: "ENC_X25519", 0x34: "ENC_X25519_SHA512", 0x40: "DEPENDENCY",
	0x50: "SEC_CNT", 0x60: "BOOT_RECORD", 0x70: "DECOMP_SIZE", 0x71: "DECOMP_SHA", 0x72: "DECOMP_SIGNATURE", 0x73: "COMP_DEC_SIZE", 0x74: "UUID_VID", 0x75: "UUID_CID",
}

var mcubootHashes = map[uint16]crypto.Hash{0x10: crypto.SHA256, 0x11: crypto.SHA384, 0x12: crypto.SHA512}

func parseMCUboot(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, mcubootHeader)
	if err != nil {
		return nil, notFormat("mcuboot: %v", err)
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if b[0] == 0x96 {
		order = binary.BigEndian
	}
	header, protected := int64(order.Uint16(b[8:])), int64(order.Uint16(b[10:]))
	size, flags := int64(order.Uint32(b[12:])), order.Uint32(b[16:])
	names, unknown := flagNames(flags)
	switch {
	case header < mcubootHeader || size == 0 || size > mcubootMaxImage:
		return nil, notFormat("mcuboot: header of %d and program of %d bytes", header, size)
	case unknown != 0 || order.Uint32(b[28:]) != 0:
		return nil, notFormat("mcuboot: flags %#x or padding are not what MCUboot writes", flags)
	}
	r := &firmware.Region{Role: firmware.RoleFirmware, State: firmware.Parsed}
	r.Name = fmt.Sprintf("%d.%d.%d", b[20], b[21], order.Uint16(b[22:]))
	r.AddField("version", "%s+%d", r.Name, order.Uint32(b[24:]))
	r.AddField("byte order", "%s", order)
	r.AddField("load address", "%#x", order.Uint32(b[4:]))
	r.AddField("flags", "%s", strings.Join(names, " "))
	body := header + size
	if body+4 > w.Size() {
		r.Size, r.State = w.Size(), firmware.Opaque
		r.AddProblem("mcuboot: header and program are %d bytes and %d are there", body, w.Size())
		return r, nil
	}
	t := &tlvs{w: w, order: order, region: r, body: body, hashed: body + protected}
	if err := t.read(protected); err != nil {
		if len(t.list) == 0 {
			return nil, notFormat("mcuboot: %v", err)
		}
		r.Size, r.State = max(t.end, body), firmware.Opaque
		r.AddProblem("mcuboot: %v", err)
		return r, nil
	}
	r.Size = t.end
	if flags&0xc != 0 {
		r.Children = []*firmware.Region{opaque(w, header, size, "program", "encrypted, key not known")}
		r.AddProblem("mcuboot: the hash is over the program before it was encrypted and cannot be computed")
		return r, nil
	}
	child := container.Part(w, header, size, "program", firmware.RoleFirmware)
	ok, err := t.verify()
	if err != nil {
		return r, err
	}
	r.Children = []*firmware.Region{child}
	if ok {
		r.State, r.Children = firmware.Proven, container.Covered(r.Children)
	}
	return r, nil
}

func flagNames(flags uint32) (names []string, unknown uint32) {
	for _, f := range mcubootFlags {
		if flags&f.bit != 0 {
			names, flags = append(names, f.name), flags&^f.bit
		}
	}
	return names, flags
}

// tlvs are the records behind the program.
type tlvs struct {
	w                 *firmware.Window
	order             binary.ByteOrder
	region            *firmware.Region
	body, hashed, end int64
	list              []tlv
}

type tlv struct {
	kind      uint16
	protected bool
	value     []byte
}

func (t *tlvs) read(protected int64) error {
	t.end = t.body
	if protected > 0 {
		n, err := t.area(mcubootProtected)
		if err == nil && n != protected {
			err = fmt.Errorf("the header says that protected records have %d bytes and they have %d", protected, n)
		}
		if err != nil {
			return err
		}
	}
	_, err := t.area(mcubootTLV)
	return err
}

// area reads one area of records and lists them.
func (t *tlvs) area(magic uint16) (int64, error) {
	b, err := t.w.Bytes(t.end, 4)
	if err != nil {
		return 0, err
	}
	total := int64(t.order.Uint16(b[2:]))
	if t.order.Uint16(b) != magic || total < 4 {
		return 0, fmt.Errorf("no record area %#x at %#x", magic, t.end)
	}
	if b, err = t.w.Bytes(t.end, total); err != nil {
		return 0, err
	}
	for rest := b[4:]; len(rest) > 0; {
		if len(rest) < 4 || int(t.order.Uint16(rest[2:])) > len(rest)-4 {
			return 0, fmt.Errorf("a record crosses the end of its area at %#x", t.end+total)
		}
		kind := uint16(rest[0]) // a byte and padding, but for vendors' own
		if rest[1] != 0 {
			kind = t.order.Uint16(rest)
		}
		v := tlv{kind, magic == mcubootProtected, rest[4 : 4+int(t.order.Uint16(rest[2:]))]}
		rest = rest[4+len(v.value):]
		if t.list = append(t.list, v); len(t.list) <= maxListed {
			t.describe(v)
		}
	}
	t.end += total
	return total, nil
}

func (t *tlvs) describe(v tlv) {
	name := mcubootTLVs[v.kind]
	if name == "" {
		name = fmt.Sprintf("record %#04x", v.kind)
	}
	if v.protected {
		name += " (protected)"
	}
	switch {
	case v.kind >= 0x20 && v.kind <= 0x25:
		t.region.AddField(name, "signature of %d bytes over the hash; %s", len(v.value), notVerified)
	case v.kind >= 0x30 && v.kind <= 0x34:
		t.region.AddField(name, "%d bytes: the program's key, encrypted", len(v.value))
	case v.kind == 0x40 && len(v.value) == 12:
		t.region.AddField(name, "image %d, %d.%d.%d+%d", v.value[0], v.value[4], v.value[5], t.order.Uint16(v.value[6:]), t.order.Uint32(v.value[8:]))
	case v.kind == 0x50 && len(v.value) == 4:
		t.region.AddField(name, "%d", t.order.Uint32(v.value))
	default:
		t.region.AddField(name, "%x", v.value[:min(len(v.value), 64)])
	}
}

// verify recomputes the hash over header, program and protected records.
func (t *tlvs) verify() (bool, error) {
	compared, ok := 0, true
	for _, v := range t.list {
		h := mcubootHashes[v.kind]
		if h == 0 || compared == 3 {
			continue
		}
		sum, err := digest(t.w, h, 0, t.hashed)
		if err != nil {
			return false, err
		}
		match := string(sum) == string(v.value)
		t.region.AddCheck(mcubootTLVs[v.kind], match, "over header, program and protected records, %d bytes; computed %x, declared %x", t.hashed, sum, v.value[:min(len(v.value), 64)])
		compared++
		ok = ok && match
	}
	if compared == 0 {
		t.region.AddProblem("mcuboot: the image carries no hash")
	} else if !ok {
		t.region.AddProblem("mcuboot: the hash does not hold")
	}
	return compared > 0 && ok, nil
}

var mcubootSwaps = []string{"", "none", "test", "permanent", "revert", "fail", "panic"}

func parseMCUbootTrailer(w *firmware.Window) (*firmware.Region, error) {
	align := int64(8)
	for _, a := range []int64{8, 16, 32} {
		b, err := w.Bytes(3*a, 16)
		if err == nil && (string(b) == mcubootMagic8 && a == 8 || string(b[2:]) == mcubootMagic && int64(b[0]) == a && b[1] == 0) {
			align = a
		}
	}
	b, err := w.Bytes(0, 3*align+16)
	if err != nil {
		return nil, notFormat("mcuboot-trailer: %v", err)
	}
	// A flag is its first byte of a write unit that is else erased.
	flag := func(i int64) (byte, bool) {
		unit := b[i*align : (i+1)*align]
		for _, c := range unit[1:] {
			if c != 0xff && c != 0 {
				return 0, false
			}
		}
		return unit[0], true
	}
	swap, ok0 := flag(0)
	copied, ok1 := flag(1)
	confirmed, ok2 := flag(2)
	known := func(v byte) bool { return v == 1 || v == 0xff || v == 0 }
	if !ok0 || !ok1 || !ok2 || !known(copied) || !known(confirmed) || swap != 0xff && int(swap&0xf) >= len(mcubootSwaps) {
		return nil, notFormat("mcuboot-trailer: flags %#02x %#02x %#02x", swap, copied, confirmed)
	}
	r := &firmware.Region{Size: 3*align + 16, Role: firmware.RoleData, State: firmware.Parsed}
	said := func(v byte) string { return map[byte]string{1: "set", 0xff: "unset", 0: "unset"}[v] }
	if swap == 0xff {
		r.AddField("swap", "unset")
	} else {
		r.AddField("swap", "%s of image %d", mcubootSwaps[swap&0xf], swap>>4)
	}
	r.AddField("copy done", "%s", said(copied))
	r.AddField("image ok", "%s", said(confirmed))
	r.AddField("write alignment", "%d", align)
	return r, nil
}
