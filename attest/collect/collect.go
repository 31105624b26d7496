// Package collect turns channels into evidence: it lets each channel identify
// the unit and read its flash, analyses the firmware, verifies signatures over
// it, and compares what the channels said with each other.
//
// What a channel finds is on disk, in the session's folder, before the next
// request is sent. When a channel breaks, or the program ends, what was
// collected is there.
package collect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"assay/attest"
	"assay/attest/entity"
	"assay/attest/provenance"
	"assay/devices"
	"assay/firmware/budget"
	"assay/internal/durable"
)

// ArtefactFolder is the folder, inside a session's, of files named by the
// hexadecimal digits of their SHA-256.
const ArtefactFolder = "artefacts"

// Bounds on what one unit may make a session keep.
const (
	maxClaims    = 10_000
	maxMarks     = 10_000
	maxChildren  = 1_024
	maxProblems  = 1_000
	maxArtefacts = 10_000
	maxText      = 1_024 // bytes of a claim's value
)

// Progress is told what a session does. Its methods are called from one
// goroutine at a time.
type Progress interface {
	Step(channel, what string)
	Bytes(what string, done, total int64)
}

// Options are what a session works with.
type Options struct {
	Tool      string // name and version of the program
	Entities  *entity.Data
	Anchors   []*provenance.Anchor
	Models    []*provenance.ModelEndorsement
	Documents []provenance.Document // vendor statements that came beside the unit
	Labels    map[string]string     // what is printed on the unit: maker, model, serial, mac
	Limits    budget.Limits
	// Country is where the unit is to stand, by ISO 3166-1 (two letters), or
	// empty: some serial numbers name the market that a unit was made for.
	Country string
	// KeyHolders returns the units of the register that have shown a key, by the
	// digest of its SubjectPublicKeyInfo; nil where there is no register.
	KeyHolders func(ctx context.Context, key attest.Digest) ([]attest.Unit, error)
	SkipFlash  bool
	Progress   Progress // nil for none
	Now        func() time.Time
}

// Names of claims that only collecting compares.
const (
	NameSiteCountry = "site-country" // of the operator: where the unit is to stand
	NameSubSerial   = "sub-serial"   // the short serial number, where a unit gives both
)

// Session collects evidence about one unit.
type Session struct {
	dir string
	o   Options

	mu        sync.Mutex
	evidence  attest.Evidence
	artefacts map[attest.Digest]bool
	dropped   map[string]int // what the bounds kept out

	images     imageSet
	handshakes []handshake
}

// New starts a session that keeps its artefacts under dir, which it makes.
func New(dir string, o Options) (*Session, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = silent{}
	}
	if err := durable.MkdirAll(filepath.Join(dir, ArtefactFolder), 0o700); err != nil {
		return nil, fmt.Errorf("session folder: %w", err)
	}
	s := &Session{dir: dir, o: o, artefacts: map[attest.Digest]bool{}, dropped: map[string]int{}}
	s.evidence = attest.Evidence{Schema: attest.EvidenceSchema, Tool: o.Tool, Started: s.now(), Claims: []attest.Claim{}}
	s.labels()
	return s, nil
}

type silent struct{}

func (silent) Step(string, string)        {}
func (silent) Bytes(string, int64, int64) {}

func (s *Session) now() time.Time { return s.o.Now().UTC().Truncate(time.Second) }

// labels keeps what the operator read off the unit's outside. A label is a
// channel of its own: it is the one that a relabelled unit was given.
func (s *Session) labels() {
	sink := &sink{s: s, channel: "label"}
	for _, name := range []string{attest.NameMaker, attest.NameModel, attest.NameSerial, attest.NameMAC} {
		if v := s.o.Labels[name]; v != "" {
			sink.Claim(attest.Claim{Subject: attest.SubjectUnit, Name: name, Value: v, Source: "label " + name})
		}
	}
	if c := s.o.Country; c != "" {
		sink.Claim(attest.Claim{Subject: attest.SubjectUnit, Name: NameSiteCountry, Value: strings.ToUpper(c), Source: "operator country"})
	}
}

// keyHolders asks the register for each key that the unit showed. A register
// that cannot be read is a problem of the session, and no contradiction.
func (s *Session) keyHolders(ctx context.Context) map[string][]attest.Unit {
	if s.o.KeyHolders == nil {
		return nil
	}
	out := map[string][]attest.Unit{}
	for _, c := range s.evidence.Claims {
		key := attest.Digest(c.Value)
		if _, asked := out[c.Value]; asked || !slices.Contains(attest.KeyNames, c.Name) || !key.Valid() || len(out) >= maxSides {
			continue
		}
		holders, err := s.o.KeyHolders(ctx, key)
		if err != nil {
			s.problem(attest.ProblemIncomplete, "session", "register", fmt.Sprintf("whether another unit has the key %s was not looked up: %v", c.Value, err))
			return out
		}
		out[c.Value] = holders
	}
	return out
}

// Collect lets a channel identify the unit and, where it can, reads the flash.
// The error says that the channel gave nothing; it is among the evidence's
// problems too, and other channels may go on.
func (s *Session) Collect(ctx context.Context, target devices.Target, ch devices.Channel) error {
	sink := &sink{s: s, channel: target.String()}
	s.evidence.Targets = append(s.evidence.Targets, target.String())
	s.o.Progress.Step(sink.channel, "identify")
	if err := ch.Identify(ctx, sink); err != nil {
		sink.Problem(devices.ProblemKindOf(err), "identify", err.Error())
		return err
	}
	if flash, ok := ch.(devices.FlashReader); ok && !s.o.SkipFlash {
		if err := s.readFlash(ctx, sink, flash); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Evidence ends the session: it verifies what the images carry, compares the
// claims, and returns all that was found.
func (s *Session) Evidence(ctx context.Context) (*attest.Evidence, error) {
	defer s.images.close()
	if err := s.verifyImages(ctx); err != nil {
		return nil, err
	}
	lies, err := s.compareBanks(ctx)
	if err != nil {
		return nil, err
	}
	others := s.verifyDevice()
	e := &s.evidence
	e.Contradictions = append(append(crossCheck(e, s.o.Entities, s.keyHolders(ctx)), lies...), others...)
	for i := range e.Contradictions {
		e.Contradictions[i].ID = fmt.Sprintf("contradiction-%d", i+1)
	}
	e.Unit = identity(e)
	for _, what := range []string{"claims", "marks", "children", "artefacts"} {
		if n := s.dropped[what]; n > 0 {
			e.Problems = append(e.Problems, attest.Problem{
				Kind: attest.ProblemHostile, Channel: "session", Says: fmt.Sprintf("%d more %s than a unit can need were not kept", n, what),
			})
		}
	}
	e.Ended = s.now()
	return e, nil
}

var _ devices.ChildSink = (*sink)(nil)

// sink takes what one channel finds.
type sink struct {
	s       *Session
	channel string
}

func (k *sink) Artefact(mediaType, what string, raw []byte) attest.Digest {
	d := attest.DigestOf(raw)
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if k.s.artefacts[d] {
		return d
	}
	if len(k.s.artefacts) >= maxArtefacts {
		k.s.dropped["artefacts"]++
		return ""
	}
	path := filepath.Join(k.s.dir, ArtefactFolder, d.Hex())
	if err := durable.Write(path, 0o600, durable.Bytes(raw)); err != nil {
		k.s.problem(attest.ProblemIncomplete, k.channel, what, fmt.Sprintf("its raw bytes could not be kept: %v", err))
		return ""
	}
	k.s.keep(d, mediaType, what, int64(len(raw)))
	return d
}

func (s *Session) keep(d attest.Digest, mediaType, what string, size int64) {
	s.artefacts[d] = true
	s.evidence.Artefacts = append(s.evidence.Artefacts, attest.Artefact{Digest: d, MediaType: mediaType, Size: size, What: clean(what)})
}

func (k *sink) Claim(c attest.Claim) string {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if len(k.s.evidence.Claims) >= maxClaims {
		k.s.dropped["claims"]++
		return ""
	}
	c.ID = fmt.Sprintf("claim-%d", len(k.s.evidence.Claims)+1)
	c.Channel, c.Time = k.channel, k.s.now()
	c.Value, c.Source = clean(c.Value), clean(c.Source)
	k.s.evidence.Claims = append(k.s.evidence.Claims, c)
	return c.ID
}

func (k *sink) Mark(m attest.Mark) string {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if len(k.s.evidence.Marks) >= maxMarks {
		k.s.dropped["marks"]++
		return ""
	}
	m.ID = fmt.Sprintf("mark-%d", len(k.s.evidence.Marks)+1)
	m.Channel = k.channel
	m.Says, m.Match, m.Source = clean(m.Says), clean(m.Match), clean(m.Source)
	k.s.evidence.Marks = append(k.s.evidence.Marks, m)
	return m.ID
}

// Child implements [devices.ChildSink].
func (k *sink) Child(c attest.Child) string {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if len(k.s.evidence.Children) >= maxChildren {
		k.s.dropped["children"]++
		return ""
	}
	c.ID = fmt.Sprintf("child-%d", len(k.s.evidence.Children)+1)
	c.Channel = k.channel
	for _, v := range []*string{&c.Slot, &c.Maker, &c.Model, &c.Serial, &c.Firmware, &c.Address, &c.MAC, &c.Protocol, &c.Source} {
		*v = clean(*v)
	}
	c.Marks = slices.Clone(c.Marks)
	for i := range c.Marks {
		m := &c.Marks[i]
		m.ID, m.Channel = fmt.Sprintf("%s-mark-%d", c.ID, i+1), k.channel
		m.Says, m.Match, m.Source = clean(m.Says), clean(m.Match), clean(m.Source)
	}
	k.s.evidence.Children = append(k.s.evidence.Children, c)
	return c.ID
}

func (k *sink) Problem(kind attest.ProblemKind, source, says string) {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.s.problem(kind, k.channel, source, says)
}

func (s *Session) problem(kind attest.ProblemKind, channel, source, says string) {
	if len(s.evidence.Problems) >= maxProblems {
		return
	}
	s.evidence.Problems = append(s.evidence.Problems, attest.Problem{Kind: kind, Channel: channel, Source: clean(source), Says: clean(says)})
}

// clean makes a text from a unit safe to print and bounded: a terminal obeys
// control characters, and bidirectional ones make a serial number read as another.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			return '\uFFFD'
		}
		return r
	}, strings.TrimSpace(s))
}

// OpenArtefact opens an artefact that a session in dir kept.
func OpenArtefact(dir string, d attest.Digest) (*os.File, error) {
	if !d.Valid() {
		return nil, fmt.Errorf("artefact %q is not a digest", d)
	}
	return os.Open(filepath.Join(dir, ArtefactFolder, d.Hex()))
}

// adopt moves a finished file into the artefacts.
func (s *Session) adopt(tmp *os.File, d attest.Digest, mediaType, what string, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := filepath.Join(s.dir, ArtefactFolder, d.Hex())
	if err := errors.Join(tmp.Sync(), os.Rename(tmp.Name(), path), durable.SyncDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !s.artefacts[d] {
		s.keep(d, mediaType, what, size)
	}
	return nil
}
