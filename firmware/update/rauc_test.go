package update_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

func makeRAUC(t testing.TB, format string, image []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	makeKey(t, dir)
	write(t, dir, "in/rootfs.img", image)
	write(t, dir, "in/manifest.raucm", fmt.Appendf(nil, "[update]\ncompatible=test-camera\nversion=2026.11\n\n[bundle]\nformat=%s\n\n[image.rootfs]\nfilename=rootfs.img\n", strings.TrimSuffix(format, "-sealed")))
	run(t, dir, "rauc", "rauc", "--cert", "cert.pem", "--key", "key.pem", "bundle", "in", "out.raucb")
	if strings.HasSuffix(format, "-sealed") {
		run(t, dir, "rauc", "rauc", "encrypt", "--keyring", "cert.pem", "--to", "cert.pem", "out.raucb", "sealed.raucb")
		return read(t, dir, "sealed.raucb")
	}
	return read(t, dir, "out.raucb")
}

func TestBundlesOfRAUCAreReadToTheirFiles(t *testing.T) {
	image := formattest.Noise(150_000, 5)
	for _, c := range []struct {
		format   string
		state    firmware.State
		checks   int
		children string
	}{
		{"plain", firmware.Proven, 2, "squashfs proven, cms parsed"},
		{"verity", firmware.Proven, 4, "squashfs proven, dm-verity proven, cms parsed"},
		{"crypt", firmware.Proven, 4, "dm-crypt parsed, dm-verity proven, cms parsed"},
		{"crypt-sealed", firmware.Parsed, 0, " opaque, cms parsed"},
	} {
		t.Run(c.format, func(t *testing.T) {
			b := makeRAUC(t, c.format, image)
			img := formattest.Open(t, b)
			r := img.Regions[0]
			if len(img.Regions) != 1 || r.Format != "rauc" || r.State != c.state || len(r.Problems) > 0 || len(r.Checks) != c.checks {
				t.Fatalf("%v: %q %+v", formattest.Outline(img), r.Problems, r.Checks)
			}
			for _, check := range r.Checks {
				if !check.OK {
					t.Errorf("%+v", check)
				}
			}
			var children []string
			for _, k := range r.Children {
				children = append(children, k.Format+" "+k.State.String())
			}
			if got := strings.Join(children, ", "); got != c.children {
				t.Errorf("children %q, want %q", got, c.children)
			}
			if strings.Contains(fmt.Sprint(r.Fields, r.Children[0].Fields), "crypt-key") {
				t.Errorf("a key is listed: %v", r.Fields)
			}
			if c.format == "crypt-sealed" {
				if !strings.Contains(r.Field("encrypted for"), "CN=update test") || !strings.Contains(r.Children[0].Field("content"), "not known") {
					t.Errorf("fields %v", r.Fields)
				}
				return
			}
			if r.Field("compatible") != "test-camera" || r.Field("version") != "2026.11" || !strings.Contains(r.Field("image.rootfs"), "filename=rootfs.img") {
				t.Errorf("fields %v", r.Fields)
			}
			if s := r.Field("signature"); !strings.Contains(s, "CN=update test") || !strings.Contains(s, "SHA-256") || !strings.Contains(s, "not verified here") {
				t.Errorf("signature %q", s)
			}
			// One bit of the image: what vouches for the data no longer does.
			bad := bytes.Clone(b)
			bad[70_000] ^= 1
			if r := formattest.Survives(t, "a bit", bad).Regions[0]; r.Format != "rauc" || r.State != firmware.Parsed {
				t.Errorf("with a changed bit: %s", r.State)
			}
		})
	}
}

func TestWhatOnlyEndsLikeABundleIsNone(t *testing.T) {
	b := makeRAUC(t, "plain", formattest.Noise(5000, 2))
	for name, change := range map[string]func([]byte) []byte{
		"a byte behind the size":     func(b []byte) []byte { return append(b, 0) },
		"a size that is too large":   func(b []byte) []byte { b[len(b)-3]++; return b },
		"a size that is one less":    func(b []byte) []byte { b[len(b)-1]--; return b },
		"no SquashFS before the end": func(b []byte) []byte { clear(b[:96]); return b },
		"a signature that is no CMS": func(b []byte) []byte {
			i := bytes.LastIndex(b, []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"))
			b[i]++
			return b
		},
	} {
		if r := formattest.First(formattest.Survives(t, name, change(bytes.Clone(b))), "rauc"); r != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestAVerityTreeOfTwoLevelsIsRecomputed(t *testing.T) {
	// One level ends at 128 blocks of 4 KiB.
	image := formattest.Noise(1<<20, 3)
	b := makeRAUC(t, "verity", image)
	r := formattest.Open(t, b).Regions[0]
	if r.State != firmware.Proven || r.Field("verity tree size") == "4096" {
		t.Fatalf("%s %v", r.State, r.Fields)
	}
}
