package report

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math/bits"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"assay/firmware"
)

// The widths that a plot may have, in pixels.
const (
	MinPlot     = 80
	MaxPlot     = 1600
	DefaultPlot = 1200
)

// stateColour are colours that people of all kinds of colour vision tell apart
// (Okabe and Ito, "Color Universal Design").
var stateColour = map[firmware.State]color.RGBA{
	firmware.Proven:  {0x00, 0x9e, 0x73, 0xff},
	firmware.Parsed:  {0x56, 0xb4, 0xe9, 0xff},
	firmware.Residue: {0xe6, 0x9f, 0x00, 0xff},
	firmware.Erased:  {0xc8, 0xc8, 0xc8, 0xff},
	firmware.Opaque:  {0xb0, 0x3a, 0x8c, 0xff},
}

// states in the order of legends.
var states = [...]firmware.State{firmware.Proven, firmware.Parsed, firmware.Residue, firmware.Opaque, firmware.Erased}

var (
	ink   = color.RGBA{0x1a, 0x1a, 0x1a, 0xff}
	faint = color.RGBA{0xd8, 0xd8, 0xd8, 0xff}
	under = color.RGBA{0xcf, 0xd8, 0xe3, 0xff}
	blank = color.RGBA{0xf0, 0xf0, 0xf0, 0xff} // behind erased blocks
)

// Plot writes a PNG of the entropy of an image over its offsets, with its regions
// below, coloured by state. width is in pixels, DefaultPlot when zero.
func Plot(ctx context.Context, w io.Writer, r io.ReaderAt, img *firmware.Image, width int) error {
	if width == 0 {
		width = DefaultPlot
	}
	width = min(max(width, MinPlot), MaxPlot)
	p := newPlot(width)
	values, block, err := entropies(ctx, r, img.Size, p.area.Dx())
	if err != nil {
		return fmt.Errorf("entropy: %w", err)
	}
	p.size = img.Size
	p.axes(block)
	p.erased(img)
	p.curve(values, block)
	p.band(img)
	p.legend()
	var b bytes.Buffer
	if err := png.Encode(&b, p.out); err != nil {
		return err
	}
	_, err = b.WriteTo(w)
	return err
}

type plot struct {
	out   *image.RGBA
	area  image.Rectangle // of the curve
	strip image.Rectangle // of the regions
	words bool            // there is room for them
	size  int64
}

func newPlot(width int) *plot {
	p := &plot{words: width >= 320}
	height := min(max(width/3, 60), 420)
	left, top, bottom := 4, 4, 14
	if p.words {
		left, top, bottom = 52, 28, 76
	}
	p.out = image.NewRGBA(image.Rect(0, 0, width, height+bottom))
	draw.Draw(p.out, p.out.Bounds(), image.White, image.Point{}, draw.Src)
	p.area = image.Rect(left, top, width-max(left/4, 4), height)
	p.strip = image.Rect(p.area.Min.X, height+3, p.area.Max.X, height+3+max(bottom/4, 8))
	return p
}

func (p *plot) fill(r image.Rectangle, c color.Color) {
	draw.Draw(p.out, r, image.NewUniform(c), image.Point{}, draw.Src)
}

func (p *plot) text(x, y int, s string) {
	d := font.Drawer{Dst: p.out, Src: image.NewUniform(ink), Face: basicfont.Face7x13, Dot: fixed.P(x, y)}
	d.DrawString(s)
}

// x is the column of an offset.
func (p *plot) x(off int64) int {
	hi, lo := bits.Mul64(uint64(min(off, p.size)), uint64(p.area.Dx()))
	q, _ := bits.Div64(hi, lo, uint64(max(p.size, 1)))
	return p.area.Min.X + int(q)
}

func (p *plot) y(v float64) int { return p.area.Max.Y - 1 - int(v/8*float64(p.area.Dy()-1)) }

func (p *plot) axes(block int64) {
	for v := 0; v <= 8; v += 2 {
		y := p.y(float64(v))
		p.fill(image.Rect(p.area.Min.X, y, p.area.Max.X, y+1), faint)
		if p.words {
			p.text(p.area.Min.X-16, y+5, fmt.Sprint(v))
		}
	}
	if !p.words {
		return
	}
	p.text(p.area.Min.X, 18, fmt.Sprintf("entropy, bits per byte, of each %s", Size(block)))
	const label = 100 // pixels that a tick's label wants
	step := int64(1)
	for step < p.size && p.x(step)-p.area.Min.X < label {
		step *= 2
	}
	for off := int64(0); off < p.size; off += step {
		x := p.x(off)
		p.fill(image.Rect(x, p.strip.Max.Y, x+1, p.strip.Max.Y+5), ink)
		if s := fmt.Sprintf("%#x", off); x+7*len(s) <= p.out.Bounds().Max.X {
			p.text(x, p.strip.Max.Y+18, s)
		}
		if off > p.size-step { // no overflow at the largest sizes
			break
		}
	}
}

// erased shades what holds nothing, so that a low curve is not taken for data.
func (p *plot) erased(img *firmware.Image) {
	for _, s := range segments(img) {
		if s.r.State == firmware.Erased {
			p.fill(image.Rect(p.x(s.off), p.area.Min.Y, p.x(s.off+s.size), p.area.Max.Y), blank)
		}
	}
}

func (p *plot) curve(values []float64, block int64) {
	last := -1
	for i, v := range values {
		from, to := p.x(int64(i)*block), p.x(min(int64(i+1)*block, p.size))
		y := p.y(v)
		p.fill(image.Rect(from, y, to, p.area.Max.Y), under)
		p.fill(image.Rect(from, y, to, y+2), ink)
		if last >= 0 {
			p.fill(image.Rect(from, min(y, last), from+1, max(y, last)+2), ink)
		}
		last = y
	}
	p.fill(image.Rect(p.area.Min.X-1, p.area.Min.Y, p.area.Min.X, p.area.Max.Y), ink)
	p.fill(image.Rect(p.area.Min.X-1, p.area.Max.Y, p.area.Max.X, p.area.Max.Y+1), ink)
}

// band colours each column by the state that most of its bytes have.
func (p *plot) band(img *firmware.Image) {
	counts := make([][len(states)]int64, p.strip.Dx())
	for _, s := range segments(img) {
		for x, to := p.x(s.off), p.x(s.off+s.size); x <= to; x++ {
			if i := x - p.strip.Min.X; i < len(counts) && int(s.r.State) < len(states) {
				column := p.size/int64(len(counts)) + 1
				if x == to { // it ends in this one
					column = 1
				}
				counts[i][s.r.State] += min(column, s.size)
			}
		}
	}
	for i, c := range counts {
		most := firmware.Erased
		for s, n := range c {
			if n > c[most] {
				most = firmware.State(s)
			}
		}
		x := p.strip.Min.X + i
		p.fill(image.Rect(x, p.strip.Min.Y, x+1, p.strip.Max.Y), stateColour[most])
	}
}

func (p *plot) legend() {
	if !p.words {
		return
	}
	x, y := p.strip.Min.X, p.out.Bounds().Max.Y-18
	for _, s := range states {
		if x+90 > p.out.Bounds().Max.X {
			break
		}
		p.fill(image.Rect(x, y, x+12, y+12), stateColour[s])
		p.text(x+16, y+11, s.String())
		x += 84
	}
}
