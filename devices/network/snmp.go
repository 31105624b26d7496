package network

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gosnmp/gosnmp"

	"assay/attest"
	"assay/devices"
)

// SNMP (RFC 1157, 1905, 3414): GET of a few objects, and nothing else. sysDescr and
// sysObjectID are those of RFC 1213; Axis's are in librenms/librenms tests/snmpsim
// axiscam. Hikvision's cameras have 39165.1 (model, firmware, MAC, manufacturer) and
// its recorders 50001.1 (serial number), by the same project and by answers of
// firmware V5.2 to V5.10. Old firmware wants 0.2 s between two requests.
//
// A community is sent readable, so only one that the operator gave is, and "public"
// once where he allows it.

// SNMP is how a unit may be asked over SNMP. The zero value asks nothing.
type SNMP struct {
	// Community is the community of versions 1 and 2c, which is sent readable.
	Community string
	// Public permits one try of the community "public" where none was given.
	Public bool
	// User is a user of version 3. Auth is MD5, SHA, SHA224, SHA256, SHA384 or
	// SHA512 with its password, or empty; Priv is DES, AES, AES192 or AES256.
	User               string
	Auth, AuthPassword string
	Priv, PrivPassword string
}

// Check says what is wrong with the settings, or nil.
func (o *SNMP) Check() error {
	switch _, _, err := o.protocols(); {
	case err != nil:
		return err
	case o.User == "" && (o.Auth != "" || o.Priv != ""):
		return errors.New("SNMP: a protocol of version 3 without a user")
	case o.Priv != "" && o.Auth == "":
		return errors.New("SNMP: privacy needs an authentication protocol (RFC 3414 §1.4)")
	case o.Auth != "" && len(o.AuthPassword) < 8, o.Priv != "" && len(o.PrivPassword) < 8:
		return errors.New("SNMP: a password of version 3 has eight characters or more (RFC 3414 §11.2)")
	}
	return nil
}

func (o *SNMP) protocols() (gosnmp.SnmpV3AuthProtocol, gosnmp.SnmpV3PrivProtocol, error) {
	auth, ok := map[string]gosnmp.SnmpV3AuthProtocol{"": gosnmp.NoAuth, "MD5": gosnmp.MD5, "SHA": gosnmp.SHA,
		"SHA224": gosnmp.SHA224, "SHA256": gosnmp.SHA256, "SHA384": gosnmp.SHA384, "SHA512": gosnmp.SHA512}[strings.ToUpper(o.Auth)]
	if !ok {
		return 0, 0, fmt.Errorf("SNMP: authentication %q is not MD5, SHA, SHA224, SHA256, SHA384 or SHA512", o.Auth)
	}
	priv, ok := map[string]gosnmp.SnmpV3PrivProtocol{"": gosnmp.NoPriv, "DES": gosnmp.DES, "AES": gosnmp.AES,
		"AES192": gosnmp.AES192, "AES256": gosnmp.AES256}[strings.ToUpper(o.Priv)]
	if !ok {
		return 0, 0, fmt.Errorf("SNMP: privacy %q is not DES, AES, AES192 or AES256", o.Priv)
	}
	return auth, priv, nil
}

// What is asked for, first of anybody and then of Hikvision's.
const (
	oidDescr  = "1.3.6.1.2.1.1.1.0"
	oidObject = "1.3.6.1.2.1.1.2.0"

	oidHikModel    = "1.3.6.1.4.1.39165.1.1.0"
	oidHikFirmware = "1.3.6.1.4.1.39165.1.3.0"
	oidHikMAC      = "1.3.6.1.4.1.39165.1.4.0"
	oidHikMaker    = "1.3.6.1.4.1.39165.1.6.0"
	oidHikSerial   = "1.3.6.1.4.1.50001.1.3.0" // of recorders
)

var (
	oidsSystem    = []string{oidDescr, oidObject}
	oidsHikvision = []string{oidHikModel, oidHikFirmware, oidHikMAC, oidHikMaker, oidHikSerial}
)

const (
	snmpPause = 200 * time.Millisecond
	snmpWait  = 2 * time.Second
)

var snmpProtocol = protocol{
	name:  "snmp",
	ports: []port{{"snmp", 161}},
	messages: []message{
		{"UDP 161", "GET sysDescr.0, sysObjectID.0 (" + strings.Join(oidsSystem, ", ") + ")"},
		{"UDP 161", "GET " + strings.Join(oidsHikvision, ", ")},
	},
	talk: (*session).snmp,
}

var (
	snmpSystem    = &request{protocol: "snmp", operation: "GET system"}
	snmpHikvision = &request{protocol: "snmp", operation: "GET 39165.1 and 50001.1"}
)

// snmpGate lets through a message whose PDU is a GetRequest. One of version 3 that
// is encrypted cannot be looked into; what it holds comes from [session.snmpGet],
// which only gets, and the discovery before it is looked into.
func snmpGate(b []byte) bool {
	tag, message, rest := derElement(b)
	if tag != 0x30 || len(rest) != 0 {
		return false
	}
	_, version, message := derElement(message)
	if len(version) != 1 {
		return false
	}
	if version[0] <= 1 {
		tag, _, message = derElement(message) // community
		if tag != 0x04 {
			return false
		}
		tag, _, rest = derElement(message)
		return tag == 0xa0 && len(rest) == 0
	}
	_, _, message = derElement(message) // header
	_, _, message = derElement(message) // security parameters
	tag, scoped, rest := derElement(message)
	if tag == 0x04 {
		return len(rest) == 0 // encrypted
	}
	_, _, scoped = derElement(scoped) // context engine
	_, _, scoped = derElement(scoped) // context name
	tag, _, inner := derElement(scoped)
	return tag == 0xa0 && len(inner) == 0 && len(rest) == 0
}

// derElement takes one element off the front of b; tag 0 when there is none.
func derElement(b []byte) (tag byte, content, rest []byte) {
	if len(b) < 2 {
		return 0, nil, nil
	}
	length, at := int(b[1]), 2
	if length >= 0x80 {
		n := length & 0x7f
		if n == 0 || n > 3 || len(b) < 2+n {
			return 0, nil, nil
		}
		length = 0
		for _, c := range b[2 : 2+n] {
			length = length<<8 | int(c)
		}
		at += n
	}
	if length > len(b)-at {
		return 0, nil, nil
	}
	return b[0], b[at : at+length], b[at+length:]
}

// gatedPackets sends nothing but what the gate knows.
type gatedPackets struct {
	net.Conn
	gate gateFunc
}

func (g gatedPackets) Write(b []byte) (int, error) {
	if !g.gate(b) {
		return 0, errNotAllowed{"snmp", fmt.Sprintf("message of %d bytes", len(b))}
	}
	return g.Conn.Write(b)
}

func (s *session) snmp(ctx context.Context, ep *endpoint) {
	o := s.o.SNMP
	if o == (SNMP{}) {
		return
	}
	if err := o.Check(); err != nil {
		s.sink.Problem(attest.ProblemIncomplete, snmpSystem.source(), err.Error())
		return
	}
	if o.User != "" {
		s.snmpAs(ctx, ep, gosnmp.Version3, "")
		return
	}
	community := o.Community
	if community == "" {
		community = "public"
	}
	// A wrong community is answered with silence, and so is a version that is not
	// spoken: version 1 is tried after 2c only with a community that was given.
	if !s.snmpAs(ctx, ep, gosnmp.Version2c, community) && o.Community != "" && ctx.Err() == nil {
		s.snmpAs(ctx, ep, gosnmp.Version1, community)
	}
}

// snmpAs asks in one version, and reports whether the unit answered.
func (s *session) snmpAs(ctx context.Context, ep *endpoint, version gosnmp.SnmpVersion, community string) bool {
	g, err := s.snmpOpen(ctx, ep, version, community)
	if err != nil {
		s.problem(snmpSystem, err)
		return false
	}
	defer g.Conn.Close()
	first := oidsSystem
	objects, err := s.snmpGet(ctx, ep, g, snmpSystem, first...)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil && version == gosnmp.Version2c && s.o.SNMP.Community != "":
		return false // version 1 is tried yet
	case err != nil:
		s.sink.Problem(devices.ProblemKindOf(err), snmpSystem.source(), fmt.Sprintf("%s: no answer in version %s: %s; the agent may be off, or take another %s",
			ep, version, s.mask(plain(err)), map[bool]string{true: "user or password", false: "community"}[version == gosnmp.Version3]))
		return false
	}
	s.snmpRead(objects)
	vendor := [][]string{oidsHikvision}
	if version == gosnmp.Version1 { // answers nothing of a list in which one is missing
		vendor = nil
		for _, oid := range oidsHikvision {
			vendor = append(vendor, []string{oid})
		}
	}
	for _, oids := range vendor {
		if objects, err = s.snmpGet(ctx, ep, g, snmpHikvision, oids...); err != nil {
			if ctx.Err() == nil {
				s.problem(snmpHikvision, err)
			}
			return true
		}
		s.snmpRead(objects)
	}
	return true
}

func (s *session) snmpOpen(ctx context.Context, ep *endpoint, version gosnmp.SnmpVersion, community string) (*gosnmp.GoSNMP, error) {
	host, number, err := net.SplitHostPort(ep.address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return nil, err
	}
	g := &gosnmp.GoSNMP{Target: host, Port: uint16(n), Transport: "udp", Version: version, Community: community, Context: ctx,
		Timeout: min(snmpWait, s.o.Timeout), Retries: 1, MaxOids: 8}
	if version == gosnmp.Version3 {
		o := s.o.SNMP
		auth, priv, _ := o.protocols()
		g.Retries = 0
		g.SecurityModel = gosnmp.UserSecurityModel
		switch {
		case priv > gosnmp.NoPriv:
			g.MsgFlags = gosnmp.AuthPriv
		case auth > gosnmp.NoAuth:
			g.MsgFlags = gosnmp.AuthNoPriv
		}
		g.SecurityParameters = &gosnmp.UsmSecurityParameters{UserName: o.User, AuthenticationProtocol: auth, AuthenticationPassphrase: o.AuthPassword,
			PrivacyProtocol: priv, PrivacyPassphrase: o.PrivPassword}
	}
	if err := g.Connect(); err != nil {
		return nil, connectError(ep, err)
	}
	g.Conn = gatedPackets{g.Conn, snmpGate}
	return g, nil
}

// snmpObject is one value of an answer, as text.
type snmpObject struct {
	*answer
	oid, value string
}

// snmpGet gets objects, and leaves out those that the unit does not have.
func (s *session) snmpGet(ctx context.Context, ep *endpoint, g *gosnmp.GoSNMP, r *request, oids ...string) (objects []snmpObject, err error) {
	if err := s.turn(ctx, max(s.o.Pace, snmpPause)); err != nil {
		return nil, err
	}
	s.step("%s %s", ep, r.source())
	defer func() { // the answer is taken apart by a library
		if p := recover(); p != nil {
			objects, err = nil, fmt.Errorf("%w: %s: an answer that cannot be taken apart", devices.ErrMalformed, ep)
		}
	}()
	packet, err := g.Get(oids)
	if err != nil {
		if refused := (errNotAllowed{}); errors.As(err, &refused) {
			return nil, refused
		}
		text := reason(err)
		if strings.Contains(text, "timeout") || strings.Contains(text, "refused") {
			return nil, fmt.Errorf("%w: %s: %s", devices.ErrUnreachable, ep, text)
		}
		if strings.Contains(text, "incorrect") || strings.Contains(text, "unknown") || strings.Contains(text, "authentic") || strings.Contains(text, "digest") {
			return nil, fmt.Errorf("%w: %s: %s", devices.ErrAccess, ep, text)
		}
		return nil, fmt.Errorf("%w: %s: %s", devices.ErrMalformed, ep, text)
	}
	var text strings.Builder
	var values [][2]string
	for _, v := range packet.Variables {
		oid := strings.TrimPrefix(v.Name, ".")
		value, ok := snmpText(v)
		fmt.Fprintf(&text, "%s|%d|%s\n", oid, v.Type, value)
		if ok {
			values = append(values, [2]string{oid, value})
		}
	}
	a := s.saidOver(r, "text/plain", []byte(text.String()))
	s.answers(a, ep)
	for _, v := range values {
		objects = append(objects, snmpObject{a, v[0], v[1]})
	}
	return objects, nil
}

// snmpText is a value as text; ok is false for none.
func snmpText(v gosnmp.SnmpPDU) (text string, ok bool) {
	switch x := v.Value.(type) {
	case nil:
		return "", false
	case []byte:
		if !utf8.Valid(x) || strings.ContainsFunc(string(x), func(r rune) bool { return r < ' ' && r != '\t' && r != '\r' && r != '\n' }) {
			return hex.EncodeToString(x), true
		}
		return string(x), true
	case string:
		return strings.TrimPrefix(x, "."), true
	}
	return fmt.Sprint(v.Value), v.Type != gosnmp.NoSuchObject && v.Type != gosnmp.NoSuchInstance
}

// axisDescr is sysDescr of Axis firmware: model, kind, version, date, and numbers.
var axisDescr = regexp.MustCompile(`^\s*;\s*(AXIS [^;]+);\s*([^;]*);\s*(\d+(?:\.\d+)+)\s*;\s*([^;]*);`)

func (s *session) snmpRead(objects []snmpObject) {
	for _, o := range objects {
		a := o.answer
		switch o.oid {
		case oidDescr:
			s.claim(a, attest.SubjectNetwork, "snmp-description", o.value, "sysDescr")
			s.observe(a, "snmp.sysdescr", o.value, "sysDescr")
			s.axisDescription(a, o.value)
		case oidObject:
			s.claim(a, attest.SubjectNetwork, "snmp-object-id", o.value, "sysObjectID")
			s.observe(a, "snmp.sysobjectid", o.value, "sysObjectID")
		case oidHikModel:
			s.model(a, o.value, "39165.1.1")
		case oidHikFirmware:
			s.firmware(a, o.value, "39165.1.3")
		case oidHikMAC:
			s.mac(a, o.value, "39165.1.4")
		case oidHikMaker:
			s.maker(a, o.value, "39165.1.6")
		case oidHikSerial:
			s.serial(a, o.value, "50001.1.3")
			s.recorderBy(a, o.value, "50001.1.3")
			s.cannotList("the channels of a recorder are not read over SNMP")
		}
	}
}

func (s *session) axisDescription(a *answer, value string) {
	m := axisDescr.FindStringSubmatch(value)
	if m == nil {
		return
	}
	s.maker(a, "AXIS", "sysDescr")
	s.model(a, strings.TrimPrefix(m[1], "AXIS "), "sysDescr")
	s.firmware(a, m[3], "sysDescr")
	if built, err := time.Parse("Jan 2 2006 15:04", strings.Join(strings.Fields(m[4]), " ")); err == nil {
		s.claim(a, attest.SubjectFirmware, attest.NameBuildDate, built.Format(isoDate), "sysDescr")
	}
}
