package firmware

import (
	"fmt"
	"strings"
	"testing"
)

func TestPartitionTablesAreReadAsLinuxReadsThem(t *testing.T) {
	for text, want := range map[string]string{
		"spi0.0:256k(boot),64k(env),-(rest)": "boot 0+262144, env 262144+65536, rest 327680+-1",
		"jz_sfc:0x40000(boot)ro,1M@2M(app)":  "boot 0+262144, app 2097152+1048576",
		"nand:4096,8192ro":                   " 0+4096,  4096+8192",
		"nand:-(a),1k(b)":                    "",
		"nand:0k(a)":                         "",
		"nand:1x(a)":                         "",
		"nand:1k(a":                          "",
		"nand:99999999999999999999(a)":       "",
		"nand:9000000000g(a)":                "",
		"nand:-5(a)":                         "",
		"no colon":                           "",
		"a:1k(x);b:2k(y)":                    "x 0+1024, y 0+2048",
		"a:" + strings.Repeat("1k(x),", 70):  "",
		"a:1k@0x10(x)lk":                     "x 16+1024",
		"spi:512k(boot),512k(boot)":          "boot 0+524288, boot 524288+524288",
	} {
		var found layouts
		image := []byte("\x00bootargs=console=ttyS0 mtdparts=" + text + "\x00mtdparts=" + text)
		found.search(0, image, len(image))
		var parts []string
		for _, l := range found.list {
			for _, p := range l.parts {
				parts = append(parts, fmt.Sprintf("%s %d+%d", p.Name, p.Offset, p.Size))
			}
		}
		if got := strings.Join(parts, ", "); text != "no colon" && got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestClaimsAreProvenContradictedOrNeither(t *testing.T) {
	for _, c := range []struct {
		name, table string
		want        []Verdict
		problems    int
	}{
		{"a true table", "nor:4k(env),60k(kernel),-(rest)", []Verdict{ClaimUnproven, ClaimProven, ClaimUnproven}, 0},
		{"a start inside a region", "nor:8k(env),56k(kernel),-(rest)", []Verdict{ClaimUnproven, ClaimContradicted, ClaimUnproven}, 1},
		{"an end inside a region", "nor:4k(env),1k(kernel),-(rest)", []Verdict{ClaimUnproven, ClaimContradicted, ClaimContradicted}, 2},
		{"a larger flash", "nor:4k(env),60k(kernel),16m(rest)", []Verdict{ClaimUnproven, ClaimProven, ClaimUnproven}, 1},
	} {
		head := make([]byte, 4096)
		copy(head, oldData(4096))
		copy(head[100:], "\x00mtdparts="+c.table+"\x00")
		img := mustOpen(t, cat(head, toy(4, 20_000), solid(0xff, 61440-20_000), oldData(8192)))
		var got []Verdict
		for _, claim := range img.Claims {
			got = append(got, claim.Verdict)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) || len(img.Problems) != c.problems {
			t.Errorf("%s: %v, problems %q", c.name, got, img.Problems)
		}
	}
}

func TestAPartitionNamedForAnotherRoleIsContradicted(t *testing.T) {
	img := &Image{Size: 100, Regions: []*Region{{Size: 100, Format: "squashfs", State: Proven, Role: RoleRootFS}}}
	for name, want := range map[string]Verdict{"kernel": ClaimContradicted, "rootfs": ClaimProven, "app": ClaimProven} {
		if got, why := verdict(img, Claim{Name: name, Size: 100}); got != want {
			t.Errorf("%s: %s (%s), want %s", name, got, why, want)
		}
	}
}

func TestAClaimInsideAProvenRegionDoesNotHideIt(t *testing.T) {
	// The table points at a region inside another one.
	inner := toy(4, 100)
	outer := toy(4, 8192)
	copy(outer[4096:], inner)
	img := mustOpen(t, cat(outer, []byte("mtdparts=nor:4k(a),-(b)\x00")))
	if img.Regions[0].Size != 8192 {
		t.Fatalf("regions\n%s", lines(img))
	}
	// An outer region that nothing proves ends where the proven one begins.
	outer[4] = 3
	img = mustOpen(t, cat(outer, []byte("mtdparts=nor:4k(a),-(b)\x00")))
	if img.Regions[0].Size != 4096 || img.Regions[1].Size != 100 || len(img.Regions[0].Problems) == 0 {
		t.Fatalf("regions\n%s%q", lines(img), img.Regions[0].Problems)
	}
}
