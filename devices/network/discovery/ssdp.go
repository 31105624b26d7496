package discovery

import (
	"bufio"
	"bytes"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"

	"assay/attest"
)

// SSDP is the search of UPnP Device Architecture 1.1, section 1.3. Only root
// devices are asked for, since one unit would answer "all" a dozen times. What
// they are is in their description (description.go). Media servers, routers
// and computers answer too and are listed as what they are.
var ssdp = &protocol{
	name:    "ssdp",
	groups:  []netip.Addr{netip.MustParseAddr("239.255.255.250"), netip.MustParseAddr("ff02::c")},
	unicast: true,
	requests: []*request{
		{protocol: "ssdp", asks: "M-SEARCH upnp:rootdevice", port: ssdpPort, family: 4, head: search("239.255.255.250")},
		{protocol: "ssdp", asks: "M-SEARCH upnp:rootdevice", port: ssdpPort, family: 6, head: search("[FF02::C]")},
	},
	read: readSSDP,
}

const ssdpPort = 1900

func search(group string) string {
	return "M-SEARCH * HTTP/1.1\r\nHOST: " + group + ":1900\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\nST: upnp:rootdevice\r\n\r\n"
}

func readSSDP(r *reading) error {
	line, rest, _ := bytes.Cut(r.b, []byte("\n"))
	first := strings.ToUpper(strings.TrimSpace(string(line)))
	switch {
	case strings.HasPrefix(first, "M-SEARCH"):
		return errNotOurs
	case strings.HasPrefix(first, "HTTP/1.") && strings.Contains(first, " 200"), strings.HasPrefix(first, "NOTIFY "):
	default:
		return malformed("neither an answer to M-SEARCH nor NOTIFY")
	}
	// A header that breaks off is what there is; ReadMIMEHeader returns it.
	header, _ := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(rest, "\r\n\r\n"...)))).ReadMIMEHeader()
	h := http.Header(header)
	if strings.EqualFold(h.Get("NTS"), "ssdp:byebye") {
		return errNotOurs
	}
	a := r.answer(KindUnknown)
	usn, _, _ := strings.Cut(h.Get("USN"), "::")
	if usn != "" {
		a.endpoint = uuidOf(usn)
		a.claim(attest.SubjectUnit, "endpoint", a.endpoint, "USN")
	}
	a.claim(attest.SubjectNetwork, "upnp-server", h.Get("SERVER"), "SERVER")
	a.observe("upnp.server", h.Get("SERVER"), "SERVER")
	if l := h.Get("LOCATION"); l != "" {
		a.claim(attest.SubjectNetwork, "description", l, "LOCATION")
		a.describe = l
		if u, err := url.Parse(l); err == nil {
			a.address(u.Hostname(), "LOCATION")
		}
	}
	return nil
}
