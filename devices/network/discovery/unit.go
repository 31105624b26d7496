package discovery

import (
	"net/netip"
	"time"

	"assay/attest"
)

// Kind is what a unit is.
type Kind string

// The kinds. What answers a camera's protocol counts as a camera, whatever else
// it is; the others are listed so that nobody wonders where they went.
const (
	KindCamera      Kind = "camera"
	KindRecorder    Kind = "recorder" // cameras may be behind it: each must be judged
	KindIntercom    Kind = "intercom"
	KindPrinter     Kind = "printer"
	KindComputer    Kind = "computer"
	KindStorage     Kind = "storage"
	KindMediaServer Kind = "media server"
	KindMediaPlayer Kind = "media player"
	KindRouter      Kind = "router"
	KindOther       Kind = "other"   // it says what it is, and that is none of these
	KindUnknown     Kind = "unknown" // something answers, and says nothing of its kind
	KindNeighbour   Kind = "neighbour"
)

// Surveillance reports whether a unit of that kind is a camera or part of a
// camera system.
func (k Kind) Surveillance() bool {
	return k == KindCamera || k == KindRecorder || k == KindIntercom
}

// weight orders the kinds that several answers of one unit give: a camera that
// also serves media is a camera.
var weight = map[Kind]int{
	KindRecorder: 12, KindIntercom: 11, KindCamera: 10, KindPrinter: 9, KindMediaPlayer: 8, KindMediaServer: 7, KindStorage: 6,
	KindRouter: 5, KindComputer: 4, KindOther: 3, KindUnknown: 2, KindNeighbour: 1,
}

// Unit is one row: all answers that are held to come from one unit. Everything
// in it but Addresses, Seen and the neighbour's MAC is what the unit says of
// itself.
type Unit struct {
	// ID stays with the row while it is refined.
	ID int `json:"id"`
	// Replaces are ids of rows that turned out to be this unit; they are gone.
	Replaces []int `json:"replaces,omitempty"`

	Kind  Kind   `json:"kind"`
	Roles []Kind `json:"roles,omitempty"` // other kinds that it also says it is

	Maker    Maker          `json:"maker"`
	Model    string         `json:"model,omitempty"`
	Label    string         `json:"label,omitempty"` // a name that its owner can set
	Firmware string         `json:"firmware,omitempty"`
	Serial   string         `json:"serial,omitempty"`
	MACs     []MAC          `json:"macs,omitempty"`
	State    string         `json:"state,omitempty"` // "not activated": factory-new, with no password set
	Open     []int          `json:"open,omitempty"`  // TCP ports that accepted a connection
	Services []string       `json:"services,omitempty"`
	Address  []netip.Addr   `json:"addresses"`         // it answered from
	Claimed  []netip.Addr   `json:"claimed,omitempty"` // it says it has, and did not answer from
	Seen     []string       `json:"seen"`              // the protocols that saw it
	On       []string       `json:"interfaces,omitempty"`
	Joined   []Join         `json:"joined,omitempty"` // why the answers are held to be of one unit
	Apart    []Join         `json:"apart,omitempty"`  // what it shares with other rows and was not joined by
	Against  []Disagreement `json:"contradictions,omitempty"`
	Marks    []attest.Mark  `json:"marks,omitempty"`
	Claims   []attest.Claim `json:"claims,omitempty"`
	Children []attest.Child `json:"children,omitempty"` // cameras behind a recorder, as it says
	// Identified is there when the unit was asked who it is.
	Identified *Identified `json:"identified,omitempty"`
	Answers    int         `json:"answers"` // different ones
	First      time.Time   `json:"first"`
	Last       time.Time   `json:"last"`
}

// Maker is who made the unit, by the strongest evidence that the answers gave.
type Maker struct {
	Entity   string          `json:"entity,omitempty"`
	Strength attest.Strength `json:"strength,omitzero"` // of the mark; zero where there is none
	By       string          `json:"by,omitempty"`      // the rule, "oui" for a registered prefix, or "claim"
	Says     string          `json:"says,omitempty"`    // the name that the unit gives itself
}

// MAC is a hardware address and who registered its prefix.
type MAC struct {
	Address string `json:"address"`
	Owner   string `json:"owner,omitempty"`
	Entity  string `json:"entity,omitempty"`
	Source  string `json:"source"`
	// Placeholder says why the address tells nothing, as of one that documents
	// and factories use for many units.
	Placeholder string `json:"placeholder,omitempty"`
}

// Join is a key that answers have in common.
type Join struct {
	Key   string `json:"key"` // "mac", "serial", "endpoint", "address"
	Value string `json:"value"`
	With  []int  `json:"with,omitempty"` // of a key that did not join: the other rows that have it
	Why   string `json:"why,omitempty"`
}

// Disagreement is two answers of one unit that cannot both be true.
type Disagreement struct {
	Name  string `json:"name"`
	Says  string `json:"says"`
	Sides []Side `json:"sides"`
}

// Side is one side of it, with the digest of the raw answer.
type Side struct {
	Value  string        `json:"value"`
	Source string        `json:"source"`
	Raw    attest.Digest `json:"raw,omitempty"`
}
