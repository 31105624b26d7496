package camera

import (
	"bufio"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"assay/firmware"
	"assay/firmware/internal/container"
)

// novatekBCL is a partition packed with the Basic Compression Library, as Novatek
// altered it: its header has the packed size, and a sum where the library has
// zeros. LZ77 is what firmware uses; zlib was added, and LZMA, which package
// format reads. Of the library's other methods none was seen.
//
// The declared size may be more than what the stream yields: zeros are meant.
var novatekBCL = firmware.Format{
	Name:         "novatek-bcl",
	Source:       "Basic Compression Library 1.2, doc/manual and lz.c; EgorKin Novatek-FW-info, NTKFWinfo.py; binaryanalysis-ng novatek.ksy",
	Magics:       []firmware.Magic{{Bytes: "BCL1"}},
	About:        "Novatek partition packed with the Basic Compression Library",
	Integrity:    "16-bit sum over it; zero in boot loaders",
	Authenticity: "none",
	Parse:        parseBCL,
}

const (
	bclHeader = 16
	bclSum    = 4
	bclLZ     = 9
	bclLZMA   = 11
	bclZlib   = 12

	bclWindow = 4 << 20 // the encoder reaches back 100,000 bytes unless it is told otherwise
)

var bclMethods = []string{"", "RLE", "Huffman", "Rice, 8 bits", "Rice, 16 bits", "Rice, 32 bits", "Rice, 8 bits signed", "Rice, 16 bits signed", "Rice, 32 bits signed", "LZ77", "Shannon-Fano", "LZMA", "zlib"}

func parseBCL(w *firmware.Window) (*firmware.Region, error) {
	b, err := w.Bytes(0, bclHeader+1)
	if err != nil {
		return nil, notFormat("bcl: %v", err)
	}
	method, size, packed := binary.BigEndian.Uint16(b[6:]), int64(binary.BigEndian.Uint32(b[8:])), int64(binary.BigEndian.Uint32(b[12:]))
	if method == 0 || int(method) >= len(bclMethods) || size == 0 || packed < 2 {
		return nil, notFormat("bcl: method %d, %d bytes from %d", method, size, packed)
	}
	r := begin(w, bclHeader+packed)
	r.AddField("method", "%d, %s", method, bclMethods[method])
	r.AddField("declared size", "%d", size)
	r.AddField("protection", nvtProtection)
	stated := uint32(binary.LittleEndian.Uint16(b[bclSum:]))
	summed := false
	if stated == 0 {
		r.AddField("16-bit sum", "none, as in boot loaders")
	} else if summed, err = nvtCheck(w, r, r.Size, bclSum, stated); err != nil {
		return r, err
	}
	err = bclUnpack(w, r, method, size)
	if r.Contents == nil && !summed && len(r.Children) == 0 {
		// Four letters and a small number are too little to go by.
		if err == nil || errors.Is(err, errBCL) {
			return nil, notFormat("bcl: neither its sum holds nor does it unpack: %v", err)
		}
		return r, err
	}
	if errors.Is(err, errBCL) {
		r.AddProblem("it does not unpack whole: %v", err)
		r.State, err = firmware.Opaque, nil
	}
	if summed && len(r.Problems) == 0 {
		r.State, r.Children = firmware.Proven, container.Known(r.Children)
	}
	return r, err
}

// errBCL is a fault of the packed stream.
var errBCL = errors.New("bad stream")

func bclUnpack(w *firmware.Window, r *firmware.Region, method uint16, size int64) error {
	packed := r.Size - bclHeader
	var stream io.Reader
	switch method {
	case bclLZ:
		held := min(size, bclWindow)
		if err := w.Meter().Hold(held); err != nil {
			return err
		}
		defer w.Meter().Release(held)
		stream = newLZ77(bufio.NewReader(w.Section(bclHeader, packed)), size, held)
	case bclZlib:
		z, err := zlib.NewReader(bufio.NewReader(w.Section(bclHeader, packed)))
		if err != nil {
			return fmt.Errorf("%w: %w", errBCL, err)
		}
		stream = faults{io.LimitReader(z, size)}
	case bclLZMA:
		r.Children = container.Known(w.Analyse(bclHeader, packed))
		return nil
	default:
		r.AddField("contents", "not unpacked: this method is not read here")
		return nil
	}
	img, err := w.Unpack("bcl", w.Meter().Reader(w.Context(), stream, packed), packed)
	if img != nil && img.Size > 0 {
		r.Contents = img
		if err == nil && img.Size < size {
			r.AddField("unpacked size", "%d, followed by zeros up to the declared one", img.Size)
		}
	}
	return err
}

// faults marks the errors of a decompressor.
type faults struct{ r io.Reader }

func (f faults) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", errBCL, err)
	}
	return n, err
}

// lz77 decodes the library's LZ77: the first byte is the marker. A marker and
// zero stand for the marker itself; a marker, a length and a distance for a copy
// of what came before. Numbers have seven bits a byte, the last without the top
// bit.
type lz77 struct {
	in      *bufio.Reader
	marker  byte
	started bool
	left    int64  // that may still come out
	history []byte // a ring
	at      int64  // bytes written to it

	copying, distance int64
}

func newLZ77(in *bufio.Reader, size, window int64) *lz77 {
	return &lz77{in: in, left: size, history: make([]byte, window)}
}

func (z *lz77) Read(p []byte) (int, error) {
	if !z.started {
		marker, err := z.in.ReadByte()
		if err != nil {
			return 0, err
		}
		z.marker, z.started = marker, true
	}
	n := 0
	for n < len(p) && z.left > 0 {
		c, err := z.next()
		if err != nil {
			return n, err
		}
		z.history[z.at%int64(len(z.history))] = c
		z.at++
		z.left--
		p[n] = c
		n++
	}
	if n == 0 && z.left == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// next is the next byte; io.EOF where the packed bytes end between two symbols.
func (z *lz77) next() (byte, error) {
	if z.copying == 0 {
		c, err := z.in.ReadByte()
		if err != nil || c != z.marker {
			return c, err
		}
		length, err := z.number()
		if err != nil {
			return 0, err
		}
		if length == 0 {
			return z.marker, nil
		}
		distance, err := z.number()
		if err != nil {
			return 0, err
		}
		if distance == 0 || distance > min(z.at, int64(len(z.history))) {
			return 0, fmt.Errorf("%w: a copy from %d bytes back at %d", errBCL, distance, z.at)
		}
		z.copying, z.distance = length, distance
	}
	z.copying--
	return z.history[(z.at-z.distance)%int64(len(z.history))], nil
}

func (z *lz77) number() (int64, error) {
	var n int64
	for range 5 {
		c, err := z.in.ReadByte()
		if err == io.EOF {
			err = fmt.Errorf("%w: it ends in a copy", errBCL)
		}
		if err != nil {
			return 0, err
		}
		if n = n<<7 | int64(c&0x7f); c&0x80 == 0 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: a number of more than 5 bytes", errBCL)
}
