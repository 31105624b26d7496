package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strings"

	"golang.org/x/term"

	"assay/attest"
)

// columns is how wide text may be: the terminal's width, or 80 on a pipe.
func columns() int {
	if w, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && w >= 60 {
		return min(w, 110)
	}
	return 80
}

// paragraph writes text behind a lead, wrapped and indented under it.
func paragraph(w io.Writer, lead, text string) {
	width := max(columns()-len([]rune(lead)), 30)
	indent := strings.Repeat(" ", len([]rune(lead)))
	line := ""
	flush := func() {
		fmt.Fprintln(w, strings.TrimRight(lead+line, " "))
		lead, line = indent, ""
	}
	for _, word := range strings.Fields(text) {
		for len([]rune(word)) > width { // a digest or path: better cut than lost
			if line != "" {
				flush()
			}
			line, word = string([]rune(word)[:width]), string([]rune(word)[width:])
			flush()
		}
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			flush()
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	flush()
}

func heading(w io.Writer, text string) { fmt.Fprintf(w, "\n%s\n", text) }

// printEvidence writes what was collected; verbose adds what the transport said.
func printEvidence(w io.Writer, ev *attest.Evidence, verbose bool) {
	paragraph(w, "Unit      ", ev.Unit.Name())
	for _, t := range ev.Targets {
		paragraph(w, "Read by   ", t)
	}
	if rows := claimRows(ev.Claims, verbose); len(rows) > 0 {
		heading(w, "What was found, and how well it is proven (P) by whose word (A)")
		for _, r := range rows {
			source := r.best.Source
			if r.others > 0 {
				source += fmt.Sprintf(", and %d more", r.others)
			}
			paragraph(w, fmt.Sprintf("  %s  %-23s ", r.best.Grade(), string(r.best.Subject)+" "+r.best.Name), fmt.Sprintf("%s  (%s)", r.best.Value, source))
		}
	}
	if len(ev.Marks) > 0 {
		heading(w, "Signs of who made it (c1 hint, c2 solid, c3 proven)")
		for _, m := range ev.Marks {
			paragraph(w, fmt.Sprintf("  %s     %-26s", m.Strength, m.Entity), fmt.Sprintf("%s (%s)", m.Says, m.Source))
		}
	}
	if len(ev.Children) > 0 {
		heading(w, "Cameras behind it, as it says")
		for _, c := range ev.Children {
			paragraph(w, "  - ", c.Name()+" "+c.Firmware)
			for _, m := range c.Marks {
				paragraph(w, fmt.Sprintf("    %s   %-26s", m.Strength, m.Entity), m.Says)
			}
		}
	}
	if len(ev.Contradictions) > 0 {
		heading(w, "Contradictions")
		for _, c := range ev.Contradictions {
			paragraph(w, "  ! ", c.Says)
		}
	}
	for _, i := range ev.Images {
		printImage(w, i)
	}
	if len(ev.Endorsements) > 0 {
		heading(w, "Vendor signatures")
		for _, e := range ev.Endorsements {
			printEndorsement(w, e)
		}
	}
	if len(ev.Problems) > 0 {
		heading(w, "Problems")
		for _, p := range ev.Problems {
			paragraph(w, "  - ", p.Says)
		}
	}
}

// claimRow is one value and the claims that give it.
type claimRow struct {
	best   attest.Claim
	others int
}

var subjectOrder = []attest.Subject{
	attest.SubjectUnit, attest.SubjectFirmware, attest.SubjectBootLoader, attest.SubjectBoard, attest.SubjectSoC,
	attest.SubjectModule, attest.SubjectFlash, attest.SubjectNetwork,
}

// claimRows joins claims that say the same, best grade first seen, and orders
// them by what a reader asks first. Boot variables and the image's own claim
// are left to the JSON and to the firmware's part.
func claimRows(claims []attest.Claim, verbose bool) []claimRow {
	var rows []claimRow
	at := map[[3]string]int{}
	for _, c := range claims {
		if c.Name == attest.NameBootChain || strings.HasPrefix(c.Name, "env.") || c.Subject == attest.SubjectNetwork && !verbose {
			continue
		}
		key := [3]string{string(c.Subject), c.Name, c.Value}
		i, seen := at[key]
		if !seen {
			at[key] = len(rows)
			rows = append(rows, claimRow{best: c})
			continue
		}
		rows[i].others++
		if b := rows[i].best; c.Origin() > b.Origin() || c.Origin() == b.Origin() && c.Acquisition > b.Acquisition {
			rows[i].best = c
		}
	}
	sort.SliceStable(rows, func(i, j int) bool { return rank(rows[i].best) < rank(rows[j].best) })
	return rows
}

// nameOrder is what a reader asks first of a unit; other names follow.
var nameOrder = []string{attest.NameMaker, attest.NameModel, attest.NameSerial, attest.NameMAC}

func rank(c attest.Claim) int {
	n := slices.Index(nameOrder, c.Name)
	if n < 0 {
		n = len(nameOrder)
	}
	return slices.Index(subjectOrder, c.Subject)*10 + n
}

func printEndorsement(w io.Writer, e attest.Endorsement) {
	who := e.Maker
	if who == "" {
		who = "-"
	}
	paragraph(w, fmt.Sprintf("  %-11s %-15s %-10s ", e.Status, e.Scheme, who), e.Detail)
}

func printImage(w io.Writer, i attest.Image) {
	heading(w, fmt.Sprintf("Firmware  %s, %s, read at %s (%s)", i.Source, size(i.Size), i.Acquisition, i.Acquisition.Words()))
	fmt.Fprintf(w, "  %s\n", i.Digest)
	paragraph(w, "  ", "bytes: "+byState(i.Bytes))
	for _, r := range i.Regions {
		depth := strings.Count(r.Path, "/") + 1
		if r.Path == "" {
			depth = 0
		}
		if depth > 1 {
			continue
		}
		what := r.Format
		if what == "" {
			what = "-"
		}
		fmt.Fprintf(w, "  %s%#010x %10d  %-9s %s\n", strings.Repeat("  ", depth), r.Offset, r.Size, r.State, strings.TrimSpace(what+" "+r.Role+" "+quoted(r.Name)))
		if r.Note != "" {
			paragraph(w, strings.Repeat(" ", 26+2*depth), r.Note)
		}
	}
	for _, c := range i.Components {
		paragraph(w, "  component  ", fmt.Sprintf("%s %s (%s at %#x)", c.Name, c.Version, c.Path, c.Offset))
	}
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("%q", s)
}

func byState(m map[string]int64) string {
	var keys []string
	for k, n := range m {
		if n > 0 {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool { return m[keys[i]] > m[keys[j]] })
	var out []string
	for _, k := range keys {
		out = append(out, fmt.Sprintf("%s %s", size(m[k]), k))
	}
	return strings.Join(out, ", ")
}

func printResult(w io.Writer, v attest.Verdict, reasons []attest.Reason, next []string) {
	fmt.Fprintf(w, "\n%s\n", strings.ToUpper(string(v)))
	kinds := []struct {
		title string
		pick  func(r attest.Reason) bool
	}{
		{"because", func(r attest.Reason) bool { return r.Effect == attest.EffectRefuse }},
		{"in the way of a permit", func(r attest.Reason) bool {
			return v != attest.Refused && (r.Effect == attest.EffectHold || r.Met != nil && !*r.Met)
		}},
		{"in its favour", func(r attest.Reason) bool { return r.Met != nil && *r.Met }},
		{"also seen", func(r attest.Reason) bool { return r.Effect == attest.EffectReport }},
	}
	for _, k := range kinds {
		first := true
		for _, r := range reasons {
			if !k.pick(r) {
				continue
			}
			if first {
				fmt.Fprintf(w, "  %s\n", k.title)
				first = false
			}
			at := r.Rule
			if len(r.Refs) > 4 {
				at += ": " + strings.Join(r.Refs[:4], ", ") + ", …"
			} else if len(r.Refs) > 0 {
				at += ": " + strings.Join(r.Refs, ", ")
			}
			paragraph(w, "  - ", fmt.Sprintf("%s [%s]", r.Text, at))
		}
	}
	if len(next) > 0 {
		fmt.Fprintln(w, "  what would decide it")
		for i, n := range next {
			paragraph(w, fmt.Sprintf("  %d. ", i+1), n)
		}
	}
}

func printProfile(w io.Writer, p attest.ProfileRef, params []attest.Parameter, decision string, limits []string) {
	heading(w, fmt.Sprintf("Profile   %s %s: %s", p.ID, p.Version, p.Title))
	for _, q := range params {
		paragraph(w, "  ", fmt.Sprintf("%s = %s: %s.", q.Name, q.Value, q.Text))
	}
	paragraph(w, "  rule: ", decision)
	if len(limits) > 0 {
		paragraph(w, "  not decided: ", strings.Join(limits, " "))
	}
}

func printOutcome(w io.Writer, o certifyOutput, verbose bool) {
	printEvidence(w, o.Evidence, verbose)
	printProfile(w, o.Result.Profile, o.Result.Parameters, o.Result.DecisionRule, o.Result.Limits)
	printResult(w, o.Verdict, o.Result.Reasons, o.Result.Next)
	kind := "Permit"
	switch o.Verdict {
	case attest.Refused:
		kind = "Refusal notice"
	case attest.Inconclusive:
		kind = "Notice"
	}
	fmt.Fprintf(w, "\n%s %s, valid until %s\n  %s\n", kind, o.ID, o.NotAfter.Format("2006-01-02"), o.Permit)
}
