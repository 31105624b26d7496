package network

import (
	"bytes"
	"context"
	"regexp"
	"strings"

	"assay/attest"
)

// What Telnet and FTP say unasked. No name and no password is ever sent.

// Telnet (RFC 854): every option is declined, as RFC 854 lets either side, and what
// comes before anything is typed is the banner (rapid7/recog telnet_banners.xml).
// Some servers print nothing before the options are settled.
var telnetProtocol = protocol{
	name:     "telnet",
	ports:    []port{{"telnet", 23}},
	messages: []message{{"TCP 23", "IAC WONT option, IAC DONT option: an answer to each option that the unit offers or wants"}},
	talk:     (*session).telnet,
}

// FTP (RFC 959): the greeting, and then QUIT (rapid7/recog ftp_banners.xml).
var ftpProtocol = protocol{
	name:     "ftp",
	ports:    []port{{"ftp", 21}},
	messages: []message{{"TCP 21", "QUIT"}},
	talk:     (*session).ftp,
}

const (
	telnetSE   = 240
	telnetSB   = 250
	telnetWill = 251
	telnetWont = 252
	telnetDo   = 253
	telnetDont = 254
	telnetIAC  = 255

	maxBanner = 16 << 10
)

// telnetGate lets through refusals of options.
func telnetGate(b []byte) bool {
	for len(b) >= 3 && b[0] == telnetIAC && (b[1] == telnetWont || b[1] == telnetDont) {
		b = b[3:]
	}
	return len(b) == 0
}

func ftpGate(b []byte) bool { return string(b) == "QUIT\r\n" }

var (
	telnetBanner = &request{protocol: "telnet", operation: "banner"}
	ftpGreeting  = &request{protocol: "ftp", operation: "greeting"}
)

func (s *session) telnet(ctx context.Context, ep *endpoint) {
	w := s.connect(ctx, ep, telnetGate)
	if w == nil {
		return
	}
	defer w.Close()
	s.step("%s %s", ep, telnetBanner.source())
	declined := map[[2]byte]bool{}
	raw, err := s.receive(w, maxBanner, func(raw []byte) bool {
		// Once each: two sides that answer each other's refusals never end.
		var refusals []byte
		for _, o := range telnetOffers(raw) {
			if !declined[o] {
				declined[o] = true
				refusals = append(refusals, telnetIAC, o[0], o[1])
			}
		}
		if len(refusals) > 0 {
			w.Write(refusals) // a failure shows at the next read
		}
		return telnetPrompt.MatchString(telnetText(raw))
	})
	if ctx.Err() != nil || len(raw) == 0 {
		return
	}
	if !ended(err) {
		s.problem(telnetBanner, err)
	}
	a := s.saidOver(telnetBanner, "application/octet-stream", raw)
	text := telnetText(raw)
	if text == "" && len(telnetOffers(raw)) == 0 {
		return
	}
	s.answers(a, ep)
	s.claim(a, attest.SubjectNetwork, "telnet-banner", text, "text")
	s.observe(a, "telnet.banner", text, "text")
}

// telnetPrompt is where a unit waits for a name.
var telnetPrompt = regexp.MustCompile(`(?i)(login|user ?name|user|password) ?: ?$`)

// telnetOffers are the refusals of all that the unit offers or wants: the command
// to send and the option.
func telnetOffers(raw []byte) [][2]byte {
	var offers [][2]byte
	for i := 0; i+2 < len(raw); i++ {
		if raw[i] != telnetIAC {
			continue
		}
		switch raw[i+1] {
		case telnetDo:
			offers = append(offers, [2]byte{telnetWont, raw[i+2]})
			i += 2
		case telnetWill:
			offers = append(offers, [2]byte{telnetDont, raw[i+2]})
			i += 2
		case telnetWont, telnetDont:
			i += 2
		default:
			i++
		}
	}
	return offers
}

// telnetText is what is printed: without commands, and without the zero bytes that
// follow a carriage return.
func telnetText(raw []byte) string {
	var b bytes.Buffer
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == 0:
		case c != telnetIAC:
			b.WriteByte(c)
		case i+1 >= len(raw):
		case raw[i+1] == telnetIAC:
			b.WriteByte(c)
			i++
		case raw[i+1] == telnetSB:
			end := bytes.Index(raw[i:], []byte{telnetIAC, telnetSE})
			if end < 0 {
				return clean(b.String())
			}
			i += end + 1
		case raw[i+1] >= telnetWill:
			i += 2
		default:
			i++
		}
	}
	return clean(b.String())
}

func (s *session) ftp(ctx context.Context, ep *endpoint) {
	w := s.connect(ctx, ep, ftpGate)
	if w == nil {
		return
	}
	defer w.Close()
	s.step("%s %s", ep, ftpGreeting.source())
	raw, err := s.receive(w, maxBanner, ftpWhole)
	if ctx.Err() != nil || len(raw) == 0 {
		return
	}
	if !ended(err) {
		s.problem(ftpGreeting, err)
	}
	a := s.saidOver(ftpGreeting, "text/plain", raw)
	if !ftpReply.Match(raw) {
		return // something else listens there
	}
	w.Write([]byte("QUIT\r\n"))
	s.answers(a, ep)
	text := ftpText(raw)
	s.claim(a, attest.SubjectNetwork, "ftp-banner", text, "text")
	s.observe(a, "ftp.banner", text, "text")
}

var (
	ftpReply = regexp.MustCompile(`^(120|220|421|5\d\d)[ -]`)
	ftpLast  = regexp.MustCompile(`(?m)^\d\d\d (.*)\n`)
	ftpCode  = regexp.MustCompile(`^\d\d\d[ -]`)
)

// ftpWhole says that a reply of RFC 959 §4.2 has its last line.
func ftpWhole(raw []byte) bool { return ftpLast.Match(raw) }

// ftpText is the greeting without its codes, in one line.
func ftpText(raw []byte) string {
	var lines []string
	for line := range strings.Lines(string(raw)) {
		lines = append(lines, strings.TrimSpace(ftpCode.ReplaceAllString(line, "")))
		if len(lines) == 1 && ftpLast.MatchString(line) {
			break
		}
	}
	return clean(strings.Join(lines, " "))
}
