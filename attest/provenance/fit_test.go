package provenance

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/attest"
	"assay/firmware"
	_ "assay/firmware/all"
)

// corpus returns a file of the shared sample collection, which is not part of
// the project.
func corpus(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../../shared/corpus/firmware/format/fit_uboot_signed", name))
	if err != nil {
		t.Skipf("no sample collection beside the project: %v", err)
	}
	return b
}

func anchor(t testing.TB, key []byte, maker string) *Anchor {
	t.Helper()
	a, err := NewAnchor(key, maker, PurposeFirmware, nil, "test", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSignedFITsOfMkimage(t *testing.T) {
	dev := anchor(t, corpus(t, "dev.pub.pem"), "fjordlens")
	for name, want := range map[string]struct {
		status attest.Status
		says   string
	}{
		"conf_rsa2048_sha256.itb": {attest.StatusVerified, "configuration"},
		"conf_pss.itb":            {attest.StatusVerified, "configuration"},
		"conf_kernel_only.itb":    {attest.StatusVerified, "kernel"},
		"bad_load_address.itb":    {attest.StatusFailed, "changed afterwards"},
		"bad_kernel_rehashed.itb": {attest.StatusFailed, "changed afterwards"},
		"bad_kernel_bitflip.itb":  {attest.StatusFailed, "hash does not hold"},
		"unsigned.itb":            {attest.StatusUnanchored, "not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := corpus(t, name)
			ends, err := verifyFIT(bytes.NewReader(b), 0, int64(len(b)), "test ", []*Anchor{dev})
			if err != nil {
				t.Fatal(err)
			}
			if len(ends) == 0 {
				t.Fatal("nothing was found to verify")
			}
			last := ends[len(ends)-1]
			if last.Status != want.status || !strings.Contains(last.Detail, want.says) {
				t.Errorf("%s: %s, want %s with %q", last.Status, last.Detail, want.status, want.says)
			}
			if name == "bad_load_address.itb" {
				if again, _ := verifyFIT(bytes.NewReader(b), 0, int64(len(b)), "", nil); again[len(again)-1].Status != attest.StatusUnanchored {
					t.Errorf("without an anchor nobody can say that it was changed: %s", again[len(again)-1].Status)
				}
			}
		})
	}
}

func TestWhatAFITSignatureLeavesOutIsNamed(t *testing.T) {
	dev := anchor(t, corpus(t, "dev.pub.pem"), "fjordlens")
	left := func(name string) map[string]int64 {
		b := corpus(t, name)
		img, err := firmware.Open(context.Background(), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := Verify(context.Background(), img, name, nil, []*Anchor{dev}, "")
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]int64{}
		for _, u := range r.Uncovered {
			out[u.Role] += u.Size
		}
		return out
	}
	whole, part := left("conf_rsa2048_sha256.itb"), left("conf_kernel_only.itb")
	if whole["kernel"] != 0 || whole["ramdisk"] != 0 || whole["device-tree"] != 0 {
		t.Errorf("all images are signed, left out: %v", whole)
	}
	if part["kernel"] != 0 || part["ramdisk"] == 0 || part["device-tree"] == 0 {
		t.Errorf("only the kernel is signed, left out: %v", part)
	}
}

func TestAForeignKeyIsNotTakenForTampering(t *testing.T) {
	b := corpus(t, "conf_rsa2048_sha256.itb")
	other := anchor(t, rsaKey(t), "axis")
	ends, err := verifyFIT(bytes.NewReader(b), 0, int64(len(b)), "", []*Anchor{other})
	if err != nil || ends[len(ends)-1].Status != attest.StatusUnanchored {
		t.Fatalf("%v %+v", err, ends)
	}
}

func TestEveryByteUnderTheSignatureIsChecked(t *testing.T) {
	dev := anchor(t, corpus(t, "dev.pub.pem"), "fjordlens")
	b := corpus(t, "conf_rsa2048_sha256.itb")
	verify := func(b []byte) attest.Endorsement {
		ends, err := verifyFIT(bytes.NewReader(b), 0, int64(len(b)), "", []*Anchor{dev})
		if err != nil || len(ends) == 0 {
			return attest.Endorsement{Status: attest.StatusUnsupported}
		}
		for _, e := range ends {
			if e.Status != attest.StatusVerified {
				return e
			}
		}
		return ends[len(ends)-1]
	}
	good := verify(b)
	if good.Status != attest.StatusVerified {
		t.Fatal(good.Detail)
	}
	for _, x := range good.Covered {
		step := max(x.Size/40, 1)
		for at := x.Offset; at < x.Offset+x.Size; at += step {
			b[at] ^= 1
			if e := verify(b); e.Status == attest.StatusVerified {
				t.Errorf("a flipped bit at %#x passed: %s", at, e.Detail)
			}
			b[at] ^= 1
		}
	}
}
