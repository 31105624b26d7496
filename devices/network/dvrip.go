package network

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"assay/attest"
	"assay/devices"
)

// DVRIP is Xiongmai's protocol on TCP 34567, which its firmware keeps under every
// brand: a header of 20 bytes (ff, version, two bytes, session, sequence, two
// counters, message, length; little-endian), then JSON that ends with a line feed
// and a zero byte. Messages and fields are those of NeiroNx/python-dvr and of the
// answer of an HI3516EV300 unit. Some firmware tells its SystemInfo (1020) to
// anybody, the rest wants a login (1000) first. Keys have trailing blanks on some.
//
// The login sends an unsalted hash of the password (eight characters), which is as
// good as the password to whoever listens: it is given only where a readable
// password may be sent. What DVRIP sets (1040, 1450) cannot be sent.
var dvripProtocol = protocol{
	name: "dvrip", maker: "xiongmai", kept: true,
	ports: []port{{"dvrip", 34567}},
	messages: []message{
		{"TCP 34567", "1020 " + `{"Name":"SystemInfo","SessionID":"0x00000000"}`},
		{"TCP 34567", "1000 " + `{"EncryptType":"MD5","LoginType":"DVRIP-Web","PassWord":"HASH","UserName":"USER"}`},
	},
	talk: (*session).dvrip,
}

const (
	dvripLogin      = 1000
	dvripSystemInfo = 1020
	dvripHeader     = 20
)

var (
	dvripInfo     = &request{protocol: "dvrip", operation: "SystemInfo"}
	dvripLoggedIn = &request{protocol: "dvrip", operation: "login"}
)

var dvripBodies = map[uint16]*regexp.Regexp{
	dvripSystemInfo: regexp.MustCompile(`^\{"Name":"SystemInfo","SessionID":"0x[0-9A-F]{8}"\}\n\x00$`),
	dvripLogin:      regexp.MustCompile(`^\{"EncryptType":"MD5","LoginType":"DVRIP-Web","PassWord":"[0-9A-Za-z]{8}","UserName":"(?:[^"\\\x00-\x1f]|\\["\\/bfnrtu])*"\}\n\x00$`),
}

// dvripGate lets through one whole frame of a message that reads, or logs in.
func dvripGate(b []byte) bool {
	if len(b) < dvripHeader || b[0] != 0xff || int(binary.LittleEndian.Uint32(b[16:])) != len(b)-dvripHeader {
		return false
	}
	body := dvripBodies[binary.LittleEndian.Uint16(b[14:])]
	return body != nil && body.Match(b[dvripHeader:])
}

func dvripFrame(message uint16, session, sequence uint32, body string) []byte {
	body += "\n\x00"
	b := make([]byte, dvripHeader, dvripHeader+len(body))
	b[0] = 0xff
	binary.LittleEndian.PutUint32(b[4:], session)
	binary.LittleEndian.PutUint32(b[8:], sequence)
	binary.LittleEndian.PutUint16(b[14:], message)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(body)))
	return append(b, body...)
}

// dvripHash is Xiongmai's hash of a password: pairs of bytes of its MD5, each as
// one of 62 characters.
func dvripHash(password string) string {
	const characters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := md5.Sum([]byte(password))
	var b strings.Builder
	for i := 0; i < len(sum); i += 2 {
		b.WriteByte(characters[(int(sum[i])+int(sum[i+1]))%len(characters)])
	}
	return b.String()
}

// What an answer says of the request, by python-dvr: 100 done, 105 not logged in,
// 106, 203 and 205 user or password wrong, 107 no right.
const (
	dvripDone     = 100
	dvripLoginBad = 106
)

func (s *session) dvrip(ctx context.Context, ep *endpoint) {
	w := s.connect(ctx, ep, dvripGate)
	if w == nil {
		return
	}
	defer func() { w.Close() }()
	reply := s.dvripAsk(ctx, w, dvripInfo, dvripFrame(dvripSystemInfo, 0, 0, `{"Name":"SystemInfo","SessionID":"0x00000000"}`))
	if reply == nil || s.dvripRead(reply) {
		return
	}
	account := s.o.Account
	user, password, ok := account.Login()
	if !ok {
		s.locked = append(s.locked, dvripInfo.source())
		return
	}
	if !s.mayBeReadable(ep) {
		s.locked = append(s.locked, dvripInfo.source())
		s.problem(dvripLoggedIn, fmt.Errorf("%w: %s: the login sends a hash that is as good as the password to whoever listens; allow a readable password explicitly to log in", devices.ErrAccess, ep))
		return
	}
	if !s.mayOffer(ep, dvripLoggedIn, account) {
		return
	}
	if reply.closed {
		w.Close()
		if w = s.connect(ctx, ep, dvripGate); w == nil {
			return
		}
	}
	name, _ := json.Marshal(user)
	login := s.dvripAsk(ctx, w, dvripLoggedIn, dvripFrame(dvripLogin, 0, 1,
		fmt.Sprintf(`{"EncryptType":"MD5","LoginType":"DVRIP-Web","PassWord":"%s","UserName":%s}`, dvripHash(password), name)))
	accepted := s.accepted[way(dvripLoggedIn, account)]
	switch {
	case login == nil && accepted:
		return
	case login == nil:
		s.uncertain(ep, dvripLoggedIn, account)
		return
	case login.result == dvripDone:
		s.accept(ep, dvripLoggedIn, account)
	default:
		s.refuse(ep, dvripLoggedIn, account)
		return
	}
	session := login.session
	reply = s.dvripAsk(ctx, w, dvripInfo, dvripFrame(dvripSystemInfo, session, 2, fmt.Sprintf(`{"Name":"SystemInfo","SessionID":"0x%08X"}`, session)))
	if reply != nil && !s.dvripRead(reply) {
		s.sink.Problem(attest.ProblemAccess, dvripInfo.source(), fmt.Sprintf("answered with %d after a login that it took: the user may lack the right", reply.result))
	}
}

// dvripReply is one answer.
type dvripReply struct {
	*answer
	session uint32
	result  int
	fields  map[string]any
	closed  bool
}

func (s *session) dvripAsk(ctx context.Context, w *wire, r *request, frame []byte) *dvripReply {
	if s.turn(ctx, s.o.Pace) != nil {
		return nil
	}
	s.step("%s %s", w.ep, r.source())
	if _, err := w.Write(frame); err != nil {
		s.problem(r, connectError(w.ep, err))
		return nil
	}
	raw, err := s.receive(w, s.o.MaxBody, func(raw []byte) bool {
		_, whole, err := parseDVRIP(raw)
		return whole || err != nil
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case len(raw) == 0 && err != nil:
		s.problem(r, err) // the port is open and silent: that is worth a word
		return nil
	}
	reply, whole, bad := parseDVRIP(raw)
	a := s.saidOver(r, "application/octet-stream", raw)
	switch {
	case bad != nil:
		s.problem(r, fmt.Errorf("%w: %s: %w", devices.ErrMalformed, w.ep, bad))
		return nil
	case !ended(err):
		s.problem(r, err)
	case !whole:
		s.problem(r, short(w.ep, err, len(raw)))
	}
	if reply.fields == nil {
		return nil
	}
	reply.answer, reply.closed = a, err != nil
	s.answers(a, w.ep)
	s.observe(a, "dvrip.answer", strings.Join(reply.names(), ","), "keys")
	return reply
}

// names are the keys of an answer, and of what it tells.
func (r *dvripReply) names() []string {
	names := slices.Collect(maps.Keys(r.fields))
	if info, ok := r.fields["SystemInfo"].(map[string]any); ok {
		names = slices.AppendSeq(names, maps.Keys(info))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var errNoDVRIP = errors.New("does not speak DVRIP")

// parseDVRIP reads one answer as far as it came. A body that is cut off or longer
// than announced is read for what it holds.
func parseDVRIP(raw []byte) (reply *dvripReply, whole bool, err error) {
	if len(raw) > 0 && raw[0] != 0xff || len(raw) > 1 && raw[1] > 1 {
		return nil, false, errNoDVRIP
	}
	reply = new(dvripReply)
	if len(raw) < dvripHeader {
		return reply, false, nil
	}
	reply.session = binary.LittleEndian.Uint32(raw[4:])
	length := int64(binary.LittleEndian.Uint32(raw[16:]))
	body := raw[dvripHeader:]
	if whole = int64(len(body)) >= length; whole {
		body = body[:length]
	}
	var fields map[string]any
	if json.Unmarshal(bytes.TrimRight(body, "\n\r\x00 "), &fields) != nil {
		if whole {
			return reply, true, fmt.Errorf("%w: message %d of %d bytes is no JSON", errNoDVRIP, binary.LittleEndian.Uint16(raw[14:]), length)
		}
		return reply, false, nil
	}
	reply.fields = trimmedKeys(fields)
	if n, ok := reply.fields["Ret"].(float64); ok {
		reply.result = int(n)
	}
	return reply, whole, nil
}

func trimmedKeys(fields map[string]any) map[string]any {
	trimmed := make(map[string]any, len(fields))
	for k, v := range fields {
		if inner, ok := v.(map[string]any); ok {
			v = trimmedKeys(inner)
		}
		trimmed[strings.TrimSpace(k)] = v
	}
	return trimmed
}

// xiongmaiHardware is a board's name as Xiongmai writes it: the system on chip,
// then the layout.
var xiongmaiHardware = regexp.MustCompile(`^((?:HI35\d\d|XM\d{3}|NT98\d{3}|GK\d{4})[A-Z]*\d*[A-Z]*)_\w+$`)

// dvripRead reads a SystemInfo, and reports whether the answer has one.
func (s *session) dvripRead(reply *dvripReply) bool {
	info, ok := reply.fields["SystemInfo"].(map[string]any)
	if !ok {
		if _, ok := reply.fields["SoftWareVersion"]; !ok {
			return false
		}
		info = reply.fields // without an envelope, as the answer was saved
	}
	text := func(name string) string {
		v, _ := info[name].(string)
		if v == "Unknown" {
			return ""
		}
		return v
	}
	a := reply.answer
	s.model(a, text("DeviceModel"), "DeviceModel")
	s.serial(a, text("SerialNo"), "SerialNo")
	s.firmware(a, text("SoftWareVersion"), "SoftWareVersion")
	if built, _, _ := strings.Cut(text("BuildTime"), " "); isoDay.MatchString(built) {
		s.claim(a, attest.SubjectFirmware, attest.NameBuildDate, built, "BuildTime")
	}
	hardware := text("HardWare")
	s.claim(a, attest.SubjectBoard, attest.NameBoard, hardware, "HardWare")
	s.observe(a, "dvrip.hardware", hardware, "HardWare")
	s.claim(a, attest.SubjectBoard, attest.NameHardware, text("HardWareVersion"), "HardWareVersion")
	if soc := xiongmaiHardware.FindStringSubmatch(hardware); soc != nil {
		s.soc(a, soc[1], "HardWare")
	}
	for _, name := range []string{"DigChannel", "VideoInChannel"} {
		if n, ok := info[name].(float64); ok && (n >= 4 || n > 0 && name == "DigChannel") {
			s.recorderBy(a, fmt.Sprint(n), name)
			s.cannotList("the cameras of a Xiongmai recorder are not read over DVRIP")
		}
	}
	return true
}

var isoDay = regexp.MustCompile(`^20\d\d-[01]\d-[0-3]\d$`)
