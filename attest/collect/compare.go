package collect

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"assay/attest"
	"assay/firmware/compare"
)

// bankRead is a flash memory as one channel read it.
type bankRead struct {
	channel     string
	name        string
	acquisition attest.Acquisition
	digest      attest.Digest // of the file
	file        *os.File
	size        int64
	unread      []attest.Extent
	found       []compare.Found
}

func (b *bankRead) source() string { return "flash " + b.name }

func (b *bankRead) says() string {
	return fmt.Sprintf("%s (%s, %s)", b.channel, b.acquisition, b.acquisition.Words())
}

func (b *bankRead) image() compare.Image {
	i := compare.Image{Name: b.says(), Data: b.file, Size: b.size, Found: b.found}
	for _, x := range b.unread {
		i.Unread = append(i.Unread, compare.Extent(x))
	}
	return i
}

// Rules of the contradictions between two reads of one flash.
const (
	ruleLies   = "in-band-against-direct" // where nothing writes, the unit's own software gave other bytes than the chip has
	ruleOneBit = "one-bit"                // the same, by a single bit: to be read again
)

const maxPlaces = 16 // of one comparison, that become contradictions

// compareBanks holds what the unit's own software gave of its flash against what
// was read past it. That is the one test which firmware cannot pass by lying.
func (s *Session) compareBanks(ctx context.Context) ([]attest.Contradiction, error) {
	var out []attest.Contradiction
	for i := range s.images.banks {
		direct := &s.images.banks[i]
		if direct.acquisition != attest.A4 {
			continue
		}
		var channels []string
		best := map[string]*compare.Report{}
		of := map[string]*bankRead{}
		for j := range s.images.banks {
			b := &s.images.banks[j]
			if b.acquisition == attest.A0 || b.acquisition == attest.A4 || b.size != direct.size {
				continue
			}
			s.o.Progress.Step(b.channel, "compare "+b.source()+" with "+direct.channel)
			r, err := compare.Compare(ctx, b.image(), direct.image())
			if err != nil {
				return nil, err
			}
			// A unit may have two memories of one size: the one that is most
			// alike is the one under the clip.
			if best[b.channel] == nil {
				channels = append(channels, b.channel)
			} else if best[b.channel].Differing <= r.Differing {
				continue
			}
			best[b.channel], of[b.channel] = r, b
		}
		for _, c := range channels {
			out = append(out, s.compared(best[c], of[c], direct)...)
		}
	}
	return out, nil
}

// compared keeps a comparison and returns what in it contradicts itself.
func (s *Session) compared(r *compare.Report, unit, direct *bankRead) []attest.Contradiction {
	in, clip := &sink{s: s, channel: unit.channel}, &sink{s: s, channel: direct.channel}
	if b, err := json.Marshal(r); err == nil {
		clip.Artefact("application/json", fmt.Sprintf("comparison of %s of %s with %s", unit.source(), unit.channel, direct.channel), b)
	}
	for _, n := range r.Notes {
		clip.Problem(attest.ProblemIncomplete, "comparison", n)
	}
	rule, why := ruleLies, "nothing writes there on a unit that runs as it should: its firmware lies about itself, or it was changed between the two reads"
	switch r.Verdict {
	case compare.OneBit:
		rule, why = ruleOneBit, "one bit: read both again before you call it tampered"
	case compare.Immutable:
	case compare.Unexplained:
		clip.Problem(attest.ProblemIncomplete, "comparison", fmt.Sprintf("%s and %s: %s", unit.says(), direct.says(), r.Says))
		return nil
	default:
		return nil
	}
	var out []attest.Contradiction
	add := func(a, b compare.Region, differ string) {
		subject := attest.SubjectFirmware
		if a.Role == "boot-loader" || b.Role == "boot-loader" {
			subject = attest.SubjectBootLoader
		}
		side := func(k *sink, bank *bankRead, x compare.Region, hex string) attest.Side {
			value := content(x)
			if hex != "" {
				value += ", bytes " + hex
			}
			c := attest.Claim{Subject: subject, Name: "content", Value: value, Source: fmt.Sprintf("%s at %#x", bank.source(), x.Offset), Acquisition: bank.acquisition, Raw: bank.digest}
			c.ID = k.Claim(c)
			c.Channel = k.channel
			return side(&c)
		}
		d := firstIn(r, a)
		one, two := side(in, unit, a, d.BytesA), side(clip, direct, b, d.BytesB)
		out = append(out, attest.Contradiction{
			Subject: subject, Name: "content", Rule: rule,
			Says: clean(fmt.Sprintf("%s gives %s, and %s has %s%s: %s", unit.says(), one.Value, direct.says(), two.Value, differ, why)), Sides: []attest.Side{one, two},
		})
	}
	more := 0
	for _, p := range r.Places {
		switch {
		case p.Class == compare.ClassMutable && (rule == ruleLies || r.Bits > 1), p.Class == compare.ClassUnknown && rule == ruleLies:
		case len(out) == maxPlaces:
			more++
		default:
			add(p.A, p.B, fmt.Sprintf("; %d bytes differ, from %#x on", p.Differing, p.First))
		}
	}
	for _, i := range r.Inside {
		switch {
		case i.Class != compare.ClassImmutable:
		case len(out) == maxPlaces:
			more++
		default:
			add(i.A, i.B, "")
		}
	}
	if more > 0 {
		clip.Problem(attest.ProblemIncomplete, "comparison", fmt.Sprintf("%d more regions differ between %s and %s; all are in the comparison that is kept", more, unit.says(), direct.says()))
	}
	return out
}

// content names what an image has in a place.
func content(x compare.Region) string {
	if x.Path == "" {
		return "nothing"
	}
	name := x.Path
	if x.Role != "" {
		name = x.Role + " " + name
	}
	if x.SHA256 != "" {
		name += " sha256:" + x.SHA256
	}
	return name
}

// firstIn is the first difference that is listed in a region of A.
func firstIn(r *compare.Report, a compare.Region) compare.Difference {
	for _, d := range r.Extents {
		if d.A >= a.Offset && d.A < a.Offset+a.Size && r.Places[d.Place].A.Path == a.Path {
			return d
		}
	}
	return compare.Difference{}
}
