package camera

import (
	"fmt"
	"io"

	"assay/firmware"
)

const (
	cipherBlock = 16
	ecbSample   = 16 << 10 // blocks looked at: 256 KiB
	ecbHeld     = 1 << 20  // what remembering them takes, about
)

// ecbRepeats says how many blocks of 16 bytes at off stand there more than once.
// A block cipher in ECB mode turns equal blocks into equal ones, so that the
// zeros of an image show; in CBC or CTR mode none would repeat.
func ecbRepeats(w *firmware.Window, off, size int64) (string, error) {
	n := min(size/cipherBlock, ecbSample)
	if n == 0 {
		return "", nil
	}
	if err := w.Meter().Hold(ecbHeld); err != nil {
		return "", err
	}
	defer w.Meter().Release(ecbHeld)
	seen := make(map[[cipherBlock]byte]int64, n)
	r := w.Section(off, n*cipherBlock)
	var most int64
	for range n {
		var b [cipherBlock]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return "", err
		}
		seen[b]++
		most = max(most, seen[b])
	}
	repeated := n - int64(len(seen))
	if repeated == 0 {
		return fmt.Sprintf("none of the first %d blocks of %d bytes repeats: not ECB over plain data, or packed data under it", n, cipherBlock), nil
	}
	return fmt.Sprintf("%d of the first %d blocks of %d bytes repeat an earlier one, one of them %d times: ECB, which shows where plain blocks are equal", repeated, n, cipherBlock, most), nil
}
