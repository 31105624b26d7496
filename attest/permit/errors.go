package permit

import "errors"

// What Issue, Check and the key functions refuse. Each is wrapped with the
// particulars; tell them apart with errors.Is.
var (
	ErrTooLarge       = errors.New("bundle is over 1 MiB")
	ErrSyntax         = errors.New("not valid JSON, or cut off")
	ErrDuplicateKey   = errors.New("the same key appears twice in one JSON object")
	ErrFields         = errors.New("fields are not exactly those of this format")
	ErrNotCanonical   = errors.New("payload is not canonical JSON (RFC 8785)")
	ErrEncoding       = errors.New("not padded standard base64")
	ErrMediaType      = errors.New("not a Sigstore bundle v0.3")
	ErrMaterial       = errors.New("bundle must name a bare public key, not a certificate")
	ErrSignatureCount = errors.New("bundle must carry exactly one signature")
	ErrKeyID          = errors.New("signature carries a keyid, which permits do not have")
	ErrNoKeys         = errors.New("no station key was given to check against")
	ErrKeyKind        = errors.New("key of a kind that permits are not signed with; use ECDSA P-256 or Ed25519")
	ErrSignature      = errors.New("signature is by none of the given station keys, or the payload was changed")
	ErrPayloadType    = errors.New("payload is not an in-toto statement")
	ErrStatementType  = errors.New("statement is not in-toto Statement v1")
	ErrPredicateType  = errors.New("statement is not a permit")
	ErrNewer          = errors.New("made by a newer assay; update assay to read it")
	ErrSubjectCount   = errors.New("permit must have exactly one subject")
	ErrSubject        = errors.New("subject is not the digest of the unit's record in the permit")
	ErrIdentity       = errors.New("permit is for another unit than the given identity record")
	ErrStation        = errors.New("permit names another key as its station's than the one that signed")
	ErrVerdict        = errors.New("unknown verdict")
	ErrPredicate      = errors.New("permit contradicts itself")
	ErrUnidentified   = errors.New("unit has no serial number, MAC address or device key: a permit for it would serve every unit of its model")
	ErrExpired        = errors.New("permit has expired")
	ErrNotYetValid    = errors.New("permit is not valid yet")
	ErrPassphrase     = errors.New("passphrase is wrong or the key file is damaged")
	ErrNoPassphrase   = errors.New("key must be protected by a passphrase")
)
