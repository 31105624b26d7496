package inventory

import (
	"bytes"
	"io"
	"strings"
)

// How much of the bytes around a literal a match may look at.
const (
	behind    = 64
	ahead     = 512
	chunkSize = 128 << 10
	maxMatch  = 200
)

// literals finds what may start at a byte by its first two bytes, so that one
// pass serves all rules.
type literals struct {
	pairs [1 << 16]bool
	at    map[uint16][]target
}

// target is a rule or a classifier, or the confirmation of one.
type target struct {
	literal    string
	rule       *rule
	classifier int // index; -1 for a rule
	confirm    bool
}

var targets = newLiterals()

func newLiterals() *literals {
	l := &literals{at: make(map[uint16][]target)}
	add := func(t target) {
		key := uint16(t.literal[0]) | uint16(t.literal[1])<<8
		l.pairs[key] = true
		l.at[key] = append(l.at[key], t)
	}
	for i := range rules {
		add(target{literal: rules[i].Literal, rule: &rules[i], classifier: -1})
	}
	for i, c := range classifiers {
		add(target{literal: c.literal, classifier: i})
		if c.confirm != "" {
			add(target{literal: c.confirm, classifier: i, confirm: true})
		}
	}
	return l
}

// stream looks through one file or region. base is the file's name, "" for a
// region; start is what the offsets count from.
func (s *scan) stream(r io.Reader, where, base string, start int64) error {
	one := &pass{scan: s, where: where, base: base, confirmed: make(map[int]bool), seen: make(map[*rule]bool)}
	buf := make([]byte, 0, behind+chunkSize+ahead)
	from := 0 // first byte of buf that no literal has been looked for at
	for {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		done := err != nil
		until := len(buf)
		if !done {
			until -= ahead
		}
		one.look(buf, from, until, start)
		if done {
			one.finish()
			if err != io.EOF && err != io.ErrUnexpectedEOF {
				s.problem("%s: read to %d: %v", where, start+int64(len(buf)), err)
				return s.stops(err)
			}
			return nil
		}
		keep := max(0, until-behind)
		start += int64(keep)
		from = until - keep
		buf = buf[:copy(buf, buf[keep:])]
	}
}

// pass is the search through one file or region.
type pass struct {
	*scan
	where, base string
	confirmed   map[int]bool
	pending     []pending
	seen        map[*rule]bool
}

type pending struct {
	classifier int
	component  Component
}

func (p *pass) look(buf []byte, from, until int, start int64) {
	for i := from; i < until && i+1 < len(buf); i++ {
		key := uint16(buf[i]) | uint16(buf[i+1])<<8
		if !targets.pairs[key] {
			continue
		}
		for _, t := range targets.at[key] {
			if bytes.HasPrefix(buf[i:], []byte(t.literal)) {
				p.hit(t, buf, i, start+int64(i))
			}
		}
	}
}

func (p *pass) hit(t target, buf []byte, i int, offset int64) {
	if t.rule != nil {
		p.mark(t.rule, buf, i, offset)
		return
	}
	c := classifiers[t.classifier]
	if t.confirm {
		p.confirmed[t.classifier] = true
		return
	}
	if c.file != nil && !c.file.MatchString(p.base) {
		return
	}
	m := c.match.FindSubmatch(buf[i:min(len(buf), i+ahead)])
	if m == nil || len(p.pending) == maxComponents {
		return
	}
	p.pending = append(p.pending, pending{t.classifier, Component{Name: c.name, Version: string(m[1]), Path: p.where, Offset: offset, Match: evidence(m[0])}})
}

// mark notes the first place of a rule in each file or region.
func (p *pass) mark(r *rule, buf []byte, i int, offset int64) {
	if p.seen[r] || p.perRule[r.ID] == maxPerRule || r.file != nil && !r.file.MatchString(p.base) {
		return
	}
	length, ok := r.find(buf, i)
	if !ok {
		return
	}
	p.seen[r] = true
	p.perRule[r.ID]++
	p.report.Marks = append(p.report.Marks, Mark{
		Rule: r.ID, Entity: r.Entity, Subject: r.Subject, Strength: r.Strength, Says: r.Says,
		Path: p.where, Offset: offset, Match: evidence(buf[i : i+length]),
	})
}

// finish reports the components that nothing more needs to be known about, each
// once for a file system: hard links and copies are the same software.
func (p *pass) finish() {
	for _, one := range p.pending {
		if classifiers[one.classifier].confirm != "" && !p.confirmed[one.classifier] {
			continue
		}
		if len(p.report.Components) < maxComponents && !p.has(one.component) {
			p.report.Components = append(p.report.Components, one.component)
		}
	}
}

func (p *pass) has(c Component) bool {
	for _, have := range p.report.Components {
		if have.Name == c.Name && have.Version == c.Version && have.Match == c.Match && holder(have.Path) == holder(c.Path) {
			return true
		}
	}
	return false
}

// holder is the path up to the innermost region.
func holder(where string) string {
	parts := strings.Split(where, "/")
	for i := len(parts) - 1; i > 0; i-- {
		if strings.Contains(parts[i], "@0x") {
			return strings.Join(parts[:i+1], "/")
		}
	}
	return parts[0]
}

func evidence(b []byte) string {
	return printable(string(bytes.Trim(b[:min(len(b), maxMatch)], "\x00")))
}
