// Package discovery has simulated units that answer the search protocols of
// cameras, for the tests and the demonstration: one unit or a thousand, each on
// an address of its own. A unit is a data file: which question on which port it
// answers, with what bytes, from where and after how long, and where it
// misbehaves.
//
// The bytes follow the sources that package devices/network/discovery names.
// Names, serial numbers and addresses in the files are invented.
package discovery

import (
	"bytes"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed units/*.yaml
var embedded embed.FS

// Unit is one simulated unit.
type Unit struct {
	Name        string            `yaml:"name"`
	Description string            `yaml:"description"`
	Fields      map[string]string `yaml:"fields"` // may hold {n}, {ip} and the MAC forms
	Answers     []Answer          `yaml:"answers"`
	Describe    *Describe         `yaml:"describe"` // what it serves over HTTP
}

// Answer is what one question gets.
type Answer struct {
	Port    int           `yaml:"port"`
	Group   string        `yaml:"group"`    // multicast group that it listens to
	When    string        `yaml:"when"`     // the question holds this text
	WhenHex string        `yaml:"when_hex"` // or begins with these bytes
	Frame   string        `yaml:"frame"`    // "", "dhip" or "dvrip": the header before the parts
	Parts   []Part        `yaml:"parts"`
	MDNS    *MDNS         `yaml:"mdns"`   // instead of parts
	To      string        `yaml:"to"`     // "" whoever asked, "group", or a port number of whoever asked
	From    string        `yaml:"from"`   // "" the port that was asked, "other"
	Delay   time.Duration `yaml:"delay"`  // the longest; each unit waits its own share of it
	Repeat  int           `yaml:"repeat"` // how many answers, each with another {i}; 0 is one
	Pad     int           `yaml:"pad"`    // bytes of filling behind the answer
}

// Part is a piece of an answer; one of its fields is set.
type Part struct {
	Text string `yaml:"text"` // with fields in braces
	Size int    `yaml:"size"` // of Text: filled up with noughts
	Hex  string `yaml:"hex"`
	IP   bool   `yaml:"ip"`  // the four bytes of the unit's address
	MAC  bool   `yaml:"mac"` // the six bytes of its MAC
	Zero int    `yaml:"zero"`
}

// MDNS is an answer of multicast DNS.
type MDNS struct {
	Service  string   `yaml:"service"` // as "_axis-video"
	Instance string   `yaml:"instance"`
	TXT      []string `yaml:"txt"`
}

// Describe is the UPnP description that a unit serves.
type Describe struct {
	Port int    `yaml:"port"`
	Path string `yaml:"path"`
	Body string `yaml:"body"`
	// Redirect sends every visitor there instead.
	Redirect string `yaml:"redirect"`
}

// List returns the names of the units that ship with the program.
func List() []string {
	entries, err := fs.ReadDir(embedded, "units")
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

// Load reads the unit that ships under this name, or the file at this path.
func Load(nameOrPath string) (*Unit, error) {
	if slices.Contains(List(), nameOrPath) {
		b, err := fs.ReadFile(embedded, path.Join("units", nameOrPath+".yaml"))
		if err != nil {
			return nil, err
		}
		return Parse(b)
	}
	b, err := os.ReadFile(nameOrPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("unit %q: no file of that path, and none of the built-in units %s", nameOrPath, strings.Join(List(), ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("unit: %w", err)
	}
	return Parse(b)
}

// Parse reads a unit file.
func Parse(b []byte) (*Unit, error) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	u := new(Unit)
	if err := d.Decode(u); err != nil {
		return nil, fmt.Errorf("unit: %w", err)
	}
	if u.Name == "" || len(u.Answers) == 0 {
		return nil, fmt.Errorf("unit %q: needs a name and answers", u.Name)
	}
	for i := range u.Answers {
		if err := u.Answers[i].check(); err != nil {
			return nil, fmt.Errorf("unit %q: answer %d: %w", u.Name, i+1, err)
		}
	}
	return u, nil
}

func (a *Answer) check() error {
	if a.Port < 1 || a.Port > 65535 {
		return fmt.Errorf("port %d", a.Port)
	}
	if a.Group != "" {
		if g, err := netip.ParseAddr(a.Group); err != nil || !g.IsMulticast() {
			return fmt.Errorf("group %q is none", a.Group)
		}
	}
	if !slices.Contains([]string{"", "dhip", "dvrip"}, a.Frame) {
		return fmt.Errorf("frame %q", a.Frame)
	}
	for _, h := range append([]string{a.WhenHex}, hexes(a.Parts)...) {
		if _, err := unhex(h); err != nil {
			return fmt.Errorf("hex %q: %w", h, err)
		}
	}
	if a.MDNS == nil && len(a.Parts) == 0 {
		return errors.New("nothing to answer")
	}
	return nil
}

func hexes(parts []Part) []string {
	var out []string
	for _, p := range parts {
		out = append(out, p.Hex)
	}
	return out
}

func unhex(s string) ([]byte, error) {
	return hex.DecodeString(strings.Join(strings.Fields(s), ""))
}

// asks reports whether a datagram is the question that an answer is for.
func (a *Answer) asks(b []byte) bool {
	if a.WhenHex != "" {
		prefix, err := unhex(a.WhenHex)
		return err == nil && bytes.HasPrefix(b, prefix)
	}
	return bytes.Contains(b, []byte(a.When))
}

var (
	place       = regexp.MustCompile(`\{[a-z.:-]+\}`)
	requestUUID = regexp.MustCompile(`(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
)

// Placed is a unit at an address.
type Placed struct {
	*Unit
	N    int // its number in a fleet
	Addr netip.Addr
	// MAC is its hardware address; one made of N when nil.
	MAC []byte
}

// mac is a locally administered address, which is nobody's.
func (p *Placed) mac() []byte {
	if p.MAC != nil {
		return p.MAC
	}
	return []byte{0x02, 0xa5, 0x5a, byte(p.N >> 16), byte(p.N >> 8), byte(p.N)}
}

// fill puts the fields into a text.
func (p *Placed) fill(s string, question []byte, i int) string {
	mac := fmt.Sprintf("%X", p.mac())
	joined := func(sep string) string {
		return strings.Join([]string{mac[:2], mac[2:4], mac[4:6], mac[6:8], mac[8:10], mac[10:]}, sep)
	}
	for range 2 { // a field may hold fields
		s = place.ReplaceAllStringFunc(s, func(name string) string {
			switch name {
			case "{n}":
				return fmt.Sprintf("%06d", p.N)
			case "{i}":
				return fmt.Sprintf("%06d", i)
			case "{ip}":
				return p.Addr.String()
			case "{ip-le}":
				a := p.Addr.As4()
				return fmt.Sprintf("0x%02X%02X%02X%02X", a[3], a[2], a[1], a[0])
			case "{mac:}":
				return joined(":")
			case "{mac-}":
				return joined("-")
			case "{mac.}":
				return mac
			case "{uuid}":
				return "00000000-0000-4000-8000-" + strings.ToLower(mac)
			case "{request}":
				return string(requestUUID.Find(question))
			}
			if v, ok := p.Fields[strings.Trim(name, "{}")]; ok {
				return v
			}
			return name
		})
	}
	return s
}
