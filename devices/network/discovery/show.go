package discovery

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// shower gives the rows that changed to the caller, and the progress.
type shower struct {
	run   *run
	each  func(Unit)
	shown map[int]string // the signatures of rows as they were last given
	next  time.Time      // the next joining, not before: it costs time that grows with the answers
	rows  int
}

// tick shows what is new, and the progress.
func (s *shower) tick() {
	if time.Now().After(s.next) {
		began := time.Now()
		s.update()
		if s.run.identifying != nil {
			s.run.identifying.next()
		}
		s.next = time.Now().Add(4 * time.Since(began))
	}
	if s.run.o.Progress != nil {
		s.run.o.Progress(s.run.progress(s.rows))
	}
}

// more shows what the last answers brought and reports whether there are units
// to identify among them.
func (s *shower) more() bool {
	if s.run.identifying == nil {
		return false
	}
	s.update()
	s.run.identifying.next()
	return !s.run.identifying.idle()
}

// update joins the answers anew and gives the rows that are new or changed.
func (s *shower) update() {
	all, changed := s.run.table.snapshot()
	if !changed {
		return
	}
	groups := merge(all)
	s.rows = len(groups)
	holders := map[key][]int{}
	for _, g := range groups {
		for k := range g.apart {
			holders[k] = append(holders[k], g.members[0].seq)
		}
	}
	for _, g := range groups {
		id := g.members[0].seq
		apart := g.apartFrom(id, holders)
		seen := signature(g, apart)
		if s.shown[id] == seen {
			continue
		}
		u := s.run.row(g)
		u.Apart = apart
		for _, m := range g.members[1:] {
			if _, was := s.shown[m.seq]; was {
				u.Replaces = append(u.Replaces, m.seq)
				delete(s.shown, m.seq)
			}
		}
		s.shown[id] = seen
		if s.run.identifying != nil {
			s.run.identifying.consider(&u)
		}
		if s.each != nil {
			s.each(u)
		}
	}
}

// apartFrom is what a group shares with other rows and was not joined by.
func (g *group) apartFrom(id int, holders map[key][]int) []Join {
	var out []Join
	for _, k := range sortedKeys(g.apart) {
		with := slices.DeleteFunc(slices.Clone(holders[k][:min(len(holders[k]), 21)]), func(x int) bool { return x == id })
		if len(with) > 0 {
			out = append(out, Join{Key: k.kind, Value: k.value, With: with[:min(len(with), 20)], Why: g.apart[k]})
		}
	}
	return out
}

// signature tells whether a row would be another than it was: a row is made of
// its answers, which do not change, and of what joins and parts them.
func signature(g *group, apart []Join) string {
	var b strings.Builder
	for _, m := range g.members {
		fmt.Fprint(&b, m.seq, " ")
	}
	fmt.Fprint(&b, sortedKeys(g.joined), apart)
	return b.String()
}

// progress is how far the run is.
func (r *run) progress(rows int) Progress {
	r.table.mu.Lock()
	answers := r.table.datagrams
	r.table.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	p := Progress{
		Elapsed: now.Sub(r.started), Left: max(r.until.Sub(now), 0), Answers: answers, Units: rows,
		Probed: r.probed, Hosts: r.total, Stage: "listening",
	}
	for _, n := range r.sent {
		p.Sent += n
	}
	if r.probing {
		p.Stage = "probing"
		if since := now.Sub(r.started).Seconds(); since > 0.5 && r.probed > 0 {
			p.PerSec = float64(r.probed) / since
			p.Left = max(p.Left, time.Duration(float64(r.total-r.probed)/p.PerSec)*time.Second)
		}
	}
	if r.identifying != nil {
		p.ToIdentify, p.Identified = r.identifying.state()
		if !r.probing && p.ToIdentify > p.Identified {
			p.Stage = "identifying"
		}
	}
	return p
}

// summary is what the run came to.
func (r *run) summary(rows int) *Summary {
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &Summary{
		Started: r.started, Ended: time.Now(), Sent: r.sent, Received: r.table.received, Units: rows,
		Probed: r.probed, Hosts: r.total, Silent: r.silent, Lost: r.table.lost, Problems: r.problems,
	}
	s.Identified = r.identifying.summary()
	for _, i := range r.ifaces {
		s.Interfaces = append(s.Interfaces, i.Name)
	}
	for _, x := range r.table.sightings {
		if x.protocol == neighbourName {
			s.Neighbours++
		}
	}
	return s
}
