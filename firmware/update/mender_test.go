package update_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
)

func init() {
	samples["mender"] = formattest.Sample{Make: func(t testing.TB) []byte { return makeMender(t, []byte("a root file system"), "--compression", "none") }, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzMender"}
}

func FuzzMender(f *testing.F) { fuzz(f, "mender") }

func makeMender(t testing.TB, image []byte, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "rootfs.ext4", image)
	run(t, dir, "openssl", "openssl", "genrsa", "-traditional", "-out", "key.pem", "2048")
	var all []string // options that stand before the command
	if len(args) > 1 && args[0] == "--compression" {
		all, args = args[:2], args[2:]
	}
	all = append(slices.Clone(all), "write", "rootfs-image", "-t", "camera-a", "-t", "camera-b", "-n", "release-7", "-f", "rootfs.ext4", "-o", "out.mender", "-k", "key.pem")
	run(t, dir, "mender-artifact", "mender-artifact", append(all, args...)...)
	return read(t, dir, "out.mender")
}

func TestArtifactsOfMenderAreComparedWithTheirManifest(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		format string
	}{
		{"version 3, gzip", nil, "gzip"},
		{"version 3, lzma", []string{"--compression", "lzma"}, "xz"},
		{"version 3, uncompressed", []string{"--compression", "none"}, ""},
		{"version 2", []string{"-v", "2"}, "gzip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := makeMender(t, formattest.Text(30_000), c.args...)
			img := formattest.Open(t, append(bytes.Clone(b), formattest.Noise(3000, 2)...))
			r := img.Regions[0]
			if r.Format != "mender" || r.State != firmware.Proven || r.Size != int64(len(b)) || len(r.Problems) > 0 || r.Name != "release-7" {
				t.Fatalf("%v of %d: %q %v", formattest.Outline(img), len(b), r.Problems, r.Checks)
			}
			if r.Field("device types") != "camera-a camera-b" || r.Field("payload") != "rootfs-image" || !strings.Contains(r.Field("signature"), "256 bytes over the manifest") {
				t.Errorf("fields %v", r.Fields)
			}
			if len(r.Checks) != 3 {
				t.Errorf("checks %v", r.Checks)
			}
			if c.format != "" && formattest.First(img, c.format) == nil {
				t.Errorf("no %s inside", c.format)
			}
			bad := bytes.Clone(b)
			bad[len(bad)-2500] ^= 1
			if r := formattest.Survives(t, "a bit", bad).Regions[0]; r.Format != "mender" || r.State == firmware.Proven {
				t.Errorf("with a changed bit: %s %v", r.State, r.Checks)
			}
		})
	}
}

func TestATarThatStartsWithAVersionIsNoArtifact(t *testing.T) {
	b := makeMender(t, formattest.Text(3000))
	b = bytes.Replace(b, []byte(`"mender"`), []byte(`"mander"`), 1)
	if r := formattest.First(formattest.Open(t, b), "mender"); r != nil {
		t.Errorf("%+v", r)
	}
}
