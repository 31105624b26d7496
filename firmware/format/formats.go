// Package format holds the boot-chain formats of camera firmware, one file a
// format. Importing it registers them all with package firmware.
//
// Each file names where its layout is specified. What a format's checksums and
// hashes prove is integrity; signatures are listed as fields and verified
// elsewhere, because a signature is only worth something beside a trusted key.
package format

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"assay/firmware"
)

func init() {
	for _, f := range formats {
		firmware.Register(f)
	}
}

// formats are in order of belief: where two recognise the same bytes equally
// well (every FIT is a device tree), the earlier one stands.
var formats = []firmware.Format{
	uImage,
	fit,
	deviceTree,
	arm64Image,
	zImage,
	gzipStream,
	xzStream,
	zstdStream,
	lz4Frame,
	lz4Legacy,
	lzopStream,
	bzip2Stream,
	lzmaStream,
	zlibStream,
	environment,
	ubi,
	trx,
	sevenZip,
	lzipStream,
	androidSparse,
	androidBoot,
	vendorBoot,
	intelHex,
	sRecord,
	gpt,
	mbr,
	uBoot,
	kernel,
}

func notFormat(format string, args ...any) error {
	return fmt.Errorf("%w: %s", firmware.ErrNotFormat, fmt.Sprintf(format, args...))
}

// text makes a fixed-size, NUL-padded name printable.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return printable(string(b))
}

// printable replaces what could steer a terminal or break a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' {
			return '.'
		}
		return r
	}, s)
}

// part analyses the payload of a container under the name and role that the
// container gives it. What a lone region inside is called stays its Format.
func part(w *firmware.Window, off, size int64, name string, role firmware.Role) *firmware.Region {
	inner := w.Analyse(off, size)
	if len(inner) == 1 {
		r := inner[0]
		if r.State == firmware.Erased {
			r = &firmware.Region{Offset: r.Offset, Size: r.Size, State: firmware.Erased, SHA256: r.SHA256}
		}
		if r.Name == "" || r.Format == "" {
			r.Name = name
		} else if r.Name != name {
			r.Fields = append([]firmware.Field{{Name: "image node", Value: name}}, r.Fields...)
		}
		if role != firmware.RoleNone {
			r.Role = role
		}
		return r
	}
	return &firmware.Region{Offset: w.Offset() + off, Size: size, Name: name, Role: role, State: firmware.Parsed, Children: inner}
}

// known drops the regions of a partition that nothing was recognised in: their
// bytes then count for the region around them, which must account for them.
func known(regions []*firmware.Region) []*firmware.Region {
	kept := regions[:0]
	for _, r := range regions {
		if r.Format != "" {
			kept = append(kept, r)
		}
	}
	return kept
}

// covered is known for the parts of a payload that a checksum holds over: parts
// that the container names stay, and their bytes are accounted for.
func covered(regions []*firmware.Region) []*firmware.Region {
	kept := regions[:0]
	for _, r := range regions {
		if r.Format == "" && r.Name == "" {
			continue
		}
		if r.Format == "" {
			r.State, r.Children = firmware.Proven, known(r.Children)
		}
		kept = append(kept, r)
	}
	return kept
}

// findText looks for the first place in r where literal begins and accept says
// yes to the up to ahead bytes there.
func findText(r *io.SectionReader, literal string, ahead int, accept func([]byte) bool) (off int64, found []byte) {
	const step = 64 << 10
	buf := make([]byte, min(step+int64(ahead), r.Size()))
	for at := int64(0); at < r.Size(); at += step {
		n, err := r.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return -1, nil
		}
		for pos := 0; pos < min(n, step); pos++ {
			i := bytes.Index(buf[pos:n], []byte(literal))
			if i < 0 || pos+i >= step {
				break
			}
			pos += i
			if b := buf[pos:min(n, pos+ahead)]; accept(b) {
				return at + int64(pos), bytes.Clone(b)
			}
		}
	}
	return -1, nil
}
