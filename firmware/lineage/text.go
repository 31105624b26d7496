package lineage

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

const (
	maxText    = 4 << 20 // bytes of a text that are looked at
	shingle    = 4       // words in a row that make an element
	leastReuse = 64      // words that must recur for a skeleton to tell anything
	mostWords  = 1 << 18 // different words of a skeleton
)

// isText tells a text by its beginning: no control characters but those of
// editors, in whatever encoding that extends ASCII.
func isText(head []byte) bool {
	for _, c := range head {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != 0x1b || c == 0x7f {
			return false
		}
	}
	return len(head) > 0
}

// text fills in what a text shows. Two normal forms serve two kinds of change.
// The skeleton replaces each word by the number of the first place it stood at,
// and drops white space: it is the same when a brand is replaced throughout, and
// when a minifier chose other names. The sketch samples runs of words without
// punctuation and case, most of which survive changes in a few places.
func (p *Part) text(b []byte) {
	p.Kind = Text
	shingles := bottom{k: wordsKept}
	s := skeleton{sum: sha256.New(), first: make(map[uint64]int)}
	var last [shingle]uint64
	words := 0
	for i := 0; i < len(b); {
		c := b[i]
		if !isWord(c) {
			if c > ' ' {
				s.mark(c)
			}
			i++
			continue
		}
		h := uint64(14695981039346656037)
		for ; i < len(b) && isWord(b[i]); i++ {
			h = (h ^ uint64(lower(b[i]))) * 1099511628211
		}
		s.word(h)
		copy(last[:], last[1:])
		last[shingle-1] = h
		if words++; words >= shingle {
			var e uint64
			for _, w := range last {
				e = mix(e ^ w)
			}
			shingles.add(mix(e ^ uint64(word)<<56))
		}
	}
	p.Words = shingles.kept
	if s.words-len(s.first) >= leastReuse && len(s.first) < mostWords {
		p.Traits = append(p.Traits, sum(Skeleton, s.digest()))
	}
}

// skeleton digests a text but for the choice of its words. Where few words recur,
// as in a list, that says nothing.
type skeleton struct {
	sum   hash.Hash
	first map[uint64]int
	words int
	buf   []byte
}

func (s *skeleton) word(h uint64) {
	s.words++
	n, seen := s.first[h]
	if !seen {
		n = len(s.first)
		if n < mostWords {
			s.first[h] = n
		}
	}
	s.write(binary.AppendUvarint(append(s.buf, 0), uint64(n)))
}

func (s *skeleton) mark(c byte) { s.write(append(s.buf, c)) }

func (s *skeleton) write(b []byte) {
	if s.buf = b; len(s.buf) >= 4<<10 {
		s.sum.Write(s.buf)
		s.buf = s.buf[:0]
	}
}

func (s *skeleton) digest() []byte {
	s.sum.Write(s.buf)
	s.buf = s.buf[:0]
	return s.sum.Sum(nil)
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
