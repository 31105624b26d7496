package network

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"

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

// login asks with the operator's login by HTTP authentication. It answers a
// challenge once, and a second time only when the unit says that the nonce was
// stale. Anything but a clear acceptance of the first login ends all logging in.
func (s *session) login(ctx context.Context, ep *endpoint, r *request) *answer {
	user, password, ok := s.o.Account.Login()
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
		a, err = s.send(ctx, ep, r, credential{authorization: authorization})
		a = s.received(ep, r, a, err)
		switch {
		case a == nil && ep.accepted:
			return nil
		case a == nil:
			s.uncertain(ep, r)
			return nil
		case a.status == http.StatusUnauthorized && s.stale(a):
			continue
		case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden && !ep.accepted:
			s.refuse(ep, r)
			return nil
		case a.status < 300:
			ep.accepted = true
		case !ep.accepted && a.status >= 500:
			s.uncertain(ep, r)
			return nil
		}
		return a
	}
	s.locked = append(s.locked, r.source())
	s.problem(r, fmt.Errorf("%w: %s: calls the nonce stale that it has just given: login left out", devices.ErrMalformed, ep))
	return nil
}

func (s *session) authorization(ep *endpoint, a *answer, user, password string) (string, error) {
	offers, err := parseChallenges(a.header.Values("WWW-Authenticate"))
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w; the login was not tried", devices.ErrMalformed, ep, err)
	}
	c, err := choose(offers, s.o.AllowBasic || ep.scheme == "https" && !ep.weak)
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
func (s *session) refuse(ep *endpoint, r *request) {
	s.o.Account.Refuse(r.protocol + " at " + ep.address)
	s.locked = append(s.locked, r.source())
	s.sink.Problem(attest.ProblemAccess, r.source(), fmt.Sprintf("%s at %s refused the login of %s; not tried again, since cameras lock an account after 3 to 5 wrong passwords; "+
		"check user and password, ONVIF may need its own user", r.protocol, ep.address, s.o.Account))
}

// uncertain ends logging in after a first login that got no clear answer: it
// may have counted as a wrong password.
func (s *session) uncertain(ep *endpoint, r *request) {
	s.o.Account.Refuse(r.protocol + " at " + ep.address)
	s.locked = append(s.locked, r.source())
	s.sink.Problem(attest.ProblemAccess, r.source(), fmt.Sprintf("%s at %s gave no clear answer to the login of %s; not tried again, since it may count as a wrong password "+
		"and cameras lock an account after 3 to 5 of them", r.protocol, ep.address, s.o.Account))
}
