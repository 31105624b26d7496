package firmware

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

func TestTheDigestOfARunIsThatOfItsBytes(t *testing.T) {
	var s runSums
	sizes := []int64{0, 1, 63, 64, 65, 100_000, 4096, 100_000, 16 << 10, 70_000, 200_000, 3}
	for i := range int64(2 * maxRunSums) {
		sizes = append(sizes, 300+i*7, 5000-i*11)
	}
	for _, n := range sizes {
		for _, c := range []byte{0, 0xff} {
			want := sha256.Sum256(bytes.Repeat([]byte{c}, int(n)))
			if got := s.digest(c, n); got != hex.EncodeToString(want[:]) {
				t.Fatalf("%d bytes of %#x: %s", n, c, got)
			}
		}
	}
}
