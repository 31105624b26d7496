package simulator

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"time"
)

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s))
	return b.String()
}

func (s *Server) isapi(x *exchange) {
	if !s.login(x) {
		return
	}
	x.Header().Set("Content-Type", `application/xml; charset="UTF-8"`)
	fmt.Fprintf(x, "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<DeviceInfo version=\"2.0\" xmlns=\"%s\">\n", escape(s.camera.ISAPI.Namespace))
	for _, f := range s.camera.ISAPI.Fields {
		fmt.Fprintf(x, "<%s>%s</%s>\n", f.Name, escape(f.Value), f.Name)
	}
	fmt.Fprint(x, "</DeviceInfo>\n")
}

// userCheck tells without a login how many tries are left and whether the account
// is locked.
func (s *Server) userCheck(x *exchange) {
	s.auth.mu.Lock()
	left, status := 1, "unlock"
	if n := s.camera.Account.LockAfter; n > 0 {
		left = max(n-s.auth.refusals, 0)
	}
	s.auth.mu.Unlock()
	if left == 0 {
		status = "lock"
	}
	s.auth.challenge(x.Header(), false)
	x.WriteHeader(http.StatusUnauthorized)
	fmt.Fprintf(x, "<userCheck version=\"2.0\" xmlns=\"%s\"><statusValue>401</statusValue><lockStatus>%s</lockStatus><unlockTime>%d</unlockTime><retryLoginTime>%d</retryLoginTime></userCheck>",
		escape(s.camera.ISAPI.Namespace), status, map[string]int{"lock": 1800}[status], left)
}

func (s *Server) magicbox(x *exchange) {
	if !s.login(x) {
		return
	}
	x.Header().Set("Content-Type", "text/plain;charset=utf-8")
	fields, ok := s.camera.Magicbox[x.request.URL.Query().Get("action")]
	if !ok {
		x.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(x, "Error\r\nBad Request!\r\n")
		return
	}
	for _, f := range fields {
		fmt.Fprintf(x, "%s=%s\r\n", f.Name, f.Value)
	}
}

func jsonMethod(body []byte) string {
	var request struct {
		Method string `json:"method"`
	}
	if json.Unmarshal(body, &request) != nil {
		return ""
	}
	return request.Method
}

func jsonCommand(body []byte) string {
	var list []struct {
		Cmd string `json:"cmd"`
	}
	if json.Unmarshal(body, &list) != nil || len(list) == 0 {
		return ""
	}
	return list[0].Cmd
}

func (s *Server) axis(x *exchange) {
	list := s.camera.Axis.Unrestricted
	switch x.entry.Operation {
	case "getAllUnrestrictedProperties":
	case "getAllProperties":
		if !s.login(x) {
			return
		}
		list = append(list[:len(list):len(list)], s.camera.Axis.Restricted...)
	default:
		s.json(x, map[string]any{"apiVersion": "1.1", "error": map[string]any{"code": 2004, "message": "Method not supported"}})
		return
	}
	properties := map[string]string{}
	for _, f := range list {
		properties[f.Name] = f.Value
	}
	s.json(x, map[string]any{"apiVersion": "1.1", "data": map[string]any{"propertyList": properties}})
}

func (s *Server) json(x *exchange, v any) {
	x.Header().Set("Content-Type", "application/json")
	json.NewEncoder(x).Encode(v)
}

// envelope is a SOAP 1.2 request as far as the camera reads it.
type envelope struct {
	Token usernameToken `xml:"Header>Security>UsernameToken"`
	Body  struct {
		Operation struct{ XMLName xml.Name } `xml:",any"`
	} `xml:"Body"`
}

type usernameToken struct{ Username, Password, Nonce, Created string }

func readEnvelope(body []byte) envelope {
	var e envelope
	if xml.Unmarshal(body, &e) != nil {
		return envelope{}
	}
	return e
}

func (e envelope) operation() string { return e.Body.Operation.XMLName.Local }

// openOperations need no login by ONVIF Core §5.9.
var openOperations = map[string]bool{"GetSystemDateAndTime": true, "GetScopes": true, "GetCapabilities": true, "GetServices": true}

func (s *Server) onvif(x *exchange) {
	o := s.camera.ONVIF
	e := readEnvelope(x.body)
	now := time.Now().Add(o.Clock)
	if !openOperations[x.entry.Operation] && !s.onvifLogin(x, e, now) {
		return
	}
	var content strings.Builder
	switch x.entry.Operation {
	case "GetSystemDateAndTime":
		content.WriteString("<tds:SystemDateAndTime><tt:DateTimeType>NTP</tt:DateTimeType>" + onvifTime("UTCDateTime", now))
		if o.Local != nil {
			content.WriteString(onvifTime("LocalDateTime", time.Now().Add(*o.Local)))
		}
		content.WriteString("</tds:SystemDateAndTime>")
	case "GetScopes":
		for _, scope := range o.Scopes {
			fmt.Fprintf(&content, "<tds:Scopes><tt:ScopeDef>Fixed</tt:ScopeDef><tt:ScopeItem>%s</tt:ScopeItem></tds:Scopes>", escape(scope))
		}
	case "GetCapabilities":
		if o.NoCapabilities {
			s.fault(x, http.StatusInternalServerError, "Receiver", "ActionNotSupported", "Optional Action Not Implemented")
			return
		}
		fmt.Fprintf(&content, "<tds:Capabilities><tt:Device><tt:XAddr>%s%s</tt:XAddr></tt:Device>", escape(s.xaddr()), onvifPath)
		if o.MediaPath != "" {
			fmt.Fprintf(&content, "<tt:Media><tt:XAddr>%s%s</tt:XAddr></tt:Media>", escape(s.xaddr()), o.MediaPath)
		}
		content.WriteString("</tds:Capabilities>")
	case "GetServices":
		fmt.Fprintf(&content, "<tds:Service><tds:Namespace>http://www.onvif.org/ver10/device/wsdl</tds:Namespace><tds:XAddr>%s%s</tds:XAddr></tds:Service>", escape(s.xaddr()), onvifPath)
		if o.MediaPath != "" {
			fmt.Fprintf(&content, "<tds:Service><tds:Namespace>http://www.onvif.org/ver10/media/wsdl</tds:Namespace><tds:XAddr>%s%s</tds:XAddr></tds:Service>", escape(s.xaddr()), o.MediaPath)
		}
	case "GetProfiles":
		for i, p := range o.Profiles {
			fmt.Fprintf(&content, `<trt:Profiles token="p%d"><tt:Name>%s</tt:Name><tt:VideoSourceConfiguration><tt:SourceToken>%s</tt:SourceToken></tt:VideoSourceConfiguration></trt:Profiles>`, i, escape(p.Name), escape(p.Source))
		}
	case "GetDeviceInformation":
		fmt.Fprintf(&content, "<tds:Manufacturer>%s</tds:Manufacturer><tds:Model>%s</tds:Model><tds:FirmwareVersion>%s</tds:FirmwareVersion><tds:SerialNumber>%s</tds:SerialNumber><tds:HardwareId>%s</tds:HardwareId>",
			escape(o.Manufacturer), escape(o.Model), escape(o.Firmware), escape(o.Serial), escape(o.Hardware))
	case "GetNetworkInterfaces":
		for i, mac := range o.MACs {
			fmt.Fprintf(&content, `<tds:NetworkInterfaces token="eth%d"><tt:Enabled>true</tt:Enabled><tt:Info><tt:Name>eth%d</tt:Name><tt:HwAddress>%s</tt:HwAddress></tt:Info></tds:NetworkInterfaces>`, i, i, escape(mac))
		}
	default:
		s.fault(x, http.StatusInternalServerError, "Receiver", "ActionNotSupported", "Optional Action Not Implemented")
		return
	}
	soap(x, http.StatusOK, "<tds:"+x.entry.Operation+"Response>"+content.String()+"</tds:"+x.entry.Operation+"Response>")
}

// xaddr is the address that the camera believes to have.
func (s *Server) xaddr() string {
	if s.camera.ONVIF.XAddr != "" {
		return s.camera.ONVIF.XAddr
	}
	return s.URL
}

func onvifTime(name string, at time.Time) string {
	t := at.UTC()
	return fmt.Sprintf("<tt:%s><tt:Time><tt:Hour>%d</tt:Hour><tt:Minute>%d</tt:Minute><tt:Second>%d</tt:Second></tt:Time><tt:Date><tt:Year>%d</tt:Year><tt:Month>%d</tt:Month><tt:Day>%d</tt:Day></tt:Date></tt:%s>",
		name, t.Hour(), t.Minute(), t.Second(), t.Year(), t.Month(), t.Day(), name)
}

func (s *Server) onvifLogin(x *exchange, e envelope, now time.Time) bool {
	switch s.camera.ONVIF.Login {
	case "none":
		return true
	case "http":
		return s.login(x)
	}
	if s.camera.ONVIF.TokenClock != nil {
		now = time.Now().Add(*s.camera.ONVIF.TokenClock)
	}
	outcome := s.auth.wsse(e.Token, now)
	if outcome != "" {
		x.entry.Login = "wsse " + outcome
	}
	if outcome == accepted {
		return true
	}
	s.fault(x, http.StatusBadRequest, "Sender", "NotAuthorized", "Sender not authorized")
	return false
}

func (s *Server) fault(x *exchange, status int, code, subcode, text string) {
	soap(x, status, fmt.Sprintf(`<s:Fault><s:Code><s:Value>s:%s</s:Value><s:Subcode><s:Value>ter:%s</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang="en">%s</s:Text></s:Reason></s:Fault>`, code, subcode, text))
}

func soap(x *exchange, status int, content string) {
	x.Header().Set("Content-Type", "application/soap+xml; charset=utf-8")
	x.WriteHeader(status)
	fmt.Fprintf(x, `<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:tds="http://www.onvif.org/ver10/device/wsdl" `+
		`xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:ter="http://www.onvif.org/ver10/error"><s:Body>%s</s:Body></s:Envelope>`, content)
}
