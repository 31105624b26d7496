package network

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"assay/attest"
	"assay/devices"
)

// ask asks without login and reports what goes wrong. nil means that there is
// nothing to read.
func (s *session) ask(ctx context.Context, ep *endpoint, r *request) *answer {
	a, err := s.send(ctx, ep, r, credential{})
	return s.received(ep, r, a, err)
}

func (s *session) received(ep *endpoint, r *request, a *answer, err error) *answer {
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, errGivenUp):
		if s.once("given up " + ep.String()) {
			s.sink.Problem(attest.ProblemIncomplete, r.source(), err.Error())
		}
		return nil
	default:
		s.problem(r, err)
	}
	if a != nil {
		s.banner(a)
	}
	if a == nil || err != nil && !a.cut || s.redirected(ep, a) {
		return nil
	}
	return a
}

// login asks with the operator's login by HTTP authentication.
func (s *session) login(ctx context.Context, ep *endpoint, r *request) *answer {
	return s.loginAs(ctx, ep, r, s.o.Account)
}

// loginAs answers a challenge once, and a second time only when the unit says
// that the nonce was stale. Anything but a clear acceptance of the first login
// ends all logging in with that account.
func (s *session) loginAs(ctx context.Context, ep *endpoint, r *request, account *devices.Account) *answer {
	user, password, ok := account.Login()
	if !ok {
		s.locked = append(s.locked, r.source())
		return nil
	}
	a := s.ask(ctx, ep, r)
	for range 2 {
		if a == nil || a.status != http.StatusUnauthorized {
			return a
		}
		authorization, err := s.authorization(ep, a, user, password)
		if err != nil {
			s.locked = append(s.locked, r.source())
			s.problem(r, err)
			return nil
		}
		if !s.mayOffer(ep, r, account) {
			return nil
		}
		a, err = s.send(ctx, ep, r, credential{authorization: authorization})
		a = s.received(ep, r, a, err)
		accepted := s.accepted[way(r, account)]
		switch {
		case a == nil && accepted:
			return nil
		case a == nil:
			s.uncertain(ep, r, account)
			return nil
		case a.status == http.StatusUnauthorized && s.stale(a):
			continue
		case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden && !accepted:
			s.refuse(ep, r, account)
			return nil
		case a.status < 300:
			s.accept(ep, r, account)
		case !accepted && a.status >= 500:
			s.uncertain(ep, r, account)
			return nil
		default: // a path that is not there, say: no refusal
			s.forget(ep, r, account)
		}
		return a
	}
	s.locked = append(s.locked, r.source())
	s.problem(r, fmt.Errorf("%w: %s: calls the nonce stale that it has just given: login left out", devices.ErrMalformed, ep))
	return nil
}

// units names the unit to the ledger of logins: by its address, and by the serial
// numbers that it gave, so that an address that moved on does not hide it. The
// usual ports are one unit; its ONVIF users are a list of their own, so that one
// missing there does not keep the next run from logging in over HTTP.
func (s *session) units(ep *endpoint, protocol string) []string {
	host, port, err := net.SplitHostPort(ep.address)
	name := ep.address
	switch {
	case !ep.web():
		name = strings.TrimPrefix(s.target.String(), "network:")
	case err == nil && (port == "80" || port == "443"):
		name = host
	}
	units := []string{"address " + name}
	for _, serial := range s.serials {
		units = append(units, "serial "+serial)
	}
	if protocol == "onvif" {
		for i := range units {
			units[i] = "onvif " + units[i]
		}
	}
	return units
}

// users are a list of users at the unit: ONVIF's are often not those of HTTP.
type users struct {
	account *devices.Account
	onvif   bool
}

func way(r *request, account *devices.Account) users { return users{account, r.protocol == "onvif"} }

// mayOffer asks the ledger before a login is sent to a list of users for the
// first time.
func (s *session) mayOffer(ep *endpoint, r *request, account *devices.Account) bool {
	if s.accepted[way(r, account)] {
		return true
	}
	if err := account.Offer(s.units(ep, r.protocol)...); err != nil {
		account.Refuse("an earlier run")
		s.locked = append(s.locked, r.source())
		s.sink.Problem(attest.ProblemAccess, r.source(), fmt.Sprintf("the login of %s was not offered to %s: %v", account, ep, err))
		return false
	}
	s.offer(account)
	return true
}

// triedBefore reports whether an earlier run offered the login here in vain.
func (s *session) triedBefore(ep *endpoint) bool { return s.o.Account.TriedBefore(s.units(ep, "")...) }

func (s *session) accept(ep *endpoint, r *request, account *devices.Account) {
	if s.accepted[way(r, account)] {
		return
	}
	s.accepted[way(r, account)] = true
	s.forget(ep, r, account)
}

// forget takes an offer that was not refused out of the ledger.
func (s *session) forget(ep *endpoint, r *request, account *devices.Account) {
	if err := account.Accept(s.units(ep, r.protocol)...); err != nil {
		s.sink.Problem(attest.ProblemIncomplete, r.source(), fmt.Sprintf("that %s did not refuse the login could not be remembered: %v", ep, err))
	}
}

func (s *session) authorization(ep *endpoint, a *answer, user, password string) (string, error) {
	offers, err := parseChallenges(a.header.Values("WWW-Authenticate"))
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w; the login was not tried", devices.ErrMalformed, ep, err)
	}
	c, err := choose(offers, s.mayBeReadable(ep))
	if errors.Is(err, errBasicOnly) {
		return "", fmt.Errorf("%w: %s: %w; allow it explicitly to log in", devices.ErrAccess, ep, err)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w; the login was not tried", devices.ErrMalformed, ep, err)
	}
	cnonce, err := s.nonce()
	if err != nil {
		return "", err
	}
	return c.authorize(user, password, a.request.method, a.request.uri, a.request.body, hex.EncodeToString(cnonce))
}

// mayBeReadable says whether a password may be sent as it is: with the operator's
// consent, or over TLS of today to the key that the session began with.
func (s *session) mayBeReadable(ep *endpoint) bool {
	return s.o.AllowBasic || ep.config != nil && !ep.weak
}

func (s *session) nonce() ([]byte, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(s.random, b); err != nil {
		return nil, fmt.Errorf("random numbers: %w", err)
	}
	return b, nil
}

func (s *session) stale(a *answer) bool {
	offers, _ := parseChallenges(a.header.Values("WWW-Authenticate"))
	for _, c := range offers {
		if c.stale() {
			return true
		}
	}
	return false
}

// refuse ends all logging in: the account's one failure is spent.
func (s *session) refuse(ep *endpoint, r *request, account *devices.Account) {
	account.Refuse(r.protocol + " at " + ep.address)
	s.locked = append(s.locked, r.source())
	hint := "check user and password, ONVIF may need its own user"
	if r.protocol == "onvif" && s.accepted[users{account, false}] {
		hint = "the unit took the same login elsewhere, so its ONVIF user is missing or disabled: ONVIF users are kept apart on many units, and none exists at first"
	}
	s.sink.Problem(attest.ProblemAccess, r.source(), fmt.Sprintf("%s at %s refused the login of %s; not tried again, since cameras lock an account after 3 to 5 wrong passwords; %s",
		r.protocol, ep.address, account, hint))
}

// uncertain ends logging in after a first login that got no clear answer: it
// may have counted as a wrong password.
func (s *session) uncertain(ep *endpoint, r *request, account *devices.Account) {
	account.Refuse(r.protocol + " at " + ep.address)
	s.locked = append(s.locked, r.source())
	s.sink.Problem(attest.ProblemAccess, r.source(), fmt.Sprintf("%s at %s gave no clear answer to the login of %s; not tried again, since it may count as a wrong password "+
		"and cameras lock an account after 3 to 5 of them", r.protocol, ep.address, account))
}
