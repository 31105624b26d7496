package format

import (
	"errors"
	"fmt"
	"io"

	"assay/firmware"
	"assay/firmware/budget"
	"assay/firmware/compress"
)

// A stream that breaks off is only reported when it had unpacked this much
// before: a magic that stands in other data by chance yields a few bytes.
const brokenStreamMin = 16 << 10

// describer reads the header fields of a stream into r and names the checksum
// that its end carries over the unpacked bytes, "" for none.
type describer func(head []byte, r *firmware.Region) (checksum string)

// stream returns the Parse function of a compressed stream.
func stream(m compress.Method, describe describer) func(*firmware.Window) (*firmware.Region, error) {
	return func(w *firmware.Window) (*firmware.Region, error) {
		return unpack(w, m, 0, w.Size(), describe)
	}
}

// streams finds the describer for a method that a container declares.
var streams = map[compress.Method]describer{
	compress.Gzip:      describeGzip,
	compress.XZ:        describeXZ,
	compress.Zstd:      describeZstd,
	compress.LZ4:       describeLZ4,
	compress.LZ4Legacy: describeNothing,
	compress.LZO:       describeLzop,
	compress.Bzip2:     describeBzip2,
	compress.LZMA:      describeLZMA,
}

func describeNothing([]byte, *firmware.Region) string { return "" }

// counter knows how far a stream was read when it breaks off and has no end.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// unpack reads one stream that starts at off and of which at most size bytes are
// there, and the members that follow it. The region ends where they do.
func unpack(w *firmware.Window, m compress.Method, off, size int64, describe describer) (*firmware.Region, error) {
	z, err := newMembers(w, m, off, size)
	if err != nil {
		if errors.Is(err, budget.ErrExceeded) {
			return nil, err
		}
		return nil, notFormat("%v", err)
	}
	img, err := w.Unpack(fmt.Sprintf("%s at %#x", m, w.Offset()+off), z, size)
	z.z.Close()
	if err != nil && (img == nil || img.Size < brokenStreamMin) && !errors.Is(err, budget.ErrExceeded) {
		return nil, notFormat("%v", err)
	}
	head, _ := w.Bytes(off, min(headSize, size, w.Size()-off))
	r := &firmware.Region{Offset: w.Offset() + off, Size: z.consumed(), Format: string(m), Role: firmware.RoleContainer, State: firmware.Parsed, Contents: img}
	checksum := describe(head, r)
	if z.count > 1 {
		r.AddField(membersField, "%d", z.count)
	}
	if img != nil {
		r.AddField("unpacked size", "%d", img.Size)
		if role := soleRole(img); role != firmware.RoleNone {
			r.Role = role
		}
	}
	switch {
	case err != nil:
		// What broke has no end; as much as was read belongs to it.
		r.State, r.Size = firmware.Opaque, max(z.reached(), 1)
		r.AddCheck("decompression", false, "%v", err)
		r.AddProblem("%v; where the stream ends is not known", err)
		err = budgetOnly(err)
	case checksum != "":
		r.State = firmware.Proven
		r.AddCheck(checksum, true, "over the unpacked bytes")
	}
	return r, err
}

// budgetOnly drops an error that concerns only the stream it came from.
func budgetOnly(err error) error {
	if errors.Is(err, budget.ErrExceeded) {
		return err
	}
	return nil
}

// headSize covers every stream header, with a file name of sensible length.
const headSize = 512

// soleRole is the role of what a stream holds, when that is one thing.
func soleRole(img *firmware.Image) firmware.Role {
	var role firmware.Role
	for _, r := range img.Regions {
		switch {
		case r.Format == "":
		case role == firmware.RoleNone:
			role = r.Role
		default:
			return firmware.RoleNone
		}
	}
	return role
}
