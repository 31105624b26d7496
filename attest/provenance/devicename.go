package provenance

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// DeviceNames are the names by which a device certificate means one unit. IEEE
// 802.1AR-2018 section 8.6 puts the serial number into the subject; a
// hardwareModuleName (RFC 4108 section 5) names the module that holds the key,
// which in Axis units is the secure element and not the unit.
type DeviceNames struct {
	Subject        string
	Serial         string   // of the subject
	MACs           []string // in the subject's common name or serial number; twelve lower-case digits
	HardwareType   string   // object identifier
	HardwareSerial string   // as text where it is text, else in hexadecimal
}

var (
	oidSubjectAltName     = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidHardwareModuleName = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 4}
)

// macInName finds an address in a name such as "axis-00005e005301-eccp256-1".
var macInName = regexp.MustCompile(`(?i)(?:^|[^0-9a-z])([0-9a-f]{12}|(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2})(?:[^0-9a-z]|$)`)

// ReadDeviceNames reads the names of a device certificate. The error says that
// a hardwareModuleName is there and cannot be read.
func ReadDeviceNames(c *x509.Certificate) (DeviceNames, error) {
	n := DeviceNames{Subject: c.Subject.String(), Serial: strings.TrimSpace(c.Subject.SerialNumber)}
	for _, in := range []string{n.Serial, c.Subject.CommonName} {
		if m := macInName.FindStringSubmatch(in); m != nil {
			if mac := plainName(m[1]); !slices.Contains(n.MACs, mac) {
				n.MACs = append(n.MACs, mac)
			}
		}
	}
	for _, x := range c.Extensions {
		if !x.Id.Equal(oidSubjectAltName) {
			continue
		}
		var err error
		if n.HardwareType, n.HardwareSerial, err = hardwareModuleName(x.Value); err != nil {
			return n, err
		}
	}
	return n, nil
}

// hardwareModuleName reads the otherName of that type out of a subjectAltName
// (RFC 5280 section 4.2.1.6). Nothing, where there is none.
func hardwareModuleName(san []byte) (hwType, serial string, err error) {
	s := cryptobyte.String(san)
	var names cryptobyte.String
	if !s.ReadASN1(&names, cryptobyte_asn1.SEQUENCE) || !s.Empty() {
		return "", "", fmt.Errorf("subjectAltName is no sequence")
	}
	for !names.Empty() {
		var name, value, module cryptobyte.String
		var tag cryptobyte_asn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return "", "", fmt.Errorf("subjectAltName is cut off")
		}
		if tag != cryptobyte_asn1.Tag(0).ContextSpecific().Constructed() {
			continue
		}
		var kind, hw asn1.ObjectIdentifier
		if !name.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(oidHardwareModuleName) {
			continue
		}
		var octets cryptobyte.String
		if !name.ReadASN1(&value, cryptobyte_asn1.Tag(0).ContextSpecific().Constructed()) || !name.Empty() ||
			!value.ReadASN1(&module, cryptobyte_asn1.SEQUENCE) || !value.Empty() ||
			!module.ReadASN1ObjectIdentifier(&hw) || !module.ReadASN1(&octets, cryptobyte_asn1.OCTET_STRING) || !module.Empty() {
			return "", "", fmt.Errorf("hardwareModuleName is not as RFC 4108 has it")
		}
		if hwType != "" {
			return "", "", fmt.Errorf("two hardwareModuleNames")
		}
		hwType, serial = hw.String(), readable(octets)
	}
	return hwType, serial, nil
}

func readable(b []byte) string {
	for _, c := range b {
		if c < '!' || c > '~' {
			return strings.ToUpper(hex.EncodeToString(b))
		}
	}
	return string(b)
}

// plainName keeps the letters and digits of a name, in lower case.
func plainName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r > 127:
			return r
		case r >= 'A' && r <= 'Z':
			return r + 32
		}
		return -1
	}, s)
}

var plainMAC = regexp.MustCompile(`^[0-9a-f]{12}$`)

// Comparison is what holding a certificate's names against the unit's own words
// came to.
type Comparison struct {
	Agree    []string // what agrees, in words
	Against  []string // what cannot both be true, in words
	Compared bool     // the unit said something that could be compared
}

// compare holds the names against the serial numbers and addresses that the
// unit says of itself. A module's serial number that is not the unit's own
// contradicts nothing.
func (n DeviceNames) compare(serials, macs []string) Comparison {
	var c Comparison
	var plainSerials, addresses []string
	for _, s := range serials {
		plainSerials = append(plainSerials, plainName(s))
		if plainMAC.MatchString(plainName(s)) {
			addresses = append(addresses, plainName(s)) // of some makers the serial number is the address
		}
	}
	for _, m := range macs {
		addresses = append(addresses, plainName(m))
	}
	c.Compared = len(plainSerials)+len(addresses) > 0
	agrees := func(what, name string, with []string) {
		if slices.Contains(with, name) {
			c.Agree = append(c.Agree, what)
		} else if len(with) > 0 {
			c.Against = append(c.Against, fmt.Sprintf("%s, and the unit says %s", what, strings.Join(with, ", ")))
		}
	}
	for _, mac := range n.MACs {
		with := addresses
		if strings.Trim(mac, "0123456789") == "" {
			with = append(slices.Clone(addresses), plainSerials...) // twelve decimal digits may be a serial number
			if len(plainSerials) == 0 && !slices.Contains(with, mac) {
				continue
			}
		}
		agrees("address "+mac, mac, with)
	}
	if serial := plainName(n.Serial); serial != "" && !slices.Contains(n.MACs, serial) {
		if i := slices.IndexFunc(plainSerials, func(s string) bool { return sameSerial(s, serial) }); i >= 0 {
			serial = plainSerials[i]
		}
		agrees("serial number "+n.Serial, serial, plainSerials)
	}
	if hw := plainName(n.HardwareSerial); hw != "" && slices.Contains(append(plainSerials, addresses...), hw) {
		c.Agree = append(c.Agree, "hardwareModuleName "+n.HardwareSerial)
	}
	return c
}

// sameSerial lets one be written with something before or after it, as in
// "PID:X1 SN:ABC1234" and "ABC1234".
func sameSerial(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return a == b || len(a) >= 6 && (strings.HasPrefix(b, a) || strings.HasSuffix(b, a))
}
