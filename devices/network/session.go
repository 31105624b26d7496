package network

import (
	"encoding/base64"
	"fmt"
	"strings"

	"assay/attest"
	"assay/devices"
	"assay/devices/fingerprint"
	"assay/devices/network/internal/field"
)

// session is one run of Identify.
type session struct {
	*Channel
	sink    devices.Sink
	seen    []fingerprint.Observation
	said    map[string]bool // banner claims that were made already
	locked  []string        // requests that stay unread without a login
	offered bool            // the password may be known to the unit from us
	gave    bool            // at least one claim came of it

	clockKnown bool
	clock      clock

	onvifHTTP     bool // ONVIF wants HTTP authentication
	onvifAccepted bool // ONVIF took a UsernameToken once
	needsLogin    struct{ onvif, axis, isapi, magicbox []*request }

	names  []string // lower case: models and labels
	scopes []hardwareScope
}

func (s *session) step(format string, args ...any) {
	if s.o.Progress != nil {
		s.o.Progress(fmt.Sprintf(format, args...))
	}
}

func (s *session) problem(r *request, err error) {
	s.sink.Problem(devices.ProblemKindOf(err), r.source(), s.mask(plain(err)))
}

// clean makes a value fit to print: it comes from the unit.
func clean(v string) string { return field.Clean(v) }

// claim makes a claim from a field of an answer; an empty value makes none.
func (s *session) claim(a *answer, subject attest.Subject, name, value, field string) {
	if value = clean(value); value != "" {
		s.keep(a, subject, name, value, a.request.source()+" "+field)
	}
}

func (s *session) keep(a *answer, subject attest.Subject, name, value, source string) {
	s.gave = true
	s.sink.Claim(attest.Claim{Subject: subject, Name: name, Value: s.mask(value), Source: source, Acquisition: attest.A0, Raw: a.raw})
}

// observe notes a value for the fingerprints.
func (s *session) observe(a *answer, on, value, field string) {
	if value = clean(value); value != "" {
		s.seen = append(s.seen, fingerprint.Observation{On: on, Value: value, Source: a.request.source() + " " + field, Raw: a.raw})
	}
}

// once reports whether key comes up for the first time.
func (s *session) once(key string) bool {
	if s.said[key] {
		return false
	}
	s.said[key] = true
	return true
}

func (s *session) protocol(a *answer, name string) {
	if s.once("protocol " + name) {
		s.keep(a, attest.SubjectNetwork, attest.NameProtocol, name, a.request.source())
	}
}

func (s *session) maker(a *answer, value, field string) {
	s.claim(a, attest.SubjectUnit, attest.NameMaker, value, field)
}

func (s *session) model(a *answer, value, field string) {
	s.names = append(s.names, strings.ToLower(clean(value)))
	s.claim(a, attest.SubjectUnit, attest.NameModel, value, field)
	s.observe(a, "model", value, field)
}

func (s *session) serial(a *answer, value, field string) {
	s.claim(a, attest.SubjectUnit, attest.NameSerial, value, field)
	s.observe(a, "serial", value, field)
}

const isoDate = "2006-01-02"

// firmware claims a version, and the build date that some makers write into it
// or beside it.
func (s *session) firmware(a *answer, value, field string) {
	if value = clean(value); value == "" {
		return
	}
	version, built := fingerprint.ParseFirmware(value)
	s.claim(a, attest.SubjectFirmware, attest.NameFirmwareVersion, version, field)
	s.observe(a, "version", version, field)
	s.observe(a, "firmware.string", value, field)
	if !built.IsZero() {
		s.claim(a, attest.SubjectFirmware, attest.NameBuildDate, built.Format(isoDate), field)
	}
}

func (s *session) soc(a *answer, value, field string) {
	s.claim(a, attest.SubjectSoC, attest.NameBoard, value, field)
	s.observe(a, "soc", value, field)
}

// mac claims an address in the notation of [attest.Unit]; what is no address,
// or nobody's, is left out.
func (s *session) mac(a *answer, value, field string) {
	if mac, ok := normalMAC(value); ok {
		s.claim(a, attest.SubjectUnit, attest.NameMAC, mac, field)
	}
}

func normalMAC(v string) (string, bool) { return field.MAC(v) }

// mask takes the password out of what a unit sends back. Before it was offered
// a unit cannot echo it, and words of an answer that happen to be the password
// stay readable.
func (s *session) mask(v string) string {
	if !s.offered {
		return v
	}
	user, password, _ := s.o.Account.Login()
	if password == "" {
		return v
	}
	v = strings.ReplaceAll(v, base64.StdEncoding.EncodeToString([]byte(user+":"+password)), "********")
	return strings.ReplaceAll(v, password, "********")
}

// plain is the error's text without the sentinel that only programs read.
func plain(err error) string {
	text := err.Error()
	for _, kind := range []error{devices.ErrUnreachable, devices.ErrAccess, devices.ErrHostile, devices.ErrMalformed, devices.ErrNotUnit} {
		text = strings.TrimPrefix(text, kind.Error()+": ")
	}
	return text
}
