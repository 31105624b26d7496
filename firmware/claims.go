package firmware

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Verdict is what the found regions say about a claim.
type Verdict string

// The verdicts. An unproven claim is neither borne out nor excluded.
const (
	ClaimProven       Verdict = "proven"
	ClaimContradicted Verdict = "contradicted"
	ClaimUnproven     Verdict = "unproven"
)

// Claim is one partition that a table in the image says there is.
type Claim struct {
	Source  string  `json:"source"` // the table's kind and place
	Name    string  `json:"name,omitempty"`
	Offset  int64   `json:"offset"`
	Size    int64   `json:"size"`
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why"`
}

// layout is one mtdparts definition of one flash. The grammar is that of Linux
// drivers/mtd/parsers/cmdlinepart.c:
//
//	mtdparts=<mtd-id>:<part>[,<part>...][;<mtd-id>:...]
//	part = (<size>|-)[@<offset>][(<name>)][ro][lk]
type layout struct {
	source string
	text   string
	parts  []Claim
	needs  int64 // the flash size below which the layout cannot be true
}

const (
	mtdparts   = "mtdparts="
	maxLayout  = 1024 // of text; U-Boot's and the kernel's command lines are no longer
	maxLayouts = 16
	maxParts   = 64
	maxStated  = 512 // of claims that regions state
)

// layouts collects the definitions in an image, each text once.
type layouts struct{ list []layout }

// search looks through a piece of an image that starts at off and of which the
// first fresh bytes have not been seen before.
func (l *layouts) search(off int64, p []byte, fresh int) {
	for pos := 0; len(l.list) < maxLayouts; {
		i := bytes.Index(p[pos:], []byte(mtdparts))
		if i < 0 || pos+i >= fresh {
			return
		}
		pos += i + len(mtdparts)
		text := p[pos:min(len(p), pos+maxLayout)]
		if end := bytes.IndexFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\'' }); end >= 0 {
			text = text[:end]
		}
		l.add(off+int64(pos), string(text))
	}
}

func (l *layouts) add(off int64, text string) {
	if slices.ContainsFunc(l.list, func(have layout) bool { return have.text == text }) {
		return
	}
	for _, device := range strings.Split(text, ";") {
		id, defs, ok := strings.Cut(device, ":")
		if !ok || len(l.list) == maxLayouts {
			continue
		}
		one := layout{source: fmt.Sprintf("mtdparts of %s at %#x", id, off), text: text}
		if one.parts, ok = parseParts(defs); ok {
			one.settle()
			l.list = append(l.list, one)
		}
	}
}

// remainder is the size of a part written as "-" until the image size is known.
const remainder = -1

func parseParts(defs string) ([]Claim, bool) {
	var parts []Claim
	var next int64
	for _, def := range strings.Split(defs, ",") {
		if len(parts) == maxParts || len(parts) > 0 && parts[len(parts)-1].Size == remainder {
			return nil, false
		}
		p := Claim{Offset: next}
		place, rest, named := strings.Cut(def, "(")
		if named {
			name, _, closed := strings.Cut(rest, ")")
			if !closed {
				return nil, false
			}
			p.Name = name
		} else {
			place = strings.TrimSuffix(strings.TrimSuffix(place, "lk"), "ro")
		}
		size, at, placed := strings.Cut(place, "@")
		var ok bool
		if placed {
			if p.Offset, ok = parseSize(at); !ok {
				return nil, false
			}
		}
		if size == "-" {
			p.Size = remainder
		} else if p.Size, ok = parseSize(size); !ok || p.Size == 0 {
			return nil, false
		}
		parts = append(parts, p)
		next = p.Offset + max(p.Size, 0)
	}
	return parts, len(parts) > 0
}

// maxFlash bounds offsets and sizes, so that their sums cannot overflow.
const maxFlash = 1 << 50

func parseSize(s string) (int64, bool) {
	shift := 0
	if s != "" {
		switch s[len(s)-1] {
		case 'k', 'K':
			shift = 10
		case 'm', 'M':
			shift = 20
		case 'g', 'G':
			shift = 30
		}
		if shift > 0 {
			s = s[:len(s)-1]
		}
	}
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil || n < 0 || n > maxFlash>>shift {
		return 0, false
	}
	return n << shift, true
}

func (l *layout) settle() {
	for i := range l.parts {
		p := &l.parts[i]
		p.Source = l.source
		l.needs = max(l.needs, p.Offset+max(p.Size, 0))
		if p.Size == remainder {
			l.needs++
		}
	}
}

// fit gives the parts that take the rest of the flash their size.
func fit(list []layout, size int64) {
	for _, l := range list {
		for i := range l.parts {
			if p := &l.parts[i]; p.Size == remainder {
				p.Size = max(0, size-p.Offset)
			}
		}
	}
}

// boundaries returns where the claimed parts start, in order, each once.
func boundaries(list []layout) []int64 {
	var offsets []int64
	for _, l := range list {
		for _, p := range l.parts {
			offsets = append(offsets, p.Offset)
		}
	}
	slices.Sort(offsets)
	return slices.Compact(offsets)
}

// verdicts compares the claims with the regions found, and reports the
// contradicted ones as problems of the image.
func verdicts(img *Image, list []layout) []Claim {
	var claims []Claim
	for _, l := range list {
		short := l.needs > img.Size
		if short {
			img.Problems = addProblem(img.Problems, "%s needs a flash of %d bytes and the image has %d: the table is wrong or the image is a part of the flash", l.source, l.needs, img.Size)
		}
		for _, c := range l.parts {
			c.Verdict, c.Why = verdict(img, c)
			if c.Verdict == ClaimContradicted {
				img.Problems = addProblem(img.Problems, "%s: partition %q at %#x of %d bytes is contradicted: %s", c.Source, c.Name, c.Offset, c.Size, c.Why)
			}
			claims = append(claims, c)
		}
	}
	return claims
}

// stated compares the layouts that regions state with the regions found. Device
// trees of other boards and other chips lie in one image, so that what is
// contradicted here is not a problem of the image.
func stated(img *Image) []Claim {
	var claims []Claim
	img.Walk(func(_ []*Region, _ *Image, r *Region) error {
		for _, c := range r.Layout {
			if len(claims) == maxStated {
				return errors.New("enough")
			}
			c.Verdict, c.Why = verdict(img, c)
			claims = append(claims, c)
		}
		return nil
	})
	return claims
}

func verdict(img *Image, c Claim) (Verdict, string) {
	if c.Offset+c.Size > img.Size || c.Size == 0 {
		return ClaimUnproven, "it does not lie in the image"
	}
	i, exact := slices.BinarySearchFunc(img.Regions, c.Offset, func(r *Region, off int64) int { return compare(r.Offset, off) })
	if !exact {
		r := img.Regions[i-1]
		if r.State >= Parsed {
			return ClaimContradicted, fmt.Sprintf("it starts inside %s at %#x", r.Format, r.Offset)
		}
		return ClaimUnproven, fmt.Sprintf("%s bytes are there", r.State)
	}
	r := img.Regions[i]
	switch {
	case r.State < Parsed:
		return ClaimUnproven, fmt.Sprintf("%s bytes are there", r.State)
	case r.End() > c.Offset+c.Size:
		return ClaimContradicted, fmt.Sprintf("%s at %#x goes on for %d bytes past its end", r.Format, r.Offset, r.End()-c.Offset-c.Size)
	case otherRole(c.Name, r.Role):
		return ClaimContradicted, fmt.Sprintf("%s there is a %s", r.Format, r.Role)
	}
	return ClaimProven, fmt.Sprintf("%s starts there and ends inside", r.Format)
}

// otherRole tells whether a part's name promises one of the three roles that
// cannot be mistaken for each other and the region there has another.
func otherRole(name string, found Role) bool {
	firm := []Role{RoleBootLoader, RoleKernel, RoleRootFS}
	var promised Role
	switch strings.ToLower(name) {
	case "uboot", "u-boot":
		promised = RoleBootLoader
	case "kernel", "linux", "uimage":
		promised = RoleKernel
	case "rootfs", "root":
		promised = RoleRootFS
	default:
		return false
	}
	return found != promised && slices.Contains(firm, found)
}
