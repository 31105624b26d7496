package compress

import (
	"bytes"
	"os/exec"
	"testing"

	"assay/internal/peer"
)

func TestMicroLZMAIsAnLZMAStreamWithItsPropertiesInTheFirstByte(t *testing.T) {
	want := bytes.Repeat([]byte("a camera at the gate, another in the hall; "), 900)
	cmd := exec.Command(peer.Need(t, "xz", "xz-utils"), "--format=lzma", "-c")
	cmd.Stdin = bytes.NewReader(want)
	alone, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	micro := bytes.Clone(alone[lzmaHeader:])
	micro[0] = ^alone[0]
	for _, n := range []int{len(want), len(want) - 1, 4096, 4097, 1} {
		dst := make([]byte, n)
		if got, err := Block(MicroLZMA, micro, dst); err != nil || got != n || !bytes.Equal(dst, want[:n]) {
			t.Errorf("%d bytes: %d, %v", n, got, err)
		}
	}
	if _, err := Block(MicroLZMA, micro, make([]byte, len(want)+1)); err == nil {
		t.Error("more than there is was unpacked")
	}
	for _, cut := range []int{0, 1, 5, 6, len(micro) / 2} {
		if _, err := Block(MicroLZMA, micro[:cut], make([]byte, len(want))); err == nil {
			t.Errorf("cut at %d, it unpacks", cut)
		}
	}
}
