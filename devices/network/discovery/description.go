package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"assay/attest"
	"assay/devices"
	"assay/devices/network/internal/field"
	"assay/devices/network/internal/xmltext"
)

// A UPnP description (UPnP Device Architecture 1.1, section 2.3) says what a
// unit is. Its address is of the unit's own choosing, and so is the place for
// an attack: an answer in a camera's name could lead to a page that restarts
// it, or to a third host. So only the host that answered is asked, only if it
// is on a network of ours, only for a plain path to an .xml file, without a
// query, once, and a redirect is not followed.

const (
	maxDescription      = 1 << 20
	descriptionPatience = 4 * time.Second
	maxDescriptions     = 4 // of one host
)

var descriptionPath = regexp.MustCompile(`^(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}){1,6}\.xml$`)

// describable is the address to ask for a description, or why it is not asked
// for.
func (r *run) describable(location string, from netip.Addr) (*url.URL, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, malformed("LOCATION %q is no address", field.Clean(location))
	}
	host, err := netip.ParseAddr(u.Hostname())
	switch {
	case err != nil || host.WithZone("") != from.WithZone(""):
		return nil, fmt.Errorf("%w: its description is said to be at %s, which is not the host that answered: not read", devices.ErrHostile, field.Clean(u.Host))
	case u.Scheme != "http" || u.User != nil || u.RawQuery != "" || !descriptionPath.MatchString(u.EscapedPath()) || strings.Contains(strings.ToLower(u.Path), "cgi"):
		return nil, fmt.Errorf("%w: its description is said to be at %q, which is not a plain path to an .xml file: not read", devices.ErrHostile, field.Clean(u.RequestURI()))
	case !r.ours(from):
		return nil, fmt.Errorf("%w: it is on no network of this machine and on none that was given: its description is not read", devices.ErrHostile)
	}
	return u, nil
}

// ours reports whether an address is on a network of an interface in use, or of
// those given.
func (r *run) ours(a netip.Addr) bool {
	for _, i := range r.ifaces {
		for _, p := range i.prefixes {
			if p.Contains(a.WithZone("")) {
				return true
			}
		}
	}
	for _, p := range r.o.Networks {
		if p.Contains(a) {
			return true
		}
	}
	return a.IsLoopback()
}

// describe asks for the description that an answer named, in the background.
func (r *run) describe(location string, from netip.Addr) {
	if r.o.NoDescriptions {
		return
	}
	key := from.String() + " " + location
	r.mu.Lock()
	known := r.fetched[key]
	n := 0
	for i := range maxDescriptions {
		if r.fetched[from.String()+" #"+strconv.Itoa(i)] {
			n++
		}
	}
	if !known && n < maxDescriptions && len(r.fetched) < 20_000 {
		r.fetched[key] = true
		r.fetched[from.String()+" #"+strconv.Itoa(n)] = true
	}
	closed := r.ctx.Err() != nil
	if !known && n < maxDescriptions && !closed {
		r.fetching.Add(1)
		r.inFlight++
	}
	r.mu.Unlock()
	if known || n >= maxDescriptions || closed {
		return
	}
	go func() {
		defer func() {
			r.mu.Lock()
			r.inFlight--
			r.mu.Unlock()
			r.fetching.Done()
		}()
		u, err := r.describable(location, from)
		if err == nil {
			err = r.fetch(u, from)
		}
		if err != nil && r.ctx.Err() == nil {
			r.problem(devices.ProblemKindOf(err), "ssdp LOCATION", "%s: %s", from, plain(err))
		}
	}()
}

var fetchers = make(chan struct{}, 16)

func (r *run) fetch(u *url.URL, from netip.Addr) error {
	select {
	case fetchers <- struct{}{}:
		defer func() { <-fetchers }()
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	if !r.hosts.acquire(r.ctx, from) {
		return r.ctx.Err()
	}
	defer r.hosts.release(from)
	ctx, stop := context.WithTimeout(r.ctx, descriptionPatience)
	defer stop()
	port := u.Port()
	if port == "" {
		port = "80"
	}
	client := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(from.String(), port))
			},
		},
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return malformed("LOCATION: %v", err)
	}
	r.count("upnp", 1)
	answer, err := client.Do(q)
	if err != nil {
		return fmt.Errorf("%w: description at %s: %s", devices.ErrUnreachable, u.Host, field.Reason(err))
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxDescription+1))
	switch {
	case len(body) > maxDescription:
		return fmt.Errorf("%w: description at %s: more than %d bytes: not read", devices.ErrHostile, u.Host, maxDescription)
	case answer.StatusCode != http.StatusOK:
		return malformed("description at %s: status %d", u.Host, answer.StatusCode)
	case err != nil && len(body) == 0:
		return fmt.Errorf("%w: description at %s: %s", devices.ErrUnreachable, u.Host, field.Reason(err))
	}
	r.take(upnp, from, "", body)
	return nil
}

// upnp is the pseudo-protocol of descriptions; nothing is sent by it.
var upnp = &protocol{name: "upnp", read: readDescription}

// upnpKinds are what device types say, by the standards of the UPnP Forum:
// MediaServer, MediaRenderer, InternetGatewayDevice, Printer, Scanner,
// DigitalSecurityCamera. Others are of makers.
var upnpKinds = []struct {
	word string
	kind Kind
}{
	{"digitalsecuritycamera", KindCamera}, {"networkcamera", KindCamera}, {"ipcamera", KindCamera}, {"embeddednetdevicecontrol", KindCamera},
	{"nvr", KindRecorder}, {"mediaserver", KindMediaServer}, {"mediarenderer", KindMediaPlayer}, {"internetgatewaydevice", KindRouter},
	{"wfadevice", KindRouter}, {"wlanaccesspoint", KindRouter}, {"printer", KindPrinter}, {"scanner", KindPrinter}, {"networkstorage", KindStorage},
}

func readDescription(r *reading) error {
	doc, err := xmltext.Parse(r.b)
	if doc == nil {
		return err
	}
	device := doc.Find("device")
	if device == nil {
		return malformed("a description without a device")
	}
	a := r.answer(KindUnknown)
	get := func(name string) string { // of the root device, not of those in it
		for _, c := range device.Children {
			if strings.EqualFold(c.Name, name) {
				return c.Text
			}
		}
		return ""
	}
	if udn := get("UDN"); udn != "" {
		a.endpoint = uuidOf(udn)
		a.claim(attest.SubjectUnit, "endpoint", a.endpoint, "UDN")
	}
	kind := get("deviceType")
	a.claim(attest.SubjectUnit, "type", kind, "deviceType")
	a.observe("upnp.deviceType", kind, "deviceType")
	lower := strings.ToLower(kind)
	for _, k := range upnpKinds {
		if strings.Contains(lower, k.word) {
			a.role(k.kind)
		}
	}
	text := strings.ToLower(get("modelDescription") + " " + get("modelName") + " " + get("friendlyName"))
	if a.kind == KindUnknown {
		switch {
		case strings.Contains(text, "network camera"), strings.Contains(text, "ip camera"), strings.Contains(text, "ipcamera"):
			a.role(KindCamera)
		case strings.Contains(text, "video recorder"):
			a.role(KindRecorder)
		case kind != "":
			a.role(KindOther)
		}
	}
	a.maker(get("manufacturer"), "manufacturer")
	a.observe("ssdp.manufacturer", get("manufacturer"), "manufacturer")
	model := get("modelName")
	if n := get("modelNumber"); n != "" && n != model {
		a.claim(attest.SubjectUnit, "model-number", n, "modelNumber")
	}
	a.model(model, "modelName")
	a.label(get("friendlyName"), "friendlyName")
	a.setSerial(get("serialNumber"), "serialNumber")
	a.mac(get("serialNumber"), "serialNumber")
	a.service(get("presentationURL"), "presentationURL")
	return nil
}

// plain is the error's text without the sentinel that only programs read.
func plain(err error) string {
	text := err.Error()
	for _, kind := range []error{devices.ErrUnreachable, devices.ErrAccess, devices.ErrHostile, devices.ErrMalformed, devices.ErrNotUnit} {
		if errors.Is(err, kind) {
			text = strings.TrimPrefix(text, kind.Error()+": ")
		}
	}
	return text
}
