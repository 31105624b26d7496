// Package readout reads a flash memory through a prompt, block by block: it
// leaves out what is blank or known, keeps each block on disk as soon as it has
// proved right, and takes up where an earlier reading ended. How a block comes
// over the line is the [Source]'s matter.
package readout

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"

	"assay/attest"
)

// Source is a flash memory behind a prompt. Offsets and sizes are in bytes from
// its start. Its methods are for one goroutine at a time.
//
// The error that Sums and Read return says that the line or the unit is lost;
// what went wrong with one range only is given to each, and the rest goes on.
// An error of each ends both at once and is returned as it is.
type Source interface {
	// Size is how large the memory is.
	Size() int64
	// Block is the size at which a range costs little more than its bytes: the
	// unit of reading, of checking and of taking up again. A power of two.
	Block() int64
	// Checksum is what Sums gives; the zero value where the unit computes none.
	Checksum() Checksum
	// Sums lets the unit compute the checksum of each range. It shows what
	// travelled well and what need not travel; of authenticity it proves
	// nothing, since the unit itself says it.
	Sums(ctx context.Context, ranges []attest.Extent, each func(r attest.Extent, sum []byte, err error) error) error
	// Read reads ranges in their order. Each piece that it gives to each has
	// proved right: by a checksum that the unit computed of it, or by coming
	// twice alike. A part that does not come right after several tries is given
	// with its error and without bytes.
	Read(ctx context.Context, ranges []attest.Extent, each func(r attest.Extent, b []byte, err error) error) error
}

// Traffic is what a reading costs on the line.
type Traffic struct {
	Received  int64 // bytes that the unit sent, since the line was opened
	PerSecond int   // bytes that the line can pass in a second; 0: unknown
	Rereads   int   // pieces that had to travel again
}

// A Meter is a source that knows its traffic.
type Meter interface{ Traffic() Traffic }

// Checksum is a checksum that a unit can compute.
type Checksum struct {
	Name string              // as in evidence: "crc32", "md5", "sha256"
	Of   func([]byte) []byte // the same on our side; CRC-32 in big-endian order
}

// CRC32 is the checksum of IEEE 802.3, as U-Boot's crc32 and gzip's trailer have
// it.
var CRC32 = Checksum{Name: "crc32", Of: func(b []byte) []byte {
	return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b))
}}

// Fill is the checksum of size bytes of one value, which it allocates.
func (c Checksum) Fill(value byte, size int64) []byte {
	return c.Of(bytes.Repeat([]byte{value}, int(size)))
}
