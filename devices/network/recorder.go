package network

import (
	"bytes"
	"regexp"

	"assay/attest"
	"assay/devices"
	"assay/devices/fingerprint"
)

// A recorder hides cameras: a permit for it would be one for them. So what tells
// a recorder is collected from whatever speaks of it, its cameras are read where
// its protocol lists them, and where they cannot be listed that is said.

// recorderWords tell a recorder in a device type, a class or a model.
var recorderWords = regexp.MustCompile(`(?i)(^|[^A-Z])(DH|DHI)?-?(NVR|DVR|XVR|HCVR|HVR|HYB(RI|IR)D[ND]VR)`)

// recorderBanners are server names, realms and titles of recorders' firmware:
// Hikvision's, and TVT's.
var recorderBanners = regexp.MustCompile(`^(DNVRS-Webs|DVRDVS-Webs|DVRNVRDVS|NVMS-9000)`)

// isRecorder notes that a value of an answer names a recorder.
func (s *session) isRecorder(a *answer, value, field string) {
	if recorderWords.MatchString(value) {
		s.recorderBy(a, value, field)
	}
}

// isRecorderBanner is isRecorder for what needs no login.
func (s *session) isRecorderBanner(a *answer, value, field string) {
	if recorderBanners.MatchString(value) {
		s.recorderBy(a, value, field)
	}
}

func (s *session) recorderBy(a *answer, value, field string) {
	if s.recorder == "" {
		s.recorder, s.recorderRaw = a.request.source()+" "+field+" "+s.mask(clean(value)), a.raw
	}
}

// cannotList says why the cameras are not known.
func (s *session) cannotList(why string) {
	if s.unlisted == "" {
		s.unlisted = why
	}
}

// maxChildren is far beyond any recorder: the largest have 256 channels.
const maxChildren = 1024

// child keeps one camera of the list in a; an empty channel makes none.
func (s *session) child(a *answer, c attest.Child) {
	if len(s.children) >= maxChildren {
		return
	}
	for _, v := range []*string{&c.Slot, &c.Maker, &c.Model, &c.Serial, &c.Firmware, &c.Address, &c.Protocol} {
		*v = s.mask(clean(*v))
	}
	c.MAC, _ = normalMAC(c.MAC)
	if c.Address == "0.0.0.0" || c.Address == "192.168.0.0" { // Dahua's for a free channel
		c.Address = ""
	}
	if c.Serial+c.Model+c.Address+c.MAC == "" {
		return // a channel without a camera
	}
	s.recorderBy(a, c.Slot, "channel")
	source := a.request.source() + " " + c.Source
	c.Source, c.Raw = source, a.raw
	if c.Firmware != "" {
		c.Firmware, _ = fingerprint.ParseFirmware(c.Firmware)
	}
	s.judge(a, &c)
	s.children = append(s.children, c)
}

// judge makes the marks of a child.
func (s *session) judge(a *answer, c *attest.Child) {
	var seen []fingerprint.Observation
	for _, o := range []struct{ on, value string }{
		{"child.protocol", c.Protocol}, {"serial", c.Serial}, {"model", c.Model}, {"version", c.Firmware},
	} {
		if o.value != "" {
			seen = append(seen, fingerprint.Observation{On: o.on, Value: o.value, Source: a.request.source() + " " + c.Slot, Raw: a.raw})
		}
	}
	c.Marks = append(c.Marks, s.o.Rules.Match(seen)...)
}

// merge adds what a second list says of a channel where the first said nothing.
func (s *session) merge(a *answer, slot string, more attest.Child) {
	for i := range s.children {
		c := &s.children[i]
		if c.Slot != clean(slot) {
			continue
		}
		added := attest.Child{Slot: c.Slot}
		for _, v := range []struct{ into, added, from *string }{
			{&c.Model, &added.Model, &more.Model}, {&c.Serial, &added.Serial, &more.Serial}, {&c.Firmware, &added.Firmware, &more.Firmware},
		} {
			if *v.into == "" && *v.from != "" {
				*v.into = s.mask(clean(*v.from))
				*v.added = *v.into
			}
		}
		s.judge(a, &added)
		c.Marks = append(c.Marks, added.Marks...)
	}
}

// family hands the cameras over and says whether they are all.
func (s *session) family() {
	if s.recorder == "" {
		return
	}
	sink, ok := s.sink.(devices.ChildSink)
	if !ok {
		s.listed, s.unlisted = false, "they are not kept here"
	} else {
		for _, c := range s.children {
			sink.Child(c)
		}
	}
	value := attest.ChildrenListed
	if !s.listed {
		if s.unlisted == "" {
			s.unlisted = "no protocol that was answered lists them"
			if len(s.locked) > 0 {
				s.unlisted = "the list needs a login"
			}
		}
		value = attest.ChildrenUnlisted + ": " + s.unlisted
		s.sink.Problem(attest.ProblemIncomplete, "network", "a recorder ("+s.recorder+") whose cameras could not be listed: "+s.unlisted)
	}
	s.sink.Claim(attest.Claim{Subject: attest.SubjectUnit, Name: attest.NameRecorder, Value: value, Source: s.recorder, Acquisition: attest.A0, Raw: s.recorderRaw})
}

// secrets are passwords that answers carry: recorders list those of the cameras
// behind them. They are taken out before anything is kept or read.
var secrets = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`(?im)^([^=\r\n]{0,200}\b(?:password|passwd|pwd)=)[^\r\n]+`), "${1}********"},
	{regexp.MustCompile(`(?is)(<(?:[a-z0-9]+:)?(?:password|passwd|pwd)(?:\s[^<>]*)?>)[^<]+`), "${1}********"},
	{regexp.MustCompile(`(?is)("(?:password|passwd|pwd)"\s*:\s*)"(?:[^"\\]|\\.)+"`), `${1}"********"`},
	{regexp.MustCompile(`(?i)(\b(?:rtsp|rtsps|http|https)://)[^/@\s"'<>]{1,200}@`), "${1}********@"},
}

func redacted(body []byte) []byte {
	lower := []byte(asciiLower(string(body)))
	password := bytes.Contains(lower, []byte("password")) || bytes.Contains(lower, []byte("passwd")) || bytes.Contains(lower, []byte("pwd"))
	if !password && !(bytes.Contains(lower, []byte("://")) && bytes.Contains(lower, []byte("@"))) {
		return body // which is nearly every answer, and the expressions are slow
	}
	for _, x := range secrets {
		body = x.re.ReplaceAll(body, []byte(x.with))
	}
	return body
}
