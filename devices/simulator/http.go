package simulator

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"net/http"
	"slices"
	"strings"
)

const (
	axisPath      = "/axis-cgi/basicdeviceinfo.cgi"
	onvifPath     = "/onvif/device_service"
	isapiPath     = "/ISAPI/System/deviceInfo"
	userCheckPath = "/ISAPI/Security/userCheck"
	magicboxPath  = "/cgi-bin/magicBox.cgi"
)

// exchange is one request on its way through the camera.
type exchange struct {
	http.ResponseWriter
	request *http.Request
	body    []byte
	entry   Request
}

func (x *exchange) WriteHeader(status int) {
	x.entry.Status = status
	x.ResponseWriter.WriteHeader(status)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, request: r, entry: Request{Method: r.Method, URI: r.RequestURI, Status: http.StatusOK}}
	x.body, _ = io.ReadAll(io.LimitReader(r.Body, 1<<20))
	h := w.Header()
	h["Server"] = nil
	if s.camera.HTTP.Server != "" {
		h.Set("Server", s.camera.HTTP.Server)
	}
	for k, v := range s.camera.HTTP.Headers {
		h.Set(k, v)
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.log = append(s.log, x.entry)
	}()
	s.dispatch(x)
}

func (s *Server) dispatch(x *exchange) {
	c, at := s.camera, x.request.URL.Path
	x.entry.Operation = operation(x)
	if c.Hostile != "" && at != "/" {
		s.misbehave(x, Route{Quirk: c.Hostile, Body: "<DeviceInfo>"})
		return
	}
	if r, ok := c.route(at, x.request, x.entry.Operation); ok {
		s.misbehave(x, r)
		return
	}
	switch {
	case c.ONVIF != nil && (at == onvifPath || at == c.ONVIF.MediaPath):
		s.onvif(x)
	case at == isapiPath && c.ISAPI != nil:
		s.isapi(x)
	case at == userCheckPath && c.ISAPI != nil:
		s.userCheck(x)
	case at == axisPath && c.Axis != nil:
		s.axis(x)
	case at == magicboxPath && c.Magicbox != nil:
		s.magicbox(x)
	case at == "/" && c.HTTP.LoginPage != "":
		x.Header().Set("Location", c.HTTP.LoginPage)
		x.WriteHeader(http.StatusFound)
	case at == "/" || at == c.HTTP.LoginPage:
		s.page(x)
	default:
		if r, ok := c.route("*", x.request, ""); ok {
			s.misbehave(x, r)
			return
		}
		x.WriteHeader(http.StatusNotFound)
	}
}

// operation is what a POST asks for: the element in a SOAP body, the method of a
// JSON request, or the first command of a JSON list.
func operation(x *exchange) string {
	if x.request.Method != http.MethodPost {
		return ""
	}
	switch body := bytes.TrimSpace(x.body); {
	case bytes.HasPrefix(body, []byte("{")):
		return jsonMethod(body)
	case bytes.HasPrefix(body, []byte("[")):
		return jsonCommand(body)
	}
	return readEnvelope(x.body).operation()
}

func (c *Camera) route(path string, request *http.Request, operation string) (Route, bool) {
	at := slices.IndexFunc(c.Routes, func(r Route) bool {
		return r.Path == path && (r.Operation == "" || r.Operation == operation) &&
			(r.Query == "" || r.Query == request.URL.RawQuery) && (r.Method == "" || r.Method == request.Method)
	})
	if at < 0 {
		return Route{}, false
	}
	return c.Routes[at], true
}

func (s *Server) page(x *exchange) {
	x.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(x, "<!DOCTYPE html>\n<html><head><title>%s</title></head><body></body></html>\n", html.EscapeString(s.camera.HTTP.Title))
}

// login verifies the HTTP login and answers 401 where it does not hold.
func (s *Server) login(x *exchange) bool {
	scheme, outcome := s.auth.http(x.request)
	x.entry.Login = strings.TrimSpace(scheme + " " + outcome)
	if outcome == accepted {
		return true
	}
	s.auth.challenge(x.Header(), outcome == stale)
	x.WriteHeader(http.StatusUnauthorized)
	return false
}
