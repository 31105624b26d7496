package network

import (
	"errors"
	"fmt"
	"strings"
)

// challenge is one way to log in that a unit offers in WWW-Authenticate
// (RFC 9110 §11.3).
type challenge struct {
	scheme string            // lower case
	params map[string]string // names in lower case, values unquoted
}

func (c challenge) realm() string { return c.params["realm"] }

// stale says that the login was not looked at, only that its nonce is too old
// (RFC 7616 §3.3). Cameras write TRUE, true and "true".
func (c challenge) stale() bool { return strings.EqualFold(c.params["stale"], "true") }

// errUnreadable is about the challenge, never about the password.
var errUnreadable = errors.New("login challenge cannot be read")

const (
	maxChallengeBytes = 8 << 10
	maxChallenges     = 16
	maxParams         = 32
)

// parseChallenges reads the challenges of all WWW-Authenticate lines of an
// answer. Firmware separates them by lines or by commas, doubles commas, puts
// commas into quoted realms and blanks around them. What was read before an
// unreadable place comes back with the error, which wraps errUnreadable.
func parseChallenges(lines []string) ([]challenge, error) {
	var all []challenge
	for i, line := range lines {
		found, err := parseLine(line)
		if all = append(all, found...); len(all) > maxChallenges {
			return all[:maxChallenges], fmt.Errorf("%w: more than %d challenges", errUnreadable, maxChallenges)
		}
		if err != nil {
			return all, fmt.Errorf("%w: line %d of WWW-Authenticate: %w", errUnreadable, i+1, err)
		}
	}
	return all, nil
}

func parseLine(line string) ([]challenge, error) {
	if len(line) > maxChallengeBytes {
		return nil, fmt.Errorf("%d bytes exceed %d", len(line), maxChallengeBytes)
	}
	var all []challenge
	p := scanner{text: line}
	for {
		p.skip(" \t,")
		if p.done() {
			return all, nil
		}
		start := p.at
		name := strings.ToLower(p.token())
		if name == "" {
			return all, fmt.Errorf("unexpected %q at byte %d", p.text[p.at], p.at)
		}
		p.skip(" \t")
		if !p.at1('=') {
			all = append(all, challenge{scheme: name, params: map[string]string{}})
			continue
		}
		if len(all) == 0 {
			return all, fmt.Errorf("parameter %q before any scheme at byte %d", clean(name), start)
		}
		if p.padding() {
			continue // a token68, as NTLM and Negotiate have
		}
		p.at++
		p.skip(" \t")
		value, err := p.value()
		if err != nil {
			return all, err
		}
		last := all[len(all)-1]
		if _, twice := last.params[name]; twice {
			return all, fmt.Errorf("parameter %q twice, again at byte %d", clean(name), start)
		}
		if last.params[name] = value; len(last.params) > maxParams {
			return all, fmt.Errorf("more than %d parameters", maxParams)
		}
	}
}

type scanner struct {
	text string
	at   int
}

func (p *scanner) done() bool { return p.at >= len(p.text) }

func (p *scanner) at1(c byte) bool { return !p.done() && p.text[p.at] == c }

func (p *scanner) skip(set string) {
	for !p.done() && strings.IndexByte(set, p.text[p.at]) >= 0 {
		p.at++
	}
}

// token is an RFC 9110 token, and what a token68 has beyond one.
func (p *scanner) token() string {
	start := p.at
	for !p.done() && (isAlphanumeric(p.text[p.at]) || strings.IndexByte("!#$%&'*+-.^_`|~/", p.text[p.at]) >= 0) {
		p.at++
	}
	return p.text[start:p.at]
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// padding skips the equal signs at the end of a token68 and reports whether
// there were any: followed by a value they belong to a parameter.
func (p *scanner) padding() bool {
	end := p.at
	for end < len(p.text) && p.text[end] == '=' {
		end++
	}
	rest := strings.TrimLeft(p.text[end:], " \t")
	if rest == "" && end-p.at == 0 || rest != "" && rest[0] != ',' {
		return false
	}
	if end-p.at == 1 && rest != "" {
		return false // name=, : an empty value
	}
	p.at = end
	return true
}

// value is a quoted string or everything up to the next comma or blank.
func (p *scanner) value() (string, error) {
	if !p.at1('"') {
		start := p.at
		for !p.done() && strings.IndexByte(" \t,", p.text[p.at]) < 0 {
			p.at++
		}
		return p.text[start:p.at], nil
	}
	start := p.at
	var b strings.Builder
	for p.at++; !p.done(); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\' && p.at+1 < len(p.text):
			p.at++
			b.WriteByte(p.text[p.at])
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("quote opened at byte %d does not close", start)
}
