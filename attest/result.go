package attest

import "time"

// Verdict is what appraisal concluded.
type Verdict string

// The verdicts. Absence of evidence never permits.
const (
	Permitted    Verdict = "permitted"
	Refused      Verdict = "refused"
	Inconclusive Verdict = "inconclusive"
)

// Effect is what a rule that applies does to the verdict.
type Effect string

// The effects.
const (
	EffectRefuse  Effect = "refuse"  // decides: refused
	EffectHold    Effect = "hold"    // stands in the way of permission until it is resolved
	EffectRequire Effect = "require" // permission needs it; met or not met
	EffectReport  Effect = "report"  // said, and decides nothing
)

// Reason is one rule applied to the evidence.
type Reason struct {
	Rule     string   `json:"rule"`
	Effect   Effect   `json:"effect"`
	Met      *bool    `json:"met,omitempty"` // for EffectRequire: whether the evidence meets it
	Text     string   `json:"text"`
	Citation string   `json:"citation,omitempty"`
	Refs     []string `json:"refs,omitempty"` // ids of the claims, marks, contradictions and endorsements that it rests on
	Next     string   `json:"next,omitempty"` // the test that would decide it
}

// ProfileRef names the exact profile that was applied.
type ProfileRef struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Title   string `json:"title"`
	Digest  Digest `json:"digest"`
}

// DataRef names a data file that appraisal used.
type DataRef struct {
	Name   string `json:"name"`
	Date   string `json:"date"`
	Digest Digest `json:"digest"`
}

// Parameter is a setting of the profile as it was applied, printed on every result.
type Parameter struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Text  string `json:"text"`
}

// Trustworthiness is an AR4SI vector (draft-ietf-rats-ar4si): -1 to 1 no
// claim, 2 to 31 affirming, 32 to 95 warning, 96 to 127 contraindicated.
type Trustworthiness struct {
	InstanceIdentity int8 `json:"instance-identity"`
	Configuration    int8 `json:"configuration"`
	Executables      int8 `json:"executables"`
	FileSystem       int8 `json:"file-system"`
	Hardware         int8 `json:"hardware"`
	RuntimeOpaque    int8 `json:"runtime-opaque"`
	StorageOpaque    int8 `json:"storage-opaque"`
	SourcedData      int8 `json:"sourced-data"`
}

// Result is what one profile makes of one unit's evidence.
type Result struct {
	Schema       string          `json:"schema"` // always ResultSchema
	Verdict      Verdict         `json:"verdict"`
	Unit         Unit            `json:"unit"`
	Profile      ProfileRef      `json:"profile"`
	Parameters   []Parameter     `json:"parameters"`
	Data         []DataRef       `json:"data"`
	Evidence     Digest          `json:"evidence"`
	Firmware     []Digest        `json:"firmware,omitempty"`
	Reasons      []Reason        `json:"reasons"`
	Next         []string        `json:"next,omitempty"` // for an inconclusive result: the tests that would decide it, best first
	Grades       []SubjectGrade  `json:"grades"`
	AR4SI        Trustworthiness `json:"ar4si"`
	DecisionRule string          `json:"decisionRule"`
	Limits       []string        `json:"limits,omitempty"` // what the profile does not decide
	Time         time.Time       `json:"time"`
}

// SubjectGrade is the best grade reached for one subject.
type SubjectGrade struct {
	Subject     Subject     `json:"subject"`
	Origin      Origin      `json:"origin"`
	Acquisition Acquisition `json:"acquisition"`
	Claim       string      `json:"claim"`
}

// ResultSchema is the schema of [Result].
const ResultSchema = "https://assay.example/result/v1"
