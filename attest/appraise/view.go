package appraise

import (
	"fmt"
	"slices"
	"strings"

	"assay/attest"
	"assay/attest/entity"
)

// Determination is what a profile makes of an entity.
type Determination struct {
	Covered string // "covered", "contested", "unverified" or "no"
	Because string
}

// Determine says whether the profile covers an entity. A fact that nobody has
// looked up never makes an entity covered: it makes it "unverified".
func (p *Profile) Determine(e *entity.Entity, d *entity.Data) (Determination, error) {
	vars := map[string]any{"e": entityView(e, d), "param": p.parameterView()}
	for i, c := range p.Covers {
		where := fmt.Sprintf("profile %s: covers %d", p.ID, i+1)
		ok, err := evalBool(p.program.covers[i].when, where, vars)
		if err != nil {
			return Determination{}, err
		}
		if !ok {
			continue
		}
		because, err := evalString(p.program.covers[i].because, where, vars)
		if err != nil {
			return Determination{}, err
		}
		if c.Is == "covered" && e.Unverified {
			return Determination{"unverified", because + ", a fact that has no source yet"}, nil
		}
		return Determination{c.Is, because}, nil
	}
	return Determination{"no", ""}, nil
}

func (p *Profile) parameterView() map[string]any {
	out := map[string]any{}
	for _, q := range p.Parameters {
		out[q.Name] = q.Value
	}
	return out
}

func entityView(e *entity.Entity, d *entity.Data) map[string]any {
	ancestors := []map[string]any{}
	for _, a := range d.Ancestors(e) {
		ancestors = append(ancestors, map[string]any{
			"id": a.ID, "name": a.Name(), "jurisdictions": a.Jurisdictions, "listings": listingView(a),
		})
	}
	out := map[string]any{
		"id": e.ID, "name": e.Name(), "role": e.Role, "jurisdictions": e.Jurisdictions, "seat": e.Seat,
		"listings": listingView(e), "ancestors": ancestors, "contested": "", "contestedAbout": "",
	}
	if e.Contested != nil {
		out["contested"], out["contestedAbout"] = e.Contested.Says, e.Contested.About
	}
	return out
}

func listingView(e *entity.Entity) []map[string]any {
	out := []map[string]any{}
	for _, l := range e.Listings {
		out = append(out, map[string]any{"list": l.List, "since": l.Since, "qualifier": l.Qualifier})
	}
	return out
}

// view is the evidence as rules see it.
type view struct {
	vars  map[string]any
	lists map[string][]map[string]any
}

func (p *Profile) view(ev *attest.Evidence, d *entity.Data) (*view, error) {
	maker, err := p.makerView(ev, d)
	if err != nil {
		return nil, err
	}
	marks, err := p.markViews(ev, d)
	if err != nil {
		return nil, err
	}
	children, err := p.childViews(ev, d)
	if err != nil {
		return nil, err
	}
	l := map[string][]map[string]any{
		"claims": claimViews(ev), "marks": marks, "children": children, "contradictions": {}, "endorsements": {}, "images": {}, "problems": {}, "rebrands": {},
		"channels": channelViews(ev),
	}
	for _, c := range ev.Contradictions {
		l["contradictions"] = append(l["contradictions"], map[string]any{
			"id": c.ID, "subject": string(c.Subject), "name": c.Name, "rule": c.Rule, "says": c.Says,
		})
	}
	for _, e := range ev.Endorsements {
		l["endorsements"] = append(l["endorsements"], map[string]any{
			"id": e.ID, "scheme": e.Scheme, "status": string(e.Status), "subject": string(e.Subject), "maker": e.Maker,
			"anchor": e.Anchor, "algorithm": e.Algorithm, "detail": e.Detail, "image": string(e.Image),
		})
	}
	for _, i := range ev.Images {
		l["images"] = append(l["images"], imageView(ev, i))
	}
	for n, pr := range ev.Problems {
		l["problems"] = append(l["problems"], map[string]any{"id": fmt.Sprintf("problem-%d", n+1), "kind": string(pr.Kind), "says": pr.Says})
	}
	for _, r := range d.Rebrands(ev.Unit.Maker) {
		l["rebrands"] = append(l["rebrands"], map[string]any{"id": "", "says": r.Says, "source": r.Source, "confidence": r.Confidence})
	}
	vars := map[string]any{
		"unit": unitView(ev.Unit), "maker": maker, "param": p.parameterView(), "it": nil,
		"best": bestView(ev), "device_proven": deviceProven(ev),
		"device": map[string]any{"key": holdsDeviceKey(ev), "signed_boot": signedBootEndorsed(ev), "other_firmware": otherFirmware(ev)},
	}
	for name, items := range l {
		vars[name] = items
	}
	return &view{vars, l}, nil
}

func unitView(u attest.Unit) map[string]any {
	var ids []string
	for _, s := range u.Serials {
		ids = append(ids, "serial number "+s)
	}
	for _, m := range u.MACs {
		ids = append(ids, "MAC address "+m)
	}
	for _, k := range u.DeviceKeys {
		ids = append(ids, "device key "+string(k))
	}
	return map[string]any{
		"maker": u.Maker, "model": u.Model, "serials": u.Serials, "macs": u.MACs,
		"identified": u.Identified(), "identifiers": strings.Join(ids, ", "),
	}
}

func (p *Profile) makerView(ev *attest.Evidence, d *entity.Data) (map[string]any, error) {
	out := map[string]any{
		"said": ev.Unit.Maker != "", "said_as": ev.Unit.Maker, "known": false,
		"id": "", "name": "", "seat": "", "covered": "no", "because": "",
	}
	e := d.Lookup(ev.Unit.Maker)
	if e == nil {
		return out, nil
	}
	det, err := p.Determine(e, d)
	if err != nil {
		return nil, err
	}
	seat := strings.Join(e.Jurisdictions, "/")
	if e.Seat != "" {
		seat = e.Seat + ", " + seat
	}
	out["known"], out["id"], out["name"], out["seat"] = true, e.ID, e.Name(), seat
	out["covered"], out["because"] = det.Covered, det.Because
	return out, nil
}

func claimViews(ev *attest.Evidence) []map[string]any {
	out := []map[string]any{}
	for _, c := range ev.Claims {
		out = append(out, map[string]any{
			"id": c.ID, "subject": string(c.Subject), "name": c.Name, "value": c.Value, "channel": c.Channel,
			"origin": int64(c.Origin()), "acquisition": int64(c.Acquisition),
		})
	}
	return out
}

// channelViews says of each channel into the unit whether an identifier ties it
// to another: the same serial number or MAC address, which collecting found by
// two kinds of channel. A label is what the operator read, and ties nothing.
func channelViews(ev *attest.Evidence) []map[string]any {
	out := []map[string]any{}
	at := map[string]int{}
	see := func(channel string) map[string]any {
		i, ok := at[channel]
		if !ok {
			i = len(out)
			at[channel] = i
			out = append(out, map[string]any{"id": "", "channel": channel, "bound": false})
		}
		return out[i]
	}
	for _, c := range ev.Claims {
		if c.Channel == "label" || c.Channel == attest.ChannelTrust || c.Channel == "" {
			continue
		}
		if v := see(c.Channel); (c.Name == attest.NameSerial || c.Name == attest.NameMAC) && c.Origin() >= attest.P2 {
			v["bound"] = true
		}
	}
	return out
}

// componentSubjects are parts: a mark on one speaks of who made the part.
var componentSubjects = []attest.Subject{attest.SubjectSoC, attest.SubjectFlash, attest.SubjectModule}

func (p *Profile) markViews(ev *attest.Evidence, d *entity.Data) ([]map[string]any, error) {
	out := []map[string]any{}
	signed := vendorSigned(ev)
	add := func(m attest.Mark) error {
		v := map[string]any{
			"id": m.ID, "entity": m.Entity, "entityName": m.Entity, "subject": string(m.Subject), "strength": int64(m.Strength),
			"rule": m.Rule, "says": m.Says, "covered": "no", "because": "",
			"component": slices.Contains(componentSubjects, m.Subject),
			"apart":     apart(m, ev, d),
			// The maker signed the very bytes that hold the hint, and so answers for it.
			"resolved": m.Strength == attest.C1 && m.Subject == attest.SubjectFirmware && signed,
		}
		if e := d.Get(m.Entity); e != nil {
			det, err := p.Determine(e, d)
			if err != nil {
				return err
			}
			v["entityName"], v["covered"], v["because"] = e.Name(), det.Covered, det.Because
			v["component"] = v["component"] == true || e.Role == "component"
		}
		out = append(out, v)
		return nil
	}
	for _, m := range ev.Marks {
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for _, m := range addressMarks(ev, d) {
		if err := add(m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// apart reports whether a mark is a sign of its own beside the unit's statement
// of its maker: one protocol that gives a maker's name and a model of the same
// maker says one thing, as a proxy does that passes on what is behind it.
func apart(m attest.Mark, ev *attest.Evidence, d *entity.Data) bool {
	if m.Strength >= attest.C2 || m.Source == "" {
		return true
	}
	for _, c := range ev.Claims {
		if c.Subject != attest.SubjectUnit || c.Name != attest.NameMaker {
			continue
		}
		if e := d.Lookup(c.Value); e != nil && e.ID == m.Entity && protocol(c.Source) != protocol(m.Source) {
			return true
		}
	}
	return false
}

// protocol is the first word of a source, as in "onvif GetDeviceInformation Model".
func protocol(source string) string {
	p, _, _ := strings.Cut(source, " ")
	return p
}

// childViews says of each camera behind a recorder who made it, by what solid
// marks say before what the recorder calls it, and how the profile sees that
// maker. hint is a weak sign of a covered maker, where nothing solid covers it.
func (p *Profile) childViews(ev *attest.Evidence, d *entity.Data) ([]map[string]any, error) {
	out := []map[string]any{}
	for _, c := range ev.Children {
		v := map[string]any{
			"id": c.ID, "name": c.Name(), "maker": c.Maker, "model": c.Model, "serial": c.Serial, "address": c.Address,
			"known": false, "entityName": "", "covered": "no", "because": "", "hint": "",
		}
		see := func(e *entity.Entity, says string, solid bool) error {
			if e == nil || e.Role == "component" {
				return nil
			}
			det, err := p.Determine(e, d)
			if err != nil {
				return err
			}
			switch {
			case !solid:
				if det.Covered != "no" && v["hint"] == "" {
					v["hint"] = says + ", a sign of " + e.Name() + ", " + det.Because
				}
			case v["known"] == false || severity[det.Covered] > severity[v["covered"].(string)]:
				v["known"], v["entityName"], v["covered"], v["because"] = true, e.Name(), det.Covered, det.Because
			}
			return nil
		}
		if err := see(d.Lookup(c.Maker), "", true); err != nil {
			return nil, err
		}
		for _, m := range c.Marks {
			if slices.Contains(componentSubjects, m.Subject) {
				continue
			}
			if err := see(d.Get(m.Entity), m.Says, m.Strength >= attest.C2); err != nil {
				return nil, err
			}
		}
		if r, ok := d.OUI(c.MAC); ok && r.Entity != "" {
			if err := see(d.Get(r.Entity), "its MAC address has a prefix registered to "+r.Registrant, false); err != nil {
				return nil, err
			}
		}
		out = append(out, v)
	}
	return out, nil
}

// severity orders determinations: the worst that a sign gives is the one that counts.
var severity = map[string]int{"no": 0, "unverified": 1, "contested": 2, "covered": 3}

// addressMarks are hints from the registrants of the unit's MAC addresses. They
// are made at appraisal, because the registry changes on its own clock.
func addressMarks(ev *attest.Evidence, d *entity.Data) []attest.Mark {
	var out []attest.Mark
	seen := map[string]bool{}
	for _, c := range ev.Claims {
		if c.Name != attest.NameMAC {
			continue
		}
		r, ok := d.OUI(c.Value)
		if !ok || r.Entity == "" || seen[r.Prefix] {
			continue
		}
		seen[r.Prefix] = true
		subject := attest.SubjectUnit
		if e := d.Get(r.Entity); e != nil && e.Modules {
			subject = attest.SubjectModule // who made the radio, and not the camera around it
		}
		out = append(out, attest.Mark{
			ID: c.ID, Entity: r.Entity, Subject: subject, Strength: attest.C1, Rule: "oui",
			Says: fmt.Sprintf("the MAC address %s has a prefix registered to %s", c.Value, r.Registrant),
		})
	}
	return out
}

// vendorSigned reports whether every image was found to carry the vendor's
// signature over its whole boot chain.
func vendorSigned(ev *attest.Evidence) bool {
	if len(ev.Images) == 0 {
		return false
	}
	for _, i := range ev.Images {
		if bootChainOrigin(ev, i) < attest.P4 {
			return false
		}
	}
	return true
}

// bootChainOrigin is the grade of the boot-chain claim that speaks of an image.
func bootChainOrigin(ev *attest.Evidence, i attest.Image) attest.Origin {
	var best attest.Origin
	for _, c := range ev.Claims {
		if c.Subject == attest.SubjectFirmware && c.Name == attest.NameBootChain && c.Value == string(i.Digest) && c.Acquisition == i.Acquisition {
			best = max(best, c.Origin())
		}
	}
	return best
}

func imageView(ev *attest.Evidence, i attest.Image) map[string]any {
	var n int64
	var parts []part
	for _, r := range i.Uncovered {
		n += r.Size
		parts = addPart(parts, r)
	}
	var said []string
	for _, p := range parts {
		said = append(said, p.String())
	}
	return map[string]any{
		"id": string(i.Digest), "digest": string(i.Digest), "size": i.Size, "acquisition": int64(i.Acquisition),
		"origin":         int64(bootChainOrigin(ev, i)),
		"uncoveredBytes": n, "uncovered": strings.Join(said, ", "), "gap": i.Gap,
	}
}

// part is what of an image has one role and no signature.
type part struct {
	what   string
	at     int64 // of the first
	bytes  int64
	places int
}

func addPart(parts []part, r attest.Region) []part {
	what := r.Role
	for _, w := range []string{r.Format, r.State} {
		if what == "" {
			what = w
		}
	}
	if i := slices.IndexFunc(parts, func(p part) bool { return p.what == what }); i >= 0 {
		parts[i].bytes += r.Size
		parts[i].places++
		return parts
	}
	return append(parts, part{what, r.Offset, r.Size, 1})
}

func (p part) String() string {
	if p.places == 1 {
		return fmt.Sprintf("%s at %#x (%d bytes)", p.what, p.at, p.bytes)
	}
	return fmt.Sprintf("%s (%d bytes in %d places from %#x on)", p.what, p.bytes, p.places, p.at)
}

// deviceProven is the second road to a permit: the unit proved possession of a
// vendor-certified key, its model is endorsed as enforcing signed boot, by the
// vendor's signature or in the trust store, and nothing on the unit shows that
// it may run other firmware.
func deviceProven(ev *attest.Evidence) bool {
	return holdsDeviceKey(ev) && signedBootEndorsed(ev) && otherFirmware(ev) == ""
}

func holdsDeviceKey(ev *attest.Evidence) bool {
	return slices.ContainsFunc(ev.Claims, func(c attest.Claim) bool {
		return c.Subject == attest.SubjectUnit && c.Name == attest.NameDeviceKey && c.Origin() >= attest.P5
	})
}

func signedBootEndorsed(ev *attest.Evidence) bool {
	return slices.ContainsFunc(ev.Claims, func(c attest.Claim) bool {
		return c.Subject == attest.SubjectFirmware && c.Name == attest.NameSignedBoot && c.Value == "enforced" &&
			(c.Origin() >= attest.P4 || c.Channel == attest.ChannelTrust)
	})
}

// otherFirmware says what shows that the unit may run firmware that its maker
// did not sign: it says so itself, or its boot loader took our commands, which
// can boot anything.
func otherFirmware(ev *attest.Evidence) string {
	for _, c := range ev.Claims {
		switch {
		case c.Name == attest.NameSignedBoot && c.Subject == attest.SubjectFirmware && c.Value != "enforced":
			return fmt.Sprintf("%s says of signed boot: %s", c.Source, c.Value)
		case c.Acquisition == attest.A2 && c.Subject == attest.SubjectBootLoader && strings.HasPrefix(c.Channel, "serial:"):
			return "its boot loader takes commands from the serial console (" + c.Source + ")"
		}
	}
	return ""
}

// graded are the subjects whose best grade is shown, in the order of a report,
// and the claims that may carry it.
var graded = []struct {
	subject attest.Subject
	names   []string
}{
	{attest.SubjectUnit, []string{attest.NameMaker, attest.NameSerial, attest.NameDeviceKey}},
	{attest.SubjectFirmware, []string{attest.NameBootChain, attest.NameFirmwareVersion}},
	{attest.SubjectBootLoader, []string{attest.NameFirmwareVersion}},
	{attest.SubjectBoard, []string{attest.NameBoard}},
	{attest.SubjectSoC, []string{attest.NameBoard}},
}

func grades(ev *attest.Evidence) []attest.SubjectGrade {
	out := []attest.SubjectGrade{}
	for _, g := range graded {
		var best *attest.Claim
		for i, c := range ev.Claims {
			if c.Subject != g.subject || !slices.Contains(g.names, c.Name) {
				continue
			}
			if best == nil || c.Origin() > best.Origin() || c.Origin() == best.Origin() && c.Acquisition > best.Acquisition {
				best = &ev.Claims[i]
			}
		}
		if best != nil {
			out = append(out, attest.SubjectGrade{Subject: g.subject, Origin: best.Origin(), Acquisition: best.Acquisition, Claim: best.ID})
		}
	}
	return out
}

func bestView(ev *attest.Evidence) map[string]any {
	out := map[string]any{"firmware": "P0", "board": "P0", "soc": "P0"}
	for _, g := range grades(ev) {
		out[string(g.Subject)] = g.Origin.String() + "@" + g.Acquisition.String()
	}
	return out
}
