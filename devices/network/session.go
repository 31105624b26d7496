package network

import (
	"encoding/base64"
	"fmt"
	"slices"
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
	said    map[string]bool    // banner claims that were made already
	locked  []string           // requests that stay unread without a login
	offered []*devices.Account // whose password may be known to the unit from us
	gave    bool               // at least one claim came of it

	clockKnown bool
	clock      clock

	onvifHTTP bool   // ONVIF wants HTTP authentication
	mediaPath string // of ONVIF's media service

	needsLogin map[string][]*request // by protocol
	accepted   map[users]bool        // it took the login once
	spoken     map[string]bool       // the makers' protocols that were answered
	loggingIn  bool
	marks      []attest.Mark // of the first markedAt of seen
	markedAt   int

	lapiNamed bool // LAPI told the model

	met    map[string]bool // schemes that were answered on a socket of their own
	silent int             // ports in a row that did not even refuse

	recorder    string // what says that it is a recorder, and empty for a camera
	recorderRaw attest.Digest
	listed      bool           // its cameras were listed
	unlisted    string         // why they were not
	children    []attest.Child // in the order of their channels

	serials []string
	names   []string // lower case: models and labels
	scopes  []hardwareScope
}

func newSession(c *Channel, sink devices.Sink) *session {
	return &session{Channel: c, sink: sink, said: map[string]bool{}, needsLogin: map[string][]*request{}, spoken: map[string]bool{}, accepted: map[users]bool{}, met: map[string]bool{}}
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
	s.isRecorder(a, value, field)
}

func (s *session) serial(a *answer, value, field string) {
	if v := clean(value); v != "" {
		s.serials = append(s.serials, v)
	}
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
	for _, secret := range []string{s.o.SNMP.Community, s.o.SNMP.AuthPassword, s.o.SNMP.PrivPassword} {
		if len(secret) >= 4 && secret != "public" {
			v = strings.ReplaceAll(v, secret, "********")
		}
	}
	for _, account := range s.offered {
		user, password, _ := account.Login()
		if password == "" {
			continue
		}
		v = strings.ReplaceAll(v, base64.StdEncoding.EncodeToString([]byte(user+":"+password)), "********")
		v = strings.ReplaceAll(v, password, "********")
		v = strings.ReplaceAll(v, dvripHash(password), "********")
	}
	return v
}

// offer notes that an account's password is about to be sent.
func (s *session) offer(account *devices.Account) {
	if !slices.Contains(s.offered, account) {
		s.offered = append(s.offered, account)
	}
}

// plain is the error's text without the sentinel that only programs read.
func plain(err error) string {
	text := err.Error()
	for _, kind := range []error{devices.ErrUnreachable, devices.ErrAccess, devices.ErrHostile, devices.ErrMalformed, devices.ErrNotUnit} {
		text = strings.TrimPrefix(text, kind.Error()+": ")
	}
	return text
}
