package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"

	"assay/attest"
	"assay/devices"
)

// RTSP (RFC 2326): OPTIONS, and one DESCRIBE of "/". Nothing is set up, so there
// is nothing to play and nothing to tear down. A path that is not there is answered
// with 404 by some firmware and with 401 by other: both carry the server's name,
// and 401 the realm (banners in rapid7/recog rtsp_servers.xml). Firmware writes
// "Content-length", ends lines with LF alone and forgets the empty line or the
// length; challenges are those of AlexxIT/go2rtc issues 2344 and 2451.
var rtspProtocol = protocol{
	name:  "rtsp",
	ports: []port{{"rtsp", 554}, {"rtsp", 8554}, {"rtsps", 322}},
	messages: []message{
		{"TCP 554, 8554; TLS 322", "OPTIONS rtsp://HOST:PORT/ RTSP/1.0"},
		{"TCP 554, 8554; TLS 322", "DESCRIBE rtsp://HOST:PORT/ RTSP/1.0"},
	},
	talk: (*session).rtsp,
}

// rtspGate lets through the two requests for the endpoint's own address, with
// nothing in them that this package does not write.
func rtspGate(ep *endpoint) gateFunc {
	request := regexp.MustCompile(`^(OPTIONS|DESCRIBE) ` + regexp.QuoteMeta(ep.String()+"/") + ` RTSP/1\.0\r\nCSeq: \d{1,2}\r\nUser-Agent: assay\r\n` +
		`(Accept: application/sdp\r\n)?(Authorization: (Basic|Digest) [^\r\n]+\r\n)?\r\n$`)
	return request.Match
}

// rtspTalk is one conversation; the connection is opened anew where the unit
// closes it after an answer, as much firmware does.
type rtspTalk struct {
	s    *session
	ep   *endpoint
	wire *wire
	seq  int
}

func (s *session) rtsp(ctx context.Context, ep *endpoint) {
	if ep.scheme == "rtsps" && !s.secured(ctx, ep) {
		return
	}
	t := &rtspTalk{s: s, ep: ep}
	defer t.close()
	options := &request{protocol: ep.scheme, operation: "OPTIONS", method: "OPTIONS", uri: ep.String() + "/"}
	describe := &request{protocol: ep.scheme, operation: "DESCRIBE", method: "DESCRIBE", uri: ep.String() + "/"}
	a, err := t.ask(ctx, options, "")
	if s.rtspHeard(ep, options, a, err); a == nil {
		return
	}
	a, err = t.ask(ctx, describe, "")
	if s.rtspHeard(ep, describe, a, err); a == nil {
		return
	}
	if a.status == http.StatusUnauthorized {
		t.login(ctx, describe, a)
	}
}

// secured does the TLS handshake of RTSPS and keeps its certificate, which is the
// device's own on some units where that of HTTPS is not.
func (s *session) secured(ctx context.Context, ep *endpoint) bool {
	if s.turn(ctx, s.o.Pace) != nil {
		return false
	}
	s.step("%s tls handshake", ep)
	state, err := s.handshake(ctx, ep)
	switch {
	case errors.Is(err, devices.ErrUnreachable) && !errors.Is(err, errHungUp):
		return false
	case err != nil:
		s.problem(&request{protocol: ep.scheme, operation: "handshake"}, err)
		return false
	}
	s.certificate(ep, state)
	return true
}

func (t *rtspTalk) close() {
	if t.wire != nil {
		t.wire.Close()
		t.wire = nil
	}
}

// ask sends one request and reads its answer. An answer whose end did not come is
// returned with the error.
func (t *rtspTalk) ask(ctx context.Context, r *request, authorization string) (*answer, error) {
	if err := t.s.turn(ctx, t.s.o.Pace); err != nil {
		return nil, err
	}
	if t.wire != nil && !t.wire.open() {
		t.close() // without having said so; a login must not be lost that way
	}
	fresh := t.wire == nil
	for {
		if t.wire == nil {
			if t.wire = t.s.connect(ctx, t.ep, rtspGate(t.ep)); t.wire == nil {
				return nil, ctx.Err()
			}
		}
		t.s.step("%s %s", t.ep, r.source())
		a, err := t.once(r, authorization)
		if a == nil && errors.Is(err, errHungUp) && !fresh && authorization == "" {
			t.close() // closed after the last answer, without saying so
			fresh = true
			continue
		}
		return a, err
	}
}

func (t *rtspTalk) once(r *request, authorization string) (*answer, error) {
	s := t.s
	t.seq++
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s RTSP/1.0\r\nCSeq: %d\r\nUser-Agent: assay\r\n", r.method, r.uri, t.seq)
	if r.method == "DESCRIBE" {
		b.WriteString("Accept: application/sdp\r\n")
	}
	if authorization != "" {
		b.WriteString("Authorization: " + authorization + "\r\n")
	}
	b.WriteString("\r\n")
	sent := s.now()
	if _, err := t.wire.Write([]byte(b.String())); err != nil {
		t.close()
		return nil, connectError(t.ep, err)
	}
	raw, err := s.receive(t.wire, s.o.MaxBody, func(raw []byte) bool {
		answer, err := parseRTSP(raw)
		return err != nil || answer.whole
	})
	if len(raw) == 0 {
		t.close()
		if errors.Is(err, errHungUp) {
			err = connectError(t.ep, io.EOF)
		}
		return nil, err
	}
	a := s.saidOver(r, "application/rtsp", raw)
	a.sent = sent
	parsed, bad := parseRTSP(raw)
	if bad != nil {
		t.close()
		return nil, fmt.Errorf("%w: %s: %w", devices.ErrMalformed, t.ep, bad)
	}
	a.status, a.header, a.body = parsed.status, parsed.header, parsed.body
	switch {
	case !ended(err):
		t.close()
		return a, err
	case err != nil && parsed.missing > 0:
		t.close()
		a.cut = true
		return a, short(t.ep, err, len(raw))
	case err != nil || strings.EqualFold(a.header.Get("Connection"), "close"):
		t.close()
	}
	return a, nil
}

// rtspHeard keeps what an answer tells, and reports what was wrong with it.
func (s *session) rtspHeard(ep *endpoint, r *request, a *answer, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		s.problem(r, err)
	}
	if a == nil {
		return
	}
	s.answers(a, ep)
	if v := a.header.Get("Server"); v != "" && s.once("rtsp server "+v) {
		s.claim(a, attest.SubjectNetwork, "rtsp-server", v, "header Server")
		s.observe(a, "rtsp.server", v, "header Server")
	}
	challenges, _ := parseChallenges(a.header.Values("WWW-Authenticate"))
	for _, c := range challenges {
		if v := c.realm(); v != "" && s.once("rtsp realm "+v) {
			s.claim(a, attest.SubjectNetwork, "rtsp-realm", v, "header WWW-Authenticate realm")
			s.observe(a, "rtsp.realm", v, "header WWW-Authenticate realm")
			s.isRecorderBanner(a, v, "header WWW-Authenticate realm")
		}
	}
	if a.status == http.StatusOK && r.method == "DESCRIBE" {
		s.sdp(a)
	}
}

// sdp reads what the session description (RFC 8866) says of itself: its lines
// before the first medium.
func (s *session) sdp(a *answer) {
	names := []struct{ prefix, claim string }{{"s=", "rtsp-session"}, {"i=", "rtsp-information"}, {"a=tool:", "rtsp-tool"}}
	lines := 0
	for line := range strings.Lines(string(a.body)) {
		if lines++; lines > 200 || strings.HasPrefix(line, "m=") {
			return
		}
		for _, n := range names {
			if v, ok := strings.CutPrefix(line, n.prefix); ok && s.once(n.claim+v) {
				s.claim(a, attest.SubjectNetwork, n.claim, v, strings.TrimRight(n.prefix, "=:"))
			}
		}
	}
}

// login answers a challenge of DESCRIBE by the rules of [session.loginAs].
func (t *rtspTalk) login(ctx context.Context, r *request, a *answer) {
	s, account := t.s, t.s.o.Account
	user, password, ok := account.Login()
	if !ok {
		s.locked = append(s.locked, r.source())
		return
	}
	for range 2 {
		authorization, err := s.authorization(t.ep, a, user, password)
		if err != nil {
			s.locked = append(s.locked, r.source())
			s.problem(r, err)
			return
		}
		if !s.mayOffer(t.ep, r, account) {
			return
		}
		accepted := s.accepted[way(r, account)]
		a, err = t.ask(ctx, r, authorization)
		switch s.rtspHeard(t.ep, r, a, err); {
		case a == nil && accepted:
			return
		case a == nil, !accepted && a.status >= 500:
			s.uncertain(t.ep, r, account)
			return
		case a.status == http.StatusUnauthorized && s.stale(a):
			continue
		case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden && !accepted:
			s.refuse(t.ep, r, account)
			return
		case a.status < 300:
			s.accept(t.ep, r, account)
		default:
			s.forget(t.ep, r, account)
		}
		return
	}
	s.locked = append(s.locked, r.source())
	s.problem(r, fmt.Errorf("%w: %s: calls the nonce stale that it has just given: login left out", devices.ErrMalformed, t.ep))
}

// rtspAnswer is what could be read of an answer.
type rtspAnswer struct {
	status  int
	header  http.Header
	body    []byte
	whole   bool
	missing int // bytes of the announced body, or 1 for a header without an end
}

const maxRTSPHeader = 64 << 10

var errNoRTSP = errors.New("does not speak RTSP")

// parseRTSP reads an answer as far as it came. The error says that it is none, or
// that its header has no end within reason.
func parseRTSP(raw []byte) (*rtspAnswer, error) {
	rest := bytes.TrimLeft(raw, "\r\n \t")
	if n := min(len(rest), 5); !strings.EqualFold(string(rest[:n]), "RTSP/"[:n]) {
		return nil, errNoRTSP
	}
	a := &rtspAnswer{header: http.Header{}, missing: 1}
	var last string
	for first := true; ; first = false {
		line, tail, ended := bytes.Cut(rest, []byte("\n"))
		if consumed := len(raw) - len(tail); !ended && len(raw) > maxRTSPHeader || ended && consumed > maxRTSPHeader {
			return nil, errors.New("header of more than 64 KiB")
		}
		text := strings.TrimRight(string(line), "\r")
		switch {
		case first:
			if fields := strings.Fields(text); len(fields) > 1 {
				a.status, _ = strconv.Atoi(fields[1])
			}
			if ended && (a.status < 100 || a.status > 999) {
				return nil, fmt.Errorf("status line %q", clean(text))
			}
		case text == "" && ended:
			a.rest(tail)
			return a, nil
		case (text[:min(1, len(text))] == " " || text[:min(1, len(text))] == "\t") && last != "":
			values := a.header[last]
			values[len(values)-1] += " " + strings.TrimSpace(text)
		default:
			if name, value, ok := strings.Cut(text, ":"); ok {
				last = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
				a.header[last] = append(a.header[last], strings.TrimSpace(value))
			}
		}
		if !ended {
			return a, nil
		}
		rest = tail
	}
}

// rest takes the body. One that is announced as SDP without a length ends with the
// connection, or with silence.
func (a *rtspAnswer) rest(tail []byte) {
	a.missing = 0
	length, err := strconv.Atoi(a.header.Get("Content-Length"))
	switch {
	case err != nil || length < 0:
		a.body = tail
		a.whole = a.header.Get("Content-Type") == ""
	case length > len(tail):
		a.body, a.missing = tail, length-len(tail)
	default:
		a.body, a.whole = tail[:length], true
	}
}
