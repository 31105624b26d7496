package simulator

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// misbehave answers a route as its quirk wants, until the other side hangs up
// or the camera stops.
func (s *Server) misbehave(x *exchange, r Route) {
	if r.Login && !s.login(x) {
		return
	}
	for k, v := range r.Headers {
		x.Header().Set(k, strings.ReplaceAll(v, "{addr}", s.Addr))
	}
	status := r.Status
	if status == 0 {
		status = http.StatusOK
	}
	switch r.Quirk {
	case Endless:
		x.WriteHeader(status)
		s.repeat(x, []byte(strings.Repeat(nonEmpty(r.Body), 64)), 0)
	case Drip:
		x.WriteHeader(status)
		s.repeat(x, []byte("<"), 50*time.Millisecond)
	case Packed:
		x.Header().Set("Content-Encoding", "gzip")
		x.WriteHeader(status)
		x.Write(bomb())
	case Away:
		x.Header().Set("Location", "http://192.0.2.99"+x.request.URL.Path)
		x.WriteHeader(http.StatusFound)
	case BigHeader, Reset, TooLong, Silent:
		s.raw(x, r, status)
	default:
		x.WriteHeader(status)
		fmt.Fprint(x, r.Body)
	}
}

func nonEmpty(s string) string {
	if s == "" {
		return "endless "
	}
	return s
}

func (s *Server) repeat(x *exchange, b []byte, pause time.Duration) {
	flusher, _ := x.ResponseWriter.(http.Flusher)
	for s.ctx.Err() == nil && x.request.Context().Err() == nil {
		if _, err := x.Write(b); err != nil {
			return
		}
		if pause == 0 {
			continue
		}
		flusher.Flush()
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
	}
}

// raw takes the connection over, for what net/http would not send.
func (s *Server) raw(x *exchange, r Route, status int) {
	hijacker, ok := x.ResponseWriter.(http.Hijacker)
	if !ok {
		return
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	x.entry.Status = status
	conn.SetDeadline(time.Now().Add(time.Minute))
	line := fmt.Sprintf("HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	switch r.Quirk {
	case BigHeader:
		fmt.Fprint(conn, line)
		pad := "X-Pad: " + strings.Repeat("a", 8<<10) + "\r\n"
		for range 10 << 20 / len(pad) {
			if _, err := conn.Write([]byte(pad)); err != nil {
				return
			}
		}
		fmt.Fprintf(conn, "\r\n%s", r.Body)
	case Reset:
		fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", line, 2*len(r.Body)+1, r.Body)
		if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
			time.Sleep(20 * time.Millisecond) // let the body arrive before the reset throws it away
			tcp.SetLinger(0)
		}
	case TooLong:
		fmt.Fprintf(conn, "%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", line, len(r.Body)+100, r.Body)
	case Silent:
		gone := make(chan struct{})
		go func() {
			conn.Read(make([]byte, 1))
			close(gone)
		}()
		select {
		case <-gone:
		case <-s.ctx.Done():
		}
	}
}

// bomb is 16 MiB of zeros in some 16 KB.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(make([]byte, 16<<20))
	w.Close()
	return b.Bytes()
})
