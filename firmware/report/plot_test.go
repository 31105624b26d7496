package report

import (
	"bytes"
	"image/color"
	"image/png"
	"math/rand/v2"
	"testing"

	"assay/firmware"
)

func TestAPlotShowsEntropyAndStatesToScale(t *testing.T) {
	data := bytes.Repeat([]byte{0xff}, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(data[:512<<10])
	img := &firmware.Image{Size: 1 << 20, Regions: []*firmware.Region{
		{Size: 256 << 10, State: firmware.Proven}, {Offset: 256 << 10, Size: 256 << 10, State: firmware.Opaque},
		{Offset: 512 << 10, Size: 512 << 10, State: firmware.Erased},
	}}
	for _, width := range []int{0, 1, 80, 319, 320, 1600, 5000} {
		var b bytes.Buffer
		if err := Plot(t.Context(), &b, bytes.NewReader(data), img, width); err != nil {
			t.Fatal(err)
		}
		out, err := png.Decode(&b)
		if err != nil {
			t.Fatal(err)
		}
		if width == 0 {
			width = DefaultPlot
		}
		width = min(max(width, MinPlot), MaxPlot)
		if out.Bounds().Dx() != width {
			t.Errorf("%d wide, expected %d", out.Bounds().Dx(), width)
		}
		p := newPlot(width)
		for _, c := range []struct {
			part  float64
			state firmware.State
			high  bool
		}{{0.1, firmware.Proven, true}, {0.4, firmware.Opaque, true}, {0.75, firmware.Erased, false}} {
			x := p.area.Min.X + int(c.part*float64(p.area.Dx()))
			if got := color.RGBAModel.Convert(out.At(x, p.strip.Min.Y+2)); got != stateColour[c.state] {
				t.Errorf("width %d: at %v the state has the colour %v", width, c.part, got)
			}
			got := color.RGBAModel.Convert(out.At(x, p.area.Min.Y+p.area.Dy()/3))
			if want := map[bool]color.RGBA{true: under, false: blank}[c.high]; got != want {
				t.Errorf("width %d: at %v below the curve is %v", width, c.part, got)
			}
		}
	}
}

func TestTheEntropyOfABlockIsOfItsBytes(t *testing.T) {
	data := make([]byte, 1024)
	for i := range 256 {
		data[i] = byte(i)
		data[256+i] = byte(i % 2)
	}
	got, block, err := entropies(t.Context(), bytes.NewReader(data), 1000, 4)
	if err != nil || block != 256 || len(got) != 4 || got[0] != 8 || got[1] != 1 || got[2] != 0 {
		t.Errorf("%v in blocks of %d: %v", got, block, err)
	}
}

func TestTinyImagesArePlotted(t *testing.T) {
	for _, n := range []int64{0, 1, 255, 257} {
		img := &firmware.Image{Size: n}
		if n > 0 {
			img.Regions = []*firmware.Region{{Size: n}}
		}
		var b bytes.Buffer
		if err := Plot(t.Context(), &b, bytes.NewReader(make([]byte, n)), img, 0); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
