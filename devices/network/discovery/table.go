package discovery

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"assay/attest"
)

// Limit bounds what is kept, since anyone on a network can answer without end.
type Limit struct {
	Answers   int // different ones in all
	PerSource int // different ones of one address and protocol
	Bytes     int // of all values kept
	Datagrams int // of one address, after which it is not listened to
}

// DefaultLimit is far above any real network: five thousand units.
var DefaultLimit = Limit{Answers: 20_000, PerSource: 32, Bytes: 64 << 20, Datagrams: 2_000}

// IdentifyLimit is that of a run that identifies: what a unit says when it is
// asked is some ten times as much, and needs connections, which cannot be forged
// from afar.
var IdentifyLimit = Limit{Answers: 60_000, PerSource: 32, Bytes: 256 << 20, Datagrams: 2_000}

// Lost is what came and was not kept, so that a bound is never met unseen.
type Lost struct {
	Full      int `json:"full,omitempty"`      // the table was full
	PerSource int `json:"perSource,omitempty"` // one address had more to say than is kept
	Deaf      int `json:"deaf,omitempty"`      // datagrams of addresses that are not listened to any more
	Busy      int `json:"busy,omitempty"`      // came faster than they were read
	Malformed int `json:"malformed,omitempty"`
	Foreign   int `json:"foreign,omitempty"`  // not answers: others' questions, our own that came back
	Repeated  int `json:"repeated,omitempty"` // the same answer again, which is no loss
}

// Any reports whether answers were lost.
func (l Lost) Any() bool { return l.Full+l.PerSource+l.Deaf+l.Busy+l.Malformed > 0 }

// sighting is one different answer, where it came from and what it makes of
// the fingerprints.
type sighting struct {
	*answer
	seq  int
	from netip.Addr
	on   string
	at   time.Time
}

type sourceKey struct {
	protocol string
	from     netip.Addr
}

type answerKey struct {
	sourceKey
	digest attest.Digest
}

// contentKey is what an answer says, whatever the numbers of its message: a unit
// that is asked six times says the same six times.
type contentKey struct {
	sourceKey
	content [sha256.Size]byte
}

func (a *answer) content() [sha256.Size]byte {
	h := sha256.New()
	for _, c := range a.claims {
		fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s\x00", c.Subject, c.Name, c.Value, c.Source)
	}
	fmt.Fprint(h, a.kind, a.roles, a.macs, a.serial, a.endpoint, a.addrs, a.inactive, a.open)
	return [sha256.Size]byte(h.Sum(nil))
}

// table keeps the different answers, bounded.
type table struct {
	mu        sync.Mutex
	limit     Limit
	sightings []*sighting
	known     map[answerKey]bool
	said      map[contentKey]bool
	perSource map[sourceKey]int
	heard     map[netip.Addr]int
	received  map[string]int
	bytes     int
	lost      Lost
	changed   bool
	datagrams int
}

func newTable(l Limit) *table {
	if l == (Limit{}) {
		l = DefaultLimit
	}
	return &table{limit: l, known: map[answerKey]bool{}, said: map[contentKey]bool{}, perSource: map[sourceKey]int{}, heard: map[netip.Addr]int{}, received: map[string]int{}}
}

// hear counts a datagram and decides whether it is worth keeping till it is
// read: an address that floods is not listened to any more.
func (t *table) hear(protocol string, from netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.datagrams++
	t.received[protocol]++
	n, known := t.heard[from]
	if n >= t.limit.Datagrams {
		t.lost.Deaf++
		return false
	}
	if known || len(t.heard) < 4*t.limit.Answers {
		t.heard[from] = n + 1
	}
	return true
}

// admit decides whether a datagram is worth reading: not the same one again,
// and not one more where a bound was met.
func (t *table) admit(protocol string, from netip.Addr, b []byte) (attest.Digest, bool) {
	digest := attest.DigestOf(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	source := sourceKey{protocol, from}
	if t.known[answerKey{source, digest}] {
		t.lost.Repeated++
		return "", false
	}
	switch {
	case len(t.sightings) >= t.limit.Answers || t.bytes >= t.limit.Bytes:
		t.lost.Full++
		return "", false
	case t.perSource[source] >= t.limit.PerSource:
		t.lost.PerSource++
		return "", false
	}
	return digest, true
}

// refuse counts a datagram that was read and gave nothing.
func (t *table) refuse(malformed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if malformed {
		t.lost.Malformed++
	} else {
		t.lost.Foreign++
	}
}

// keep adds an answer and reports whether it is another than those before. The bounds hold here too, since several readers may have
// been admitted at once and a datagram may hold many answers.
func (t *table) keep(a *answer, from netip.Addr, on string, at time.Time) bool {
	content := a.content()
	size := 0
	for _, c := range a.claims {
		size += len(c.Value) + len(c.Source) + 160
	}
	for _, o := range a.seen {
		size += len(o.Value) + len(o.Source) + 64
	}
	for _, m := range a.marks {
		size += len(m.Says) + len(m.Match) + len(m.Source) + 200
	}
	size += 1024 * len(a.children)
	t.mu.Lock()
	defer t.mu.Unlock()
	source := sourceKey{a.protocol, from}
	said := contentKey{source, content}
	switch {
	case t.said[said]:
		t.lost.Repeated++
		return false
	case len(t.sightings) >= t.limit.Answers || t.bytes+size > t.limit.Bytes:
		t.lost.Full++
		return false
	case t.perSource[source] >= t.limit.PerSource:
		t.lost.PerSource++
		return false
	}
	t.sightings = append(t.sightings, &sighting{answer: a, seq: len(t.sightings) + 1, from: from, on: on, at: at})
	t.known[answerKey{source, a.raw}], t.said[said] = true, true
	t.perSource[source]++
	t.bytes += size
	t.changed = true
	return true
}

// snapshot returns the answers so far, and whether there are others than at the
// last call.
func (t *table) snapshot() ([]*sighting, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := t.changed
	t.changed = false
	return t.sightings[:len(t.sightings):len(t.sightings)], changed
}
