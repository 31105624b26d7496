package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"assay/attest"
	"assay/devices/simulator"
	"assay/devices/simulator/console"
)

// evidenceOf reads the evidence that a session kept.
func (b *bench) evidenceOf(folder string) *attest.Evidence {
	b.t.Helper()
	ev, err := attest.ParseEvidence(b.read(folder + "/evidence.json"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, a := range ev.Artefacts {
		if got := attest.DigestOf(b.read(folder + "/artefacts/" + a.Digest.Hex())); got != a.Digest {
			b.t.Errorf("artefact %s (%s) has the digest %s", a.Digest, a.What, got)
		}
	}
	return ev
}

func TestAHostileCameraCostsOneProblemAndNothingThatWasCollected(t *testing.T) {
	t.Parallel()
	count := 0
	for _, name := range simulator.List() {
		if !strings.HasPrefix(name, "hostile-") {
			continue
		}
		count++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.write("password", []byte("demo-hostile"))
			camera := simulatedCamera(t, name)
			o := b.want(exitInconclusive, "certify", camera.URL, "--user", "admin", "--password-file", "password", "--out", "unit", "--json")
			ev := b.evidenceOf("unit")
			// An answer to every path hides what the unit is; the others have
			// been identified before they turned hostile.
			if serials := strings.Join(ev.Unit.Serials, ","); name != "hostile-html200" && !strings.HasPrefix(serials, "HX-") {
				t.Errorf("what was read before is lost: serial numbers %q, %d claims", serials, len(ev.Claims))
			}
			if len(ev.Claims) == 0 || len(ev.Artefacts) == 0 {
				t.Errorf("%d claims, %d artefacts", len(ev.Claims), len(ev.Artefacts))
			}
			var says []string
			for _, p := range ev.Problems {
				says = append(says, p.Says)
			}
			if slices.Sort(says); len(slices.Compact(says)) != 1 {
				t.Errorf("problems: %q", says)
			}
			o.has(t, "evidence/problems/*/channel", "network:"+camera.Addr)
			if camera.Refused() != 0 {
				t.Errorf("%d logins were refused", camera.Refused())
			}
			b.want(exitInconclusive, "check", "unit/permit.sigstore.json")
		})
	}
	if count < 9 {
		t.Errorf("only %d hostile cameras", count)
	}
}

func TestAConsoleThatAnswersWithALineOfAMegabyteEndsWithWhatItGave(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("flash.bin", b.demo("vendor-signed"))
	s := simulatedConsole(t, "vendor-signed", b.path("flash.bin"), func(c *console.Config) { c.Quirks.LongLines = true })
	o := b.run("certify", serial(s.Device), "--out", "unit", "--json")
	if o.code != exitInconclusive && o.code != exitUnreachable {
		t.Errorf("exit code %d: %s%s", o.code, o.stderr, tail(o.stdout))
	}
	if ev := b.evidenceOf("unit"); len(ev.Problems) == 0 || len(ev.Artefacts) == 0 {
		t.Errorf("%d problems, %d artefacts", len(ev.Problems), len(ev.Artefacts))
	}
}

// accounted checks an inspection: its regions are in order, do not overlap and
// add up to the file.
func accounted(t *testing.T, o outcome, size int) {
	t.Helper()
	at := int64(0)
	offsets, sizes := o.fields(t, "image/regions/*/offset"), o.fields(t, "image/regions/*/size")
	for i := range offsets {
		offset, _ := strconv.ParseInt(offsets[i], 10, 64)
		length, _ := strconv.ParseInt(sizes[i], 10, 64)
		if offset != at || length <= 0 {
			t.Fatalf("region %d of %d bytes at %d, expected at %d", i, length, offset, at)
		}
		at += length
	}
	if at != int64(size) {
		t.Errorf("%d of %d bytes are accounted for", at, size)
	}
}

func TestATruncatedDumpIsAccountedForAndNeverPermitted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.trust()
	image := b.demo("vendor-signed")
	// In the loader, the environment, the FIT's head, kernel, device tree and
	// root file system, and one byte before the end of each.
	for _, n := range []int{1, 2048, 162119, 0x40000 + 100, 0x4ffff, 0x50000 + 20, 0x50000 + 150, 0x50200, 0x67000, 0x671d0, 0x68000, 0x7689d} {
		t.Run(fmt.Sprintf("after %d bytes", n), func(t *testing.T) {
			b := &bench{t: t, dir: b.dir, binary: b.binary, env: b.env}
			name := fmt.Sprintf("cut-%d", n)
			b.write(name+".bin", image[:n])
			o := b.want(exitOK, "inspect", name+".bin", "--json")
			accounted(t, o, n)
			o = b.want(exitInconclusive, "certify", "file:"+name+".bin?acquired=A4", "--out", name, "--json",
				"--endorsement", demoPath(t, "fjordlens-4.2.1.dsse.json"))
			if got := o.fields(t, "evidence/endorsements/scheme=uboot-fit/status"); len(got) != 0 {
				t.Errorf("half a FIT has a signature that is %q", got)
			}
			o.has(t, "result/reasons/rule=require.boot-chain/met", "false")
		})
	}
	o := b.run("certify", "file:empty.bin", "--out", "empty")
	if o.code != exitUnreachable || !strings.Contains(o.stderr, "empty.bin") {
		t.Errorf("a dump that is not there ended with %d: %s", o.code, o.stderr)
	}
}

func TestASmallFileThatUnpacksToMuchIsRefusedByTheBudget(t *testing.T) {
	t.Parallel()
	bomb, err := filepath.Abs("../../../shared/corpus/firmware/hostile/squashfs_metadata_bomb_200MiB.sqfs")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(bomb)
	if err != nil {
		t.Skip("no corpus beside the repository: shared/corpus/firmware/hostile")
	}
	b := newBench(t)
	// Alone, and where a root file system would be in a flash.
	b.write("alone.bin", content)
	b.write("flash.bin", append(b.demo("relabelled")[:0x80000], append(content, bytes.Repeat([]byte{0xff}, 0x20000)...)...))
	for _, c := range []struct {
		file string
		code int
	}{{"alone.bin", exitInconclusive}, {"flash.bin", exitRefused}} {
		o := b.want(exitOK, "inspect", c.file, "--json")
		accounted(t, o, len(b.read(c.file)))
		o.has(t, "image/regions/format=squashfs/state", "opaque")
		if said := o.fields(t, "image/regions/format=squashfs/problems/*"); len(said) != 1 || !strings.Contains(said[0], "squashfs") {
			t.Errorf("%s: problems %q", c.file, said)
		}
		o = b.want(c.code, "certify", "file:"+c.file+"?acquired=A4", "--out", c.file+".unit", "--json")
		o.has(t, "evidence/images/*/regions/format=squashfs/state", "opaque")
	}
}
