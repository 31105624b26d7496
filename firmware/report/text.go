package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"assay/firmware"
	"assay/firmware/inventory"
)

// TextOptions adjust [Text].
type TextOptions struct {
	Columns int  // no line is wider; 80 when zero, and never less than 60
	All     bool // list everything; else long lists are cut, and say so
	Verbose bool // also print checks that held, fields and strings
}

// How long lists are when not all is asked for.
const (
	maxRegions = 48 // of one image or region
	maxImages  = 8  // of one file system
	maxLines   = 5  // of one text
	maxListed  = 24 // components, marks, partition claims, problems
)

// Text writes an image and its inventory as a technician reads them.
func Text(w io.Writer, name string, img *firmware.Image, report *inventory.Report, o TextOptions) error {
	if o.Columns == 0 {
		o.Columns = 80
	}
	o.Columns = max(o.Columns, 60)
	t := &text{w: bufio.NewWriter(w), o: o, offset: len(fmt.Sprintf("+%#x", largest(img)))}
	t.what = o.Columns - t.offset - len("  1023 KiB  residue    sha256 ok  not proven")
	t.paragraph("", fmt.Sprintf("%s: %s (%s bytes)", name, Size(img.Size), Count(img.Size)))
	t.paragraph("", "sha256:"+img.SHA256)
	t.paragraph("", States(img))
	t.line("")
	t.row("offset", "size", "state", "what", 0, "integrity", "origin")
	t.regions(img.Regions, 0, false)
	if t.inside {
		t.paragraph("", "+ counts inside what is unpacked or inside a file")
	}
	t.paragraph("", "Checks show integrity only; none proves an origin.")
	if t.signed {
		t.paragraph("", SignedNote)
	}
	t.list("Problems", len(img.Problems), func(i int) { t.paragraph("  ! ", img.Problems[i]) })
	t.list("What partition tables claim", len(img.Claims), func(i int) {
		c := img.Claims[i]
		t.paragraph(fmt.Sprintf("  %-12s ", c.Verdict), fmt.Sprintf("%s, %s at %#x: %s (%s)", c.Name, Size(c.Size), c.Offset, c.Why, c.Source))
	})
	if report != nil {
		t.inventory(report)
	}
	if t.cut {
		t.line("")
		t.paragraph("", "This was cut; --all prints it whole, --json everything.")
	}
	return t.w.Flush()
}

type text struct {
	w      *bufio.Writer
	o      TextOptions
	offset int // columns of it
	what   int
	cut    bool // a list was
	signed bool
	inside bool
}

// largest is the size of the largest image in an image.
func largest(img *firmware.Image) int64 {
	size := max(img.Size, 1<<20)
	_ = img.Walk(func(_ []*firmware.Region, _ *firmware.Image, r *firmware.Region) error {
		if r.Contents != nil {
			size = max(size, r.Contents.Size)
		}
		for _, f := range r.Files {
			if f.Contents != nil {
				size = max(size, largest(f.Contents))
			}
		}
		return nil
	})
	return size
}

func (t *text) inventory(r *inventory.Report) {
	t.list("Components", len(r.Components), func(i int) {
		c := r.Components[i]
		t.paragraph("  ", strings.TrimSpace(c.Name+" "+c.Version)+"  "+fmt.Sprintf("(%s at %#x)", c.Path, c.Offset))
	})
	t.list("Makers' marks (c1 hint, c2 solid, c3 proven)", len(r.Marks), func(i int) {
		m := r.Marks[i]
		t.paragraph(fmt.Sprintf("  %s  ", m.Strength), fmt.Sprintf("%s: %s (%s at %#x)", m.Entity, m.Says, m.Path, m.Offset))
	})
	t.list("Not read by the inventory", len(r.Problems), func(i int) { t.paragraph("  ! ", r.Problems[i]) })
}

// list writes a heading and n things, cut at maxListed.
func (t *text) list(heading string, n int, one func(i int)) {
	if n == 0 {
		return
	}
	t.line("")
	t.paragraph("", fmt.Sprintf("%s: %s", heading, Count(int64(n))))
	shown := t.limit(n, maxListed)
	for i := range shown {
		one(i)
	}
	t.more("  ", n-shown)
}

// limit is how many of n things are listed. One more is never all that is cut.
func (t *text) limit(n, most int) int {
	if t.o.All || n <= most+1 {
		return n
	}
	return most
}

func (t *text) more(lead string, n int) {
	if n > 0 {
		t.cut = true
		t.paragraph(lead, fmt.Sprintf("... %s more", Count(int64(n))))
	}
}

func (t *text) regions(list []*firmware.Region, depth int, inside bool) {
	shown := t.limit(len(list), maxRegions)
	for _, r := range list[:shown] {
		t.region(r, depth, inside)
	}
	t.more(t.lead(depth), len(list)-shown)
}

func (t *text) region(r *firmware.Region, depth int, inside bool) {
	offset := fmt.Sprintf("%#x", r.Offset)
	if inside {
		offset, t.inside = "+"+offset, true
	}
	t.signed = t.signed || Signed(r)
	t.row(offset, Size(r.Size), r.State.String(), What(r), depth, Integrity(r), Origin(r))
	t.notes(r, depth)
	t.regions(r.Children, depth+1, inside)
	if r.Contents != nil {
		t.paragraph(t.lead(depth+1), fmt.Sprintf("unpacks to %s:", Size(r.Contents.Size)))
		t.image(r.Contents, depth+1)
	}
	if len(r.Files) > 0 {
		t.files(r.Files, depth+1)
	}
}

func (t *text) image(img *firmware.Image, depth int) {
	for _, p := range img.Problems {
		t.note(depth, "! "+p)
	}
	t.regions(img.Regions, depth, true)
}

func (t *text) files(list []*firmware.File, depth int) {
	n := CountFiles(list)
	t.paragraph(t.lead(depth), n.String())
	shown, at := t.limit(int(n.Images), maxImages), 0
	for _, f := range list {
		if f.Contents == nil {
			continue
		}
		if at++; at > shown {
			break
		}
		t.paragraph(t.lead(depth), fmt.Sprintf("%s, %s:", f.Path, Size(f.Size)))
		t.image(f.Contents, depth+1)
	}
	t.more(t.lead(depth), int(n.Images)-shown)
}

// notes writes what is wrong with a region and, when asked to, all that is
// known of it.
func (t *text) notes(r *firmware.Region, depth int) {
	for _, c := range r.Checks {
		switch {
		case !c.OK:
			t.note(depth, fmt.Sprintf("! %s FAILED: %s", c.Name, c.Detail))
		case t.o.Verbose:
			t.note(depth, fmt.Sprintf("%s ok: %s (%s)", c.Name, c.Detail, c.Worth))
		}
	}
	for i, p := range r.Problems {
		if shown := t.limit(len(r.Problems), maxListed); i == shown {
			t.more(t.noteLead(depth), len(r.Problems)-shown)
			break
		}
		t.note(depth, "! "+p)
	}
	if !t.o.Verbose {
		return
	}
	for _, f := range r.Fields {
		t.note(depth, f.Name+": "+f.Value)
	}
	for _, s := range r.Strings {
		t.note(depth, fmt.Sprintf("%q", s))
	}
}

func (t *text) note(depth int, s string) {
	lead := t.noteLead(depth)
	if rest, problem := strings.CutPrefix(s, "! "); problem {
		lead, s = lead+"! ", rest
	}
	t.paragraph(lead, s)
}

// noteLead leaves notes more room than the column of what they speak of has.
func (t *text) noteLead(depth int) string { return strings.Repeat(" ", 4+t.indent(depth)) }

func (t *text) lead(depth int) string {
	return strings.Repeat(" ", t.offset+len("  1023 KiB  residue  ")+t.indent(depth))
}

// indent is how far a row of that depth is moved: what is nested very deep gets
// no further, since names need room too.
func (t *text) indent(depth int) int { return min(2*depth, max(t.what-16, 0)) &^ 1 }

// row writes one line of the table, or more where what is long.
func (t *text) row(offset, size, state, what string, depth int, integrity, origin string) {
	indent := strings.Repeat(" ", t.indent(depth))
	parts := t.cutLines(wrap(what, t.what-len(indent)))
	t.line(fmt.Sprintf("%*s  %8s  %-7s  %s  %-9s  %s", t.offset, offset, size, state, pad(indent+parts[0], t.what), integrity, origin))
	for _, p := range parts[1:] {
		t.line(t.lead(depth) + p)
	}
}

func pad(s string, n int) string { return s + strings.Repeat(" ", max(n-columns(s), 0)) }

func (t *text) line(s string) { fmt.Fprintln(t.w, strings.TrimRight(s, " ")) }

// paragraph writes a text behind a lead, wrapped and indented under it.
func (t *text) paragraph(lead, s string) {
	for _, line := range t.cutLines(wrap(Printable(s), t.o.Columns-columns(lead))) {
		t.line(lead + line)
		lead = strings.Repeat(" ", columns(lead))
	}
}

// cutLines keeps what a name or a message of an attacker's takes small.
func (t *text) cutLines(lines []string) []string {
	if t.o.All || len(lines) <= maxLines {
		return lines
	}
	t.cut = true
	lines = lines[:maxLines]
	last := []rune(lines[maxLines-1])
	lines[maxLines-1] = string(last[:max(len(last)-3, 0)]) + "..."
	return lines
}

// wrap breaks a text at its spaces, and words that are longer than a line where
// they must be. There is at least one line.
func wrap(s string, room int) []string {
	var lines []string
	line, used := "", 0
	flush := func() { lines, line, used = append(lines, line), "", 0 }
	for _, word := range strings.Fields(s) {
		n := columns(word)
		if used > 0 && used+1+n > room && n <= room {
			flush()
		}
		if used > 0 && used+2 > room {
			flush()
		}
		if used > 0 {
			line, used = line+" ", used+1
		}
		for _, r := range word {
			c := runeColumns(r)
			if used+c > room && used > 0 {
				flush()
			}
			line, used = line+string(r), used+c
		}
	}
	if line != "" || lines == nil {
		flush()
	}
	return lines
}
