package permit

import _ "embed"

// Schema is the JSON Schema (draft 2020-12) of [Predicate]. It says what a
// program in another language may rely on; [Check] holds more than it can say.
//
//go:embed permit-v1.json
var Schema []byte
