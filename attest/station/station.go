// Package station certifies units: it opens the channels, collects evidence,
// appraises it, issues the permit and registers it. A command, a batch and a
// web page run through the same functions.
package station

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"assay/attest"
	"assay/attest/analysis"
	"assay/attest/appraise"
	"assay/attest/collect"
	"assay/attest/entity"
	"assay/attest/permit"
	"assay/attest/provenance"
	"assay/attest/register"
	"assay/devices"
	"assay/devices/console"
	"assay/devices/console/uboot"
	"assay/devices/flash"
	"assay/devices/network"
	"assay/firmware"
	"assay/internal/durable"
)

// Request asks for one unit to be looked at. All targets are ways into the
// same unit.
type Request struct {
	Targets      []devices.Target
	Account      *devices.Account // nil for none
	ONVIFAccount *devices.Account // nil where ONVIF takes Account
	Again        bool             // offer a login though an earlier run did in vain
	AllowBasic   bool             // let the password travel unencrypted where the unit offers nothing better
	SNMP         network.SNMP     // how the unit may be asked over SNMP; zero: not
	Ports        map[string][]int // where its sockets are asked, by protocol; nil: at the usual ports
	Labels       map[string]string
	Country      string   // where the unit is to stand, ISO 3166-1; empty when nobody says
	Endorsements []string // files with vendor statements
	SkipFlash    bool
	Serial       Serial
	Dir          string // where evidence and permit are written
	Progress     collect.Progress
	Tool         string
	Now          func() time.Time
}

// Files that a session leaves in its folder, beside the permit's own.
const (
	EvidenceFile = "evidence.json"
	ResultFile   = "result.json"
)

// ErrNothing says that no channel gave anything; each channel's own error is
// joined to it.
var ErrNothing = errors.New("nothing could be read from the unit")

// Collect reads a unit. What was found is in the request's folder even when an
// error is returned beside it.
func (h Home) Collect(ctx context.Context, r Request) (*attest.Evidence, error) {
	o := collect.Options{Tool: r.Tool, Labels: r.Labels, Country: r.Country, SkipFlash: r.SkipFlash, Progress: r.Progress, Now: r.Now}
	var err error
	if o.Entities, err = h.Entities(); err != nil {
		return nil, err
	}
	trust, err := h.Trust()
	if err != nil {
		return nil, err
	}
	o.Anchors, o.Models = trust.Anchors(), trust.Models()
	if o.Documents, err = documents(r.Endorsements); err != nil {
		return nil, err
	}
	o.KeyHolders = h.keyHolders
	forget, err := h.remember(ctx, r)
	if err != nil {
		return nil, err
	}
	defer forget()
	s, err := collect.New(r.Dir, o)
	if err != nil {
		return nil, err
	}
	var channelErrs []error
	for _, t := range r.Targets {
		if err := collectOne(ctx, s, t, r); err != nil {
			channelErrs = append(channelErrs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	// The analysis that ends a session is short, and what was collected must
	// not be lost because somebody pressed Ctrl-C.
	ev, err := s.Evidence(context.WithoutCancel(ctx))
	if err != nil {
		return nil, errors.Join(append(channelErrs, err)...)
	}
	if err := writeCanonical(filepath.Join(r.Dir, EvidenceFile), ev); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return ev, fmt.Errorf("interrupted; what was collected is in %s: %w", r.Dir, err)
	}
	if len(channelErrs) == len(r.Targets) {
		return ev, errors.Join(append([]error{ErrNothing}, channelErrs...)...)
	}
	return ev, nil
}

func collectOne(ctx context.Context, s *collect.Session, t devices.Target, r Request) error {
	ch, err := OpenChannel(t, ChannelOptions{Account: r.Account, ONVIFAccount: r.ONVIFAccount, AllowBasic: r.AllowBasic, SNMP: r.SNMP, Ports: r.Ports, Serial: r.Serial, Progress: r.Progress})
	if err != nil {
		return err
	}
	return errors.Join(s.Collect(ctx, t, ch), ch.Close())
}

// ChannelOptions is what a request says of all its channels.
type ChannelOptions struct {
	Account      *devices.Account
	ONVIFAccount *devices.Account
	AllowBasic   bool
	SNMP         network.SNMP
	Ports        map[string][]int
	Serial       Serial
	Progress     collect.Progress
}

// Serial is how a serial console is read.
type Serial struct {
	Power      func(context.Context) error // cycles the unit's power; nil where a person must
	LoaderOnly bool                        // the boot loader or nothing
	ListenOnly bool                        // hear one boot and send nothing
	SwitchRate int                         // a rate that the loader may be switched to for the session; 0: none
	Upload     *uboot.Upload               // how the loader may send its flash over the network; nil: not
}

// OpenChannel opens the channel of a target. It sends nothing to the unit yet.
func OpenChannel(t devices.Target, o ChannelOptions) (devices.Channel, error) {
	step := func(what string) {
		if o.Progress != nil {
			o.Progress.Step(t.String(), what)
		}
	}
	switch t.Kind {
	case devices.KindSerial:
		return console.Open(t, console.Options{
			Account: o.Account, Power: o.Serial.Power, LoaderOnly: o.Serial.LoaderOnly, ListenOnly: o.Serial.ListenOnly,
			SwitchRate: o.Serial.SwitchRate, Upload: o.Serial.Upload, Progress: step,
		}), nil
	case devices.KindFile:
		return flash.Open(t)
	case devices.KindSPI:
		return flash.OpenProgrammer(t, flash.Options{Progress: step})
	}
	return network.Open(t, network.Options{Account: o.Account, ONVIFAccount: o.ONVIFAccount, AllowBasic: o.AllowBasic, SNMP: o.SNMP, Ports: o.Ports, Progress: step}), nil
}

func documents(paths []string) ([]provenance.Document, error) {
	var out []provenance.Document
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return nil, fmt.Errorf("endorsement: %w", err)
		}
		b, err := io.ReadAll(io.LimitReader(f, provenance.MaxDocument+1))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("endorsement %s: %w", p, err)
		}
		out = append(out, provenance.Document{Name: filepath.Base(p), Bytes: b})
	}
	return out, nil
}

// Issue says how a result becomes a permit.
type Issue struct {
	Profile  *appraise.Profile
	Entities *entity.Data
	Signer   crypto.Signer
	Station  string
	Validity time.Duration // 0 for the profile's own
}

// Outcome is a unit that was certified, whatever the verdict.
type Outcome struct {
	Evidence *attest.Evidence
	Result   *attest.Result
	Permit   *permit.Permit
	ID       string // in the register
	Dir      string
}

// Certify collects, appraises, signs and registers. The error wraps
// [ErrNothing] when no channel gave anything; there is no permit then. In
// every other case a verdict is signed, because a unit that hides must not
// escape its notice.
func (h Home) Certify(ctx context.Context, r Request, i Issue) (*Outcome, error) {
	ev, err := h.Collect(ctx, r)
	if err != nil {
		return nil, err
	}
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	res, err := appraise.Appraise(ev, i.Profile, i.Entities, now())
	if err != nil {
		return nil, err
	}
	validity := i.Validity
	if validity == 0 {
		validity = i.Profile.Validity()
	}
	p, err := permit.Issue(*res, permit.IssueOptions{
		Signer: i.Signer, Station: i.Station, Validity: validity, Now: now(), Tool: r.Tool, Contradictions: ev.Contradictions,
	})
	if err != nil {
		return nil, err
	}
	if err := writeCanonical(filepath.Join(r.Dir, ResultFile), res); err != nil {
		return nil, err
	}
	id, err := h.register(ctx, p, ev, r.Dir)
	if err != nil {
		return nil, fmt.Errorf("the permit was not registered, and so not issued: %w", err)
	}
	// Last: a folder that has the permit is complete, and the register has it.
	if err := p.Write(r.Dir); err != nil {
		return nil, err
	}
	return &Outcome{Evidence: ev, Result: res, Permit: p, ID: id, Dir: r.Dir}, nil
}

func (h Home) register(ctx context.Context, p *permit.Permit, ev *attest.Evidence, dir string) (id string, err error) {
	reg, err := h.Register(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()
	evidence, err := attest.Canonical(ev)
	if err != nil {
		return "", err
	}
	artefacts := map[attest.Digest]io.Reader{}
	for _, a := range ev.Artefacts {
		f, err := collect.OpenArtefact(dir, a.Digest)
		if err != nil {
			return "", err
		}
		defer f.Close()
		artefacts[a.Digest] = f
	}
	return reg.Add(ctx, register.Entry{Bundle: p.Bundle, Identity: p.Identity, Evidence: evidence, Result: p.Result, Artefacts: artefacts})
}

// keyHolders asks the register, where there is one, who has shown a key.
func (h Home) keyHolders(ctx context.Context, key attest.Digest) (units []attest.Unit, err error) {
	if _, err := os.Stat(h.path("register")); errors.Is(err, os.ErrNotExist) {
		return nil, nil // reading a unit does not make one
	}
	reg, err := h.Register(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()
	return reg.KeyHolders(ctx, key)
}

func writeCanonical(path string, v any) error {
	b, err := attest.Canonical(v)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return durable.Write(path, 0o600, durable.Bytes(b))
}

// Verification is what an image's signatures came to.
type Verification struct {
	Digest attest.Digest
	Whole  bool   // the whole boot chain is under verified signatures
	Reason string // why not
	provenance.Report
}

// VerifyImage verifies vendor signatures over an image read earlier. confine has
// it analysed in a confined child, where that can be; signatures are verified
// here, over bytes that are read here.
func (h Home) VerifyImage(ctx context.Context, f *os.File, size int64, name, model string, endorsements []string, confine bool) (*Verification, error) {
	trust, err := h.Trust()
	if err != nil {
		return nil, err
	}
	docs, err := documents(endorsements)
	if err != nil {
		return nil, err
	}
	found, err := analysis.Run(ctx, analysis.Request{File: f, Size: size, NoInventory: true, Confine: confine})
	if err == nil {
		err = found.Ended
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	img := found.Image
	rep, err := provenance.Verify(ctx, img, name, docs, trust.Anchors(), model)
	if err != nil {
		return nil, err
	}
	chain := provenance.BootChain([]*firmware.Image{img}, []*provenance.Report{rep})
	return &Verification{Digest: attest.Digest("sha256:" + img.SHA256), Whole: chain.Whole, Reason: chain.Reason, Report: *rep}, nil
}
