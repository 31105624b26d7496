package network

import (
	"context"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"assay/attest"
)

// Reads of Bosch's RCP+ over CGI, by the document of that name and
// NickCis/perl-Bosch-RCPPlus; the serial number by public clients, the MAC address
// is command 0x00bc. rcp.xml writes with direction=WRITE, so the query is part of
// what is allowed, and it names the direction. RCP+ has no command for the model
// that could be confirmed; ONVIF tells it.
var (
	rcpName   = rcpRequest("0x0019", "P_UNICODE")
	rcpSerial = rcpRequest("0x0ae7", "P_OCTET")
	rcpMAC    = rcpRequest("0x00bc", "P_OCTET")
)

func rcpRequest(command, kind string) *request {
	return &request{protocol: "rcp", method: "GET", uri: "/rcp.xml?command=" + command + "&type=" + kind + "&direction=READ&num=1"}
}

var rcpProtocol = protocol{
	name: "rcp", maker: "keenfinity",
	requests: []*request{rcpName, rcpSerial, rcpMAC},
	open: func(s *session, ctx context.Context, ep *endpoint) {
		s.question(ctx, ep, (*session).rcpRead, rcpName, rcpSerial, rcpMAC)
	},
	login: func(s *session, ctx context.Context, ep *endpoint) {
		s.questionAgain(ctx, ep, "rcp", (*session).rcpRead)
	},
}

// rcpValue reads the result of an answer by its type: P_UNICODE and P_OCTET are
// hexadecimal, in groups or in one; T_DWORD and F_FLAG are decimal. ok says that it is an
// answer, failure what it says went wrong.
func rcpValue(doc *node) (octets []byte, number int64, failure string, ok bool) {
	rcp := doc.find("rcp")
	result := rcp.find("result")
	if rcp == nil || result == nil || rcp.find("command") == nil {
		return nil, 0, "", false
	}
	for _, name := range []string{"err", "error"} {
		if e := result.find(name); e != nil {
			return nil, 0, "error " + e.content(), true
		}
	}
	switch kind := rcp.field("type"); kind {
	case "T_DWORD", "F_FLAG":
		number, err := strconv.ParseInt(result.field("dec"), 10, 64)
		if err != nil {
			return nil, 0, "no number in it", true
		}
		return nil, number, "", true
	case "P_UNICODE", "P_OCTET", "P_STRING":
		text := result.field("str")
		if text == "" {
			text = result.field("payload")
		}
		if text == "" {
			text = rcp.field("payload")
		}
		octets, whole := rcpOctets(text)
		if !whole {
			if kind == "P_STRING" {
				return []byte(text), 0, "", true
			}
			return nil, 0, "no octets in it", true
		}
		return octets, 0, "", true
	}
	return nil, 0, "a type that is not read here", true
}

// rcpOctets reads hexadecimal digits, each octet apart or all in one; a group may
// be the code of a character beyond one octet ("00e9" is é in P_UNICODE).
func rcpOctets(text string) ([]byte, bool) {
	var out []byte
	for _, group := range strings.Fields(strings.TrimPrefix(text, "0x")) {
		if len(group)%2 != 0 {
			group = "0" + group
		}
		b, err := hex.DecodeString(group)
		if err != nil {
			return nil, false
		}
		out = append(out, b...)
	}
	return out, true
}

// rcpText is a P_UNICODE value: characters of two octets, or of one on some
// firmware, ended by a zero.
func rcpText(b []byte) string {
	wide := len(b) >= 2 && len(b)%2 == 0
	for i := 0; wide && i < len(b); i += 2 {
		wide = b[i] == 0 || b[i+1] != 0
	}
	wide = wide && b[0] == 0
	var text strings.Builder
	for i := 0; i < len(b); i++ {
		r := rune(b[i])
		if wide && i+1 < len(b) {
			r = r<<8 | rune(b[i+1])
			i++
		}
		if r == 0 {
			break
		}
		text.WriteRune(r)
	}
	return text.String()
}

func (s *session) rcpRead(a *answer) bool {
	doc, _ := parseXML(a.body)
	octets, _, failure, ok := rcpValue(doc)
	if !ok {
		return false
	}
	s.speaks(a)
	s.observe(a, "rcp.answer", strings.Join(doc.find("rcp").names(), ","), "elements")
	if failure != "" {
		if a.status != http.StatusUnauthorized {
			s.sink.Problem(attest.ProblemIncomplete, a.request.source(), s.mask(clean(failure)))
		}
		return true
	}
	switch a.request {
	case rcpName:
		s.claim(a, attest.SubjectUnit, "label", rcpText(octets), "str")
	case rcpSerial:
		if text := strings.Trim(rcpText(octets), " "); strings.Trim(text, "0123456789ABCDEFabcdef") == "" {
			s.serial(a, text, "str")
		}
	case rcpMAC:
		if len(octets) == 6 {
			s.mac(a, hex.EncodeToString(octets), "str")
		}
	}
	return true
}
