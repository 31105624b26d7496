package network

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"net/http"
	"slices"
	"strconv"
	"time"

	"assay/attest"
	"assay/devices"
)

// A login by ONVIF (Core Specification 24.12 §5.9): a UsernameToken in the header
// of the SOAP message, made with the unit's own clock.

// clock is the difference between the unit's clock and ours, by the time that it
// gives as UTC and, where it gives it, by the one that it calls local.
type clock struct {
	offset   time.Duration
	local    time.Duration
	hasLocal bool
}

// near is how far a clock may be from ours to be taken for the same, which is
// about what firmware allows a token.
const near = 5 * time.Second

// best is the offset to make a token with. Some firmware gives its local time as
// UTC, and its UTC as local; a clock that agrees with ours is right.
func (c clock) best() time.Duration {
	if c.offset.Abs() > near && c.hasLocal && c.local.Abs() <= near {
		return c.local
	}
	return c.offset
}

// other is the offset that best did not take.
func (c clock) other() (time.Duration, bool) {
	if !c.hasLocal || (c.local-c.offset).Abs() <= near {
		return 0, false
	}
	if c.best() == c.local {
		return c.offset, true
	}
	return c.local, true
}

// onvifAccount is the login for ONVIF: its own where the operator gave one, since
// Hikvision and others keep the users of ONVIF apart.
func (s *session) onvifAccount() *devices.Account {
	if s.o.ONVIFAccount != nil {
		return s.o.ONVIFAccount
	}
	return s.o.Account
}

// onvifLogin asks with login for what was refused without: by WS-UsernameToken,
// or by HTTP authentication where the unit wants that. Never both in one request
// (Core §5.9.1).
func (s *session) onvifLogin(ctx context.Context, ep *endpoint) {
	for _, r := range s.needsLogin["onvif"] {
		s.onvifAs(ctx, ep, r)
	}
	if !s.accepted[users{s.onvifAccount(), true}] {
		return
	}
	at := slices.IndexFunc(onvifProfiles, func(r *request) bool { return r.uri == s.mediaPath })
	switch {
	case at >= 0:
		s.onvifAs(ctx, ep, onvifProfiles[at])
	case s.mediaPath != "":
		s.sink.Problem(attest.ProblemIncomplete, "onvif GetProfiles", fmt.Sprintf("the media service is at %q, which no known firmware has: not asked", clean(s.mediaPath)))
	}
}

func (s *session) onvifAs(ctx context.Context, ep *endpoint, r *request) {
	account := s.onvifAccount()
	switch _, _, ok := account.Login(); {
	case !ok:
		s.locked = append(s.locked, r.source())
	case s.onvifHTTP:
		s.onvifDigest(ctx, ep, r, account)
	default:
		s.onvifToken(ctx, ep, r, account)
	}
}

func (s *session) onvifDigest(ctx context.Context, ep *endpoint, r *request, account *devices.Account) {
	a := s.loginAs(ctx, ep, r, account)
	if a == nil {
		return
	}
	if doc, ok := s.soap(a); ok {
		s.onvifRead(a, doc)
	}
}

// tokenAnswer sends a request with a token made by the unit's clock as offset
// says. The answer is nil where none came or nothing was sent.
func (s *session) tokenAnswer(ctx context.Context, ep *endpoint, r *request, account *devices.Account, offset time.Duration) (a *answer, doc *node, ok, sent bool) {
	nonce, err := s.nonce()
	if err != nil {
		s.problem(r, err)
		return nil, nil, false, false
	}
	user, password, _ := account.Login()
	a, err = s.send(ctx, ep, r, credential{security: usernameToken(user, password, nonce, s.now().Add(offset))})
	if errors.Is(err, errGivenUp) {
		s.locked = append(s.locked, r.source())
		return nil, nil, false, false
	}
	if a = s.received(ep, r, a, err); a != nil {
		doc, ok = s.soap(a)
	}
	return a, doc, ok, true
}

// onvifToken logs in by UsernameToken. A refusal ends it, with one exception: a
// unit that took the same password over HTTP knows it, so what it refused was the
// time or the kind of login, and a second try spends nothing. It goes by the other
// of the two clocks, or by HTTP digest where the refusal brought a challenge.
func (s *session) onvifToken(ctx context.Context, ep *endpoint, r *request, account *devices.Account) {
	if !s.mayOffer(ep, r, account) {
		return
	}
	a, doc, ok, sent := s.tokenAnswer(ctx, ep, r, account, s.clock.best())
	accepted := s.accepted[way(r, account)]
	if a != nil && unauthorized(a, doc) && !accepted && s.accepted[users{account, false}] && s.once("second way into onvif") {
		other, has := s.clock.other()
		switch {
		case has:
			s.clock = clock{offset: other}
			a, doc, ok, sent = s.tokenAnswer(ctx, ep, r, account, other)
		case a.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") != "":
			s.onvifHTTP = true
			s.onvifDigest(ctx, ep, r, account)
			return
		}
	}
	switch {
	case !sent:
	case a == nil:
		if !accepted {
			s.uncertain(ep, r, account)
		}
	case unauthorized(a, doc):
		s.refuse(ep, r, account)
	case ok:
		s.accept(ep, r, account)
		s.onvifRead(a, doc)
	case !accepted:
		s.uncertain(ep, r, account)
	}
}

// onvifClock reads the unit's clock. That it is wrong is a claim, and never a
// reason to distrust.
func (s *session) onvifClock(a *answer, doc *node) {
	at := a.sent.Add(a.took / 2)
	utc, ok := s.onvifTime(a, doc, "UTCDateTime")
	if !ok {
		return
	}
	s.clock, s.clockKnown = clock{offset: utc.Sub(at)}, true
	if local, ok := s.onvifTime(a, doc, "LocalDateTime"); ok {
		s.clock.local, s.clock.hasLocal = local.Sub(at), true
	}
	s.claim(a, attest.SubjectUnit, attest.NameClockOffset, strconv.FormatFloat(s.clock.offset.Round(time.Second).Seconds(), 'f', -1, 64), "UTCDateTime")
}

func (s *session) onvifTime(a *answer, doc *node, name string) (time.Time, bool) {
	given := doc.find(name)
	var n [6]int
	for i, path := range [][]string{{"Date", "Year"}, {"Date", "Month"}, {"Date", "Day"}, {"Time", "Hour"}, {"Time", "Minute"}, {"Time", "Second"}} {
		v, err := strconv.Atoi(given.field(path...))
		if err != nil {
			return time.Time{}, false
		}
		n[i] = v
	}
	if n[0] < 1970 || n[0] > 2200 || n[1] < 1 || n[1] > 12 || n[2] < 1 || n[2] > 31 || n[3] < 0 || n[3] > 23 || n[4] < 0 || n[4] > 59 || n[5] < 0 || n[5] > 60 {
		s.sink.Problem(attest.ProblemMalformed, a.request.source(), fmt.Sprintf("%s %v is no time", name, n))
		return time.Time{}, false
	}
	// The unit cut off the fraction.
	return time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], 0, time.UTC).Add(time.Second / 2), true
}

// usernameToken is the security header of the OASIS Web Services Security
// UsernameToken Profile 1.0 §3.1 with a password digest. created is in the
// unit's own time, since most firmware refuses a token that is seconds off.
func usernameToken(user, password string, nonce []byte, created time.Time) string {
	const (
		wsse   = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
		wsu    = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
		digest = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
		base   = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
	)
	at := created.UTC().Format("2006-01-02T15:04:05Z")
	sum := sha1.Sum([]byte(string(nonce) + at + password))
	return `<s:Header><wsse:Security xmlns:wsse="` + wsse + `" xmlns:wsu="` + wsu + `" s:mustUnderstand="1"><wsse:UsernameToken>` +
		`<wsse:Username>` + html.EscapeString(user) + `</wsse:Username>` +
		`<wsse:Password Type="` + digest + `">` + base64.StdEncoding.EncodeToString(sum[:]) + `</wsse:Password>` +
		`<wsse:Nonce EncodingType="` + base + `">` + base64.StdEncoding.EncodeToString(nonce) + `</wsse:Nonce>` +
		`<wsu:Created>` + at + `</wsu:Created></wsse:UsernameToken></wsse:Security></s:Header>`
}
