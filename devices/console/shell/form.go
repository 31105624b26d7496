package shell

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
)

// form is a way for bytes to come through the unit's terminal.
type form struct {
	name   string
	packed bool // gzip is in it: its CRC-32 and length are the unit's own check
	armour *armour
}

// armour turns bytes into text for a terminal that changes some bytes.
type armour struct {
	name, pipe, probe string // probe is what the pipe makes of "abc\n"
	grow              int    // bytes on the line for one byte, rounded up
	decode            func([]byte) ([]byte, error)
}

// armours in the order of what they cost on the line: 1.37 bytes a byte for
// base64 and uuencode, 2.07 for xxd, 2 for hexdump, 3.13 for od (measured).
var armours = []*armour{
	{"base64", "|base64", "YWJjCg==", 2, decodeBase64},
	{"uuencode", "|uuencode -m x", "YWJjCg==", 2, decodeUuencode},
	{"xxd", "|xxd -p", "6162630a", 3, decodeHex},
	{"hexdump", `|hexdump -v -e '1/1 "%02x"'`, "6162630a", 3, decodeHex},
	{"od", "|od -A n -v -t x1", "61 62 63 0a", 4, decodeHex},
}

// pipe is what a command's output goes through on the unit.
func (f form) pipe() string {
	var s string
	if f.packed {
		s = packPipe
	}
	if f.armour != nil {
		s += f.armour.pipe
	}
	return s
}

// packPipe has -f because GNU gzip writes to no terminal without it.
const packPipe = "|gzip -cf"

// lineMax bounds what n bytes take on the line: gzip stores what it cannot pack,
// and a terminal doubles each LF at worst.
func (f form) lineMax(n int) int {
	grow := 2
	if f.armour != nil {
		grow = f.armour.grow
	}
	return (n+n/1000+64)*grow + 4096
}

// decode returns the bytes of a frame, at most max of them. With a packed form
// they are what the unit sent; otherwise nothing but their coding was checked.
func (f form) decode(fr frame, max int) ([]byte, error) {
	if fr.over {
		return nil, fmt.Errorf("%w: longer than %d bytes can be", errFrame, max)
	}
	candidates := [][]byte{fr.raw}
	if fr.crlf {
		candidates[0] = withoutCR(fr.raw)
	}
	if f.packed && f.armour == nil {
		// The marker's own line end may have lost its CR.
		if !fr.crlf {
			candidates = append(candidates, withoutCR(fr.raw))
		}
		if clean := withoutKernel(fr.raw); clean != nil {
			candidates = append(candidates, withoutCR(clean))
		}
	}
	var b []byte
	var err error
	for _, c := range candidates {
		if f.armour != nil {
			if clean := withoutKernel(c); clean != nil {
				c = clean
			}
			if c, err = f.armour.decode(c); err != nil {
				return nil, err
			}
		}
		if !f.packed {
			if len(c) > max {
				return nil, fmt.Errorf("%w: %d bytes, at most %d were asked for", errFrame, len(c), max)
			}
			return bytes.Clone(c), nil
		}
		if b, err = unpack(c, max); err == nil {
			return b, nil
		}
	}
	return nil, err
}

// unpack undoes gzip. What something else printed before its magic and after its
// end is passed over: the CRC-32 and the length speak for what is between.
func unpack(b []byte, max int) ([]byte, error) {
	i := bytes.Index(b, []byte{0x1f, 0x8b, 8})
	if i < 0 {
		return nil, fmt.Errorf("%w: no gzip in %d bytes", errFrame, len(b))
	}
	z, err := gzip.NewReader(bytes.NewReader(b[i:]))
	if err != nil {
		return nil, fmt.Errorf("%w: gzip: %w", errFrame, err)
	}
	z.Multistream(false)
	var out bytes.Buffer
	if _, err := io.Copy(&out, io.LimitReader(z, int64(max)+1)); err != nil {
		return nil, fmt.Errorf("%w: gzip: %w", errFrame, err)
	}
	if out.Len() > max {
		return nil, fmt.Errorf("%w: gzip: more than %d bytes", errFrame, max)
	}
	return out.Bytes(), nil
}

// squeeze leaves out what text may be wrapped with.
func squeeze(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r == ' ' || r == '\n' || r == '\r' || r == '\t' {
			return -1
		}
		return r
	}, b)
}

func decodeBase64(b []byte) ([]byte, error) {
	out, err := base64.StdEncoding.DecodeString(string(squeeze(b)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	return out, nil
}

// decodeUuencode reads "begin-base64 MODE NAME", lines of base64 and "====".
func decodeUuencode(b []byte) ([]byte, error) {
	b = bytes.TrimSpace(b)
	head, body, ok := bytes.Cut(b, []byte("\n"))
	body, end := bytes.CutSuffix(body, []byte("===="))
	if !ok || !end || !bytes.HasPrefix(head, []byte("begin-base64 ")) {
		return nil, fmt.Errorf("%w: uuencode without its begin or end", errFrame)
	}
	return decodeBase64(body)
}

func decodeHex(b []byte) ([]byte, error) {
	out, err := hex.DecodeString(string(squeeze(b)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	return out, nil
}
