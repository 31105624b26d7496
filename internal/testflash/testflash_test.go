package testflash

import (
	"bytes"
	"testing"

	"assay/internal/peer"
)

func need(t *testing.T) {
	for program, debian := range Programs {
		peer.Need(t, program, debian)
	}
}

func TestTheFlashHoldsASignedFITARootFileSystemAndErasedRest(t *testing.T) {
	need(t)
	for _, covered := range []bool{false, true} {
		f, err := Signed(t.TempDir(), Options{Covered: covered})
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Image) != 2<<20 || !bytes.HasPrefix(f.Image, []byte{0xd0, 0x0d, 0xfe, 0xed}) {
			t.Fatalf("%d bytes starting %x", len(f.Image), f.Image[:4])
		}
		if !bytes.Contains(f.Image, []byte("fjordlens-2026")) {
			t.Error("the FIT names no key")
		}
		last := f.Parts[len(f.Parts)-1]
		if !covered && !bytes.HasPrefix(f.Image[last.Offset:], []byte("hsqs")) {
			t.Error("no SquashFS at its part")
		}
		if rest := f.Image[last.Offset+last.Size:]; len(bytes.Trim(rest, "\xff")) != 0 {
			t.Error("the rest is not erased")
		}
	}
}
