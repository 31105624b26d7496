// Package attest is the vocabulary of attestation as this project speaks it:
// units, claims about them, the evidence that a session collected and the
// result that appraisal came to. The roles and words are those of RFC 9334.
//
// Two axes grade a claim and are never summed: its [Origin] (how well it is
// proven) and its [Acquisition] (who could have lied on the way). They are
// shown side by side, as in P4@A2. A [Mark] is the opposite of a proof: a sign
// of whose work a subject really is.
//
// The package holds no logic beyond the meaning of the words. It imports
// nothing of the project.
package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/gowebpki/jcs"

	"assay/attest/internal/proof"
)

// Digest names bytes by their SHA-256, as in "sha256:9f86d0…" with 64
// lower-case hexadecimal digits.
type Digest string

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest {
	sum := sha256.Sum256(b)
	return DigestOfSum(sum[:])
}

// DigestOfSum returns the digest whose SHA-256 is sum.
func DigestOfSum(sum []byte) Digest { return Digest("sha256:" + hex.EncodeToString(sum)) }

// Hex is the digest without its algorithm.
func (d Digest) Hex() string {
	if !d.Valid() {
		return ""
	}
	return string(d[len("sha256:"):])
}

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Valid reports whether d is well formed. A digest read from a file may become
// a file name only after this check.
func (d Digest) Valid() bool { return digestForm.MatchString(string(d)) }

// Canonical returns the RFC 8785 canonical JSON of v. What is signed or
// addressed by content is always encoded so.
func Canonical(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jcs.Transform(b)
}

// Unit identifies the one camera on the bench. Its canonical JSON is the
// identity record that a permit is issued for, so it holds only what belongs to
// this unit and no other: a permit of one unit must not serve its twin.
type Unit struct {
	Schema     string   `json:"schema"` // always UnitSchema
	Maker      string   `json:"maker,omitempty"`
	Model      string   `json:"model,omitempty"`
	Serials    []string `json:"serials,omitempty"`    // sorted
	MACs       []string `json:"macs,omitempty"`       // sorted, upper case with colons
	DeviceKeys []Digest `json:"deviceKeys,omitempty"` // SHA-256 of the SubjectPublicKeyInfo of keys proven to live in the unit; sorted
	Images     []Digest `json:"images,omitempty"`     // whole flash images, only where nothing else tells the unit from its twins
}

// UnitSchema is the schema of an identity record.
const UnitSchema = "https://assay.example/unit/v1"

// Identified reports whether the record tells this unit from others of its model.
func (u Unit) Identified() bool { return len(u.Serials)+len(u.MACs)+len(u.DeviceKeys) > 0 }

// Name is a short name for people: maker, model and one identifier.
func (u Unit) Name() string {
	name := u.Maker
	for _, s := range []string{u.Model, first(u.Serials), first(u.MACs)} {
		if s == "" {
			continue
		}
		if name != "" {
			name += " "
		}
		name += s
		if s != u.Model {
			break
		}
	}
	if name == "" {
		return "unidentified unit"
	}
	return name
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// Subject is the part of a unit that a statement is about.
type Subject string

// The subjects.
const (
	SubjectUnit       Subject = "unit"     // the whole product: its maker, model, serial number
	SubjectFirmware   Subject = "firmware" // what runs on it
	SubjectBootLoader Subject = "boot-loader"
	SubjectBoard      Subject = "board" // the printed circuit board
	SubjectSoC        Subject = "soc"   // the system on chip
	SubjectFlash      Subject = "flash" // the memory chip
	SubjectModule     Subject = "module"
	SubjectNetwork    Subject = "network" // addresses and transport
)

// Names of claims that are compared across channels. A channel may use other
// names for what only it can see, such as "env.bootcmd".
const (
	NameMaker           = "maker"
	NameModel           = "model"
	NameSerial          = "serial"
	NameMAC             = "mac"
	NameFirmwareVersion = "version"
	NameBuildDate       = "build-date"
	NameHardware        = "hardware"
	NameBoard           = "name"       // of SubjectBoard and SubjectSoC
	NameProtocol        = "protocol"   // a protocol that answered
	NameBootChain       = "boot-chain" // the digest of an image whose whole boot chain the grade speaks of
	NameSignedBoot      = "signed-boot"
	NameDeviceKey       = "device-key"
	NameClockOffset     = "clock-offset" // seconds, unit minus us
	NameTLSKey          = "tls-key"      // the SHA-256 of the SubjectPublicKeyInfo of a key that the unit showed
	NameSSHKey          = "ssh-key"      // likewise
	// NameRecorder says that other cameras are behind the unit. Its value is
	// [ChildrenListed], or [ChildrenUnlisted] and why.
	NameRecorder = "recorder"
)

// ChannelTrust is the channel of a claim that the trust store makes about the
// unit's model. No target has that name.
const ChannelTrust = "trust-store"

// What a claim named [NameRecorder] begins with.
const (
	ChildrenListed   = "cameras behind it are listed"
	ChildrenUnlisted = "cameras behind it are not listed"
)

// KeyNames are the claims that name a public key which no other unit should have.
var KeyNames = []string{NameTLSKey, NameSSHKey}

// Claim is one statement about a unit. Its origin starts at P1, because
// somebody said it; only the packages that verify can raise it.
type Claim struct {
	ID          string      `json:"id"`
	Subject     Subject     `json:"subject"`
	Name        string      `json:"name"`
	Value       string      `json:"value"`
	Channel     string      `json:"channel"` // the target it came through, as in "network:192.0.2.10"; never holds a credential
	Source      string      `json:"source"`  // the request and place in its answer, as in "isapi /ISAPI/System/deviceInfo serialNumber"
	Acquisition Acquisition `json:"acquisition"`
	Raw         Digest      `json:"raw,omitempty"` // the bytes it was read from, an artefact of the evidence
	Time        time.Time   `json:"time"`

	origin Origin
	basis  string
}

// Origin is the claim's grade: P1 until a verifying package raised it.
func (c Claim) Origin() Origin { return max(c.origin, P1) }

// Basis says in words what raised the claim above P1; it names the
// corroborating claims or the endorsement.
func (c Claim) Basis() string { return c.basis }

// Grade is both axes, as in "P4@A2".
func (c Claim) Grade() string { return c.Origin().String() + "@" + c.Acquisition.String() }

// Raise lifts the claim to the grade that was proven, giving the basis. It
// never lowers a claim. Only packages under attest can make a [proof.Grade].
func (c *Claim) Raise(g proof.Grade, basis string) {
	if o := Origin(g.Level()); o > c.Origin() {
		c.origin, c.basis = o, basis
	}
}

type claimFields Claim

type claimJSON struct {
	claimFields
	Origin Origin `json:"origin"`
	Basis  string `json:"basis,omitempty"`
}

// MarshalJSON includes the origin and its basis.
func (c Claim) MarshalJSON() ([]byte, error) {
	return json.Marshal(claimJSON{claimFields(c), c.Origin(), c.basis})
}

// UnmarshalJSON trusts the origin that it reads: evidence at rest is
// authentic only by the permit or register entry that names its digest.
func (c *Claim) UnmarshalJSON(b []byte) error {
	var j claimJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*c = Claim(j.claimFields)
	c.origin, c.basis = j.Origin, j.Basis
	return nil
}

// Mark is a sign of whose work a subject is, whatever its label says.
type Mark struct {
	ID       string   `json:"id"`
	Entity   string   `json:"entity"` // id in the entity data, as in "hikvision"
	Subject  Subject  `json:"subject"`
	Strength Strength `json:"strength"`
	Rule     string   `json:"rule"` // the fingerprint that matched
	Says     string   `json:"says"` // what was seen, in plain words
	Match    string   `json:"match,omitempty"`
	Channel  string   `json:"channel"`
	Source   string   `json:"source"` // request, or path and offset in an image
	Raw      Digest   `json:"raw,omitempty"`
}

// Child is one camera behind a recorder. All of it is the recorder's word; an
// empty field is one that it does not say.
type Child struct {
	ID       string `json:"id"`
	Slot     string `json:"slot"` // the recorder's channel
	Maker    string `json:"maker,omitempty"`
	Model    string `json:"model,omitempty"`
	Serial   string `json:"serial,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	Address  string `json:"address,omitempty"`
	MAC      string `json:"mac,omitempty"`
	Protocol string `json:"protocol,omitempty"` // that the recorder speaks to it
	Marks    []Mark `json:"marks,omitempty"`    // signs of who made it
	Channel  string `json:"channel"`
	Source   string `json:"source"` // the request and place in its answer
	Raw      Digest `json:"raw,omitempty"`
}

// Name is a short name for people: the channel and what identifies the camera.
func (c Child) Name() string {
	name := "channel " + c.Slot
	for _, s := range []string{c.Maker, c.Model, c.Serial, c.Address} {
		if s != "" {
			name += " " + s
		}
	}
	return name
}

// Contradiction is two or more claims or marks that cannot all be true.
type Contradiction struct {
	ID      string  `json:"id"`
	Subject Subject `json:"subject"`
	Name    string  `json:"name"`
	Rule    string  `json:"rule"`
	Says    string  `json:"says"`
	Sides   []Side  `json:"sides"`
}

// Side is one side of a contradiction: a claim or mark, and what it says.
type Side struct {
	Ref    string `json:"ref"` // id of a claim or mark
	Value  string `json:"value"`
	Source string `json:"source"`
}

// Status is what verifying an endorsement came to.
type Status string

// The outcomes of a verification.
const (
	StatusVerified    Status = "verified"    // the signature holds and an anchor in the trust store vouches for its key
	StatusUnanchored  Status = "unanchored"  // no anchor in the trust store vouches for the key: proves nothing about origin
	StatusUnmatched   Status = "unmatched"   // genuine by an anchor, but it speaks of other bytes than these
	StatusFailed      Status = "failed"      // a cryptographic check failed: these bytes are not what was signed
	StatusUnsupported Status = "unsupported" // recognised, but not checked; Detail says why
)

// Extent is a run of bytes in an image.
type Extent struct {
	Offset int64 `json:"offset"`
	Size   int64 `json:"size"`
}

// Endorsement is a vendor's signed statement as it was checked.
type Endorsement struct {
	ID        string   `json:"id"`
	Scheme    string   `json:"scheme"` // "uboot-fit", "detached", "dsse", "sigstore-bundle"
	Status    Status   `json:"status"`
	Subject   Subject  `json:"subject"`
	Maker     string   `json:"maker,omitempty"`  // entity that the anchor is bound to
	Anchor    string   `json:"anchor,omitempty"` // id of the anchor in the trust store
	Key       string   `json:"key,omitempty"`    // fingerprint of the key that verified, or the key's name where it did not
	Algorithm string   `json:"algorithm,omitempty"`
	Image     Digest   `json:"image,omitempty"`
	Covered   []Extent `json:"covered,omitempty"` // bytes of Image that the signature vouches for, directly or by a verified hash
	Detail    string   `json:"detail,omitempty"`
	Source    string   `json:"source"`
}

// Image is one firmware image in the evidence and how far its bytes are
// accounted for.
type Image struct {
	Digest      Digest           `json:"digest"`
	Size        int64            `json:"size"`
	Channel     string           `json:"channel"`
	Source      string           `json:"source"`
	Acquisition Acquisition      `json:"acquisition"`
	Bytes       map[string]int64 `json:"bytes"` // by state; adds up to Size
	Regions     []Region         `json:"regions"`
	Components  []Component      `json:"components,omitempty"`
	Uncovered   []Region         `json:"uncovered,omitempty"` // regions, or parts of them, that no verified signature covers and that are not erased
	Gap         string           `json:"gap,omitempty"`       // why the unit's boot chain is not whole under verified signatures
}

// Region is a part of an image. Regions may nest; Path names the containers.
type Region struct {
	Extent
	Path   string `json:"path,omitempty"`
	Format string `json:"format,omitempty"`
	Name   string `json:"name,omitempty"`
	Role   string `json:"role,omitempty"`
	State  string `json:"state"`
	SHA256 string `json:"sha256,omitempty"`
	Note   string `json:"note,omitempty"`
}

// Component is a piece of software found in an image.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Path    string `json:"path"`
	Offset  int64  `json:"offset"`
}

// Problem is something that went wrong while collecting and what was lost by it.
type Problem struct {
	Kind    ProblemKind `json:"kind"`
	Channel string      `json:"channel"`
	Source  string      `json:"source,omitempty"`
	Says    string      `json:"says"`
}

// ProblemKind sorts problems for programs.
type ProblemKind string

// The kinds of problem.
const (
	ProblemUnreachable ProblemKind = "unreachable" // no such device, refused, silent
	ProblemAccess      ProblemKind = "access"      // login refused, locked, port busy
	ProblemHostile     ProblemKind = "hostile"     // an answer over a bound: endless, a bomb, a redirect away
	ProblemMalformed   ProblemKind = "malformed"   // an answer that its protocol does not allow
	ProblemIncomplete  ProblemKind = "incomplete"  // something was left unread
)

// Artefact names bytes that are kept beside the evidence.
type Artefact struct {
	Digest    Digest `json:"digest"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
	What      string `json:"what"`
}

// Evidence is all that one session with one unit found out. It is addressed by
// the digest of its canonical JSON.
type Evidence struct {
	Schema         string          `json:"schema"` // always EvidenceSchema
	Tool           string          `json:"tool"`   // name and version of the program that collected it
	Started        time.Time       `json:"started"`
	Ended          time.Time       `json:"ended"`
	Targets        []string        `json:"targets"`
	Unit           Unit            `json:"unit"`
	Claims         []Claim         `json:"claims"`
	Marks          []Mark          `json:"marks,omitempty"`
	Children       []Child         `json:"children,omitempty"` // of a recorder
	Contradictions []Contradiction `json:"contradictions,omitempty"`
	Endorsements   []Endorsement   `json:"endorsements,omitempty"`
	Images         []Image         `json:"images,omitempty"`
	Artefacts      []Artefact      `json:"artefacts,omitempty"`
	Problems       []Problem       `json:"problems,omitempty"`
}

// EvidenceSchema is the schema of [Evidence].
const EvidenceSchema = "https://assay.example/evidence/v1"

// ParseEvidence reads evidence and checks its schema and references.
func ParseEvidence(b []byte) (*Evidence, error) {
	var e Evidence
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if e.Schema != EvidenceSchema {
		return nil, fmt.Errorf("evidence: schema %q is not %q, which is what this version reads", e.Schema, EvidenceSchema)
	}
	return &e, nil
}
