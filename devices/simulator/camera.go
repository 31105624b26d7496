// Package simulator has cameras that answer over HTTP, and over sockets of RTSP,
// DVRIP, SNMP, SSH, Telnet and FTP, as real ones do, for the
// demonstration and the tests. A camera is a data file: its fields, its login,
// and where it misbehaves. A new camera is a new file.
//
// The protocols follow the same public sources as package network names, and
// the logins are verified, not waved through: RFC 7616 digest, RFC 7617 basic,
// and the WS-Security UsernameToken Profile 1.0. Makers, serial numbers and
// addresses in the files are invented, but for the marks that a protocol has on
// every unit.
package simulator

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed cameras/*.yaml
var embedded embed.FS

// Camera is one simulated unit.
type Camera struct {
	Name        string  `yaml:"name"`
	Description string  `yaml:"description"`
	Account     Account `yaml:"account"`
	TLS         *TLS    `yaml:"tls"` // the camera speaks TLS only
	HTTP        HTTP    `yaml:"http"`
	ONVIF       *ONVIF  `yaml:"onvif"`
	ISAPI       *ISAPI  `yaml:"isapi"`
	Axis        *Axis   `yaml:"axis"`
	// Magicbox is what each action answers.
	Magicbox map[string]Fields `yaml:"magicbox"`
	// Routes go before the protocols. A maker's protocol that needs no more than
	// fixed answers is made of them.
	Routes []Route `yaml:"routes"`
	// Sockets are the servers beside the web server.
	Sockets []Socket `yaml:"sockets"`
	// Hostile misbehaves on every path but the start page.
	Hostile Quirk `yaml:"hostile"`
}

// Account is the one login of the camera.
type Account struct {
	User     string `yaml:"user"`
	Password string `yaml:"password"`
	// LockAfter is how many refusals lock the account for good; 0 is never.
	LockAfter int `yaml:"lock_after"`
}

// TLS is the certificate that the camera makes for itself at start, or the
// device certificate that it was given.
type TLS struct {
	CommonName   string `yaml:"common_name"`
	Organization string `yaml:"organization"`
	RSA          int    `yaml:"rsa"` // bits; 0 is ECDSA P-256
	// Chain and Key, in PEM, go before the rest. The key is that of the first
	// certificate.
	Chain string `yaml:"chain"`
	Key   string `yaml:"key"`
}

// HTTP is the web server.
type HTTP struct {
	Server  string            `yaml:"server"`
	Title   string            `yaml:"title"`
	Headers map[string]string `yaml:"headers"`
	// LoginPage is where the start page redirects to.
	LoginPage string `yaml:"login_page"`
	Realm     string `yaml:"realm"`
	// Login lists the schemes in the order of the challenge lines: "basic",
	// "digest" (no algorithm parameter), or "digest ALGORITHM".
	Login []string `yaml:"login"`
	// QOP is the parameter as it is written; empty leaves it out.
	QOP string `yaml:"qop"`
	// StaleFirst answers the first login with a stale nonce.
	StaleFirst bool `yaml:"stale_first"`
	// Unquoted refuses a quoted qop or nc, as Amcrest does.
	Unquoted bool `yaml:"unquoted"`
}

// ONVIF is the device service.
type ONVIF struct {
	Manufacturer string   `yaml:"manufacturer"`
	Model        string   `yaml:"model"`
	Firmware     string   `yaml:"firmware"`
	Serial       string   `yaml:"serial"`
	Hardware     string   `yaml:"hardware"`
	MACs         []string `yaml:"macs"`
	Scopes       []string `yaml:"scopes"`
	// XAddr is the address that the camera believes to have.
	XAddr string `yaml:"xaddr"`
	// Clock is how far the camera's clock is ahead of ours.
	Clock time.Duration `yaml:"clock"`
	// Local is how far what it calls its local time is; without it the camera
	// gives none.
	Local *time.Duration `yaml:"local"`
	// TokenClock is the clock that tokens are held against, where it is another
	// than Clock.
	TokenClock *time.Duration `yaml:"token_clock"`
	// Login is "wsse", "http" or "none".
	Login string `yaml:"login"`
	// Account is its own login, where ONVIF users are kept apart.
	Account *Account `yaml:"account"`
	// NoCapabilities leaves GetCapabilities out, as newer firmware does.
	NoCapabilities bool `yaml:"no_capabilities"`
	// MediaPath is where the media service is, and Profiles what it has.
	MediaPath string    `yaml:"media_path"`
	Profiles  []Profile `yaml:"profiles"`
}

// Profile is a media profile.
type Profile struct {
	Name   string `yaml:"name"`
	Source string `yaml:"source"` // token of its video source
}

// ISAPI is Hikvision's device information. It always needs the HTTP login.
type ISAPI struct {
	Namespace string `yaml:"namespace"`
	Fields    Fields `yaml:"fields"`
}

// Axis is the basic device information API.
type Axis struct {
	Unrestricted Fields `yaml:"unrestricted"`
	Restricted   Fields `yaml:"restricted"` // with login, beside the others
}

// Route answers one path. Path "*" is every path that nothing else answers.
type Route struct {
	Path      string            `yaml:"path"`
	Query     string            `yaml:"query"`     // only with this one
	Method    string            `yaml:"method"`    // only with this one
	Operation string            `yaml:"operation"` // SOAP and JSON: only this one
	Login     bool              `yaml:"login"`     // needs the HTTP login
	Status    int               `yaml:"status"`
	Headers   map[string]string `yaml:"headers"`
	Body      string            `yaml:"body"`
	Quirk     Quirk             `yaml:"quirk"`
}

// Quirk is a way to misbehave.
type Quirk string

// The quirks.
const (
	Endless   Quirk = "endless"    // a body without end
	BigHeader Quirk = "big-header" // 10 MiB of header
	Drip      Quirk = "drip"       // one byte every 50 ms without end
	Reset     Quirk = "reset"      // the connection breaks in mid-body
	TooLong   Quirk = "too-long"   // announces more than it sends
	Silent    Quirk = "silent"     // accepts the request and says nothing
	Packed    Quirk = "packed"     // a gzip bomb that nobody asked for
	Away      Quirk = "away"       // a redirect to another host
)

// Quirks are all ways to misbehave.
var Quirks = []Quirk{Endless, BigHeader, Drip, Reset, TooLong, Silent, Packed, Away}

// Fields are names and values in the order of the file.
type Fields []Field

// Field is a name and its value.
type Field struct{ Name, Value string }

// UnmarshalYAML reads a mapping and keeps its order.
func (f *Fields) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: not a mapping", n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i+1].Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: value of %s is not text", n.Content[i+1].Line, n.Content[i].Value)
		}
		*f = append(*f, Field{n.Content[i].Value, n.Content[i+1].Value})
	}
	return nil
}

// List returns the names of the cameras that ship with the program.
func List() []string {
	entries, err := fs.ReadDir(embedded, "cameras")
	if err != nil {
		panic(err) // embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// Load reads the camera that ships under this name, or the file at this path.
func Load(nameOrPath string) (*Camera, error) {
	if slices.Contains(List(), nameOrPath) {
		b, err := fs.ReadFile(embedded, path.Join("cameras", nameOrPath+".yaml"))
		if err != nil {
			return nil, err
		}
		return Parse(b)
	}
	b, err := os.ReadFile(nameOrPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("camera %q: no file of that path, and none of the built-in cameras %s", nameOrPath, strings.Join(List(), ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("camera: %w", err)
	}
	c, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nameOrPath, err)
	}
	return c, nil
}

// Parse reads a camera file.
func Parse(b []byte) (*Camera, error) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	c := new(Camera)
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("camera: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("camera %q: %w", c.Name, err)
	}
	return c, nil
}

func (c *Camera) check() error {
	if c.Name == "" {
		return errors.New("no name")
	}
	for _, l := range c.HTTP.Login {
		if _, ok := schemeOf(l); !ok {
			return fmt.Errorf("http login %q is not basic, digest, or digest MD5, MD5-sess, SHA-256 or SHA-256-sess", l)
		}
	}
	if c.ONVIF != nil && !slices.Contains([]string{"wsse", "http", "none"}, c.ONVIF.Login) {
		return fmt.Errorf("onvif login %q is not wsse, http or none", c.ONVIF.Login)
	}
	if c.Hostile != "" && !slices.Contains(Quirks, c.Hostile) {
		return fmt.Errorf("hostile: no quirk %q", c.Hostile)
	}
	for i := range c.Sockets {
		if err := c.Sockets[i].check(); err != nil {
			return err
		}
	}
	for _, r := range c.Routes {
		if r.Quirk != "" && !slices.Contains(Quirks, r.Quirk) {
			return fmt.Errorf("route %s: no quirk %q", r.Path, r.Quirk)
		}
		if r.Path != "*" && !strings.HasPrefix(r.Path, "/") {
			return fmt.Errorf("route %q: not a path", r.Path)
		}
	}
	return nil
}
