package network

import (
	"context"
	"net/http"
	"slices"

	"assay/attest"
)

// protocol is one language that a unit may speak, over HTTP or over a socket of
// its own. Each is a value in a file of its own, which names the source of its
// facts.
type protocol struct {
	name string // as in claims and sources: "isapi"
	// maker is the entity whose firmware speaks it, empty for anybody's.
	maker string
	// kept says that units sold under other brands are known to keep it. Such a
	// protocol is asked for whatever a unit has said of itself.
	kept bool
	// requests are all that it can send over HTTP: together they are the allowlist.
	requests []*request
	// open asks what needs no login, login what was found to need one.
	open, login func(*session, context.Context, *endpoint)

	// A protocol with a socket of its own has these instead: where it listens, what
	// it can send, and how it is asked there ([session.overSockets]).
	ports    []port
	messages []message
	talk     func(*session, context.Context, *endpoint)
}

// protocols are asked in this order: first the industry's own, then those that
// relabelled units keep, then those of makers that sell under their own names.
// A new protocol is one line here and one file.
//
// A unit is not asked everything ([session.wanted]): an unknown one gets one
// request for each line (two for Axis, none for Foscam), and once it is known
// whose it is the rest is left out. docs/network.md lists what is sent to whom.
var protocols []*protocol

// allowlist is everything that this package can send to a unit. Each of the
// requests reads. Some vendor interfaces write with a GET (Dahua setConfig, Axis
// param.cgi update, Bosch rcp.xml), so the query is part of what is allowed.
var allowlist []*request

func init() { // a variable would refer to itself, through the functions that send
	protocols = []*protocol{
		&webProtocol,
		&onvifProtocol,
		&isapiProtocol,
		&dahuaProtocol,
		&lapiProtocol,
		&tvtProtocol,
		&axisProtocol,
		&sunapiProtocol,
		&rcpProtocol,
		&vivotekProtocol,
		&iproProtocol,
		&sonyProtocol,
		&reolinkProtocol,
		&foscamProtocol,
		&rtspProtocol,
		&dvripProtocol,
		&snmpProtocol,
		&sshProtocol,
		&telnetProtocol,
		&ftpProtocol,
	}
	for _, p := range protocols {
		allowlist = append(allowlist, p.requests...)
	}
}

// openly asks every wanted protocol without login. What was seen so far says
// whose protocol comes next: makers that a mark names go before the others.
func (s *session) openly(ctx context.Context, ep *endpoint) {
	left := slices.DeleteFunc(slices.Clone(protocols), func(p *protocol) bool { return p.open == nil })
	for len(left) > 0 && ctx.Err() == nil {
		marked := s.marked(attest.C1)
		at := slices.IndexFunc(left, func(p *protocol) bool { return p.maker == "" || p.kept || marked[p.maker] })
		at = max(at, 0)
		p := left[at]
		left = slices.Delete(left, at, at+1)
		if s.wanted(p) {
			p.open(s, ctx, ep)
		}
	}
}

// withLogin asks for what needs one: the makers' own protocols first, those that
// a mark names before the others, and then ONVIF, whose accounts many units keep
// apart.
func (s *session) withLogin(ctx context.Context, ep *endpoint) {
	s.loggingIn = true
	var marked, own, anybodys []*protocol
	for _, p := range protocols {
		switch {
		case p.login == nil:
		case p.maker == "":
			anybodys = append(anybodys, p)
		case s.spoken[p.name] || s.marked(attest.C1)[p.maker]:
			marked = append(marked, p)
		default:
			own = append(own, p)
		}
	}
	if _, _, ok := s.o.Account.Login(); !ok && slices.ContainsFunc(marked, func(p *protocol) bool { return s.needsLogin[p.name] != nil }) {
		own = nil // only to be named as left unread, and they are not its protocols
	}
	for _, p := range slices.Concat(marked, own, anybodys) {
		if ctx.Err() == nil && s.needsLogin[p.name] != nil && s.wanted(p) {
			p.login(s, ctx, ep)
		}
	}
}

// wanted says whether a protocol can still tell something. It is left out when a
// solid mark names another maker, or when another maker's protocol was answered;
// the second alone does not spare a unit those that relabelled ones keep.
func (s *session) wanted(p *protocol) bool {
	if p.maker == "" || s.spoken[p.name] {
		return true
	}
	for maker := range s.marked(attest.C2) {
		if maker != p.maker {
			return false
		}
	}
	if p.kept && !s.loggingIn {
		return true
	}
	return len(s.spoken) == 0
}

// marked are the makers that the fingerprints name by what was seen so far, with
// at least that strength; the makers of parts do not count.
func (s *session) marked(least attest.Strength) map[string]bool {
	if s.markedAt != len(s.seen) || s.marks == nil {
		s.marks, s.markedAt = s.o.Rules.Match(s.seen), len(s.seen)
	}
	makers := map[string]bool{}
	for _, m := range s.marks {
		if m.Strength >= least && (m.Subject == attest.SubjectUnit || m.Subject == attest.SubjectFirmware) {
			makers[m.Entity] = true
		}
	}
	return makers
}

// speaks notes that the unit answered in a protocol.
func (s *session) speaks(a *answer) {
	s.protocol(a, a.request.protocol)
	for _, p := range protocols {
		if p.name == a.request.protocol && p.maker != "" {
			s.spoken[p.name] = true
		}
	}
}

// reader takes an answer apart and reports whether it is one of the protocol.
// The status says nothing: errors come with 200, and answers with 599.
type reader func(s *session, a *answer) bool

// question asks requests in turn. The first decides: where it brings no answer
// of the protocol the rest is not asked, and where it wants a login the rest is
// kept with it for later.
func (s *session) question(ctx context.Context, ep *endpoint, read reader, requests ...*request) {
	for i, r := range requests {
		a := s.ask(ctx, ep, r)
		switch {
		case a != nil && a.status == http.StatusUnauthorized && i == 0:
			s.later(requests...)
			return
		case a != nil && a.status == http.StatusUnauthorized:
			s.later(r)
		case (a == nil || s.page200(a) || !read(s, a)) && i == 0:
			return
		}
	}
}

// later keeps requests for the step with login.
func (s *session) later(requests ...*request) {
	for _, r := range requests {
		s.needsLogin[r.protocol] = append(s.needsLogin[r.protocol], r)
	}
}

// questionAgain asks with login what was kept for it, and stops where the first
// answer is not one of the protocol.
func (s *session) questionAgain(ctx context.Context, ep *endpoint, name string, read reader) {
	for i, r := range s.needsLogin[name] {
		a := s.login(ctx, ep, r)
		if a == nil {
			continue
		}
		if spoken := !s.page200(a) && read(s, a); !spoken && i == 0 {
			return
		}
	}
}
