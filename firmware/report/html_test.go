package report

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"assay/firmware"
	"assay/firmware/inventory"
)

// zeros are the bytes of any image.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

func written(t *testing.T, name string, img *firmware.Image, inv *inventory.Report) string {
	t.Helper()
	var b strings.Builder
	if err := HTML(t.Context(), &b, name, "assay test", zeros{}, img, inv); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// known are the elements and attributes of a page.
var (
	known      = strings.Fields("html head meta title style body h1 h2 p code ul li span strong bdi div svg polyline a rect details summary dl dt dd table tr th td")
	tag        = regexp.MustCompile(`<[^a-zA-Z]*([a-zA-Z0-9]+)([^>]*)>`)
	attribute  = regexp.MustCompile(`([a-zA-Z-]+)="([^"]*)"`)
	attributes = strings.Fields("lang charset http-equiv content name class viewBox preserveAspectRatio role aria-label points href x y width height id")
)

func TestNoTextOfAnImageBecomesPartOfThePage(t *testing.T) {
	img, inv := sample()
	img.Size = 4 << 20
	img.Regions = append(img.Regions[:2], &firmware.Region{Offset: 2 << 20, Size: 2 << 20, State: firmware.Residue, Strings: []string{hostile, "<img src=x onerror=alert(1)>", "{{.}}", "javascript:alert(1)"}})
	out := written(t, hostile, img, inv)
	body := out[strings.Index(out, "</style>"):]
	for _, m := range tag.FindAllStringSubmatch(out, -1) {
		if m[0] == "<!DOCTYPE html>" {
			continue
		}
		if !slices.Contains(known, m[1]) {
			t.Errorf("an element %.80s", m[0])
		}
		for _, a := range attribute.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(attributes, a[1]) || a[1] == "href" && !strings.HasPrefix(a[2], "#r") {
				t.Errorf("an attribute %.80s", a[0])
			}
		}
	}
	for _, never := range []string{"<script", "<img", "url(", "@import", "http://", "https://", " on"} {
		if never == " on" {
			if regexp.MustCompile(`<[^>]* on[a-z]+=`).MatchString(body) {
				t.Error("a handler of events")
			}
			continue
		}
		if strings.Contains(out, never) {
			t.Errorf("%q is in the page", never)
		}
	}
	if !strings.Contains(body, "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("the text is not there at all")
	}
	if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%q", out[i:i+10])
	}
	if !strings.Contains(out, "default-src 'none'") {
		t.Error("no policy forbids what is not needed")
	}
}

func TestAPageHasATreeAMapTheInventoryAndTheMarks(t *testing.T) {
	img, inv := sample()
	img.Size = img.Regions[len(img.Regions)-1].Offset + 4096
	img.Regions[len(img.Regions)-1].Size = 4096
	out := written(t, "dump.bin", img, inv)
	for _, want := range []string{"Map of the image", "<polyline", `class="residue"`, "Components", "Makers&#39; marks", "signed, not verified here", "FAILED", "contradicted", "20 images inside"} {
		if !strings.Contains(strings.ReplaceAll(out, "Makers' marks", "Makers&#39; marks"), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if n := strings.Count(out, "<rect"); n < 200 {
		t.Errorf("%d regions on the map", n)
	}
}

func TestALargeFileSystemIsFoldedAndAnEndlessOneIsCut(t *testing.T) {
	r := &firmware.Region{Size: 1 << 20, Format: "squashfs", State: firmware.Proven}
	for i := range 60_000 {
		r.Files = append(r.Files, &firmware.File{Path: fmt.Sprintf("usr/lib/%d.so", i), Mode: 0o644, Size: 100, SHA256: strings.Repeat("a", 64)})
	}
	out := written(t, "big.bin", &firmware.Image{Size: 1 << 20, Regions: []*firmware.Region{r}}, nil)
	if len(out) > 8<<20 || !strings.Contains(out, "40,000 more are not listed") || !strings.Contains(out, "--json") {
		t.Errorf("%d bytes", len(out))
	}
	if !strings.Contains(out, "60,000 files") || strings.Contains(out, "<details open") {
		t.Error("the files are not folded")
	}
}

func TestAnImageOfOneByteHasAPage(t *testing.T) {
	out := written(t, "one.bin", &firmware.Image{Size: 1, Regions: []*firmware.Region{{Size: 1}}}, nil)
	if !strings.Contains(out, `width="1000.00"`) {
		t.Error("no map")
	}
	if err := HTML(t.Context(), io.Discard, "none.bin", "", zeros{}, &firmware.Image{}, nil); err != nil {
		t.Error(err)
	}
}
