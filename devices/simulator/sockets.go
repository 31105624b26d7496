package simulator

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Socket is a server of its own beside the web server. Its protocol decides which
// of the fields count.
type Socket struct {
	// Protocol is rtsp, rtsps, dvrip, baichuan, snmp, ssh, telnet or ftp.
	Protocol string `yaml:"protocol"`
	// Banner is what ssh, telnet and ftp say unasked. In telnet's, \xff begins a
	// command.
	Banner string `yaml:"banner"`
	// Server is the name of the RTSP server, and SDP what it describes "/" with;
	// without one the path is not there (404).
	Server string `yaml:"server"`
	SDP    string `yaml:"sdp"`
	// Login says that RTSP's DESCRIBE and DVRIP's SystemInfo need the camera's login.
	Login bool `yaml:"login"`
	// Hangup closes RTSP's connection after each answer, without saying so.
	Hangup bool `yaml:"hangup"`
	// Info is DVRIP's SystemInfo. A key may end in a blank, as on real units.
	Info Fields `yaml:"info"`
	// Community and Objects are SNMP's, the latter by OID; a value that is one
	// itself begins with "oid ".
	Community string `yaml:"community"`
	Objects   Fields `yaml:"objects"`
	// Hostile misbehaves in place of every answer.
	Hostile Quirk `yaml:"hostile"`
}

// usualPorts are where the protocols listen.
var usualPorts = map[string]int{"rtsp": 554, "rtsps": 322, "dvrip": 34567, "baichuan": 9000, "snmp": 161, "ssh": 22, "telnet": 23, "ftp": 21}

// SocketQuirks are the ways in which a socket misbehaves.
var SocketQuirks = []Quirk{Endless, Drip, Reset, TooLong, Silent}

func (k *Socket) check() error {
	switch {
	case usualPorts[k.Protocol] == 0:
		return fmt.Errorf("socket: no protocol %q", k.Protocol)
	case k.Hostile != "" && !slices.Contains(SocketQuirks, k.Hostile):
		return fmt.Errorf("socket %s: no quirk %q", k.Protocol, k.Hostile)
	}
	return nil
}

// startSockets listens for every socket of the camera: at its usual port where the
// web server has its own, and at any free one otherwise.
func (s *Server) startSockets() error {
	host, web, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	s.Ports = map[string][]int{}
	for i := range s.camera.Sockets {
		k := &s.camera.Sockets[i]
		port := 0
		if web == "80" || web == "443" {
			port = usualPorts[k.Protocol]
		}
		address := net.JoinHostPort(host, fmt.Sprint(port))
		if k.Protocol == "snmp" {
			conn, err := net.ListenPacket("udp", address)
			if err != nil {
				return fmt.Errorf("camera %s: snmp: %w", s.camera.Name, err)
			}
			s.Ports[k.Protocol] = append(s.Ports[k.Protocol], conn.LocalAddr().(*net.UDPAddr).Port)
			s.own(conn, func() { s.snmp(conn, k) })
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("camera %s: %s: %w", s.camera.Name, k.Protocol, err)
		}
		s.Ports[k.Protocol] = append(s.Ports[k.Protocol], l.Addr().(*net.TCPAddr).Port)
		l = s.connections.listen(l)
		converse, err := s.converse(k)
		if err != nil {
			l.Close()
			return fmt.Errorf("camera %s: %s: %w", s.camera.Name, k.Protocol, err)
		}
		s.own(l, func() { s.accept(l, converse) })
	}
	return nil
}

// own runs serve until the camera stops, which closes c.
func (s *Server) own(c io.Closer, serve func()) {
	context.AfterFunc(s.ctx, func() { c.Close() })
	s.sockets.Go(serve)
}

func (s *Server) accept(l net.Listener, converse func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.sockets.Go(func() {
			stop := context.AfterFunc(s.ctx, func() { conn.Close() })
			defer stop()
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			s.open(1)
			defer s.open(-1)
			converse(conn)
		})
	}
}

// open counts the connections that are open at once.
func (s *Server) open(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns += n
	s.most = max(s.most, s.conns)
}

// MostSockets is how many connections to its sockets were open at once.
func (s *Server) MostSockets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

func (s *Server) note(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, r)
}

func (s *Server) converse(k *Socket) (func(net.Conn), error) {
	switch k.Protocol {
	case "rtsp":
		return func(c net.Conn) { s.rtsp(c, k) }, nil
	case "rtsps":
		t := s.camera.TLS
		if t == nil {
			t = &TLS{CommonName: s.camera.Name}
		}
		cert, err := t.certificate()
		if err != nil {
			return nil, err
		}
		config := &tls.Config{Certificates: []tls.Certificate{cert}}
		return func(c net.Conn) { s.rtsp(tls.Server(c, config), k) }, nil
	case "dvrip":
		return func(c net.Conn) { s.dvrip(c, k) }, nil
	case "baichuan":
		return func(c net.Conn) { s.baichuan(c, k) }, nil
	case "ssh":
		return s.sshServer(k)
	case "telnet":
		return func(c net.Conn) { s.telnet(c, k) }, nil
	}
	return func(c net.Conn) { s.ftp(c, k) }, nil
}

// misbehaves answers as the quirk wants, with a beginning that is right.
func (s *Server) misbehaves(conn net.Conn, quirk Quirk, beginning string) {
	switch quirk {
	case Endless:
		fmt.Fprint(conn, beginning)
		for s.ctx.Err() == nil {
			if _, err := conn.Write(bytes.Repeat([]byte("endless "), 512)); err != nil {
				return
			}
		}
	case Drip:
		for _, c := range []byte(beginning + strings.Repeat("x", 10_000)) {
			if _, err := conn.Write([]byte{c}); err != nil {
				return
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-s.ctx.Done():
				return
			}
		}
	case Reset:
		fmt.Fprint(conn, beginning)
		time.Sleep(20 * time.Millisecond)
		if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
			tcp.SetLinger(0)
		}
	case Silent:
		io.Copy(io.Discard, conn)
	}
}

func (s *Server) rtsp(conn net.Conn, k *Socket) {
	in := textproto.NewReader(bufio.NewReader(io.LimitReader(conn, 1<<20)))
	for {
		line, err := in.ReadLine()
		if err != nil {
			return
		}
		header, err := in.ReadMIMEHeader()
		if err != nil {
			return
		}
		method, rest, _ := strings.Cut(line, " ")
		uri, _, _ := strings.Cut(rest, " ")
		entry := Request{Protocol: k.Protocol, Method: method, URI: uri, Status: http.StatusOK}
		answer := http.Header{}
		if k.Server != "" {
			answer.Set("Server", k.Server)
		}
		body := ""
		switch {
		case k.Hostile != "" && k.Hostile != TooLong:
			s.note(entry)
			s.misbehaves(conn, k.Hostile, "RTSP/1.0 200 OK\r\nCSeq: 1\r\nServer: "+k.Server+"\r\nContent-Length: 10000000\r\n\r\n")
			return
		case method == "OPTIONS":
			answer.Set("Public", "OPTIONS, DESCRIBE, SETUP, TEARDOWN, PLAY")
		case method != "DESCRIBE":
			entry.Status = http.StatusMethodNotAllowed
		case k.Login:
			by, outcome := s.auth.http(&http.Request{Method: method, RequestURI: uri, Header: http.Header(header)})
			if outcome != "" {
				entry.Login = by + " " + outcome
			}
			if outcome == accepted {
				break
			}
			entry.Status = http.StatusUnauthorized
			s.auth.challenge(answer, outcome == stale)
		}
		if method == "DESCRIBE" && entry.Status == http.StatusOK {
			if body = k.SDP; body == "" {
				entry.Status = http.StatusNotFound
			}
		}
		s.note(entry)
		length := len(body)
		if k.Hostile == TooLong {
			length += 100
		}
		fmt.Fprintf(conn, "RTSP/1.0 %d %s\r\nCSeq: %s\r\n", entry.Status, http.StatusText(entry.Status), header.Get("Cseq"))
		for name, values := range answer {
			for _, v := range values {
				fmt.Fprintf(conn, "%s: %s\r\n", name, v)
			}
		}
		if length > 0 {
			fmt.Fprintf(conn, "Content-type: application/sdp\r\nContent-length: %d\r\n", length)
		}
		fmt.Fprintf(conn, "\r\n%s", body)
		if k.Hostile == TooLong || k.Hangup {
			return
		}
	}
}

// telnet offers its options, says its banner, and notes what is typed.
func (s *Server) telnet(conn net.Conn, k *Socket) {
	if k.Hostile != "" {
		s.misbehaves(conn, k.Hostile, k.Banner)
		return
	}
	conn.Write([]byte{255, 253, 1, 255, 251, 1, 255, 251, 3}) // DO ECHO, WILL ECHO, WILL SUPPRESS-GO-AHEAD
	fmt.Fprint(conn, strings.ReplaceAll(k.Banner, "\n", "\r\n"))
	s.listen(conn, k.Protocol, func(b []byte) string {
		for len(b) >= 3 && b[0] == 255 && (b[1] == 252 || b[1] == 254) {
			b = b[3:]
		}
		if len(b) == 0 {
			return "refusals"
		}
		return "typed"
	})
}

func (s *Server) ftp(conn net.Conn, k *Socket) {
	if k.Hostile != "" {
		s.misbehaves(conn, k.Hostile, "220-"+k.Banner)
		return
	}
	fmt.Fprintf(conn, "220 %s\r\n", k.Banner)
	s.listen(conn, k.Protocol, func(b []byte) string { return strings.TrimSpace(string(b)) })
}

// listen notes what comes until the other side hangs up.
func (s *Server) listen(conn net.Conn, protocol string, call func([]byte) string) {
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			s.note(Request{Protocol: protocol, Operation: call(buf[:n])})
		}
		if err != nil {
			return
		}
	}
}

var errNoLogin = errors.New("no login here")

func (s *Server) sshServer(k *Socket) (func(net.Conn), error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	config := &ssh.ServerConfig{ServerVersion: k.Banner, PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
		s.note(Request{Protocol: k.Protocol, Operation: "login", Login: "ssh refused"})
		return nil, errNoLogin
	}}
	config.AddHostKey(signer)
	return func(c net.Conn) {
		if k.Hostile != "" {
			s.misbehaves(c, k.Hostile, k.Banner+"\r\n")
			return
		}
		s.note(Request{Protocol: k.Protocol, Operation: "key exchange"})
		if conn, _, _, err := ssh.NewServerConn(c, config); err == nil {
			conn.Close()
		}
	}, nil
}
