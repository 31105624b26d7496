package inventory

import "encoding/binary"

// literals finds all strings of interest in one pass that looks at every fourth
// position only: whichever of its first four bytes a literal has there, the three
// bytes from it on are in a table of 65,536 bits.
type literals struct {
	bits    [1 << 10]uint64
	heads   [1 << 16]uint16 // 1 + the first entry of a hash
	entries []entry
}

const (
	stride     = 4
	gramSize   = 3
	minLiteral = stride + gramSize - 1
)

// entry is one of the four places at which a literal may be met.
type entry struct {
	gram   uint32
	at     uint8 // bytes of the literal before it
	next   uint16
	target target
}

// target is what a literal was looked for.
type target struct {
	literal    string
	kind       kind
	rule       int
	classifier int
}

type kind uint8

const (
	ofRule kind = iota
	ofClassifier
	ofConfirmation
	ofPEM
	ofOID
	ofRSA
	ofSSH
	ofAccount
)

var targets = newLiterals()

func newLiterals() *literals {
	l := &literals{}
	for i := range rules {
		if rules[i].Literal != "" {
			l.add(target{literal: rules[i].Literal, kind: ofRule, rule: i})
		}
	}
	for i, c := range classifiers {
		l.add(target{literal: c.literal, kind: ofClassifier, classifier: i})
		if c.confirm != "" {
			l.add(target{literal: c.confirm, kind: ofConfirmation, classifier: i})
		}
	}
	l.add(target{literal: "-----BEGIN ", kind: ofPEM})
	for _, s := range keyOIDs {
		l.add(target{literal: s, kind: ofOID})
	}
	for _, s := range rsaVersions {
		l.add(target{literal: s, kind: ofRSA})
	}
	for _, s := range sshLines {
		l.add(target{literal: s, kind: ofSSH})
	}
	for _, s := range accountLines {
		l.add(target{literal: s, kind: ofAccount})
	}
	return l
}

func gramOf(p []byte) uint32 { return binary.LittleEndian.Uint32(p) & 0xffffff }

func hashOf(gram uint32) uint16 { return uint16(gram * 0x9e3779b1 >> 16) }

func (l *literals) add(t target) {
	if len(t.literal) < minLiteral {
		panic("inventory: literal " + t.literal + " is too short for the search")
	}
	for at := range stride {
		gram := gramOf([]byte(t.literal[at:at+gramSize] + "\x00"))
		h := hashOf(gram)
		l.bits[h>>6] |= 1 << (h & 63)
		l.entries = append(l.entries, entry{gram: gram, at: uint8(at), next: l.heads[h], target: t})
		l.heads[h] = uint16(len(l.entries))
	}
}
