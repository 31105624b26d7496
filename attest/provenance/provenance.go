package provenance

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"assay/attest"
	"assay/attest/internal/proof"
	"assay/firmware"
)

// Report is what verifying one image came to.
type Report struct {
	Endorsements []attest.Endorsement
	Uncovered    []attest.Region // what no verified signature covers and is not erased
}

// Verify checks every signature that it knows in an image, and the documents
// that came beside it, against the anchors that speak for the model. name is
// where the image came from. It changes nothing and executes nothing.
//
// It does not check that the unit boots these bytes, nor that its boot loader
// enforces the signatures.
func Verify(ctx context.Context, img *firmware.Image, name string, docs []Document, anchors []*Anchor, model string) (*Report, error) {
	var usable []*Anchor
	for _, a := range anchors {
		if a.Purpose == PurposeFirmware && a.Vouches(model) {
			usable = append(usable, a)
		}
	}
	digest := attest.Digest("sha256:" + img.SHA256)
	var out Report
	err := img.Walk(func(_ []*firmware.Region, holder *firmware.Image, r *firmware.Region) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if holder != img || r.Format != "fit" {
			return nil
		}
		found, err := verifyFIT(img, r.Offset, r.Size, fmt.Sprintf("%s FIT at %#x ", name, r.Offset), usable)
		if err != nil {
			return nil // the region carries its own problem: it is no readable tree
		}
		out.Endorsements = append(out.Endorsements, found...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out.Endorsements = append(out.Endorsements, verifyDocument(img, d, usable))
	}
	var covered []attest.Extent
	for i := range out.Endorsements {
		e := &out.Endorsements[i]
		e.Image = digest
		if e.Status == attest.StatusVerified {
			covered = append(covered, e.Covered...)
		}
	}
	out.Uncovered = uncovered(img, merge(covered))
	return &out, nil
}

func uncovered(img *firmware.Image, covered []attest.Extent) []attest.Region {
	var out []attest.Region
	var walk func(rs []*firmware.Region)
	own := func(r *firmware.Region, x attest.Extent) {
		for _, part := range subtract(x, covered) {
			out = append(out, attest.Region{
				Extent: part, Format: r.Format, Name: r.Name, Role: string(r.Role), State: r.State.String(),
			})
		}
	}
	walk = func(rs []*firmware.Region) {
		for _, r := range rs {
			if r.State == firmware.Erased {
				continue
			}
			pos := r.Offset
			for _, c := range r.Children {
				own(r, attest.Extent{Offset: pos, Size: c.Offset - pos})
				pos = c.Offset + c.Size
			}
			own(r, attest.Extent{Offset: pos, Size: r.Offset + r.Size - pos})
			walk(r.Children)
		}
	}
	walk(img.Regions)
	return out
}

// maxBookkeeping is how many uncovered bytes of its own a FIT may have: the
// header, the signatures themselves, the tokens around what is signed. More is
// room to hide something in.
const maxBookkeeping = 8 << 10

// blocking returns the first uncovered part of an image that could be code, or
// is not understood. The boot loader's environment is written by the unit and
// carries none; of containers only a FIT's own bytes are known to be harmless,
// since other containers' bytes are their contents.
func blocking(uncovered []attest.Region) *attest.Region {
	var bookkeeping int64
	for i, u := range uncovered {
		switch {
		case u.Role == string(firmware.RoleEnvironment):
		case u.Format == "fit" && u.Role == string(firmware.RoleContainer):
			if bookkeeping += u.Size; bookkeeping > maxBookkeeping {
				return &uncovered[i]
			}
		default:
			return &uncovered[i]
		}
	}
	return nil
}

// Chain is the boot chain over all images of a unit.
type Chain struct {
	Whole  bool
	Basis  string // what covers it
	Reason string // why it is not whole
}

// BootChain reports whether verified signatures cover the whole boot chain of a
// unit: a boot loader and a kernel are there, and not one byte that could be
// code, or that is not understood, is left out in any image.
func BootChain(images []*firmware.Image, reports []*Report) Chain {
	roles := map[firmware.Role]bool{}
	for i, img := range images {
		if u := blocking(reports[i].Uncovered); u != nil {
			what := strings.TrimSpace(u.Format + " " + u.Role)
			if what == "" {
				what = u.State + " bytes"
			}
			return Chain{Reason: fmt.Sprintf("no signature covers %d bytes at %#x (%s)", u.Size, u.Offset, what)}
		}
		_ = img.Walk(func(_ []*firmware.Region, _ *firmware.Image, r *firmware.Region) error {
			roles[r.Role] = true
			return nil
		})
	}
	switch {
	case !roles[firmware.RoleBootLoader]:
		return Chain{Reason: "no boot loader was found in what was read"}
	case !roles[firmware.RoleKernel] && !roles[firmware.RoleFirmware]:
		return Chain{Reason: "no kernel was found in what was read"}
	}
	basis := ""
	for _, r := range reports {
		for _, e := range r.Endorsements {
			if e.Status == attest.StatusVerified {
				if basis != "" {
					basis += ", "
				}
				basis += e.ID
			}
		}
	}
	return Chain{Whole: true, Basis: basis}
}

// Grade raises a boot-chain claim to vendor-signed when the chain is whole.
func (c Chain) Grade(claim *attest.Claim) {
	if c.Whole {
		claim.Raise(proof.VendorSigned(), c.Basis)
	}
}

// Marks are the signs of their makers that verified signatures are: nobody else
// could have made them.
func (r *Report) Marks() []attest.Mark {
	var out []attest.Mark
	seen := map[string]bool{}
	for _, e := range r.Endorsements {
		if e.Status != attest.StatusVerified || e.Maker == "" || seen[e.Maker] {
			continue
		}
		seen[e.Maker] = true
		out = append(out, attest.Mark{
			Entity: e.Maker, Subject: attest.SubjectFirmware, Strength: attest.C3, Rule: "signature",
			Says: "the firmware carries a valid signature by a key of " + e.Maker, Match: e.Key, Source: e.Source,
		})
	}
	return out
}

// decodeBase64 takes both alphabets, as DSSE asks of its readers.
func decodeBase64(s string) ([]byte, error) {
	if b, err := base64.StdEncoding.DecodeString(s); err == nil {
		return b, nil
	}
	return base64.URLEncoding.DecodeString(s)
}
