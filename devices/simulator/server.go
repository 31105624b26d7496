package simulator

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Request is one request that a camera received.
type Request struct {
	Protocol  string // empty for HTTP
	Method    string
	URI       string
	Operation string // SOAP, JSON
	Login     string // empty, or as in "digest refused", "wsse accepted", "digest stale"
	Status    int
}

// Server is a camera that runs.
type Server struct {
	URL  string
	Addr string
	// Ports are where its sockets listen, by protocol.
	Ports map[string][]int

	camera *Camera
	ctx    context.Context
	cancel context.CancelFunc
	http   *http.Server
	done   chan error
	auth   *authority

	sockets     sync.WaitGroup
	connections connections

	mu    sync.Mutex
	log   []Request
	conns int
	most  int
}

// Start serves the camera at addr, such as "127.0.0.1:0", until Close or the
// end of ctx.
func (c *Camera) Start(ctx context.Context, addr string) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("camera %s: %w", c.Name, err)
	}
	s := &Server{camera: c, Addr: l.Addr().String(), done: make(chan error, 1), auth: newAuthority(c)}
	s.URL = "http://" + s.Addr
	l = s.connections.listen(l)
	if c.TLS != nil {
		cert, err := c.TLS.certificate()
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("camera %s: certificate: %w", c.Name, err)
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
		s.URL = "https://" + s.Addr
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { s.done <- s.http.Serve(l) }()
	context.AfterFunc(s.ctx, func() { s.http.Close() })
	if err := s.startSockets(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close stops the camera and waits until it has stopped listening.
func (s *Server) Close() error {
	s.cancel()
	s.http.Close()
	s.sockets.Wait()
	if err := <-s.done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	s.done <- http.ErrServerClosed // for the next Close
	return nil
}

// Log returns the requests so far, in the order of their arrival.
func (s *Server) Log() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Logins returns the requests that brought a login, whether it was right or not.
func (s *Server) Logins() []Request {
	return slices.DeleteFunc(s.Log(), func(r Request) bool { return r.Login == "" })
}

// Refused counts the logins that a camera would count as wrong.
func (s *Server) Refused() int {
	return len(slices.DeleteFunc(s.Logins(), func(r Request) bool { return !strings.HasSuffix(r.Login, "refused") }))
}

// readPosts are the POSTs that are known to read, by path and operation.
var readPosts = map[string]string{
	"/GetDeviceInfo":             `^$`,
	"/RPC2_Login":                `^global\.login$`,
	"/cgi-bin/api.cgi":           `^Get[A-Z]`,
	"/axis-cgi/systemready.cgi":  `^systemready$`,
	"/axis-cgi/apidiscovery.cgi": `^get`,
	axisPath:                     `^get`,
}

// socketReads are what is known to read on a socket of its own, or to log in: the
// operation and method as they are noted.
var socketReads = map[string][]string{
	"rtsp": {"OPTIONS", "DESCRIBE"}, "rtsps": {"OPTIONS", "DESCRIBE"}, "dvrip": {"SystemInfo1020", "login1000"}, "snmp": {"GetRequest"}, "baichuan": {"message 1 of 0 bytes"},
	"ssh": {"key exchange"}, "telnet": {"refusals"}, "ftp": {"QUIT"},
}

// writingGet is what a GET must not hold: makers set, restart and reset with them.
var writingGet = regexp.MustCompile(`(?i)setparam|setconfig|[?&](action|cmd|msubmenu)=(set|add|update|remove|delete|control|reboot|restart|shutdown|restore|reset)|direction=write|factory|reboot|restart|upgrade|[?&](usr|pwd|password)=`)

// Writes returns the requests that are not known to read only.
func (s *Server) Writes() []Request {
	return slices.DeleteFunc(s.Log(), func(r Request) bool {
		path, _, _ := strings.Cut(r.URI, "?")
		switch {
		case r.Protocol != "":
			return slices.Contains(socketReads[r.Protocol], r.Operation+r.Method)
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			return !writingGet.MatchString(r.URI)
		case r.Method != http.MethodPost:
			return false
		case readPosts[path] != "":
			return regexp.MustCompile(readPosts[path]).MatchString(r.Operation)
		}
		return strings.HasPrefix(path, "/onvif/") && strings.HasPrefix(r.Operation, "Get") && !strings.Contains(r.Operation, "User")
	})
}

// certificate is self-signed, as cameras make theirs, unless one is given.
func (t *TLS) certificate() (tls.Certificate, error) {
	if t.Chain != "" {
		return tls.X509KeyPair([]byte(t.Chain), []byte(t.Key))
	}
	var key crypto.Signer
	var err error
	if t.RSA != 0 {
		key, err = rsa.GenerateKey(rand.Reader, t.RSA)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: t.CommonName},
		NotBefore:    time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	if t.Organization != "" {
		template.Subject.Organization = []string{t.Organization}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
