package network

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"net/http"
	"strconv"

	"assay/attest"
)

// The web server's own pages, and the icon that browsers show for it. Icons are
// known by a number that search engines for devices use: MurmurHash3 (32 bits, seed
// 0, as a signed number) of the icon in base64 with a line break after each 76
// characters and at the end. A brand changes the icon first, so it hints only; it
// is asked for last, and only where nothing solid names a maker.
var faviconRequest = &request{protocol: "http", method: "GET", uri: "/favicon.ico"}

var webProtocol = protocol{
	name:     "http",
	requests: []*request{landingPage, loginPageOld, loginPageNew, faviconRequest},
	open:     func(*session, context.Context, *endpoint) {}, // the start page was read to find the endpoint
}

// favicon is asked when all protocols were.
func (s *session) favicon(ctx context.Context, ep *endpoint) {
	if ctx.Err() != nil || len(s.marked(attest.C2)) > 0 || len(s.spoken) > 0 {
		return
	}
	a := s.ask(ctx, ep, faviconRequest)
	if a == nil || a.cut || a.status != http.StatusOK || len(a.body) == 0 || isHTML(a.body) {
		return
	}
	s.faviconRead(a)
}

func (s *session) faviconRead(a *answer) {
	hash := strconv.Itoa(int(faviconHash(a.body)))
	s.claim(a, attest.SubjectNetwork, "http-favicon", hash, "MurmurHash3")
	s.observe(a, "favicon.mmh3", hash, "MurmurHash3")
	sum := md5.Sum(a.body)
	s.observe(a, "favicon.md5", hex.EncodeToString(sum[:]), "MD5")
}

func faviconHash(icon []byte) int32 {
	const line = 76
	text := base64.StdEncoding.EncodeToString(icon)
	var b []byte
	for len(text) > 0 {
		n := min(line, len(text))
		b = append(append(b, text[:n]...), '\n')
		text = text[n:]
	}
	return int32(murmur3(b))
}

// murmur3 is MurmurHash3_x86_32 with seed 0 by Austin Appleby's description,
// which is in the public domain.
func murmur3(b []byte) uint32 {
	const c1, c2 = 0xcc9e2d51, 0x1b873593
	var h uint32
	n := uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * c1
		h ^= bits.RotateLeft32(k, 15) * c2
		h = bits.RotateLeft32(h, 13)*5 + 0xe6546b64
	}
	var k uint32
	for i := len(b) - 1; i >= 0; i-- {
		k = k<<8 | uint32(b[i])
	}
	if len(b) > 0 {
		h ^= bits.RotateLeft32(k*c1, 15) * c2
	}
	h ^= n
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}
