package simulator

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
)

// Numbered reads a camera as Load does, as the n-th of its model: in place of the
// documentation's MAC address (00:00:5e:00:53:xx) it has one that is locally
// administered, and its serial numbers end in n.
func Numbered(nameOrPath string, n int) (*Camera, error) {
	var b []byte
	var err error
	if slices.Contains(List(), nameOrPath) {
		b, err = fs.ReadFile(embedded, path.Join("cameras", nameOrPath+".yaml"))
	} else {
		b, err = os.ReadFile(nameOrPath)
	}
	if err != nil {
		return nil, fmt.Errorf("camera: %w", err)
	}
	return ParseNumbered(b, n)
}

var (
	documentationMAC = regexp.MustCompile(`(?i)00([:-]?)00([:-]?)5e([:-]?)00([:-]?)53([:-]?)[0-9a-f]{2}`)
	// serialEnd is where a serial number of the files ends: noughts, two digits and
	// perhaps letters, before what ends a value.
	serialEnd = regexp.MustCompile(`000\d\d([A-Z]{0,4}[\s'",}\])<&]|$)`)
)

// ParseNumbered is Parse of the n-th of a model; see [Numbered].
func ParseNumbered(b []byte, n int) (*Camera, error) {
	b = documentationMAC.ReplaceAllFunc(b, func(m []byte) []byte {
		format := "02%sa5%s5a%s%02x%s%02x%s%02x"
		if bytes.ContainsRune(m, 'E') {
			format = "02%sA5%s5A%s%02X%s%02X%s%02X"
		}
		sep := string(documentationMAC.FindSubmatch(m)[1])
		return fmt.Appendf(nil, format, sep, sep, sep, byte(n>>16), sep, byte(n>>8), sep, byte(n))
	})
	b = serialEnd.ReplaceAll(b, fmt.Appendf(nil, "%05d${1}", n%100_000))
	return Parse(b)
}
