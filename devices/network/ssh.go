package network

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"assay/attest"
	"assay/devices"
)

// SSH (RFC 4253): the identification string, the algorithms that the unit offers,
// and its host key, which the key exchange proves it to hold. The conversation ends
// before the new keys are taken into use, so no service is asked for and no user is
// named. Identification strings seldom name a maker (rapid7/recog ssh_banners.xml);
// a host key that two units share is another matter.
var sshProtocol = protocol{
	name:  "ssh",
	ports: []port{{"ssh", 22}},
	messages: []message{
		{"TCP 22", sshIdentification},
		{"TCP 22", "KEXINIT, KEXDH_INIT or its kin (20, 30 to 34), DISCONNECT (1)"},
	},
	talk: (*session).ssh,
}

const sshIdentification = "SSH-2.0-assay"

var sshKey = &request{protocol: "ssh", operation: "key exchange"}

// sshGate lets through the identification, and packets of the key exchange. Once
// the keys are taken into use (21) nothing more passes: that packet does not.
func sshGate() gateFunc {
	identified := false
	return func(b []byte) bool {
		if !identified {
			identified = string(b) == sshIdentification+"\r\n"
			return identified
		}
		for len(b) > 0 {
			if len(b) < 6 {
				return false
			}
			length := int(binary.BigEndian.Uint32(b))
			if length < 2 || length > len(b)-4 || !slices.Contains([]byte{1, 20, 30, 31, 32, 33, 34}, b[5]) {
				return false
			}
			b = b[4+length:]
		}
		return true
	}
}

// errHostKey ends the conversation when the host key is known.
var errHostKey = errors.New("the host key is known")

// recording keeps what the unit sends until the key exchange is over.
type recording struct {
	net.Conn
	heard bytes.Buffer
}

func (r *recording) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.heard.Write(b[:n])
	return n, err
}

func (s *session) ssh(ctx context.Context, ep *endpoint) {
	w := s.connect(ctx, ep, sshGate())
	if w == nil {
		return
	}
	defer w.Close()
	w.left = min(64<<10, s.o.MaxBody)
	w.SetDeadline(time.Now().Add(s.o.Timeout))
	s.step("%s %s", ep, sshKey.source())
	conn := &recording{Conn: w}
	known, weak := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	var key ssh.PublicKey
	_, _, _, err := ssh.NewClientConn(conn, ep.address, &ssh.ClientConfig{
		Config: ssh.Config{KeyExchanges: append(known.KeyExchanges, weak.KeyExchanges...), Ciphers: append(known.Ciphers, weak.Ciphers...),
			MACs: append(known.MACs, weak.MACs...)},
		ClientVersion:     sshIdentification,
		HostKeyAlgorithms: append(known.HostKeys, weak.HostKeys...),
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
			key = k
			return errHostKey
		},
	})
	raw := conn.heard.Bytes()
	if ctx.Err() != nil || len(raw) == 0 {
		return
	}
	heard := parseSSH(raw)
	a := s.saidOver(sshKey, "application/octet-stream", raw)
	if heard.identification == "" {
		if w.left <= 0 {
			s.problem(sshKey, fmt.Errorf("%w: %s: %d bytes and no identification of SSH: reading stopped", devices.ErrHostile, ep, len(raw)))
		}
		return // something else listens there
	}
	s.answers(a, ep)
	s.claim(a, attest.SubjectNetwork, "ssh-banner", heard.identification, "identification")
	s.observe(a, "ssh.banner", heard.identification, "identification")
	s.claim(a, attest.SubjectNetwork, "ssh-host-key-algorithms", strings.Join(heard.hostKeys, ","), "KEXINIT")
	if key == nil {
		s.problem(sshKey, fmt.Errorf("%w: %s: the key exchange did not come to a host key (%s)", devices.ErrMalformed, ep, reason(err)))
		return
	}
	if public, ok := key.(ssh.CryptoPublicKey); ok {
		if der, err := x509.MarshalPKIXPublicKey(public.CryptoPublicKey()); err == nil {
			s.claim(a, attest.SubjectNetwork, attest.NameSSHKey, string(attest.DigestOf(der)), "host key")
		}
	}
	sum := sha256.Sum256(key.Marshal())
	s.claim(a, attest.SubjectNetwork, "ssh-host-key", key.Type()+" SHA256:"+base64.RawStdEncoding.EncodeToString(sum[:]), "host key")
}

// sshHeard is what a unit said in the clear.
type sshHeard struct {
	identification string
	hostKeys       []string // algorithms, as offered
}

var sshIdentifies = regexp.MustCompile(`^SSH-\d+\.\d+-`)

// parseSSH reads the identification, before which other lines may come, and the
// first packet, KEXINIT (RFC 4253 §4.2, §6, §7.1).
func parseSSH(raw []byte) (heard sshHeard) {
	rest := raw
	for lines := 0; ; lines++ {
		line, tail, ended := bytes.Cut(rest, []byte("\n"))
		if !ended || lines > 100 {
			return heard
		}
		rest = tail
		if text := strings.TrimRight(string(line), "\r"); len(text) <= 255 && sshIdentifies.MatchString(text) {
			heard.identification = text
			break
		}
	}
	const cookie = 16
	if len(rest) < 6+cookie || rest[5] != 20 {
		return heard
	}
	length := int64(binary.BigEndian.Uint32(rest))
	payload := rest[6:max(6, min(int64(len(rest)), 4+length))]
	if int64(len(payload)) < cookie {
		return heard
	}
	payload = payload[cookie:]
	for list := range 2 { // key exchanges, then host keys
		if len(payload) < 4 {
			return heard
		}
		n := int64(binary.BigEndian.Uint32(payload))
		if n > int64(len(payload)-4) {
			return heard
		}
		if list == 1 && n > 0 {
			heard.hostKeys = strings.Split(string(payload[4:4+n]), ",")
		}
		payload = payload[4+n:]
	}
	return heard
}
