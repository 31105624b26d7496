package network

import (
	"context"
	"encoding/json"
	"strings"

	"assay/attest"
)

// reolinkInfo is GetDevInfo of Reolink's HTTP API, by its document and the answer
// of an RLC-822A: a list of commands, answered by a list in which each has its own
// code. Without a login it is answered with "please login first" (rspCode -6).
//
// A login there takes the password readable in a JSON body and opens one of a few
// sessions at the unit. It is not given: ONVIF on port 8000 tells the same with a
// password that stays here.
var reolinkInfo = &request{protocol: "reolink", method: "POST", uri: "/cgi-bin/api.cgi?cmd=GetDevInfo", contentType: "application/json",
	body: `[{"cmd":"GetDevInfo","action":0,"param":{}}]`}

var reolinkProtocol = protocol{
	name: "reolink", maker: "reolink",
	requests: []*request{reolinkInfo},
	open: func(s *session, ctx context.Context, ep *endpoint) {
		s.question(ctx, ep, (*session).reolinkRead, reolinkInfo)
	},
}

func (s *session) reolinkRead(a *answer) bool {
	var list []struct {
		Cmd   string `json:"cmd"`
		Code  *int   `json:"code"`
		Error struct {
			Detail  string      `json:"detail"`
			RspCode json.Number `json:"rspCode"`
		} `json:"error"`
		Value struct {
			DevInfo map[string]any `json:"DevInfo"`
		} `json:"value"`
	}
	if json.Unmarshal(trimJSON(a.body), &list) != nil {
		return false
	}
	spoken := false
	for _, reply := range list {
		if reply.Cmd == "" || reply.Code == nil {
			continue
		}
		spoken = true
		s.speaks(a)
		if reply.Cmd != "GetDevInfo" {
			continue
		}
		if *reply.Code != 0 || reply.Value.DevInfo == nil {
			says := s.mask(clean(reply.Error.Detail + " " + reply.Error.RspCode.String()))
			if reply.Error.RspCode == "-6" {
				says += ": its login sends the password readable and is not given; give an account for ONVIF (port 8000), which tells the same"
			}
			s.sink.Problem(attest.ProblemAccess, a.request.source(), "answered with an error: "+says)
			continue
		}
		s.reolinkDevice(a, reply.Value.DevInfo)
	}
	return spoken
}

func (s *session) reolinkDevice(a *answer, object map[string]any) {
	info := flat(object)
	s.observe(a, "reolink.answer", names(info), "DevInfo keys")
	s.observe(a, "reolink.hardVer", info["hardVer"], "DevInfo hardVer")
	s.model(a, info["model"], "DevInfo model")
	s.serial(a, info["serial"], "DevInfo serial")
	s.firmware(a, info["firmVer"], "DevInfo firmVer")
	s.claim(a, attest.SubjectBoard, attest.NameHardware, info["hardVer"], "DevInfo hardVer")
	s.claim(a, attest.SubjectUnit, "label", info["name"], "DevInfo name")
	s.claim(a, attest.SubjectFirmware, attest.NameBuildDate, reolinkDate(info["buildDay"]), "DevInfo buildDay")
	s.isRecorder(a, info["type"]+" "+info["exactType"], "DevInfo type")
	if s.recorder != "" {
		s.cannotList("Reolink's list of channels needs its login, which is not given")
	}
}

// reolinkDate turns "build 22041507" (year, month, day, hour) into a date; what it
// cannot read stays as it is.
func reolinkDate(v string) string {
	digits := strings.TrimPrefix(strings.TrimSpace(v), "build ")
	if len(digits) == 8 && strings.Trim(digits, "0123456789") == "" {
		return "20" + digits[:2] + "-" + digits[2:4] + "-" + digits[4:6]
	}
	return v
}
