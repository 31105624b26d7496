//go:build linux

package filesystem_test

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// packRubin is rubin_do_compress of the kernel's compr_rubin.c, in Go.
func packRubin(of uint32, ones [8]uint32, data []byte) []byte {
	const upper, lower = 1 << 15, 1<<15 - 1
	var out []byte
	pushed := 0
	low, span := uint32(0), uint32(2*upper)
	push := func() {
		if pushed%8 == 0 {
			out = append(out, 0)
		}
		if low&upper != 0 {
			out[pushed/8] |= 1 << (7 - pushed%8)
		}
		pushed++
		low = low & lower << 1
	}
	for _, b := range data {
		for bit := range 8 {
			for low >= upper || span+low <= upper {
				push()
				span <<= 1
			}
			zero := min(max((of-ones[bit])*span/of, 1), span-1)
			if b>>bit&1 == 0 {
				span = zero
			} else {
				low += zero
				span -= zero
			}
		}
	}
	for range 16 {
		push()
	}
	return out
}

func dynRubin(data []byte) []byte {
	var head []byte
	var ones [8]uint32
	for bit := range ones {
		for _, b := range data {
			ones[bit] += uint32(b >> bit & 1)
		}
		ones[bit] = min(max(ones[bit]*256/uint32(len(data)), 1), 255)
		head = append(head, byte(ones[bit]))
	}
	return append(head, packRubin(256, ones, data)...)
}

func TestJFFS2ReadsBothOfRubinsUnderEitherNumber(t *testing.T) {
	zeros := append(make([]byte, 3000), text(1000)...)
	for name, data := range map[string][]byte{"text": text(4096), "zeros": zeros, "one byte": {0x41}, "ones": bytes.Repeat([]byte{0xff}, 500)} {
		for kind, packed := range map[string][]byte{
			"dynrubin":  dynRubin(data),
			"rubinmips": packRubin(1043, [8]uint32{277, 249, 290, 267, 229, 341, 212, 241}, data),
		} {
			for _, method := range []byte{3, 5} {
				for _, order := range []byteOrder{binary.LittleEndian, binary.BigEndian} {
					j := jffs2{order: order}
					j.name(1, 1, 2, dtFile, "a")
					j.put(piece{ino: 2, version: 1, mode: file, isize: uint32(len(data)), size: uint32(len(data)), method: method, data: packed})
					if got, err := soundJFFS2(t, j.image).ReadFile("a"); err != nil || !bytes.Equal(got, data) {
						t.Errorf("%s by %s as %d: %d bytes and not %d, %v", name, kind, method, len(got), len(data), err)
					}
				}
			}
		}
	}
	j := jffs2{order: binary.LittleEndian}
	j.name(1, 1, 2, dtFile, "a")
	j.put(piece{ino: 2, version: 1, mode: file, isize: 4096, size: 4096, method: 5, data: dynRubin(text(4096))[:2000]})
	if _, err := soundJFFS2(t, j.image).ReadFile("a"); err == nil {
		t.Error("one that is cut is read")
	}
}
