package blank

import (
	"bytes"
	"testing"
)

func TestARunEndsAtTheFirstOtherByte(t *testing.T) {
	for n := range 40 {
		for _, other := range []byte{0, 0x7f, 0x80, 0xfe} {
			p := append(bytes.Repeat([]byte{0xff}, n), other, 0xff, 0xff)
			if got := Run(p, 0xff); got != n {
				t.Errorf("%d of %d before %#x", got, n, other)
			}
			if Is(p, 0xff) || !Is(p[:n], 0xff) {
				t.Errorf("%d bytes and %#x", n, other)
			}
		}
	}
}
