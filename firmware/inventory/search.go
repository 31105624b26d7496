package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"assay/firmware/budget"
)

// How much of the bytes around a literal a match may look at.
const (
	behind    = 64
	ahead     = 512
	chunkSize = 128 << 10
	maxMatch  = 200
)

// pass is the search through one file, or through the extents of one region.
type pass struct {
	c           *Collector
	where, base string // base is the file's name, "" for a region
	report      Report

	data   io.ReaderAt // what is searched now
	size   int64
	origin int64 // what offsets count from

	buf       []byte
	scratch   []byte
	seen      []bool // by rule
	confirmed []bool // by classifier
	pending   []pending
	derEnd    int64 // of the last DER structure, in data
	tried     int64 // bytes that were parsed as DER
}

type pending struct {
	classifier int
	component  Component
}

var passes = sync.Pool{New: func() any {
	return &pass{
		buf:       make([]byte, behind+chunkSize+ahead+8),
		seen:      make([]bool, len(rules)),
		confirmed: make([]bool, len(classifiers)),
	}
}}

func (p *pass) begin(c *Collector, where, base string) {
	p.c, p.where, p.base, p.report = c, where, base, Report{}
	clear(p.seen)
	clear(p.confirmed)
	p.pending = p.pending[:0]
}

func (p *pass) release() {
	p.c, p.data, p.report = nil, nil, Report{}
	clear(p.pending)
	passes.Put(p)
}

func (p *pass) problem(format string, args ...any) {
	if len(p.report.Problems) < 8 {
		p.report.Problems = append(p.report.Problems, p.where+": "+word(fmt.Sprintf(format, args...)))
	}
}

// failed notes that data could not be read to its end.
func (p *pass) failed(what string, err error) {
	if p.c.ctx.Err() != nil {
		return
	}
	p.problem("%s: %v", what, err)
	if errors.Is(err, budget.ErrExceeded) {
		p.c.noteError(err)
	}
}

// search looks for all literals in size bytes, the first of which has the offset
// origin in what p.where names.
func (p *pass) search(data io.ReaderAt, size, origin int64) {
	p.data, p.size, p.origin, p.derEnd, p.tried = data, size, origin, 0, 0
	room := behind + chunkSize + ahead
	buf := p.buf[:0]
	var base int64 // of buf in data; a multiple of stride
	from := 0      // first byte of buf that was not yet looked at
	for {
		if p.c.ctx.Err() != nil {
			return
		}
		at := base + int64(len(buf))
		n := int(min(int64(room-len(buf)), size-at))
		read, err := data.ReadAt(p.buf[len(buf):len(buf)+n], at)
		buf = p.buf[:len(buf)+read]
		done := read < n || at+int64(n) >= size
		until := len(buf) - gramSize + 1
		if !done {
			until = (len(buf) - ahead) &^ (stride - 1)
		}
		p.look(buf, from, until, base)
		if done {
			if read < n && err != nil {
				p.failed(fmt.Sprintf("read to %d", origin+base+int64(len(buf))), err)
			}
			return
		}
		keep := max(0, until-behind-stride) &^ (stride - 1)
		base += int64(keep)
		from = until - keep
		buf = p.buf[:copy(p.buf, buf[keep:])]
	}
}

func (p *pass) look(buf []byte, from, until int, base int64) {
	l := targets
	b := buf[:len(buf)+1] // a gram is read as four bytes
	for i := from; i < until; i += stride {
		gram := gramOf(b[i : i+4])
		h := hashOf(gram)
		if l.bits[h>>6]>>(h&63)&1 == 0 {
			continue
		}
		for e := l.heads[h]; e != 0; e = l.entries[e-1].next {
			one := &l.entries[e-1]
			start := i - int(one.at)
			if one.gram == gram && start >= 0 && len(buf)-start >= len(one.target.literal) && string(buf[start:start+len(one.target.literal)]) == one.target.literal {
				p.hit(&one.target, buf, start, base+int64(start))
			}
		}
	}
}

// hit looks at what stands at buf[i], which is at pos in p.data.
func (p *pass) hit(t *target, buf []byte, i int, pos int64) {
	switch t.kind {
	case ofRule:
		p.mark(t.rule, buf, i, p.origin+pos)
	case ofClassifier:
		p.classify(t.classifier, buf, i, p.origin+pos)
	case ofConfirmation:
		p.confirmed[t.classifier] = true
	case ofPEM:
		p.pem(pos)
	case ofOID:
		p.oid(buf, i, pos)
	case ofRSA:
		p.pkcs1(buf, i, pos)
	case ofSSH:
		p.sshLine(buf[i:min(len(buf), i+ahead)], pos)
	case ofAccount:
		p.accountLine(buf, i, pos)
	}
}

// mark notes the first place of a rule in each file or region.
func (p *pass) mark(number int, buf []byte, i int, offset int64) {
	r := &rules[number]
	if p.seen[number] || r.file != nil && !r.file.MatchString(p.base) {
		return
	}
	if length, ok := r.find(buf, i); ok {
		p.addMark(number, offset, evidence(buf[i:i+length]))
	}
}

func (p *pass) addMark(number int, offset int64, match string) {
	if p.seen[number] {
		return
	}
	p.seen[number] = true
	r := &rules[number]
	p.report.Marks = append(p.report.Marks, Mark{
		Rule: r.ID, Entity: r.Entity, Subject: r.Subject, Strength: r.Strength, Says: r.Says,
		Path: p.where, Offset: offset, Match: match,
	})
}

func (p *pass) classify(number int, buf []byte, i int, offset int64) {
	c := &classifiers[number]
	if c.file != nil && !c.file.MatchString(p.base) {
		return
	}
	m := c.match.FindSubmatch(buf[i:min(len(buf), i+ahead)])
	if m == nil {
		return
	}
	if next := buf[i+len(m[0]):]; c.code && len(next) > 1 && next[0] == '\n' && next[1] >= ' ' && next[1] <= '~' {
		return
	}
	one := Component{Name: c.name, Version: string(m[1]), Evidence: c.evidence, Path: p.where, Offset: offset, Match: evidence(m[0])}
	if one.Version == "%s" {
		one.Version = "" // it is put in when the program runs
	}
	same := 0
	for _, have := range p.pending {
		if have.classifier == number {
			if have.component.Version == one.Version && have.component.Match == one.Match {
				return
			}
			same++
		}
	}
	if same < maxPerRule {
		p.pending = append(p.pending, pending{number, one})
	}
}

// finish reports the components that nothing more needs to be known about.
func (p *pass) finish() {
	for _, one := range p.pending {
		if classifiers[one.classifier].confirm == "" || p.confirmed[one.classifier] {
			p.report.Components = append(p.report.Components, one.component)
		}
	}
}

func evidence(b []byte) string {
	return strings.TrimRight(Printable(string(bytes.Trim(b[:min(len(b), maxMatch)], "\x00"))), " ")
}

// bytes reads n bytes at pos of p.data into a buffer that the next call reuses.
// It returns fewer at the end.
func (p *pass) bytes(pos, n int64) []byte {
	n = max(0, min(n, p.size-pos))
	if int64(cap(p.scratch)) < n {
		p.scratch = make([]byte, max(n, 16<<10))
	}
	read, err := p.data.ReadAt(p.scratch[:n], pos)
	if err != nil && err != io.EOF {
		p.failed(fmt.Sprintf("read at %d", pos), err)
	}
	return p.scratch[:read]
}

// text reads what is searched whole, if it is no larger than limit.
func (p *pass) text(limit int64) []byte {
	if p.size > limit {
		p.problem("its %d bytes are more than the %d that are read", p.size, limit)
		return nil
	}
	return p.bytes(0, p.size)
}

// file looks at one file.
func (p *pass) file(data io.ReaderAt, size int64) {
	p.search(data, size, 0)
	var room [16]byte
	n, _ := data.ReadAt(room[:min(size, 16)], 0)
	head := string(room[:n])
	switch {
	case strings.HasPrefix(head, "\x7fELF"):
		p.elf()
		return
	case strings.HasPrefix(head, "\x00\x00\x00\x07ssh-") || strings.HasPrefix(head, "\x00\x00\x00\x0bssh-") || strings.HasPrefix(head, "\x00\x00\x00\x13ecdsa-"):
		p.dropbearKey()
	}
	p.accounts()
	p.packages()
	p.services(head)
	if cap(p.scratch) > 1<<20 {
		p.scratch = nil
	}
}
