package network

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// request is one question. Only those in allowlist can be sent.
type request struct {
	protocol    string
	method      string
	uri         string // path and query, fixed
	contentType string
	accept      string // of the answer; anything when empty
	body        string
	operation   string // SOAP: what body asks for
}

// source names the request in claims and messages, as in
// "isapi /ISAPI/System/deviceInfo" or "onvif GetScopes".
func (r *request) source() string {
	if r.operation != "" {
		return r.protocol + " " + r.operation
	}
	return r.protocol + " " + r.uri
}

// errNotAllowed is a mistake of this package, not of the unit.
type errNotAllowed struct{ method, uri string }

func (e errNotAllowed) Error() string {
	return fmt.Sprintf("%s %s is not on the list of read-only requests: not sent", e.method, e.uri)
}

// gate is the last thing between this package and the wire: it lets through
// only what allowlist holds, byte for byte.
type gate struct{ next http.RoundTripper }

func (g gate) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.GetBody != nil {
		b, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		if body, err = io.ReadAll(b); err != nil {
			return nil, err
		}
	}
	if !allowed(r.Method, r.URL.RequestURI(), body) {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errNotAllowed{r.Method, r.URL.RequestURI()}
	}
	return g.next.RoundTrip(r)
}

func allowed(method, uri string, body []byte) bool {
	for _, r := range allowlist {
		if r.method == method && r.uri == uri && r.bodyIs(string(body)) {
			return true
		}
	}
	return false
}

var securityHeader = regexp.MustCompile(`^<s:Header><wsse:Security [^<>]*><wsse:UsernameToken><wsse:Username>[^<>]*</wsse:Username>` +
	`<wsse:Password [^<>]*>[^<>]*</wsse:Password><wsse:Nonce [^<>]*>[^<>]*</wsse:Nonce><wsu:Created>[^<>]*</wsu:Created>` +
	`</wsse:UsernameToken></wsse:Security></s:Header>$`)

func (r *request) bodyIs(body string) bool {
	if r.operation == "" {
		return body == r.body
	}
	rest, ok := strings.CutPrefix(body, envelopeOpen)
	if !ok {
		return false
	}
	header, ok := strings.CutSuffix(rest, bodyOpen+r.body+envelopeClose)
	return ok && (header == "" || securityHeader.MatchString(header))
}
