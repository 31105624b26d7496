package devices

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"assay/attest"
)

// Kind is the kind of a [Target].
type Kind string

// The kinds.
const (
	KindNetwork Kind = "network"
	KindSerial  Kind = "serial"
	KindFile    Kind = "file"
	KindSPI     Kind = "spi"
)

// Target says where a unit, or an earlier dump of one, can be reached.
type Target struct {
	Kind     Kind
	Host     string // network: host name or address
	Port     int    // network: 0 when the target did not name one
	TLS      bool   // network: the target was an https URL
	Device   string // serial: as in /dev/ttyUSB0, COM3, tcp://host:port or rfc2217://host:port
	Baud     int    // serial: 0 when it is to be found out
	Path     string // file
	Acquired attest.Acquisition
	// Programmer is what flashrom calls its programmer, with its parameters, as
	// in "linux_spi:dev=/dev/spidev0.0", and Chip the definition of a chip to use
	// where several match.
	Programmer, Chip string // spi
}

// ParseTarget reads a target:
//
//	host[:port]   [v6]:port   http://host[:port]   https://host[:port]
//	serial:DEVICE[?baud=115200]
//	serial:tcp://host:port   serial:rfc2217://host:port[?baud=115200]
//	file:PATH[?acquired=A4]
//	spi:PROGRAMMER[:PARAMETERS][?chip=NAME]
//
// The two with an address are a console server's ports: bytes alone, whose rate
// is set on the server, and Telnet with COM-PORT-OPTION (RFC 2217), where it is
// set from here.
//
// A dump whose acquisition is not stated counts as A0: who read it, and how, is
// not known. A URL with user information is refused, since arguments are seen
// by every process of the machine.
func ParseTarget(s string) (Target, error) {
	switch {
	case s == "":
		return Target{}, fmt.Errorf("target is empty: want host[:port], a URL, serial:DEVICE, spi:PROGRAMMER or file:PATH")
	case strings.HasPrefix(s, "serial:"):
		return parseSerial(s)
	case strings.HasPrefix(s, "file:"):
		return parseFile(s)
	case strings.HasPrefix(s, "spi:"):
		return parseSPI(s)
	case strings.Contains(s, "://"):
		return parseURL(s)
	}
	return parseHost(s)
}

func parseSerial(s string) (Target, error) {
	if scheme, rest, ok := strings.Cut(s, "://"); ok && strings.Contains(rest, "@") {
		return Target{}, fmt.Errorf("target %s://xxxxx%s: an address must not hold a user or password, which every process of this machine could read; let the console server trust this machine, or tunnel through SSH", scheme, rest[strings.LastIndex(rest, "@"):])
	}
	device, q, err := splitQuery(s, "serial:", "baud")
	if err != nil {
		return Target{}, err
	}
	t := Target{Kind: KindSerial, Device: device}
	if scheme, address, ok := strings.Cut(device, "://"); ok {
		if t.Device, err = consoleServer(strings.ToLower(scheme), address); err != nil {
			return Target{}, fmt.Errorf("target %q: %w", s, err)
		}
		if q.Has("baud") && strings.HasPrefix(t.Device, SchemeTCP) {
			return Target{}, fmt.Errorf("target %q: a raw port has the rate that its console server gives it; set it there, or use serial:%s where the server speaks RFC 2217", s, SchemeRFC2217+address)
		}
	}
	if q.Has("baud") {
		b := q.Get("baud")
		if t.Baud, err = strconv.Atoi(b); err != nil || t.Baud < 300 || t.Baud > 12_000_000 {
			return Target{}, fmt.Errorf("target %q: baud %q is not a rate from 300 to 12000000", s, b)
		}
	}
	return t, nil
}

// The ways in which a console server hands a port over, as they begin
// [Target.Device].
const (
	SchemeTCP     = "tcp://"     // bytes and nothing else
	SchemeRFC2217 = "rfc2217://" // Telnet with COM-PORT-OPTION
)

// consoleServer checks a console server's address and returns the device that
// names it, in one spelling.
func consoleServer(scheme, address string) (device string, err error) {
	if scheme += "://"; scheme != SchemeTCP && scheme != SchemeRFC2217 {
		return "", fmt.Errorf("a console server is named by %shost:port (raw) or %shost:port (Telnet with RFC 2217)", SchemeTCP, SchemeRFC2217)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port; the port is the one that the console server has for this line, as in %s192.0.2.20:3001", address, scheme)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
		return "", fmt.Errorf("port %q is not from 1 to 65535", port)
	}
	if _, err := netip.ParseAddr(host); err != nil && (host == "" || strings.ContainsFunc(host, notInHostName)) {
		return "", fmt.Errorf("%q is not a host", host)
	}
	return scheme + net.JoinHostPort(host, port), nil
}

func notInHostName(r rune) bool {
	return r != '-' && r != '.' && r != '_' && !('0' <= r && r <= '9') && !('a' <= r && r <= 'z') && !('A' <= r && r <= 'Z')
}

func parseFile(s string) (Target, error) {
	path, q, err := splitQuery(s, "file:", "acquired")
	if err != nil {
		return Target{}, err
	}
	t := Target{Kind: KindFile, Path: path}
	if a := q.Get("acquired"); a != "" {
		if err := t.Acquired.UnmarshalText([]byte(a)); err != nil {
			return Target{}, fmt.Errorf("target %q: acquired: %w", s, err)
		}
	}
	return t, nil
}

// ownFlash are flashrom's programmers that reach a chip of this machine: what
// they read is no unit's.
var ownFlash = []string{
	"internal", "linux_mtd", "nic3com", "nicrealtek", "nicintel", "nicintel_spi", "nicintel_eeprom", "gfxnvidia", "drkaiser", "satasii",
	"satamv", "atavia", "atahpt", "it8212", "ogp_spi", "asm106x",
}

var programmerName = regexp.MustCompile(`^[a-z0-9_]{2,40}$`)

func parseSPI(s string) (Target, error) {
	programmer, q, err := splitQuery(s, "spi:", "chip")
	if err != nil {
		return Target{}, fmt.Errorf("%w; name flashrom's programmer, as in spi:ch341a_spi or spi:linux_spi:dev=/dev/spidev0.0", err)
	}
	t := Target{Kind: KindSPI, Programmer: programmer, Chip: q.Get("chip")}
	name, _, _ := strings.Cut(programmer, ":")
	switch {
	case strings.HasPrefix(programmer, "/dev/spidev"):
		return Target{}, fmt.Errorf("target %q: name the programmer, then its device: spi:linux_spi:dev=%s", s, programmer)
	case !programmerName.MatchString(name):
		return Target{}, fmt.Errorf("target %q: %q is not the name of a programmer of flashrom, as in ch341a_spi, linux_spi:dev=/dev/spidev0.0, ft2232_spi:type=232H", s, name)
	case slices.Contains(ownFlash, name):
		return Target{}, fmt.Errorf("target %q: %s reads a chip of this machine, and not of a unit", s, name)
	case len(programmer) > 200 || strings.ContainsFunc(programmer, unprintable):
		return Target{}, fmt.Errorf("target %q: the parameters of a programmer are printable and take 200 characters at most", s)
	case q.Has("chip") && (t.Chip == "" || len(t.Chip) > 100 || strings.ContainsFunc(t.Chip, unprintable)):
		return Target{}, fmt.Errorf("target %q: chip is a name in the list that flashrom -L prints, as in ?chip=W25Q128.V", s)
	}
	return t, nil
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }

// splitQuery cuts a query off only where it holds the one key that the kind
// knows, so that a device or file whose own name has a question mark can be named.
func splitQuery(s, prefix, key string) (name string, q url.Values, err error) {
	name = strings.TrimPrefix(s, prefix)
	if head, query, ok := cutLast(name, "?"); ok && strings.HasPrefix(query, key+"=") {
		if q, err = url.ParseQuery(query); err != nil || len(q) != 1 || len(q[key]) != 1 {
			return "", nil, fmt.Errorf("target %q: only ?%s=… is known after the name", s, key)
		}
		name = head
	}
	if name == "" {
		return "", nil, fmt.Errorf("target %q: nothing after %q", s, prefix)
	}
	return name, q, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func parseURL(s string) (Target, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Target{}, fmt.Errorf("target: %w", err)
	}
	if u.User != nil {
		return Target{}, fmt.Errorf("target %s: a URL must not hold a user or password; use --user, which asks for the password", u.Redacted())
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return Target{}, fmt.Errorf("target %q: scheme %q is not http or https", s, u.Scheme)
	}
	t, err := parseHost(u.Host)
	if err != nil {
		return Target{}, err
	}
	t.TLS = u.Scheme == "https"
	return t, nil
}

func parseHost(s string) (Target, error) {
	host, port := s, ""
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	}
	t := Target{Kind: KindNetwork, Host: host}
	if port != "" {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return Target{}, fmt.Errorf("target %q: port %q is not from 1 to 65535", s, port)
		}
		t.Port = n
	}
	if host == "" || strings.ContainsAny(host, "/\\@?#% \t") || (strings.Contains(host, ":") && net.ParseIP(host) == nil) {
		hint := "want host[:port]"
		if strings.HasPrefix(s, "/dev/") || (runtime.GOOS == "windows" && strings.HasPrefix(strings.ToUpper(s), "COM")) {
			hint = "for a serial port write serial:" + s
		} else if strings.ContainsAny(host, "/\\") {
			hint = "for a dump write file:" + s
		}
		return Target{}, fmt.Errorf("target %q: not a host: %s", s, hint)
	}
	return t, nil
}

// Address is host:port with the given port where the target named none.
func (t Target) Address(defaultPort int) string {
	p := t.Port
	if p == 0 {
		p = defaultPort
	}
	return net.JoinHostPort(t.Host, strconv.Itoa(p))
}

// String names the target in evidence and messages, as in "network:192.0.2.10".
// For a serial target, [ParseTarget] reads it back; the rate is not part of the name.
func (t Target) String() string {
	switch t.Kind {
	case KindSerial:
		return "serial:" + t.Device
	case KindFile:
		return "file:" + t.Path
	case KindSPI:
		return "spi:" + t.Programmer
	}
	if t.Port == 0 {
		return "network:" + t.Host
	}
	return "network:" + t.Address(0)
}
