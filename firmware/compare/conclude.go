package compare

import (
	"fmt"
	"slices"
	"strings"

	"assay/firmware/report"
)

// conclude comes to the verdict and says it.
func (r *Report) conclude() {
	bits := map[Class]int64{}
	for _, p := range r.Places {
		bits[p.Class] += p.Bits
	}
	inside := map[Class]int{}
	for _, i := range r.Inside {
		inside[i.Class]++
	}
	odd := bits[ClassImmutable] + bits[ClassUnknown]
	unread := ""
	if r.Unread > 0 {
		unread = fmt.Sprintf(" %s bytes were not read in one of them and are not compared.", report.Count(r.Unread))
	}
	switch {
	case r.Compared == 0:
		r.Verdict, r.Says = SameAsRead, "No byte of them could be compared."
	case r.Differing == 0 && r.Unread > 0:
		r.Verdict, r.Says = SameAsRead, "All that was read of both is the same."+unread
	case r.Differing == 0 && len(r.OnlyA)+len(r.OnlyB) > 0:
		r.Verdict, r.Says = Part, "All bytes that are in both are the same; the images are not of the same size."
	case r.Differing == 0:
		r.Verdict, r.Says = Same, "The two images are the same, byte by byte."
	case r.Bits == 1, odd == 1 && inside[ClassImmutable]+inside[ClassUnknown] == 0:
		r.Verdict, r.Says = OneBit, r.oneBit()+unread
	case bits[ClassImmutable] > 0 || inside[ClassImmutable] > 0:
		r.Verdict, r.Says = Immutable, "Bytes differ to which nothing writes on a unit that runs as it should: "+r.list(ClassImmutable)+
			". If both are of one unit, then one of them is not what its flash holds: read both again, and if the difference stays, "+
			"the one that came through the unit's own software was made up by it, or its firmware was changed in between."+unread
	case odd > 0 || inside[ClassUnknown] > 0:
		r.Verdict, r.Says = Unexplained, "Bytes differ of which it is not known whether a running unit writes them: "+r.list(ClassUnknown)+
			". Read both again, with the unit at rest between."+unread
	default:
		r.Verdict, r.Says = Expected, "They differ only where a running unit writes: "+r.list(ClassMutable)+"."+unread
	}
	r.notes()
}

func (r *Report) oneBit() string {
	for _, p := range r.Places {
		if p.Bits != 1 || r.Bits != 1 && p.Class == ClassMutable {
			continue
		}
		values := ""
		for _, d := range r.Extents {
			if d.A == p.First && len(d.BytesA) >= 2 && len(d.BytesB) >= 2 {
				values = fmt.Sprintf(", %s in A and %s in B", d.BytesA[:2], d.BytesB[:2])
			}
		}
		return fmt.Sprintf("One bit differs, at %#x in %s%s. Loaders and clips do flip bits: read both again before you call it tampered.", p.First, p.what(), values)
	}
	return "One bit differs: read both again before you call it tampered."
}

// what names a place in a few words.
func (p Place) what() string {
	x, y := p.A, p.B
	if x.Format == "" && y.Format != "" {
		x, y = y, x
	}
	name := x.Role
	if name == "" {
		name = x.Format
	}
	if name == "" {
		name = x.State + " bytes"
	}
	name += " " + x.Path
	if y.Format != x.Format {
		other := y.Format
		if other == "" {
			other = y.State + " bytes"
		}
		name += " (in the other image " + other + ")"
	}
	return report.Printable(name)
}

// list names the places of a class.
func (r *Report) list(c Class) string {
	const most = 4
	var parts []string
	n := 0
	add := func(s string) {
		if n++; n <= most {
			parts = append(parts, s)
		}
	}
	for _, p := range r.Places {
		if p.Class == c {
			add(fmt.Sprintf("%s in %s", counted(p.Differing, "byte"), p.what()))
		}
	}
	for _, i := range r.Inside {
		if i.Class == c {
			add(report.Printable(i.Why + ", " + i.A.Path + i.B.only(i.A)))
		}
	}
	if n > most {
		parts = append(parts, fmt.Sprintf("and %d more places", n-most))
	}
	return strings.Join(parts, "; ")
}

// only is the path of a region that the other image does not have.
func (x Region) only(other Region) string {
	if other.Path != "" {
		return ""
	}
	return x.Path + " (B)"
}

func counted(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return report.Count(n) + " " + what + "s"
}

// notes adds what a reader should know beside the verdict.
func (r *Report) notes() {
	note := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	for _, p := range r.Places {
		if a, b := len(p.A.Failed), len(p.B.Failed); (a == 0) != (b == 0) && p.A.Format == p.B.Format {
			where, failed := "A", p.A.Failed
			if a == 0 {
				where, failed = "B", p.B.Failed
			}
			note("in %s alone these checks of %s do not hold: %s", where, p.what(), report.Printable(strings.Join(failed, ", ")))
		}
	}
	programs := 0
	for _, f := range r.FileSystems {
		for _, c := range f.Changes {
			if f.Class == ClassMutable && c.Program && c.What != "mode" {
				programs++
			}
		}
	}
	if programs > 0 {
		note("%s in writable file systems differ: a unit does not change its programs by itself, unless it was updated between the two reads", counted(int64(programs), "program"))
	}
	for _, v := range r.Variables {
		if slices.Contains([]string{"bootcmd", "bootargs", "altbootcmd", "preboot"}, v.Name) {
			note("the environments differ in %s, which says what the boot loader starts", report.Printable(v.Name))
			break
		}
	}
	if r.Differing > r.Compared/2 {
		note("more than half of the bytes differ: they may be of different units or versions")
	}
	for _, k := range []int64{32, 16} { // 2048+64, 512+16; 2048+128
		if a, b := r.A.Size, r.B.Size; a != b && (a*k == b*(k+1) || b*k == a*(k+1)) {
			note("the sizes are as %d to %d: one of them seems to have the spare areas of NAND pages in it; read it without them", k, k+1)
		}
	}
}
