package network

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// digestAlgorithms are those of RFC 7616 §3.2 and §6.1, weakest first. MD5 is
// broken as a hash and is what nearly every camera offers; the password itself
// does not leave this machine with either.
var digestAlgorithms = []struct {
	name string
	sum  func(string) string
}{
	{"md5", func(s string) string { h := md5.Sum([]byte(s)); return hex.EncodeToString(h[:]) }},
	{"sha-256", func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }},
	{"sha-512-256", func(s string) string { h := sha512.Sum512_256([]byte(s)); return hex.EncodeToString(h[:]) }},
}

// algorithm is the place in digestAlgorithms and whether it is a session
// variant. A challenge without the parameter means MD5 (RFC 7616 §3.3).
func (c challenge) algorithm() (rank int, session, ok bool) {
	name := strings.ToLower(c.params["algorithm"])
	if name == "" {
		name = "md5"
	}
	name, session = strings.CutSuffix(name, "-sess")
	for rank, a := range digestAlgorithms {
		if a.name == name {
			return rank, session, true
		}
	}
	return 0, false, false
}

// qop is the quality of protection to answer with: "auth" before "auth-int",
// and empty for a challenge without one, which is RFC 2069's. ok is false when
// the unit offers only what is not known.
func (c challenge) qop() (qop string, ok bool) {
	offer, given := c.params["qop"]
	if !given || strings.TrimSpace(offer) == "" {
		return "", true
	}
	offers := strings.FieldsFunc(strings.ToLower(offer), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	for _, q := range []string{"auth", "auth-int"} {
		if slices.Contains(offers, q) {
			return q, true
		}
	}
	return "", false
}

// usable says why a digest challenge cannot be answered, or nil.
func (c challenge) usable() error {
	if c.params["nonce"] == "" {
		return fmt.Errorf("%w: digest without a nonce", errUnreadable)
	}
	if _, given := c.params["realm"]; !given {
		return fmt.Errorf("%w: digest without a realm", errUnreadable)
	}
	if _, _, ok := c.algorithm(); !ok {
		return fmt.Errorf("%w: digest algorithm %q is not known", errUnreadable, clean(c.params["algorithm"]))
	}
	if _, ok := c.qop(); !ok {
		return fmt.Errorf("%w: digest qop %q is not known", errUnreadable, clean(c.params["qop"]))
	}
	return nil
}

var errBasicOnly = errors.New("the unit takes the password only readable (HTTP Basic) over an unprotected connection")

// choose picks the strongest challenge that can be answered. Basic is taken only
// where no digest is offered at all: a digest that cannot be read must not lead
// to sending the password. The error wraps errUnreadable or is errBasicOnly.
func choose(offers []challenge, basic bool) (challenge, error) {
	var best challenge
	var unusable error
	bestRank := -1
	offersBasic := false
	for _, c := range offers {
		switch c.scheme {
		case "basic":
			offersBasic = true
		case "digest":
			if err := c.usable(); err != nil {
				unusable = err
			} else if rank, _, _ := c.algorithm(); rank > bestRank {
				best, bestRank = c, rank
			}
		}
	}
	switch {
	case bestRank >= 0:
		return best, nil
	case unusable != nil:
		return challenge{}, unusable
	case offersBasic && basic:
		return challenge{scheme: "basic"}, nil
	case offersBasic:
		return challenge{}, errBasicOnly
	}
	return challenge{}, fmt.Errorf("%w: neither digest nor basic is offered", errUnreadable)
}

// authorize makes the Authorization header for one request.
//
// Order and quoting follow what the pickiest firmware takes: Amcrest refuses a
// quoted qop or nc, Lilin any order but this one.
func (c challenge) authorize(user, password, method, uri, body, cnonce string) (string, error) {
	if c.scheme == "basic" {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)), nil
	}
	if strings.ContainsFunc(user, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", errors.New("the user name holds a control character")
	}
	rank, session, _ := c.algorithm()
	qop, _ := c.qop()
	h := digestAlgorithms[rank].sum
	nonce, realm := c.params["nonce"], c.realm()
	const nc = "00000001" // each request answers a fresh challenge

	ha1 := h(user + ":" + realm + ":" + password)
	if session {
		ha1 = h(ha1 + ":" + nonce + ":" + cnonce)
	}
	a2 := method + ":" + uri
	if qop == "auth-int" {
		a2 += ":" + h(body)
	}
	response := h(ha1 + ":" + nonce + ":" + h(a2))
	if qop != "" {
		response = h(strings.Join([]string{ha1, nonce, nc, cnonce, qop, h(a2)}, ":"))
	}

	userhash := strings.EqualFold(c.params["userhash"], "true")
	if userhash {
		user = h(user + ":" + realm)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `Digest username=%s, realm=%s, nonce=%s, uri=%s, response="%s"`, quote(user), quote(realm), quote(nonce), quote(uri), response)
	if a, ok := c.params["algorithm"]; ok {
		b.WriteString(", algorithm=" + a)
	}
	if o, ok := c.params["opaque"]; ok {
		b.WriteString(", opaque=" + quote(o))
	}
	if qop != "" {
		fmt.Fprintf(&b, `, qop=%s, nc=%s`, qop, nc)
	}
	if qop != "" || session {
		b.WriteString(", cnonce=" + quote(cnonce))
	}
	if userhash {
		b.WriteString(", userhash=true")
	}
	return b.String(), nil
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
