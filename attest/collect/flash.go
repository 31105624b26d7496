package collect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"assay/attest"
	"assay/attest/analysis"
	"assay/attest/provenance"
	"assay/devices"
	"assay/firmware"
	"assay/firmware/compare"
)

// imageSet is the firmware read in a session, opened until its end.
type imageSet struct {
	files    []*os.File
	images   []*firmware.Image
	evidence []attest.Image
	whole    bool // every bank was read to its last byte
	any      bool
	banks    []bankRead
}

func (s *imageSet) close() {
	for _, f := range s.files {
		f.Close()
	}
	s.files = nil
}

// readFlash reads every bank into an artefact and analyses it. A bank that was
// read in part is kept and analysed as far as it goes.
func (s *Session) readFlash(ctx context.Context, k *sink, ch devices.FlashReader) error {
	banks, err := ch.Banks(ctx)
	if err != nil {
		k.Problem(devices.ProblemKindOf(err), "flash geometry", err.Error())
		return ctx.Err()
	}
	if !s.images.any {
		s.images.any, s.images.whole = true, true
	}
	for _, b := range banks {
		s.o.Progress.Step(k.channel, fmt.Sprintf("read flash %s, %d bytes", b.Name, b.Size))
		if err := s.readBank(ctx, k, ch, b); err != nil {
			s.images.whole = false
			for _, e := range each(err) {
				k.Problem(devices.ProblemKindOf(e), "flash "+b.Name, e.Error())
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// each takes joined errors apart, so that each is a problem of its own.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

func (s *Session) readBank(ctx context.Context, k *sink, ch devices.FlashReader, b devices.Bank) error {
	f, err := os.CreateTemp(filepath.Join(s.dir, ArtefactFolder), ".flash-*")
	if err != nil {
		return fmt.Errorf("flash %s: %w", b.Name, err)
	}
	readErr := ch.ReadBank(ctx, b, f, func(done, total int64) { s.o.Progress.Bytes("flash "+b.Name, done, total) })
	if readErr == nil {
		readErr = s.settle(ctx, k, ch, b, f)
	}
	var unread *devices.UnreadError
	if readErr != nil && !errors.As(readErr, &unread) {
		// Some of it may be there, but nobody knows which.
		unread = &devices.UnreadError{Bank: b.Name, Extents: []attest.Extent{{Size: b.Size}}, Cause: readErr}
	}
	h := sha256.New()
	size, err := io.Copy(h, io.NewSectionReader(f, 0, b.Size))
	if err != nil || size == 0 {
		f.Close()
		return errors.Join(readErr, err, os.Remove(f.Name()))
	}
	digest := attest.DigestOfSum(h.Sum(nil))
	what := fmt.Sprintf("flash %s of %s", b.Name, k.channel)
	if readErr != nil {
		what += ", read in part"
	}
	if err := s.adopt(f, digest, "application/octet-stream", what, size); err != nil {
		f.Close()
		return errors.Join(readErr, err)
	}
	s.images.files = append(s.images.files, f)
	read := bankRead{channel: k.channel, name: b.Name, acquisition: b.Acquisition, digest: digest, file: f, size: size}
	if unread != nil {
		read.unread = unread.Extents
	}
	defer func() { s.images.banks = append(s.images.banks, read) }()
	for _, run := range readRuns(size, unread) {
		source := "flash " + b.Name
		if run.Size != size {
			source += fmt.Sprintf(" from %#x", run.Offset)
		}
		before := len(s.images.images)
		if err := s.analyse(ctx, k, f, run, source, b.Acquisition); err != nil {
			return errors.Join(readErr, err)
		}
		for _, img := range s.images.images[before:] {
			read.found = append(read.found, compare.Found{Offset: run.Offset, Image: img})
		}
	}
	return readErr
}

// readRuns is what of a bank was read: all but the unread extents.
func readRuns(size int64, unread *devices.UnreadError) []attest.Extent {
	runs := []attest.Extent{{Size: size}}
	if unread == nil {
		return runs
	}
	for _, u := range unread.Extents {
		var next []attest.Extent
		for _, r := range runs {
			end, from, to := r.Offset+r.Size, max(u.Offset, r.Offset), min(u.Offset+u.Size, r.Offset+r.Size)
			if from >= to {
				next = append(next, r)
				continue
			}
			if from > r.Offset {
				next = append(next, attest.Extent{Offset: r.Offset, Size: from - r.Offset})
			}
			if to < end {
				next = append(next, attest.Extent{Offset: to, Size: end - to})
			}
		}
		runs = next
	}
	return runs
}

// analyse partitions an image, takes its inventory and keeps both: in a confined
// child where that can be, since the image is the unit's. Where the budget ends
// the analysis, what was found before is kept, and said.
func (s *Session) analyse(ctx context.Context, k *sink, f *os.File, x attest.Extent, source string, a attest.Acquisition) error {
	s.o.Progress.Step(k.channel, "analyse "+source)
	found, err := analysis.Run(ctx, analysis.Request{
		File: f, Offset: x.Offset, Size: x.Size, Limits: s.o.Limits, Confine: true,
		Progress: func(done, total int64) { s.o.Progress.Bytes("analyse "+source, done, total) },
	})
	if analysis.IsHostile(err) {
		k.Problem(attest.ProblemHostile, source, err.Error())
		s.images.whole = false
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	if found.Ended != nil {
		k.Problem(attest.ProblemHostile, source, fmt.Sprintf("%v; what was found before is kept", found.Ended))
		s.images.whole = false
	}
	img, report := found.Image, found.Inventory
	out := attest.Image{
		Digest: attest.Digest("sha256:" + img.SHA256), Size: img.Size, Channel: k.channel, Source: source, Acquisition: a,
		Bytes: map[string]int64{}, Regions: regions(img),
	}
	for state, n := range img.Tally() {
		out.Bytes[state.String()] = n
	}
	for _, p := range img.Problems {
		k.Problem(attest.ProblemMalformed, source, p)
	}
	for _, r := range img.Regions {
		for _, p := range r.Problems {
			k.Problem(attest.ProblemMalformed, source, fmt.Sprintf("%s at %#x: %s", source, r.Offset, p))
		}
	}
	s.environment(k, img, source, a)
	if found.InventoryEnded != nil {
		k.Problem(attest.ProblemHostile, source, fmt.Sprintf("inventory: %v; what was found before is kept", found.InventoryEnded))
	}
	for _, p := range report.Problems {
		k.Problem(attest.ProblemIncomplete, source, "inventory: "+p)
	}
	for _, c := range report.Components {
		out.Components = append(out.Components, attest.Component{Name: c.Name, Version: c.Version, Path: clean(c.Path), Offset: c.Offset})
	}
	for _, m := range report.Marks {
		var strength attest.Strength
		if err := strength.UnmarshalText([]byte(m.Strength)); err != nil {
			return fmt.Errorf("%s: mark %s: %w", source, m.Rule, err)
		}
		k.Mark(attest.Mark{
			Entity: m.Entity, Subject: attest.Subject(m.Subject), Strength: strength, Rule: m.Rule, Says: m.Says, Match: m.Match,
			Source: fmt.Sprintf("%s %s at %#x", source, m.Path, m.Offset), Raw: out.Digest,
		})
	}
	s.images.images = append(s.images.images, img)
	s.images.evidence = append(s.images.evidence, out)
	return nil
}

// environment takes the identifiers out of a boot loader's environment in an
// image. They are what ties a dump to the unit that it was read from.
func (s *Session) environment(k *sink, img *firmware.Image, source string, a attest.Acquisition) {
	_ = img.Walk(func(_ []*firmware.Region, _ *firmware.Image, r *firmware.Region) error {
		if r.Format != "u-boot-env" {
			return nil
		}
		for _, x := range []struct{ variable, name string }{{"ethaddr", attest.NameMAC}, {"serial#", attest.NameSerial}} {
			if v := r.Field(x.variable); v != "" {
				k.Claim(attest.Claim{
					Subject: attest.SubjectUnit, Name: x.name, Value: v, Acquisition: a,
					Source: fmt.Sprintf("%s u-boot-env at %#x %s", source, r.Offset, x.variable), Raw: attest.Digest("sha256:" + img.SHA256),
				})
			}
		}
		return nil
	})
}

// regions flattens an image for the evidence: what the image holds directly and
// one level of what that unpacks to. The rest is in the image, which is kept.
func regions(img *firmware.Image) []attest.Region {
	out := []attest.Region{}
	_ = img.Walk(func(path []*firmware.Region, holder *firmware.Image, r *firmware.Region) error {
		if len(out) >= 4096 {
			return errTooMany
		}
		var in []string
		for _, p := range path {
			in = append(in, p.Format)
		}
		note := ""
		if len(r.Problems) > 0 {
			note = clean(r.Problems[0])
		}
		x := attest.Region{
			Extent: attest.Extent{Offset: r.Offset, Size: r.Size}, Format: r.Format, Name: clean(r.Name),
			Role: string(r.Role), State: r.State.String(), SHA256: r.SHA256, Note: note,
		}
		for i, f := range in {
			if i > 0 {
				x.Path += "/"
			}
			x.Path += f
		}
		out = append(out, x)
		return nil
	})
	return out
}

var errTooMany = errors.New("more regions than evidence lists")

// verifyImages checks the vendor's signatures over what was read, once all
// channels have spoken, since an anchor may speak for one model only.
func (s *Session) verifyImages(ctx context.Context) error {
	var reports []*provenance.Report
	model := identity(&s.evidence).Model
	for i, img := range s.images.images {
		out := &s.images.evidence[i]
		s.o.Progress.Step(out.Channel, "verify signatures over "+out.Source)
		rep, err := provenance.Verify(ctx, img, out.Source, s.o.Documents, s.o.Anchors, model)
		if err != nil {
			return err
		}
		for j := range rep.Endorsements {
			rep.Endorsements[j].ID = fmt.Sprintf("endorsement-%d", len(s.evidence.Endorsements)+1)
			s.evidence.Endorsements = append(s.evidence.Endorsements, rep.Endorsements[j])
		}
		sink := &sink{s: s, channel: out.Channel}
		for _, m := range rep.Marks() {
			sink.Mark(m)
		}
		out.Uncovered = rep.Uncovered
		reports = append(reports, rep)
	}
	chain := provenance.BootChain(s.images.images, reports)
	if chain.Whole && !s.images.whole {
		chain = provenance.Chain{Reason: "the flash was not read whole"}
	}
	for i := range s.images.evidence {
		out := &s.images.evidence[i]
		c := attest.Claim{
			Subject: attest.SubjectFirmware, Name: attest.NameBootChain, Value: string(out.Digest),
			Source: out.Source, Acquisition: out.Acquisition, Raw: out.Digest,
		}
		chain.Grade(&c)
		(&sink{s: s, channel: out.Channel}).Claim(c)
		out.Gap = chain.Reason
	}
	s.evidence.Images = s.images.evidence
	return nil
}
