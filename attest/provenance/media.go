package provenance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"assay/attest"
)

// SchemeMedia is the scheme of an endorsement that is signed video.
const SchemeMedia = "onvif-media-signing"

// Media is what verifying a recording came to. The counts are NAL units with
// slices of pictures.
type Media struct {
	Endorsement attest.Endorsement
	Codec       string
	Verified    int       // under a signature that holds
	Altered     int       // in groups whose hashes are others than was signed
	Missing     int       // signed and not in the recording
	Open        int       // under no signature in the recording: its beginning, its end, after a message was lost
	Outside     int       // of kinds that the format signs nowhere
	From, To    time.Time // of what is verified, by the unit's clock
	Firmware    string    // what the unit says in the signed messages
	Serial      string
	Maker       string
	ByOperator  bool // the key came from the operator and not from the factory
}

// mediaItem is what the next message vouches for: a slice, or a message
// without signature.
type mediaItem struct {
	hash   []byte
	first  bool // starts a group of pictures
	slices int  // that it stands for: itself, or what a message without signature vouches for
}

// Bounds on what a stream may make us do: the slices that may wait for their
// message, nine minutes of them, and the hashes that are compared in all.
const (
	maxPending   = 1 << 14
	maxMediaWork = 1 << 24
)

// mediaState follows a stream (onvif/media-signing-framework, lib/src:
// oms_common.c for hashes, oms_validator.c for groups).
type mediaState struct {
	Media
	hash    crypto.Hash
	anchor  []byte // hash of the first slice of the group, which binds the others to it
	pending []mediaItem

	chain  []*x509.Certificate
	pem    []byte
	fault  string // a signature that does not hold, or a second key
	signed int    // messages whose signature holds

	work     int // hashes compared
	synced   bool
	previous []byte   // hash of the first item of the group before
	counter  uint32   // of the last message that matched
	skipped  []uint32 // counters of messages that matched nothing before one did
}

// VerifyMedia verifies a recording of signed video: the hashes over its
// pictures, the signatures over these, and the signer's certificate to an
// anchor for media signing that speaks for the model.
//
// It proves that the pictures were signed with that key. It proves no
// freshness beyond the times that the signer's own clock gives, and a recording
// can be played again. It does not check what decodes from units that the
// format leaves out, such as parameter sets.
func VerifyMedia(name string, file []byte, anchors []*Anchor, model string, now time.Time) (*Media, error) {
	r, err := readRecording(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s := &mediaState{}
	s.Codec = "H.264"
	header := 1
	if r.h265 {
		s.Codec, header = "H.265", 2
	}
	s.hash = namedHash(r, header)
	for i, unit := range r.units {
		kind := unitKind(unit, r.h265)
		switch kind {
		case unitSlice, unitIntra:
			s.slice(unit, kind == unitIntra && len(unit) > header && unit[header]&0x80 != 0)
		case unitOther:
			s.Outside++
		case unitSEI:
			m, err := parseSEI(unit, header)
			if err != nil {
				return nil, fmt.Errorf("%s: NAL unit %d: %w", name, i, err)
			}
			if m != nil {
				s.message(m)
			}
		}
	}
	for _, p := range s.pending {
		s.Open += p.slices
	}
	s.conclude(name, anchors, model, now)
	return &s.Media, nil
}

// namedHash is the hash that the first signed message names. It is needed for
// what comes before that.
func namedHash(r recording, header int) crypto.Hash {
	for _, unit := range r.units {
		if unitKind(unit, r.h265) != unitSEI {
			continue
		}
		if m, err := parseSEI(unit, header); err == nil && m != nil && m.signature != nil && m.hash != 0 {
			return m.hash
		}
	}
	return crypto.SHA256
}

type kindOfUnit int

const (
	unitNone  kindOfUnit = iota // holds no picture
	unitSlice                   // of a picture that needs others
	unitIntra                   // of one that does not
	unitOther                   // of a picture, and of a kind that is not signed
	unitSEI
)

// unitKind sorts NAL units (H.264 table 7-1, H.265 table 7-1).
func unitKind(unit []byte, h265 bool) kindOfUnit {
	if !h265 {
		switch t := unit[0] & 0x1f; {
		case t == 1:
			return unitSlice
		case t == 5:
			return unitIntra
		case t >= 2 && t <= 4, t == 19, t == 20, t == 21:
			return unitOther
		case t == 6:
			return unitSEI
		}
		return unitNone
	}
	switch t := unit[0] >> 1 & 0x3f; {
	case t <= 1:
		return unitSlice
	case t >= 16 && t <= 21:
		return unitIntra
	case t < 32:
		return unitOther
	case t == 39, t == 40:
		return unitSEI
	}
	return unitNone
}

func (s *mediaState) sum(parts ...[]byte) []byte {
	h := s.hash.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// slice hashes one: the first of a group by itself, the others with that.
func (s *mediaState) slice(unit []byte, first bool) {
	hash := s.sum(unit)
	if first {
		s.anchor = hash
	} else {
		hash = s.sum(cmpOr(s.anchor, make([]byte, s.hash.Size())), hash)
	}
	s.pend(mediaItem{hash, first, 1})
}

// pend lets an item wait for its message. What waits too long stays open.
func (s *mediaState) pend(i mediaItem) {
	if len(s.pending) >= maxPending {
		s.Open += s.pending[0].slices
		s.pending = s.pending[1:]
	}
	s.pending = append(s.pending, i)
}

func cmpOr(a, b []byte) []byte {
	if a != nil {
		return a
	}
	return b
}

// message takes a media signing message.
func (s *mediaState) message(m *mediaSEI) {
	if s.fault != "" {
		return
	}
	if m.hash != 0 && m.hash != s.hash && m.signature != nil {
		s.fault = "the hash changes in the middle"
		return
	}
	if m.signature != nil && !s.signature(m) {
		return
	}
	covers := 0
	if m.general && len(m.group) == s.hash.Size() && len(m.list)%s.hash.Size() == 0 {
		covers = s.group(m)
	}
	if m.signature == nil {
		s.pend(mediaItem{s.sum(m.hashable), false, covers})
		return
	}
	s.Verified += covers
	if covers > 0 {
		if s.From.IsZero() {
			s.From = m.from
		}
		s.To = m.to
	}
	if m.vendor != [3]string{} {
		s.Firmware, s.Serial, s.Maker = printable(m.vendor[0]), printable(m.vendor[1]), printable(m.vendor[2])
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// printable takes out what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// signature verifies a message's own, by the key of the first certificate that
// came. Messages before that are left aside.
func (s *mediaState) signature(m *mediaSEI) bool {
	if m.chain != nil && !bytes.Equal(m.chain, s.pem) {
		chain, err := ParseChain(m.chain)
		switch {
		case err != nil:
			s.fault = fmt.Sprintf("its certificates cannot be read: %v", err)
			return false
		case s.chain != nil && !bytes.Equal(s.chain[0].RawSubjectPublicKeyInfo, chain[0].RawSubjectPublicKeyInfo):
			s.fault = "it is signed by two keys"
			return false
		}
		s.chain, s.pem, s.ByOperator = chain, m.chain, m.byOperator
	}
	if s.chain == nil {
		return false
	}
	digest := s.sum(m.hashable)
	ok := false
	switch k := s.chain[0].PublicKey.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(k, digest, m.signature)
	case *rsa.PublicKey:
		// The framework signs RSA with PSS and SHA-256 alone.
		ok = acceptable(k) == nil && s.hash == crypto.SHA256 &&
			rsa.VerifyPSS(k, s.hash, digest, m.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: s.hash}) == nil
	}
	if !ok {
		s.fault = "a signature in it does not hold"
		return false
	}
	s.signed++
	return true
}

// group finds the pending items that a message speaks of, takes them away, and
// returns how many slices they stand for.
func (s *mediaState) group(m *mediaSEI) (covers int) {
	lost := s.synced && m.counter-s.counter-1 < 1<<16 && m.counter != s.counter+1
	for at := range s.pending {
		if at > 0 && !s.pending[at].first {
			continue // groups start where pictures do
		}
		if at > 0 && s.synced && !lost {
			break
		}
		end, missing, ok := s.match(m, at)
		if !ok {
			continue
		}
		if s.synced && !lost && !bytes.Equal(m.linked, s.previous) {
			break
		}
		s.leave(at, m.counter)
		s.synced, s.counter, s.previous = true, m.counter, s.pending[0].hash
		for _, p := range s.pending[:end-at] {
			covers += p.slices
		}
		s.Missing += missing
		s.pending = s.pending[end-at:]
		return covers
	}
	switch {
	case !s.synced:
		s.skipped = append(s.skipped, m.counter)
	case m.counter-s.counter-1 >= 1<<31:
		s.fault = "its messages are out of order"
	default:
		end := s.end(m, 0)
		for _, p := range s.pending[:end] {
			s.Altered += p.slices
		}
		if end == 0 {
			s.Missing += m.count
		} else {
			s.previous = s.pending[0].hash
		}
		s.counter, s.pending = m.counter, s.pending[end:]
	}
	return 0
}

// leave gives up the items before a match. Where a message spoke of them and did
// not match, they are others than was signed.
func (s *mediaState) leave(at int, counter uint32) {
	groups, open := uint32(0), 0
	for _, p := range s.pending[:at] {
		open += p.slices
		if p.first {
			groups++
		}
	}
	s.pending = s.pending[at:]
	altered := !s.synced && slices.ContainsFunc(s.skipped, func(c uint32) bool { return counter-c-1 < groups })
	if altered {
		s.Altered += open
	} else {
		s.Open += open
	}
}

// end is where a group that starts at an item ends.
func (s *mediaState) end(m *mediaSEI, at int) int {
	end := at
	for end < len(s.pending) && (end == at || !s.pending[end].first) && (!m.partial || end-at < m.count) {
		end++
	}
	return end
}

// match compares the group that starts at an item with the message: by the one
// hash over all, or where that fails by the list of hashes, which shows what is
// missing. Both are signed. At the end of a stream signers have been seen to
// give the hash of the group before, and the right list.
func (s *mediaState) match(m *mediaSEI, at int) (end, missing int, ok bool) {
	end = s.end(m, at)
	if s.work += end - at + len(m.list)/s.hash.Size() + 1; s.work > maxMediaWork {
		s.fault = "it makes more work than a recording can"
		return 0, 0, false
	}
	var all [][]byte
	for _, p := range s.pending[at:end] {
		all = append(all, p.hash)
	}
	if len(all) > 0 && bytes.Equal(s.sum(all...), m.group) {
		return end, 0, true
	}
	size := s.hash.Size()
	if len(m.list) == 0 || len(all) == 0 {
		return 0, 0, false
	}
	list, n := m.list, 0
	for _, h := range all {
		i := 0
		for i < len(list) && !bytes.Equal(list[i:i+size], h) {
			i += size
		}
		if i >= len(list) {
			break
		}
		missing += i / size
		list = list[i+size:]
		n++
	}
	missing += len(list) / size
	if n == 0 || n < len(all) && !m.partial {
		return 0, 0, false
	}
	return at + n, missing, true
}

func (s *mediaState) conclude(name string, anchors []*Anchor, model string, now time.Time) {
	e := &s.Endorsement
	*e = attest.Endorsement{Scheme: SchemeMedia, Subject: attest.SubjectUnit, Source: name, Status: attest.StatusUnsupported}
	if s.chain == nil {
		e.Detail = "no signature of ONVIF Media Signing with its certificate is in it"
		if s.fault != "" {
			e.Status, e.Detail = attest.StatusFailed, "the video: "+s.fault
		}
		return
	}
	leaf := s.chain[0]
	e.Key, e.Algorithm = string(attest.DigestOf(leaf.RawSubjectPublicKeyInfo)), keyName(leaf.PublicKey)+" "+s.hash.String()
	a, status, why := anchorOf(s.chain, anchors, PurposeMediaSigning, model, now)
	if a != nil {
		e.Maker, e.Anchor = a.Maker, a.ID
	}
	names, nameErr := ReadDeviceNames(leaf)
	var against []string
	if plainName(s.Serial) != "na" { // what signers write that were told none
		against = names.compare(nonEmpty(s.Serial), nil).Against
	}
	by := "the key of " + quote(names.Subject)
	switch {
	case s.fault != "":
		e.Status, e.Detail = attest.StatusFailed, "the video: "+s.fault
	case s.Altered > 0, !s.synced && len(s.skipped) > 1:
		e.Status, e.Detail = attest.StatusFailed, fmt.Sprintf("the pictures are others than were signed: %d slices of them, and %d are as %s signed them", s.Altered, s.Verified, by)
		if !s.synced {
			e.Detail = "the pictures are others than were signed: none is as the signed hashes say"
		}
	case s.Verified == 0:
		e.Detail = fmt.Sprintf("%d signatures hold, and none speaks of pictures in it: record at least three groups of pictures", s.signed)
	case status == attest.StatusFailed, status == attest.StatusUnanchored:
		e.Status, e.Detail = status, fmt.Sprintf("%d slices of pictures are signed, but of the signer's certificate: %s", s.Verified, why)
	case nameErr != nil:
		e.Status, e.Detail = attest.StatusUnsupported, nameErr.Error()
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		e.Status, e.Detail = attest.StatusUnmatched, by+" may not sign by its certificate, and signed"
	case len(against) > 0:
		e.Status, e.Detail = attest.StatusUnmatched, "the certificate is another unit's than the video says: "+strings.Join(against, "; ")
	case s.Open > s.Verified:
		e.Status, e.Detail = attest.StatusUnmatched, fmt.Sprintf("%d slices of pictures are signed, and more, %d, are under no signature", s.Verified, s.Open)
	case s.Outside > 0:
		e.Status, e.Detail = attest.StatusUnmatched, fmt.Sprintf("%d units of pictures are of kinds that the format does not sign", s.Outside)
	default:
		e.Status, e.Detail = attest.StatusVerified, fmt.Sprintf("%d slices of pictures are as %s signed them, from %s to %s by the unit's clock; %d are under no signature, %d are missing",
			s.Verified, by, s.From.Format(time.RFC3339), s.To.Format(time.RFC3339), s.Open, s.Missing)
		if s.ByOperator {
			e.Detail += "; the key came from the operator and not from the factory"
		}
	}
}
