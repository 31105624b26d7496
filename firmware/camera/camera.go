// Package camera reads the firmware containers of camera makers, one file a
// format. Importing it registers them all with package firmware.
//
// Most of these containers guard their bytes with a sum or a hash that anyone
// can compute, and some with an encryption whose key is published. Neither says
// who made an image. Each format says in its field "protection", in its own
// words, what its guard is worth; signatures are listed as fields and verified
// elsewhere, because a signature is only worth something beside a trusted key.
// No key that decrypts anything is in here.
//
// Names come from the image and are made printable. A section that a header
// declares outside the image, over another or without bytes is a problem of the
// region and is left out.
package camera

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"assay/firmware"
	"assay/firmware/internal/container"
)

func init() {
	for _, f := range formats {
		firmware.Register(f)
	}
}

// formats are in order of belief: where two recognise the same bytes equally
// well, the earlier one stands.
var formats = []firmware.Format{
	hikvisionSWKH,
	hikvisionHK,
	reolinkPAK,
	reolinkPAKS,
	tapoSigned,
	tplinkCloud,
	boschFirmware,
	boschArchive,
	ambarellaFirmware,
	ambarellaPart,
	ambarellaTable,
	ambarellaROMFS,
	grainMedia,
	tenvisPK2,
	instarBNEG,
	hichipPKG,
	anjvision,
	novatekPackage,
	novatekCKSM,
	novatekBCL,
	xiaomiHDR,
	ingenicSD,
	dahuaPackage,
	xiongmaiPackage,
}

var notFormat = container.NotFormat

// section is what a header declares of one part: its name and its place in the
// window.
type section struct {
	name      string
	role      firmware.Role
	off, size int64
	fields    []firmware.Field
	lead      int64 // bytes before it that are a header of its own and the container's
	optional  bool  // may be without bytes

	region *firmware.Region // as lay placed it; nil when it was left out
	whole  bool             // all of it is there
}

func (s *section) String() string {
	if s.name == "" {
		return fmt.Sprintf("section at %#x", s.off)
	}
	return fmt.Sprintf("section %q at %#x", s.name, s.off)
}

// maxDeclared bounds what a header may declare, so that sums do not overflow.
const maxDeclared = 1 << 50

func declared(n uint64) int64 { return int64(min(n, maxDeclared)) }

// extent is the end of the last section, or of the header.
func extent(header int64, sections []*section) int64 {
	end := header
	for _, s := range sections {
		if s.size > 0 {
			end = max(end, s.off+s.size)
		}
	}
	return end
}

// begin makes the region of a container that declares to have size bytes, of
// which the window may hold fewer.
func begin(w *firmware.Window, size int64) *firmware.Region {
	r := &firmware.Region{Size: size, Role: firmware.RoleContainer, State: firmware.Parsed}
	if size > w.Size() {
		r.Size, r.State = w.Size(), firmware.Opaque
		r.AddProblem("%d bytes are declared and %d are there: the image is cut short", size, w.Size())
	}
	return r
}

// lay makes children of the sections: each analysed under its name, and what
// lies between them as what it is.
func lay(w *firmware.Window, r *firmware.Region, header int64, sections []*section) {
	sorted := slices.Clone(sections)
	slices.SortStableFunc(sorted, func(a, b *section) int {
		switch {
		case a.off < b.off:
			return -1
		case a.off > b.off:
			return 1
		}
		return 0
	})
	pos := header
	for _, s := range sorted {
		switch {
		case s.size == 0:
			if !s.optional {
				r.AddProblem("%v has no bytes", s)
			}
			continue
		case s.off < header:
			r.AddProblem("%v lies in the header, which ends at %#x", s, header)
			continue
		case s.off < pos:
			r.AddProblem("%v of %d bytes lies over the one before, which ends at %#x", s, s.size, pos)
			continue
		case s.off >= r.Size:
			r.AddProblem("%v of %d bytes lies outside the %#x bytes of the image", s, s.size, r.Size)
			continue
		case s.size > r.Size-s.off:
			r.AddProblem("%v of %d bytes reaches past the end at %#x", s, s.size, r.Size)
		}
		if gap := s.off - s.lead - pos; gap > 0 {
			r.Children = append(r.Children, w.Analyse(pos, gap)...)
		}
		n := min(s.size, r.Size-s.off)
		s.whole = n == s.size
		s.place(w, r, n)
		pos = s.off + n
	}
	if pos < r.Size {
		r.Children = append(r.Children, w.Analyse(pos, r.Size-pos)...)
	}
}

// place analyses the first n bytes of a section.
func (s *section) place(w *firmware.Window, r *firmware.Region, n int64) {
	s.region = container.Part(w, s.off, n, s.name, firmware.RoleNone)
	if f := s.region.Fields; len(f) > 0 && f[0] == (firmware.Field{Name: "image node", Value: s.name}) {
		// The region has a name of its own.
		f[0].Name = "section"
		if s.name == "" {
			s.region.Fields = f[1:]
		}
	}
	if firm(s.role) && firm(s.region.Role) && s.role != s.region.Role {
		r.AddProblem("%v is named as a %s and holds a %s", s, s.role, s.region.Role)
	} else if s.role != firmware.RoleNone {
		s.region.Role = s.role
	}
	s.region.Fields = append(slices.Clone(s.fields), s.region.Fields...)
	r.Children = append(r.Children, s.region)
}

// firm are the roles that cannot be mistaken for each other.
func firm(r firmware.Role) bool {
	return r == firmware.RoleBootLoader || r == firmware.RoleKernel || r == firmware.RoleRootFS
}

// check adds what a sum over the section says, which accounts for its bytes
// when nothing else does.
func (s *section) check(r *firmware.Region, name string, ok bool, format string, args ...any) {
	s.region.AddCheck(name, ok, format, args...)
	switch {
	case !ok:
		r.AddProblem("%v: its %s does not hold", s, name)
	case s.region.Format == "" && s.region.State != firmware.Erased:
		s.region.State, s.region.Children = firmware.Proven, container.Known(s.region.Children)
	}
}

// stream copies n bytes at off to all writers.
func stream(w *firmware.Window, off, n int64, to ...io.Writer) error {
	_, err := io.Copy(io.MultiWriter(to...), w.Section(off, n))
	return err
}

// byteSum adds bytes.
type byteSum uint32

func (s *byteSum) Write(p []byte) (int, error) {
	for _, c := range p {
		*s += byteSum(c)
	}
	return len(p), nil
}

// xored is bytes under a repeated key that starts at base.
type xored struct {
	r    io.ReaderAt
	base int64
	key  []byte
}

func (x xored) ReadAt(p []byte, off int64) (int, error) {
	n, err := x.r.ReadAt(p, x.base+off)
	for i := range p[:n] {
		p[i] ^= x.key[(off+int64(i))%int64(len(x.key))]
	}
	return n, err
}

// clean tells whether a NUL-padded name is printable ASCII, and nothing but NUL
// follows its end. An empty one is.
func clean(b []byte) bool {
	end := false
	for _, c := range b {
		switch {
		case c == 0:
			end = true
		case end || c < ' ' || c > '~':
			return false
		}
	}
	return true
}

// printable is clean without the rule for what follows the end.
func printable(b []byte) bool {
	for _, c := range b {
		if c == 0 {
			break
		}
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// roleOf is what the name of a section says that it is for.
func roleOf(name string) firmware.Role {
	name = strings.ToLower(name)
	for _, known := range []struct {
		part string
		role firmware.Role
	}{
		{"bootarg", firmware.RoleEnvironment},
		{"uboot_env", firmware.RoleEnvironment},
		{"u-boot-env", firmware.RoleEnvironment},
		{"env", firmware.RoleEnvironment},
		{"uboot", firmware.RoleBootLoader},
		{"u-boot", firmware.RoleBootLoader},
		{"loader", firmware.RoleBootLoader},
		{"kernel", firmware.RoleKernel},
		{"uimage", firmware.RoleKernel},
		{"rootfs", firmware.RoleRootFS},
		{"initrd", firmware.RoleRAMDisk},
		{"ramdisk", firmware.RoleRAMDisk},
		{"fdt", firmware.RoleDeviceTree},
		{"dtb", firmware.RoleDeviceTree},
	} {
		if strings.Contains(name, known.part) {
			return known.role
		}
	}
	if name == "fs" || name == "root" {
		return firmware.RoleRootFS
	}
	return firmware.RoleNone
}
