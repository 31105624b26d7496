package network

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"assay/attest"
	"assay/devices"
)

// The start page, and the two login pages that Hikvision firmware sends its
// visitors to, whose answers carry the banner of the web server.
var (
	landingPage  = &request{protocol: "http", method: "GET", uri: "/"}
	loginPageOld = &request{protocol: "http", method: "GET", uri: "/doc/page/login.asp"}
	loginPageNew = &request{protocol: "http", method: "GET", uri: "/doc/index.html"}
)

// errWantsTLS is a web server that tells a plain visitor to come with TLS.
var errWantsTLS = errors.New("wants TLS")

// landing reads the banner of an endpoint and returns the endpoint to go on
// with: another one when it sends its visitors from http to https.
func (s *session) landing(ctx context.Context, ep *endpoint) (*endpoint, error) {
	if ep.scheme == "https" {
		s.step("%s tls handshake", ep)
		state, err := s.handshake(ctx, ep)
		if err != nil {
			return nil, err
		}
		s.certificate(ep, state)
	}
	a, err := s.send(ctx, ep, landingPage, credential{})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case a == nil && ep.scheme == "http" && !errors.Is(err, devices.ErrHostile):
		return nil, err
	case err != nil:
		s.problem(landingPage, err) // over https the certificate is an answer already
	}
	if a == nil {
		return ep, nil
	}
	if a.status == http.StatusBadRequest && ep.scheme == "http" && strings.Contains(strings.ToUpper(string(a.body)), "HTTPS") {
		return nil, fmt.Errorf("%w: %s: %w", devices.ErrMalformed, ep, errWantsTLS)
	}
	s.protocol(a, ep.scheme)
	s.claim(a, attest.SubjectNetwork, "http-status", strconv.Itoa(a.status), "status")
	s.banner(a)
	s.page(a)
	return s.follow(ctx, ep, a), nil
}

// banner keeps the server's name and its login realms, once each however often
// they come.
func (s *session) banner(a *answer) {
	if v := a.header.Get("Server"); v != "" && s.once("server "+v) {
		s.claim(a, attest.SubjectNetwork, "http-server", v, "header Server")
		s.observe(a, "http.server", v, "header Server")
		s.isRecorderBanner(a, v, "header Server")
	}
	if v := a.header.Get("Set-Cookie"); v != "" && s.once("cookie "+v) {
		s.observe(a, "http.cookie", v, "header Set-Cookie")
	}
	if v := a.header.Get("P3P"); v != "" && s.once("p3p "+v) {
		s.observe(a, "http.p3p", v, "header P3P")
	}
	challenges, _ := parseChallenges(a.header.Values("WWW-Authenticate"))
	for _, c := range challenges {
		if v := c.realm(); v != "" && s.once("realm "+v) {
			s.claim(a, attest.SubjectNetwork, "http-realm", v, "header WWW-Authenticate realm")
			s.observe(a, "http.realm", v, "header WWW-Authenticate realm")
			s.isRecorderBanner(a, v, "header WWW-Authenticate realm")
		}
	}
}

// pageMarks are addresses in start pages that lead to a vendor's login page or
// viewer; many are followed by script only.
var pageMarks = regexp.MustCompile(`/doc/(?:page/login\.asp|index\.html)|/?RSVideoOcx\.cab`)

// systemType is a variable in the start page of TVT's recorders.
var systemType = regexp.MustCompile(`systemType\s*=\s*["']([\w-]{1,40})["']`)

func (s *session) page(a *answer) {
	if t := title(a.body); t != "" && s.once("title "+t) {
		s.claim(a, attest.SubjectNetwork, "http-title", t, "title")
		s.observe(a, "http.title", t, "title")
		s.isRecorderBanner(a, t, "title")
	}
	if m := systemType.FindSubmatch(a.body); m != nil {
		s.observe(a, "tvt.systemType", string(m[1]), "systemType")
		s.isRecorderBanner(a, string(m[1]), "systemType")
	}
	if m := pageMarks.Find(a.body); m != nil {
		s.observe(a, "http.location", string(m), "page")
	}
}

// follow goes where the start page sends its visitors, if that is the same host
// and either https or a page on the list, and only once.
func (s *session) follow(ctx context.Context, ep *endpoint, a *answer) *endpoint {
	to, ok := s.location(ep, a)
	if !ok {
		return ep
	}
	s.observe(a, "http.location", to.RequestURI(), "header Location")
	if to.Scheme == ep.scheme && samePort(to, ep) {
		for _, r := range []*request{loginPageOld, loginPageNew} {
			if to.Path != r.uri {
				continue
			}
			if page, err := s.send(ctx, ep, r, credential{}); err != nil {
				s.problem(r, err)
			} else {
				s.banner(page)
				s.page(page)
			}
		}
		return ep
	}
	if to.Scheme != "https" || ep.scheme != "http" {
		s.sink.Problem(attest.ProblemIncomplete, a.request.source(), fmt.Sprintf("%s sends its visitors to %s: not followed; name it as the target to read it", ep, clean(to.String())))
		return ep
	}
	port, err := strconv.Atoi(portOf(to))
	if err != nil {
		return ep
	}
	next, err := s.landing(ctx, newEndpoint("https", ep.host, port))
	if err != nil {
		s.problem(landingPage, err)
		return ep
	}
	return next
}

// location is where an answer redirects to on the same host. A redirect to
// another host is reported and never followed: the tool would be sent on to
// attack somebody else, or the evidence would be of another unit.
func (s *session) location(ep *endpoint, a *answer) (*url.URL, bool) {
	if a.status < 300 || a.status > 399 || a.header.Get("Location") == "" {
		return nil, false
	}
	base, err := url.Parse(ep.String() + a.request.uri)
	if err != nil {
		return nil, false
	}
	to, err := base.Parse(a.header.Get("Location"))
	if err != nil || to.Scheme != "http" && to.Scheme != "https" {
		s.sink.Problem(attest.ProblemMalformed, a.request.source(), fmt.Sprintf("%s redirects to %q, which is no address: not followed", ep, clean(a.header.Get("Location"))))
		return nil, false
	}
	if !strings.EqualFold(to.Hostname(), ep.host) {
		if s.once("redirect to " + to.Host) {
			s.sink.Problem(attest.ProblemHostile, a.request.source(), fmt.Sprintf("%s redirects to another host, %s: not followed", ep, clean(to.Redacted())))
		}
		return nil, false
	}
	return to, true
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

func samePort(u *url.URL, ep *endpoint) bool {
	return strings.HasSuffix(ep.address, ":"+portOf(u))
}

// redirected reports whether an answer of a protocol is only a redirect; that
// means that the protocol is not spoken there.
func (s *session) redirected(ep *endpoint, a *answer) bool {
	if a.status < 300 || a.status > 399 {
		return false
	}
	s.location(ep, a)
	return true
}

var byteOrderMark = "\ufeff"

// isHTML tells a web page, which many servers send with status 200 for any path
// that they do not know.
func isHTML(body []byte) bool {
	head := strings.ToLower(strings.TrimLeft(strings.TrimPrefix(string(body[:min(len(body), 1024)]), byteOrderMark), " \t\r\n"))
	for _, p := range []string{"<!doctype html", "<html", "<head", "<body", "<script"} {
		if strings.HasPrefix(head, p) {
			return true
		}
	}
	return false
}

// page200 reports a web page where a protocol's answer should be.
func (s *session) page200(a *answer) bool {
	if a.status != http.StatusOK || !isHTML(a.body) {
		return false
	}
	s.sink.Problem(attest.ProblemMalformed, a.request.source(), "a web page with status 200 instead of an answer: the protocol is not spoken here, or hidden")
	return true
}

// title is the text of the page's first title element, or empty.
func title(body []byte) string {
	page := string(body[:min(len(body), 64<<10)])
	lower := asciiLower(page)
	start := strings.Index(lower, "<title")
	if start < 0 {
		return ""
	}
	open := strings.IndexByte(lower[start:], '>')
	if open < 0 {
		return ""
	}
	start += open + 1
	end := strings.Index(lower[start:], "</title")
	if end < 0 {
		return ""
	}
	return clean(html.UnescapeString(page[start : start+end]))
}

// asciiLower keeps the length, which strings.ToLower does not.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
