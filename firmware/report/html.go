package report

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"

	"assay/firmware"
	"assay/firmware/inventory"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Parse(page))

// Bounds on a page, so that a browser can show it.
const (
	maxPageFiles   = 20_000
	maxPageRegions = 20_000
	maxPageText    = 2_000 // runes of one text
	maxPageNotes   = 100   // problems, fields and strings of one region
	maxBars        = 4_000 // on the map
	mapSamples     = 256   // of entropy in a row of the map
)

// HTML writes one page about an image that needs nothing beside it: it refers to
// no other file, has no script, and is readable in print and in the dark. r are
// the bytes of the image, for the entropy on the map. tool names the program.
func HTML(ctx context.Context, w io.Writer, name, tool string, r io.ReaderAt, img *firmware.Image, inv *inventory.Report) error {
	b := &builder{files: maxPageFiles, regions: maxPageRegions}
	v := view{
		Name: plain(name), Tool: plain(tool), Size: Size(img.Size), Bytes: Count(img.Size), SHA256: img.SHA256,
		Problems: plains(img.Problems), States: shares(img),
		Regions: b.list(img.Regions, false),
	}
	var err error
	if v.Rows, v.Block, err = b.rows(ctx, r, img); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	for _, c := range img.Claims {
		v.Claims = append(v.Claims, claim{plain(c.Name), fmt.Sprintf("%#x", c.Offset), Size(c.Size), string(c.Verdict), plain(c.Why), plain(c.Source)})
	}
	if inv != nil {
		for _, c := range inv.Components {
			v.Components = append(v.Components, find{plain(c.Name), plain(c.Version), plain(c.Path), fmt.Sprintf("%#x", c.Offset), plain(c.Match)})
		}
		for _, m := range inv.Marks {
			v.Marks = append(v.Marks, find{plain(m.Strength), plain(m.Entity) + ": " + plain(m.Says), plain(m.Path), fmt.Sprintf("%#x", m.Offset), plain(m.Match)})
		}
		v.NotRead = plains(inv.Problems)
	}
	v.Cut = b.cut
	out := bufio.NewWriterSize(w, 64<<10)
	if err := pageTemplate.Execute(out, v); err != nil {
		return err
	}
	return out.Flush()
}

type view struct {
	Name, Tool, Size, Bytes, SHA256 string
	Problems                        []string
	States                          []share
	Rows                            []row
	Block                           string
	Regions                         []*node
	Claims                          []claim
	Components, Marks               []find
	NotRead                         []string
	Cut                             bool
}

type share struct{ State, Size, Percent string }

type claim struct{ Name, Offset, Size, Verdict, Why, Source string }

type find struct{ Name, Value, Path, Offset, Match string }

// row is a line of the map.
type row struct {
	Offset string
	Curve  string // points of a polyline
	Bars   []bar
}

type bar struct{ X, Width, State, Anchor, Title string }

// node is a region in the tree.
type node struct {
	ID, Offset, Size, State, What, Integrity, Origin string
	Failed                                           bool
	Range, SHA256                                    string
	Fields                                           []firmware.Field
	Checks                                           []firmware.Check
	Problems, Strings                                []string
	Children                                         []*node
	Unpacked                                         *inner
	Files                                            *listing
}

// inner is an image inside another: unpacked, or a file.
type inner struct {
	Name, Size string
	Problems   []string
	Regions    []*node
}

type listing struct {
	Summary string
	Files   []fileRow
	Images  []inner
	More    string // files that are not listed
}

type fileRow struct{ Path, Mode, Size, SHA256, Note string }

// builder turns an image into what the page shows of it.
type builder struct {
	files, regions, id int
	cut                bool
	anchors            map[*firmware.Region]string
}

// plain prepares a text from an image for a page. The template escapes it.
func plain(s string) string {
	s = Printable(s)
	if len(s) > maxPageText {
		if r := []rune(s); len(r) > maxPageText {
			s = string(r[:maxPageText]) + "..."
		}
	}
	return s
}

func plains(list []string) []string {
	var out []string
	for _, s := range list[:min(len(list), maxPageNotes)] {
		out = append(out, plain(s))
	}
	if more := len(list) - maxPageNotes; more > 0 {
		out = append(out, fmt.Sprintf("%s more", Count(int64(more))))
	}
	return out
}

func shares(img *firmware.Image) []share {
	var out []share
	tally := img.Tally()
	for _, s := range states {
		percent := float64(tally[s]) * 100 / float64(max(img.Size, 1))
		out = append(out, share{s.String(), Size(tally[s]), fmt.Sprintf("%.1f%%", percent)})
	}
	return out
}

func (b *builder) list(list []*firmware.Region, inside bool) []*node {
	var out []*node
	for _, r := range list {
		if b.regions--; b.regions < 0 {
			b.cut = true
			break
		}
		out = append(out, b.node(r, inside))
	}
	return out
}

func (b *builder) node(r *firmware.Region, inside bool) *node {
	b.id++
	n := &node{
		ID: "r" + strconv.Itoa(b.id), Offset: fmt.Sprintf("%#x", r.Offset), Size: Size(r.Size), State: r.State.String(), What: plain(What(r)),
		Integrity: Integrity(r), Origin: Origin(r),
		Range: fmt.Sprintf("%#x to %#x, %s bytes", r.Offset, r.End(), Count(r.Size)), SHA256: r.SHA256,
		Problems: plains(r.Problems),
	}
	if n.What == "-" {
		n.What = n.State
	}
	if inside {
		n.Offset = "+" + n.Offset
	} else {
		if b.anchors == nil {
			b.anchors = make(map[*firmware.Region]string)
		}
		b.anchors[r] = n.ID
	}
	n.Failed = n.Integrity == "FAILED" || len(n.Problems) > 0
	if Signed(r) {
		n.Origin = "signed, not verified here"
	}
	for _, f := range r.Fields[:min(len(r.Fields), maxPageNotes)] {
		n.Fields = append(n.Fields, firmware.Field{Name: plain(f.Name), Value: plain(f.Value)})
	}
	for _, c := range r.Checks[:min(len(r.Checks), maxPageNotes)] {
		n.Checks = append(n.Checks, firmware.Check{Name: plain(c.Name), OK: c.OK, Worth: plain(c.Worth), Detail: plain(c.Detail)})
	}
	for _, s := range r.Strings[:min(len(r.Strings), maxPageNotes)] {
		n.Strings = append(n.Strings, plain(s))
	}
	n.Children = b.list(r.Children, inside)
	if r.Contents != nil {
		in := b.inner("", r.Contents)
		n.Unpacked = &in
	}
	if len(r.Files) > 0 {
		n.Files = b.listing(r.Files)
	}
	return n
}

func (b *builder) inner(name string, img *firmware.Image) inner {
	return inner{Name: plain(name), Size: Size(img.Size), Problems: plains(img.Problems), Regions: b.list(img.Regions, true)}
}

func (b *builder) listing(list []*firmware.File) *listing {
	l := &listing{Summary: CountFiles(list).String()}
	for i, f := range list {
		if b.files--; b.files < 0 {
			b.cut = true
			l.More = Count(int64(len(list) - i))
			break
		}
		row := fileRow{Path: plain(f.Path), Mode: f.Mode.String(), SHA256: plain(f.SHA256)}
		switch {
		case f.Target != "":
			row.Note = "link to " + plain(f.Target)
		case f.Link != "":
			row.Note = "the same file as " + plain(f.Link)
		}
		if f.Mode.IsRegular() {
			row.Size = Size(f.Size)
		}
		if f.Problem != "" {
			row.Note = strings.TrimSpace(row.Note + " not read: " + plain(f.Problem))
		}
		l.Files = append(l.Files, row)
		if f.Contents != nil && b.regions > 0 {
			l.Images = append(l.Images, b.inner(f.Path, f.Contents))
		}
	}
	return l
}

// rows draws the map: to scale, in as many rows as a screen shows.
func (b *builder) rows(ctx context.Context, r io.ReaderAt, img *firmware.Image) ([]row, string, error) {
	n := int64(1)
	for n < 16 && img.Size/(n*2) >= 32<<10 {
		n *= 2
	}
	per := max((img.Size+n-1)/n, 1)
	values, block, err := entropies(ctx, r, img.Size, int(n)*mapSamples)
	if err != nil {
		return nil, "", err
	}
	rows := make([]row, n)
	points := make([]bytes.Buffer, n)
	for i, v := range values {
		from := int64(i) * block
		at := from / per
		for x, side := range []int64{from, min(from+block, img.Size) - 1} {
			if side/per == at || x == 0 {
				fmt.Fprintf(&points[at], "%s,%.1f ", scaled(side-at*per, per), 20-v*2.3)
			}
		}
	}
	bars := 0
	for _, s := range segments(img) {
		for at := s.off / per; at < n && at*per < s.off+s.size; at++ {
			from, to := max(s.off, at*per), min(s.off+s.size, (at+1)*per)
			if bars++; bars > maxBars {
				b.cut = true
				break
			}
			rows[at].Bars = append(rows[at].Bars, bar{
				X: scaled(from-at*per, per), Width: scaled(to-from, per), State: s.r.State.String(), Anchor: b.anchors[s.r],
				Title: plain(fmt.Sprintf("%#x to %#x, %s, %s: %s; integrity %s; origin %s", s.off, s.off+s.size, Size(s.size), s.r.State, What(s.r), Integrity(s.r), strings.TrimSuffix(Origin(s.r), " (1)"))),
			})
		}
	}
	for i := range rows {
		rows[i].Offset, rows[i].Curve = fmt.Sprintf("%#x", int64(i)*per), strings.TrimSpace(points[i].String())
	}
	return rows, Size(block), nil
}

// scaled is a part of a row that is 1000 wide.
func scaled(n, per int64) string {
	return strconv.FormatFloat(float64(n)*1000/float64(per), 'f', 2, 64)
}
