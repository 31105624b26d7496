// Package proof holds the tokens that raise a claim above self-declared.
//
// It is internal to attest, so only a package of that room, which did the
// check itself, can name one: a channel that merely heard a value cannot.
package proof

// A Grade is the right to raise a claim to one origin. The zero Grade raises nothing.
type Grade struct{ level uint8 }

// Level is the origin that the grade stands for, as in P0 to P6.
func (g Grade) Level() uint8 { return g.level }

// Corroborated: two independent channels gave the same value (P2).
func Corroborated() Grade { return Grade{2} }

// ContentMatched: the bytes equal a reference value (P3).
func ContentMatched() Grade { return Grade{3} }

// VendorSigned: a signature over the bytes verifies to a trust anchor (P4).
func VendorSigned() Grade { return Grade{4} }

// KeyPossession: a fresh nonce was signed by a vendor-certified device key (P5).
func KeyPossession() Grade { return Grade{5} }

// Quoted: a fresh hardware-rooted quote over boot measurements verified (P6).
func Quoted() Grade { return Grade{6} }
