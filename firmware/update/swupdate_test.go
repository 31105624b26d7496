package update_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"assay/firmware"
	"assay/firmware/internal/formattest"
	"assay/internal/peer"
)

func init() {
	samples["swupdate"] = formattest.Sample{Make: func(t testing.TB) []byte {
		image := formattest.Noise(900, 4)
		return makeSWU(t, map[string][]byte{"rootfs.img": image}, libconfigOf(image), false)
	}, State: firmware.Proven, Role: firmware.RoleContainer, Fuzz: "FuzzSWUpdate"}
}

func FuzzSWUpdate(f *testing.F) { fuzz(f, "swupdate") }

func libconfigOf(image []byte) string {
	return fmt.Sprintf(`// a camera
software =
{
	version = "2.0.1";
	description = "Firmware " "of a camera";
	hardware-compatibility: [ "1.0", "1.2" ];
	/* both copies */
	camera-a = {
		images: (
			{ filename = "rootfs.img"; device = "/dev/mtd3"; type = "flash"; compressed = "zlib"; sha256 = "%x"; },
		);
		scripts: ( { filename = "post.sh"; type = "shellscript"; } );
		bootenv: ( { name = "bootslot"; value = "1"; } );
	};
};
`, sha256.Sum256(image))
}

// makeSWU packs as SWUpdate's documentation does: sw-description first, then
// its signature, through cpio.
func makeSWU(t testing.TB, files map[string][]byte, description string, signed bool) []byte {
	t.Helper()
	dir := t.TempDir()
	names := []string{"sw-description"}
	write(t, dir, "sw-description", []byte(description))
	if signed {
		makeKey(t, dir)
		run(t, dir, "openssl", "openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", "-signer", "cert.pem", "-inkey", "key.pem", "-outform", "DER", "-nosmimecap", "-binary")
		names = append(names, "sw-description.sig")
	}
	for name, b := range files {
		write(t, dir, name, b)
		names = append(names, name)
	}
	cmd := exec.Command(peer.Need(t, "cpio", "cpio"), "-o", "-H", "crc", "--quiet")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(strings.Join(names, "\n")+"\n")
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestABundleOfSWUpdateIsComparedWithItsDescription(t *testing.T) {
	image := formattest.Noise(30_000, 4)
	json := fmt.Sprintf(`{ "software": { "version": "2.0.1", "description": "Firmware of a camera", "hardware-compatibility": [ "1.0", "1.2" ],
		"camera-a": { "images": [ { "filename": "rootfs.img", "device": "/dev/mtd3", "type": "flash", "compressed": "zlib", "sha256": "%x" } ],
		"scripts": [ { "filename": "post.sh", "type": "shellscript" } ], "bootenv": [ { "name": "bootslot", "value": "1" } ] } } }`, sha256.Sum256(image))
	for name, description := range map[string]string{"libconfig": libconfigOf(image), "JSON": json} {
		t.Run(name, func(t *testing.T) {
			b := makeSWU(t, map[string][]byte{"rootfs.img": image, "post.sh": []byte("#!/bin/sh\n")}, description, true)
			r := formattest.Open(t, b).Regions[0]
			if r.Format != "swupdate" || r.State != firmware.Proven || len(r.Problems) > 0 || r.FS == nil || r.Name != "2.0.1" {
				t.Fatalf("%+v", r)
			}
			for field, want := range map[string]string{
				"description": "Firmware of a camera", "hardware-compatibility": "1.0 1.2",
				"camera-a.image":   "rootfs.img type=flash device=/dev/mtd3 compressed=zlib",
				"camera-a.script":  "post.sh type=shellscript without sha256",
				"camera-a.bootenv": "bootslot=1", "variant": "crc",
			} {
				if got := r.Field(field); got != want {
					t.Errorf("%s is %q, want %q", field, got, want)
				}
			}
			if s := r.Field("signature"); !strings.Contains(s, "CN=update test") || !strings.Contains(s, "not verified here") {
				t.Errorf("signature %q", s)
			}
			var checks []string
			for _, c := range r.Checks {
				checks = append(checks, fmt.Sprint(c.Name, " ", c.OK))
			}
			if got := strings.Join(checks, ", "); got != "sums of file contents true, message digest SHA-256 true, SHA-256 of camera-a.image true" {
				t.Errorf("checks %q", got)
			}
		})
	}
}

func TestABundleThatIsNotAsDescribedSaysSo(t *testing.T) {
	image := formattest.Noise(900, 4)
	for name, c := range map[string]struct {
		files       map[string][]byte
		description string
		problem     string
	}{
		"another image":             {map[string][]byte{"rootfs.img": formattest.Noise(900, 5)}, libconfigOf(image), "1 of 3 listed files"},
		"an image that is missing":  {nil, libconfigOf(image), "1 of 3 listed files"},
		"an encrypted description":  {nil, string(formattest.Noise(700, 5)), "it may be encrypted"},
		"a description cut short":   {nil, libconfigOf(image)[:200], "neither libconfig nor JSON"},
		"a group that never closes": {nil, strings.Repeat("a={", 100), "nested more than"},
		"no software":               {nil, "hardware = { version = 1; };", "no software group"},
	} {
		r := formattest.Survives(t, name, makeSWU(t, c.files, c.description, false)).Regions[0]
		if r.Format != "swupdate" || !strings.Contains(strings.Join(r.Problems, "\n"), c.problem) {
			t.Errorf("%s: %s %q", name, r.State, r.Problems)
		}
		if r.State == firmware.Proven && name != "no software" {
			t.Errorf("%s: proven", name)
		}
	}
	// Another archive is none.
	b := bytes.ReplaceAll(makeSWU(t, nil, "x", false), []byte("sw-description"), []byte("sw_description"))
	if r := formattest.Open(t, b).Regions[0]; r.Format != "cpio" {
		t.Errorf("%+v", r)
	}
}
