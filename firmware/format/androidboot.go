package format

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"assay/firmware"
	"assay/firmware/internal/blank"
)

// androidBoot is a boot image of Android's boot loaders: a header and parts, all
// aligned to pages. Up to version 2 its id is a hash over the parts; since
// version 3 nothing sums them, and what is to be verified is in another
// partition or, in version 4, a signature behind them.
var androidBoot = firmware.Format{
	Name:         "android-boot",
	Source:       "AOSP system/tools/mkbootimg include/bootimg/bootimg.h and mkbootimg.py",
	About:        "Android boot image",
	Integrity:    "SHA of its parts in versions 0 to 2",
	Authenticity: "a signature block in version 4: worth that key, not verified here",
	Magics:       []firmware.Magic{{Bytes: "ANDROID!"}},
	Parse:        parseAndroidBoot,
}

// vendorBoot is the parts of a boot image that the vendor makes, since version 3.
var vendorBoot = firmware.Format{
	Name:         "android-vendor-boot",
	Source:       "AOSP system/tools/mkbootimg include/bootimg/bootimg.h",
	About:        "Android vendor boot image",
	Integrity:    "none",
	Authenticity: "none",
	Magics:       []firmware.Magic{{Bytes: "VNDRBOOT"}},
	Parse:        parseVendorBoot,
}

// bootPart is a part of a boot image, in the order that they stand in.
type bootPart struct {
	name string
	size int64
	role firmware.Role
}

// bootImage lays out parts behind a header.
type bootImage struct {
	w     *firmware.Window
	r     *firmware.Region
	page  int64
	head  int64 // bytes of the header
	parts []bootPart
}

func (i *bootImage) up(n int64) int64 { return (n + i.page - 1) / i.page * i.page }

// lay makes the children. Only the padding of the last part may be missing.
func (i *bootImage) lay() {
	at, end := i.up(i.head), i.head
	for _, p := range i.parts {
		if p.size == 0 {
			continue
		}
		i.padding(end, min(at, i.w.Size()))
		if p.size > i.w.Size()-at {
			i.r.State = firmware.Opaque
			i.r.AddProblem("%s: the header declares %d bytes at %#x and %d are there", p.name, p.size, at, max(0, i.w.Size()-at))
			if at < i.w.Size() {
				i.r.Children = append(i.r.Children, part(i.w, at, i.w.Size()-at, p.name, p.role))
			}
			i.r.Size = i.w.Size()
			return
		}
		i.r.Children = append(i.r.Children, part(i.w, at, p.size, p.name, p.role))
		end = at + p.size
		at = i.up(end)
	}
	i.r.Size = min(at, i.w.Size())
	if i.padding(end, i.r.Size) {
		i.r.Size = max(end, i.head) // what follows is not the image's
		i.r.Children = i.r.Children[:len(i.r.Children)-1]
	}
}

// padding looks at the bytes up to the next page, and makes those that are not
// erased children.
func (i *bootImage) padding(from, to int64) bool {
	if from >= to {
		return false
	}
	b, err := i.w.Bytes(from, to-from)
	if err != nil || len(bytes.Trim(b, "\x00")) == 0 || blank.Is(b, 0xff) {
		return false
	}
	i.r.Children = append(i.r.Children, &firmware.Region{Offset: i.w.Offset() + from, Size: to - from, Name: "padding", State: firmware.Residue})
	return true
}

func bootPage(n uint32) bool { return n >= 512 && n <= 128<<10 && n&(n-1) == 0 }

// osVersion is three numbers of 7 bits, and a year and month of 11.
func osVersion(r *firmware.Region, v uint32) {
	if v != 0 {
		r.AddField("android version", "%d.%d.%d, patches of %d-%02d", v>>25, v>>18&127, v>>11&127, 2000+v>>4&127, v&15)
	}
}

// Sizes of headers. The first mkbootimg of version 3, which Debian still has,
// declares others than it writes.
const (
	bootV3      = 1580
	bootV3Early = 1596
	bootV4      = 1584

	vendorBootV3      = 2112
	vendorBootV3Early = 2108
	vendorBootV4      = 2128
	vendorEntry       = 108
)

func parseAndroidBoot(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, min(1664, w.Size()))
	if err != nil || len(b) < 1632 {
		return nil, notFormat("android-boot: %d bytes are too few", w.Size())
	}
	le := binary.LittleEndian
	version := le.Uint32(b[40:])
	if declared := le.Uint32(b[20:]); le.Uint32(b[36:]) == 0 && (version == 3 && (declared == bootV3 || declared == bootV3Early) || version == 4 && declared == bootV4) {
		return newBoot(w, b, version)
	}
	return oldBoot(w, b, version)
}

func newBoot(w *firmware.Window, b []byte, version uint32) (*firmware.Region, error) {
	le := binary.LittleEndian
	r := &firmware.Region{Role: firmware.RoleContainer, State: firmware.Parsed}
	i := &bootImage{w: w, r: r, page: 4096, head: bootV3, parts: []bootPart{
		{"kernel", int64(le.Uint32(b[8:])), firmware.RoleKernel}, {"ramdisk", int64(le.Uint32(b[12:])), firmware.RoleRAMDisk}}}
	r.AddField("header version", "%d", version)
	osVersion(r, le.Uint32(b[16:]))
	r.AddField("command line", "%s", text(b[44:bootV3]))
	if version == 4 {
		i.head = bootV4
		if size := int64(le.Uint32(b[bootV3:])); size > 0 {
			i.parts = append(i.parts, bootPart{"boot signature", size, firmware.RoleData})
			r.AddField("boot signature", "%d bytes, of kernel and ramdisk, not verified here", size)
		}
	}
	if i.parts[0].size+i.parts[1].size == 0 {
		return nil, notFormat("android-boot: it has no parts")
	}
	i.lay()
	return r, nil
}

func oldBoot(w *firmware.Window, b []byte, version uint32) (*firmware.Region, error) {
	le := binary.LittleEndian
	page, size := le.Uint32(b[36:]), func(at int) int64 { return int64(le.Uint32(b[at:])) }
	if !bootPage(page) || size(8) == 0 && size(16) == 0 {
		return nil, notFormat("android-boot: pages of %d bytes, a kernel of %d", page, size(8))
	}
	r := &firmware.Region{Name: text(b[48:64]), Role: firmware.RoleContainer, State: firmware.Parsed}
	i := &bootImage{w: w, r: r, page: int64(page), head: 1632, parts: []bootPart{
		{"kernel", size(8), firmware.RoleKernel}, {"ramdisk", size(16), firmware.RoleRAMDisk}, {"second", size(24), firmware.RoleBootLoader}}}
	switch {
	case version > 4:
		// Before there were versions, Qualcomm's had the size of a device tree here.
		r.AddField("header version", "0, with a device tree table")
		i.parts = append(i.parts, bootPart{"dt", int64(version), firmware.RoleDeviceTree})
	case version > 2:
		return nil, notFormat("android-boot: version %d with the header of another", version)
	case version > 0 && len(b) < 1660:
		return nil, notFormat("android-boot: a header of %d bytes", len(b))
	default:
		r.AddField("header version", "%d", version)
	}
	if version == 1 || version == 2 {
		i.head = size(1644)
		if want := map[uint32]int64{1: 1648, 2: 1660}[version]; i.head != want {
			return nil, notFormat("android-boot: a header of %d bytes, and version %d has %d", i.head, version, want)
		}
		i.parts = append(i.parts, bootPart{"recovery dtbo", size(1632), firmware.RoleDeviceTree})
	}
	if version == 2 {
		i.parts = append(i.parts, bootPart{"dtb", size(1648), firmware.RoleDeviceTree})
	}
	osVersion(r, le.Uint32(b[44:]))
	r.AddField("page size", "%d", page)
	r.AddField("kernel address", "%#08x", size(12))
	r.AddField("ramdisk address", "%#08x", size(20))
	r.AddField("second address", "%#08x", size(28))
	r.AddField("tags address", "%#08x", size(32))
	r.AddField("command line", "%s", text(b[64:576])+text(b[608:1632]))
	i.lay()
	if r.State == firmware.Opaque {
		return r, nil
	}
	return r, i.id(b[576:608])
}

// id verifies the hash over the parts, each followed by its size.
func (i *bootImage) id(want []byte) error {
	if len(bytes.Trim(want, "\x00")) == 0 {
		i.r.AddField("id", "none")
		return nil
	}
	sums := []hash.Hash{sha1.New(), sha256.New()}
	both := io.MultiWriter(sums[0], sums[1])
	at := i.up(i.head)
	for _, p := range i.parts {
		if _, err := io.Copy(both, i.w.Section(at, p.size)); err != nil {
			return fmt.Errorf("android-boot: %s: %w", p.name, err)
		}
		both.Write(binary.LittleEndian.AppendUint32(nil, uint32(p.size)))
		at += i.up(p.size)
	}
	for k, name := range []string{"SHA-1", "SHA-256"} {
		sum := sums[k].Sum(nil)
		if bytes.Equal(want[:len(sum)], sum) && len(bytes.Trim(want[len(sum):], "\x00")) == 0 {
			i.r.AddCheck("id", true, "%s over the parts, %x; the header is not covered", name, sum)
			i.r.State, i.r.Children = firmware.Proven, covered(i.r.Children)
			return nil
		}
	}
	i.r.AddCheck("id", false, "declared %x, SHA-1 over the parts is %x", want, sums[0].Sum(nil))
	i.r.AddProblem("the id does not hold, which is so when a signature or another tool's fields are in it")
	return nil
}

func parseVendorBoot(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, min(vendorBootV4, w.Size()))
	if err != nil || len(b) < vendorBootV3 {
		return nil, notFormat("android-vendor-boot: %d bytes are too few", w.Size())
	}
	size := func(at int) int64 { return int64(binary.LittleEndian.Uint32(b[at:])) }
	version, page := size(8), binary.LittleEndian.Uint32(b[12:])
	head := map[int64]int64{3: vendorBootV3, 4: vendorBootV4}[version]
	early := version == 3 && size(2096) == vendorBootV3Early
	if head == 0 || size(2096) != head && !early || !bootPage(page) || int64(len(b)) < head {
		return nil, notFormat("android-vendor-boot: version %d, a header of %d bytes, pages of %d", version, size(2096), page)
	}
	r := &firmware.Region{Name: text(b[2080:2096]), Role: firmware.RoleContainer, State: firmware.Parsed}
	i := &bootImage{w: w, r: r, page: int64(page), head: head, parts: []bootPart{
		{"vendor ramdisk", size(24), firmware.RoleRAMDisk}, {"dtb", size(2100), firmware.RoleDeviceTree}}}
	r.AddField("header version", "%d", version)
	r.AddField("page size", "%d", page)
	r.AddField("kernel address", "%#08x", size(16))
	r.AddField("ramdisk address", "%#08x", size(20))
	r.AddField("tags address", "%#08x", size(2076))
	r.AddField("command line", "%s", text(b[28:2076]))
	if version == 4 {
		i.parts = append(i.parts, bootPart{"vendor ramdisk table", size(2112), firmware.RoleData}, bootPart{"bootconfig", size(2124), firmware.RoleData})
		if err := i.table(size(2112), size(2116), size(2120)); err != nil {
			return nil, err
		}
	}
	i.lay()
	return r, nil
}

const maxRamdisks = 64

// table lists the ramdisks that the vendor ramdisk is made of. The analysis of
// the part finds them one after the other.
func (i *bootImage) table(size, count, entry int64) error {
	if size == 0 && count == 0 {
		return nil
	}
	if entry != vendorEntry || count > maxRamdisks || size != count*entry {
		return notFormat("android-vendor-boot: a table of %d bytes with %d entries of %d", size, count, entry)
	}
	at := i.up(i.head) + i.up(i.parts[0].size) + i.up(i.parts[1].size)
	b, err := i.w.Bytes(at, size)
	if err != nil {
		return nil // which lay says
	}
	for n := range count {
		e := b[n*entry:]
		word := func(at int) uint32 { return binary.LittleEndian.Uint32(e[at:]) }
		i.r.AddField(fmt.Sprintf("ramdisk %d", n), "%q, %s, %d bytes at %#x", text(e[12:44]), nameOf(vendorRamdisks, byte(min(word(8), 255))), word(0), word(4))
		if int64(word(4))+int64(word(0)) > i.parts[0].size {
			i.r.AddProblem("ramdisk %d: %d bytes at %#x are outside of the vendor ramdisk", n, word(0), word(4))
		}
	}
	return nil
}

var vendorRamdisks = []string{"none", "platform", "recovery", "dlkm"}
