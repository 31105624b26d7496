package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"assay/attest"
	"assay/devices/network/discovery"
)

// textView shows rows to people: on a terminal a table that is refined in
// place, elsewhere a line for a row when it has settled, and at the end all
// rows with what they contradict themselves in.
type textView struct {
	*discoverRows
	out      io.Writer
	terminal *os.File // where the table is drawn, if it is one
	status   *os.File // where the progress is drawn instead
	verbose  bool

	drawn   int // lines of the table on the terminal
	last    time.Time
	line    string // the progress
	changed map[int]time.Time
	printed map[int]string
}

// settled is how long a row must rest before it is printed as a line.
const settled = 700 * time.Millisecond

func (v *textView) unit(u discovery.Unit) {
	v.take(u)
	if v.changed == nil {
		v.changed, v.printed = map[int]time.Time{}, map[int]string{}
	}
	v.changed[u.ID] = time.Now()
}

func (v *textView) progress(p discovery.Progress) {
	v.line = progressLine(p)
	switch {
	case v.terminal != nil:
		if time.Since(v.last) < 250*time.Millisecond {
			return
		}
		v.last = time.Now()
		v.draw()
	case v.status != nil:
		fmt.Fprintf(v.status, "\r%-79.79s\r", v.line)
	}
	if v.terminal == nil {
		v.settle(settled)
	}
}

func progressLine(p discovery.Progress) string {
	s := fmt.Sprintf("%s  %s left  %d sent  %d answers  %d units", p.Stage, p.Left.Round(time.Second), p.Sent, p.Answers, p.Units)
	if p.Hosts > 0 {
		s += fmt.Sprintf("  probed %d of %d", p.Probed, p.Hosts)
	}
	if p.ToIdentify > 0 {
		s += fmt.Sprintf("  identified %d of %d", p.Identified, p.ToIdentify)
	}
	if p.PerSec > 0 {
		s += fmt.Sprintf("  %.0f/s", p.PerSec)
	}
	return s
}

// settle prints the rows that have not changed for a while, again if they were
// printed as something else.
func (v *textView) settle(rest time.Duration) {
	for _, u := range v.sorted() {
		at, waits := v.changed[u.ID]
		if !waits || time.Since(at) < rest || !v.shown(u) {
			continue
		}
		delete(v.changed, u.ID)
		line := strings.TrimRight(discoverLine(u, lineWidth()), " ")
		if v.printed[u.ID] == line {
			continue
		}
		mark := "+ "
		if v.printed[u.ID] != "" {
			mark = "~ "
		}
		v.printed[u.ID] = line
		v.clearStatus()
		fmt.Fprintln(v.out, mark+line)
	}
}

func (v *textView) clearStatus() {
	if v.status != nil {
		fmt.Fprintf(v.status, "\r%79s\r", "")
	}
}

func (r *discoverRows) shown(u discovery.Unit) bool {
	return r.all || u.Kind != discovery.KindNeighbour || r.ofMaker(u)
}

// section is where a row is listed.
func section(u discovery.Unit) int {
	switch {
	case u.Kind.Surveillance():
		return 0
	case u.Kind == discovery.KindUnknown:
		return 1
	case u.Kind == discovery.KindNeighbour:
		return 3
	}
	return 2
}

func (r *discoverRows) sorted() []discovery.Unit {
	var out []discovery.Unit
	for _, u := range r.units {
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b discovery.Unit) int {
		c := cmp.Compare(section(a), section(b))
		if c == 0 && len(a.Address) > 0 && len(b.Address) > 0 {
			c = a.Address[0].Compare(b.Address[0])
		}
		return cmp.Or(c, cmp.Compare(a.ID, b.ID))
	})
	return out
}

// draw writes the table over the last one, as far as the terminal is high.
func (v *textView) draw() {
	width, height, err := term.GetSize(int(v.terminal.Fd()))
	if err != nil || width < 40 || height < 6 {
		width, height = 80, 24
	}
	lines := []string{discoverHead(width - 1)}
	var rows []discovery.Unit
	for _, u := range v.sorted() {
		if v.shown(u) {
			rows = append(rows, u)
		}
	}
	for i, u := range rows {
		if i == height-5 && len(rows) > height-4 {
			lines = append(lines, fmt.Sprintf("  and %d more", len(rows)-i))
			break
		}
		lines = append(lines, discoverLine(u, width-1))
	}
	lines = append(lines, fit(v.line, width-1))
	var b strings.Builder
	v.rewind(&b)
	for _, l := range lines {
		b.WriteString(strings.TrimRight(l, " "))
		b.WriteString("\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	io.WriteString(v.out, b.String())
	v.drawn = len(lines)
}

func (v *textView) rewind(b *strings.Builder) {
	if v.drawn > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r", v.drawn)
	}
}

// end prints all rows, by what they are, and what was not found out.
func (v *textView) end(s *discovery.Summary) error {
	w := &errWriter{w: v.out}
	if v.terminal != nil {
		var b strings.Builder
		v.rewind(&b)
		b.WriteString("\x1b[J")
		io.WriteString(w, b.String())
	} else {
		v.settle(0)
		v.clearStatus()
	}
	titles := []string{"Cameras and recorders", "Answer, and do not say what they are: identify them", "Not cameras", "Neighbours that answered nothing"}
	all := v.sorted()
	hidden := 0
	last := -1
	width := lineWidth()
	for _, u := range all {
		if !v.shown(u) {
			hidden++
			continue
		}
		if at := section(u); at != last {
			last = at
			n := 0
			for _, x := range all {
				if section(x) == at && v.shown(x) {
					n++
				}
			}
			heading(w, fmt.Sprintf("%s (%d)", titles[at], n))
			fmt.Fprintln(w, strings.TrimRight(discoverHead(width), " "))
		}
		fmt.Fprintln(w, strings.TrimRight(discoverLine(u, width), " "))
		discoverNotes(w, u, v.verbose)
	}
	if hidden > 0 {
		fmt.Fprintf(w, "\n%d neighbours answered nothing and have no camera maker's address (--all lists them).\n", hidden)
	}
	discoverSummary(w, s, len(all)-hidden)
	return w.err
}

// errWriter remembers the first error of its writer.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(b []byte) (int, error) {
	if e.err != nil {
		return len(b), nil
	}
	n, err := e.w.Write(b)
	if err != nil {
		e.err = fmt.Errorf("output: %w", err)
	}
	return n, nil
}

// lineWidth is how wide a row may be: the terminal's width up to 120, or 80.
func lineWidth() int {
	if w, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && w >= 60 {
		return min(w-1, 120)
	}
	return 80
}

// column is one column of the table, which is there when the line is wide enough.
type column struct {
	head  string
	width int
	from  int // the least width of a line that has it
	value func(discovery.Unit) string
}

var columnsOfUnits = []column{
	{"ADDRESS", 15, 0, func(u discovery.Unit) string {
		switch {
		case len(u.Address) > 0:
			return u.Address[0].String()
		case len(u.Claimed) > 0:
			return "(" + u.Claimed[0].String() + ")"
		}
		return "?"
	}},
	{"MAKER", 11, 0, makerText},
	{"MODEL", 17, 0, func(u discovery.Unit) string {
		switch {
		case u.Model != "":
			return u.Model
		case u.Label != "":
			return "“" + u.Label + "”"
		}
		return string(u.Kind)
	}},
	{"FIRMWARE", 12, 95, func(u discovery.Unit) string { return u.Firmware }},
	{"SERIAL", 18, 0, func(u discovery.Unit) string { return endOf(u.Serial, 18) }},
	{"MAC", 17, 118, func(u discovery.Unit) string {
		if len(u.MACs) > 0 {
			return u.MACs[0].Address
		}
		return ""
	}},
	{"SEEN BY", 0, 0, seenText},
}

// seenText names the protocols; the table of neighbours is none.
func seenText(u discovery.Unit) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(u.Seen), func(p string) bool { return p == "neighbour" }), " ")
}

// makerText is the maker by the strength of what says so.
func makerText(u discovery.Unit) string {
	m := u.Maker
	switch {
	case m.Entity != "" && m.Strength >= attest.C2:
		return m.Entity
	case m.Entity != "":
		return m.Entity + "?"
	case m.Says != "":
		return "“" + m.Says + "”"
	}
	return ""
}

func discoverHead(width int) string {
	return discoverColumns(width, func(c column) string { return c.head }, "  ")
}

func discoverLine(u discovery.Unit, width int) string {
	mark := "  "
	switch {
	case len(u.Against) > 0:
		mark = "! "
	case u.State != "":
		mark = "* "
	}
	return discoverColumns(width, func(c column) string { return c.value(u) }, mark)
}

func discoverColumns(width int, value func(column) string, line string) string {
	for _, c := range columnsOfUnits {
		switch {
		case c.from > width:
		case c.width == 0:
			line += value(c)
		default:
			line += fit(value(c), c.width) + " "
		}
	}
	return fit(line, width)
}

// fit cuts or fills a text to a width.
func fit(s string, width int) string {
	r := []rune(s)
	if len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s + strings.Repeat(" ", width-len(r))
}

// endOf keeps the end of a serial number, which is what differs.
func endOf(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return "…" + string(r[len(r)-width+1:])
	}
	return s
}

// discoverNotes writes under a row what it contradicts itself in and what else
// matters before somebody installs it.
func discoverNotes(w io.Writer, u discovery.Unit, verbose bool) {
	if u.State != "" {
		paragraph(w, "    * ", u.State+": it has no password yet, and whoever comes first can set one. It was left so.")
	}
	if u.Kind == discovery.KindRecorder {
		paragraph(w, "    - ", "a recorder: the cameras behind it are judged one by one")
	}
	if n := len(u.Children); n > 0 {
		paragraph(w, "    - ", fmt.Sprintf("it lists %d cameras behind it", n))
	}
	for _, d := range u.Against {
		paragraph(w, "    ! ", d.Says)
		for _, s := range d.Sides {
			paragraph(w, "        ", fmt.Sprintf("%s  (%s)", s.Value, s.Source))
		}
	}
	for _, j := range u.Apart {
		// What only the table of neighbours has is the wire's, as of a router before many units.
		own := j.Key != "address" && (j.Key != "mac" || slices.ContainsFunc(u.MACs, func(m discovery.MAC) bool { return m.Address == j.Value }))
		if own || verbose {
			paragraph(w, "    = ", fmt.Sprintf("has the %s %s of %d other rows and was not joined with them: %s", j.Key, j.Value, len(j.With), j.Why))
		}
	}
	if len(u.Address) > 1 {
		var more []string
		for _, a := range u.Address[1:] {
			more = append(more, a.String())
		}
		paragraph(w, "    - ", "also at "+strings.Join(more, ", "))
	}
	if len(u.Open) > 0 {
		paragraph(w, "    - ", "listens on TCP "+strings.Trim(fmt.Sprint(u.Open), "[]"))
	}
	if !verbose {
		return
	}
	for _, m := range u.Marks {
		paragraph(w, "    "+m.Strength.String()+" ", fmt.Sprintf("%s: %s (%s)", m.Entity, m.Says, m.Source))
	}
	for _, c := range u.Claims {
		paragraph(w, "      ", fmt.Sprintf("%s %s: %s (%s)", c.Subject, c.Name, c.Value, c.Source))
	}
	for _, m := range u.MACs {
		owner := m.Owner
		if m.Placeholder != "" {
			owner = m.Placeholder
		}
		if owner == "" {
			owner = "a prefix that is not in the data"
		}
		paragraph(w, "      ", fmt.Sprintf("%s: %s", m.Address, owner))
	}
	for _, j := range u.Joined {
		paragraph(w, "      ", fmt.Sprintf("joined by its %s %s", j.Key, j.Value))
	}
}

func discoverSummary(w io.Writer, s *discovery.Summary, rows int) {
	sent := 0
	for _, n := range s.Sent {
		sent += n
	}
	text := fmt.Sprintf("%d units in %s", rows, s.Ended.Sub(s.Started).Round(100*time.Millisecond))
	if len(s.Interfaces) > 0 {
		text += " on " + strings.Join(s.Interfaces, ", ")
	}
	text += fmt.Sprintf("; %d packets sent", sent)
	if s.Hosts > 0 {
		text += fmt.Sprintf(", %d of %d addresses probed, %d of them silent", s.Probed, s.Hosts, s.Silent)
	}
	if i := s.Identified; i != nil {
		text += fmt.Sprintf("; %d units asked who they are with %d requests, of which %d said something", i.Units, i.Requests, i.Spoke)
	}
	heading(w, text+".")
	if rows == 0 {
		paragraph(w, "", "Nothing answered. Check the cabling and the interface; name the network to probe it address by address, as units behind a router do not hear a multicast.")
	} else {
		paragraph(w, "", "name: its protocol or firmware decides it (c2); name?: a hint; “name”: its own word. ! contradicts itself, * not activated. Any of it can be forged: identify or certify what matters.")
	}
	if l := s.Lost; l.Any() {
		paragraph(w, "Lost: ", fmt.Sprintf("%d answers with the table full, %d of addresses that had too many, %d of addresses that flood, %d that came too fast, %d malformed.", l.Full, l.PerSource, l.Deaf, l.Busy, l.Malformed))
	}
	if len(s.Problems) == 0 {
		return
	}
	heading(w, "Problems")
	for i, p := range s.Problems {
		if i == 20 {
			fmt.Fprintf(w, "  and %d more (--json has them)\n", len(s.Problems)-i)
			break
		}
		paragraph(w, "  - ", p.Says)
	}
}
