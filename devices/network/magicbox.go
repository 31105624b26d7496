package network

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"assay/attest"
)

// The actions of Dahua's magicBox that identify, by the Dahua HTTP API and
// rroller/dahua custom_components/dahua/client.py. magicBox also reboots and
// shuts down, and configManager also sets; those are not here.
var (
	magicboxSystemInfo      = magicboxRequest("getSystemInfo")
	magicboxSoftwareVersion = magicboxRequest("getSoftwareVersion")
	magicboxHardwareVersion = magicboxRequest("getHardwareVersion")
	magicboxVendor          = magicboxRequest("getVendor")
	magicboxSerialNo        = magicboxRequest("getSerialNo")
	magicboxMachineName     = magicboxRequest("getMachineName")
	magicboxDeviceType      = magicboxRequest("getDeviceType")
	magicboxDeviceClass     = magicboxRequest("getDeviceClass")
)

// Names of configManager that are known to be there. Others are not guessed: an
// unknown name is answered like a missing right, with 403 and "Authority:check
// failure", so nothing would be learnt. RemoteDevice is a
// recorder's list of cameras.
var (
	dahuaNetwork      = dahuaConfig("Network")
	dahuaRemoteDevice = dahuaConfig("RemoteDevice")
)

// dahuaChallenge is the first half of a login to RPC2, by mcw0/DahuaConsole: with
// an empty password the unit answers with realm, random number and encryption, as
// it does before each login, and no login is tried. It is asked only where there
// is a hint of Dahua: what other makers' firmware would count it as is not known.
var dahuaChallenge = &request{
	protocol: "magicbox", method: "POST", uri: "/RPC2_Login", contentType: "application/json",
	body: `{"method":"global.login","params":{"userName":"admin","password":"","clientType":"Web3.0"},"id":1}`,
}

var dahuaProtocol = protocol{
	name: "magicbox", maker: "dahua", kept: true,
	requests: []*request{
		magicboxSystemInfo, magicboxSoftwareVersion, magicboxHardwareVersion, magicboxVendor,
		magicboxSerialNo, magicboxMachineName, magicboxDeviceType, magicboxDeviceClass,
		dahuaNetwork, dahuaRemoteDevice, dahuaChallenge,
	},
	open:  (*session).magicbox,
	login: (*session).magicboxLogin,
}

func dahuaConfig(name string) *request {
	return &request{protocol: "magicbox", method: "GET", uri: "/cgi-bin/configManager.cgi?action=getConfig&name=" + name}
}

func magicboxRequest(action string) *request {
	return &request{protocol: "magicbox", method: "GET", uri: "/cgi-bin/magicBox.cgi?action=" + action}
}

// magicboxKeys are the keys of which a true answer has at least one.
var magicboxKeys = map[*request][]string{
	magicboxSystemInfo:      {"deviceType", "serialNumber", "updateSerial", "processor"},
	magicboxSoftwareVersion: {"version"},
	magicboxHardwareVersion: {"version", "hardwareVersion"},
	magicboxVendor:          {"vendor"},
	magicboxSerialNo:        {"sn"},
	magicboxMachineName:     {"name"},
	magicboxDeviceType:      {"type"},
	magicboxDeviceClass:     {"class"},
}

// magicbox asks the first action only: the rest answers as it does.
func (s *session) magicbox(ctx context.Context, ep *endpoint) {
	a := s.ask(ctx, ep, magicboxSystemInfo)
	switch {
	case a == nil || s.page200(a):
	case a.status == http.StatusUnauthorized:
		s.later(magicboxSystemInfo)
	case a.status == http.StatusOK && s.magicboxRead(a):
		s.magicboxRest(ctx, ep, s.ask)
		return
	}
	if s.marked(attest.C1)["dahua"] && !s.marked(attest.C2)["dahua"] {
		if a := s.ask(ctx, ep, dahuaChallenge); a != nil {
			s.dahuaChallenge(a)
		}
	}
}

func (s *session) magicboxLogin(ctx context.Context, ep *endpoint) {
	for _, r := range s.needsLogin["magicbox"] {
		a := s.login(ctx, ep, r)
		if a != nil && a.status == http.StatusOK && !s.page200(a) && s.magicboxRead(a) {
			s.magicboxRest(ctx, ep, s.login)
		}
	}
}

func (s *session) magicboxRest(ctx context.Context, ep *endpoint, ask func(context.Context, *endpoint, *request) *answer) {
	for _, r := range []*request{
		magicboxSoftwareVersion, magicboxHardwareVersion, magicboxVendor, magicboxSerialNo,
		magicboxMachineName, magicboxDeviceType, magicboxDeviceClass,
	} {
		if a := ask(ctx, ep, r); a != nil && a.status == http.StatusOK && !s.page200(a) {
			s.magicboxRead(a)
		}
	}
	if a := ask(ctx, ep, dahuaNetwork); a != nil && a.status == http.StatusOK && !isHTML(a.body) {
		s.dahuaNetwork(a)
	}
	if s.recorder == "" {
		return
	}
	switch a := ask(ctx, ep, dahuaRemoteDevice); {
	case a == nil:
		s.cannotList("RemoteDevice was not answered")
	case a.status == http.StatusForbidden:
		s.cannotList("RemoteDevice is refused, which is also how a name that the unit does not know is answered")
	case isHTML(a.body):
		s.cannotList("RemoteDevice is not served")
	default:
		s.dahuaRemoteDevices(a)
	}
}

// dahuaChallenge reads the challenge, which comes as an error. Old firmware puts
// the serial number into the realm, newer a digest.
func (s *session) dahuaChallenge(a *answer) {
	var reply struct {
		Params map[string]any `json:"params"`
	}
	if json.Unmarshal(trimJSON(a.body), &reply) != nil || reply.Params["random"] == nil {
		return
	}
	params := flat(reply.Params)
	if params["realm"] == "" {
		return
	}
	s.speaks(a)
	s.observe(a, "rpc2.challenge", names(params), "params")
	s.claim(a, attest.SubjectNetwork, "rpc2-realm", params["realm"], "params realm")
	s.claim(a, attest.SubjectFirmware, "rpc2-encryption", params["encryption"], "params encryption")
}

func (s *session) dahuaNetwork(a *answer) {
	for key, value := range keyValues(a.body) {
		if strings.HasPrefix(key, "table.Network.") && strings.HasSuffix(key, ".PhysicalAddress") {
			s.mac(a, value, key)
		}
	}
}

// dahuaSlot is a key of the list of cameras in the two ways that firmware has;
// the list of a DHI-NVR5464 and of a Lorex N843A8 is by uuid.
var dahuaSlot = regexp.MustCompile(`^table\.RemoteDevice(?:\.uuid:[^.=]*?_(\d{1,4})|\[(\d{1,4})\])\.([A-Za-z]+)$`)

// dahuaRemoteDevices reads the cameras of a recorder. A free channel has an
// address of its own, 192.168.0.0.
func (s *session) dahuaRemoteDevices(a *answer) {
	slots := map[int]map[string]string{}
	for key, value := range keyValues(a.body) {
		m := dahuaSlot.FindStringSubmatch(key)
		if m == nil {
			continue
		}
		n, err := strconv.Atoi(m[1] + m[2])
		if err != nil {
			continue
		}
		if slots[n] == nil {
			slots[n] = map[string]string{}
		}
		slots[n][m[3]] = value
	}
	if len(slots) == 0 {
		s.cannotList("RemoteDevice holds no list")
		return
	}
	for _, n := range slices.Sorted(maps.Keys(slots)) {
		f := slots[n]
		maker := f["Vendor"]
		if maker == f["ProtocolType"] || strings.EqualFold(maker, "General") || strings.EqualFold(maker, "Private") {
			maker = "" // the name of a protocol, or of nobody
		}
		s.child(a, attest.Child{
			Slot: strconv.Itoa(n + 1), Maker: maker, Model: f["DeviceType"], Serial: f["SerialNo"], Firmware: f["Version"] + f["SoftwareVersion"],
			Address: f["Address"], MAC: f["Mac"], Protocol: f["ProtocolType"], Source: "RemoteDevice " + strconv.Itoa(n),
		})
	}
	if a.cut {
		s.cannotList("the list ends early")
		return
	}
	s.listed = true
}

// magicboxRead reads key=value lines and reports whether they answer the
// request.
func (s *session) magicboxRead(a *answer) bool {
	found := keyValues(a.body)
	known := false
	for _, key := range magicboxKeys[a.request] {
		known = known || found[key] != ""
	}
	if !known {
		if !a.cut {
			s.sink.Problem(attest.ProblemMalformed, a.request.source(), "none of the keys "+strings.Join(magicboxKeys[a.request], ", "))
		}
		return false
	}
	s.speaks(a)
	switch a.request {
	case magicboxSystemInfo:
		s.magicboxSystem(a, found)
	case magicboxSoftwareVersion:
		s.firmware(a, found["version"], "version")
	case magicboxHardwareVersion:
		s.claim(a, attest.SubjectBoard, attest.NameHardware, found["version"]+found["hardwareVersion"], "version")
	case magicboxVendor:
		s.magicboxVendor(a, found["vendor"])
	case magicboxSerialNo:
		s.serial(a, found["sn"], "sn")
	case magicboxMachineName:
		s.claim(a, attest.SubjectUnit, "label", found["name"], "name")
	case magicboxDeviceType:
		s.model(a, found["type"], "type")
	case magicboxDeviceClass:
		s.claim(a, attest.SubjectUnit, "class", found["class"], "class")
		s.isRecorder(a, found["class"], "class")
	}
	return true
}

func (s *session) magicboxSystem(a *answer, found map[string]string) {
	s.observe(a, "magicbox.getSystemInfo", names(found), "keys")
	s.observe(a, "magicbox.updateSerial", found["updateSerial"], "updateSerial")
	// Recorders give a number here, which is no model.
	if strings.Trim(found["deviceType"], "0123456789") != "" {
		s.model(a, found["deviceType"], "deviceType")
	}
	s.serial(a, found["serialNumber"], "serialNumber")
	s.soc(a, found["processor"], "processor")
	s.claim(a, attest.SubjectBoard, attest.NameHardware, found["hardwareVersion"], "hardwareVersion")
	s.claim(a, attest.SubjectUnit, "update-serial", found["updateSerial"], "updateSerial")
	s.isRecorder(a, found["updateSerial"], "updateSerial")
}

// magicboxVendor claims a maker, unless it is one of the marks of neutral
// firmware, which name nobody.
func (s *session) magicboxVendor(a *answer, vendor string) {
	s.observe(a, "magicbox.vendor", vendor, "vendor")
	if strings.EqualFold(vendor, "General") || strings.EqualFold(vendor, "Private") {
		s.claim(a, attest.SubjectUnit, "vendor", vendor, "vendor")
		return
	}
	s.maker(a, vendor, "vendor")
}
