package report

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"unicode"

	"assay/firmware"
	"assay/firmware/inventory"
)

// hostile has all that a text can do to a terminal, a table or a page.
const hostile = "</title><script>alert(1)</script>'\"&\x1b[2J\x07\r\n\u202egnp.exe\u0085\u200b\xff"

func nested(depth int) *firmware.Image {
	r := &firmware.Region{Size: 1 << 20, Format: "squashfs", Name: strings.Repeat("a-name-without-spaces", 20), State: firmware.Proven}
	r.AddCheck("CRC-32", true, "held")
	img := &firmware.Image{Size: 1 << 20, Regions: []*firmware.Region{r}}
	if depth > 0 {
		r.Contents = nested(depth - 1)
		r.Files = []*firmware.File{{Path: strings.Repeat("dir/", 60) + "x.tar", Mode: 0o644, Size: 5, Contents: nested(0)}}
	}
	return img
}

func sample() (*firmware.Image, *inventory.Report) {
	bad := &firmware.Region{Offset: 0, Size: 1 << 20, Format: "uimage", Name: hostile, Role: firmware.RoleKernel, State: firmware.Parsed}
	bad.AddCheck("data CRC-32", false, "computed 00000000, declared %s", hostile)
	bad.AddField("signature", "rsa2048 (not verified)")
	bad.AddProblem("%s", hostile)
	fsys := &firmware.Region{Offset: 1 << 20, Size: 1 << 20, Format: "cramfs", Name: "漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字", State: firmware.Proven}
	for i := range 40 {
		f := &firmware.File{Path: fmt.Sprintf("usr/%d%s", i, hostile), Mode: 0o4755, Size: 1000}
		if i%2 == 0 {
			f.Contents = nested(1)
		}
		fsys.Files = append(fsys.Files, f)
	}
	fsys.Files = append(fsys.Files, &firmware.File{Path: "dev/" + hostile, Mode: fs.ModeDevice}, &firmware.File{Path: "l", Mode: fs.ModeSymlink, Target: hostile})
	img := &firmware.Image{Size: 1 << 30, SHA256: strings.Repeat("0", 64), Regions: []*firmware.Region{bad, fsys}, Problems: []string{hostile}}
	at := int64(2 << 20)
	for i := range 200 {
		r := &firmware.Region{Offset: at, Size: 4096, State: firmware.State(i % 3), Entropy: 7.99, Strings: []string{hostile}}
		img.Regions = append(img.Regions, r)
		at += 4096
	}
	deep := &firmware.Region{Offset: at, Size: img.Size - at, State: firmware.Opaque, Contents: nested(12)}
	img.Regions = append(img.Regions, deep)
	img.Claims = []firmware.Claim{{Source: hostile, Name: hostile, Size: 5, Verdict: firmware.ClaimContradicted, Why: hostile}}
	inv := &inventory.Report{Problems: []string{hostile}}
	for range 60 {
		inv.Components = append(inv.Components, inventory.Component{Name: "X", Version: hostile, Path: strings.Repeat(hostile+"/", 9)})
		inv.Marks = append(inv.Marks, inventory.Mark{Entity: "e", Strength: "c2", Says: hostile, Path: hostile})
	}
	return img, inv
}

func TestNoLineIsWiderThanAskedForAndNoControlCharacterPasses(t *testing.T) {
	img, inv := sample()
	for _, o := range []TextOptions{{}, {All: true, Verbose: true}, {Columns: 60, Verbose: true}, {Columns: 110}, {Columns: 1}} {
		var b strings.Builder
		if err := Text(&b, "dump "+hostile+".bin", img, inv, o); err != nil {
			t.Fatal(err)
		}
		most := max(o.Columns, 60)
		if o.Columns == 0 {
			most = 80
		}
		for line := range strings.Lines(b.String()) {
			line = strings.TrimSuffix(line, "\n")
			if n := columns(line); n > most {
				t.Fatalf("%d columns, not %d: %q", n, most, line)
			}
			if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Fatalf("%q", line)
			}
		}
		if cut := strings.Contains(b.String(), "--all prints"); cut == o.All {
			t.Errorf("%+v: cut is %v", o, cut)
		}
	}
}

func TestATreeSaysWhatATechnicianAsksFor(t *testing.T) {
	img, inv := sample()
	var b strings.Builder
	if err := Text(&b, "dump.bin", img, inv, TextOptions{}); err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"FAILED", "signed (1)", "(1) signed, not verified here: assay verify", "crc ok", "not proven",
		"40 files, 39 KiB, 1 link, 1 device or pipe, 20 images", "... 12 more", "... 155 more", "contradicted",
		"entropy 7.99", "Components: 60", "c2",
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

func TestTheStrongestCheckIsNamedUnlessOneFailed(t *testing.T) {
	for _, c := range []struct {
		want  string
		names []string
		bad   int
	}{
		{"none", nil, -1},
		{"crc ok", []string{"walk of the tables", "header CRC-32"}, -1},
		{"sha256 ok", []string{"CRC-32", "kernel hash-1 sha256", "hash-2 sha1"}, -1},
		{"ok", []string{"something else"}, -1},
		{"walk ok", []string{"walk of the inode and directory tables"}, -1},
		{"FAILED", []string{"sha256", "CRC-32"}, 1},
	} {
		r := &firmware.Region{}
		for i, n := range c.names {
			r.AddCheck(n, i != c.bad, "")
		}
		if got := Integrity(r); got != c.want {
			t.Errorf("%v: %q, expected %q", c.names, got, c.want)
		}
	}
}

func TestSizesHaveThreeDigits(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 KiB", 10188: "9.9 KiB", 10189: "10 KiB", 1023 << 10: "1.0 MiB", 16 << 20: "16 MiB", 1 << 40: "1.0 TiB",
	} {
		if got := Size(n); got != want || len(got) > 8 {
			t.Errorf("%d: %q, expected %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := Count(n); got != want {
			t.Errorf("%d: %q, expected %q", n, got, want)
		}
	}
}
