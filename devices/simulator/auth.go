package simulator

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// scheme is one way to log in over HTTP.
type scheme struct {
	basic     bool
	algorithm string // as in the challenge; empty leaves the parameter out
	hash      func() hash.Hash
	session   bool
}

func schemeOf(login string) (scheme, bool) {
	switch login {
	case "basic":
		return scheme{basic: true}, true
	case "digest", "digest MD5", "digest MD5-sess":
		return digestScheme(login, md5.New), true
	case "digest SHA-256", "digest SHA-256-sess":
		return digestScheme(login, sha256.New), true
	}
	return scheme{}, false
}

func digestScheme(login string, h func() hash.Hash) scheme {
	_, algorithm, _ := strings.Cut(login, " ")
	return scheme{algorithm: algorithm, hash: h, session: strings.HasSuffix(algorithm, "-sess")}
}

// authority verifies logins and remembers what must not come twice.
type authority struct {
	camera  *Camera
	schemes []scheme

	mu       sync.Mutex
	nonces   map[string]int // HTTP digest: the highest nc seen
	tokens   map[string]bool
	refusals int
	staled   bool
}

func newAuthority(c *Camera) *authority {
	a := &authority{camera: c, nonces: map[string]int{}, tokens: map[string]bool{}}
	for _, l := range c.HTTP.Login {
		s, _ := schemeOf(l)
		a.schemes = append(a.schemes, s)
	}
	return a
}

// The outcomes of a login.
const (
	accepted = "accepted"
	refused  = "refused"
	stale    = "stale"
)

// count settles an outcome: a locked account takes the right password no more.
func (a *authority) count(right bool) string {
	if a.camera.Account.LockAfter > 0 && a.refusals >= a.camera.Account.LockAfter {
		right = false
	}
	if right {
		return accepted
	}
	a.refusals++
	return refused
}

// challenge adds the WWW-Authenticate lines of a 401.
func (a *authority) challenge(h http.Header, staleNonce bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.schemes {
		if s.basic {
			h.Add("WWW-Authenticate", fmt.Sprintf(`Basic realm="%s"`, a.camera.HTTP.Realm))
			continue
		}
		nonce := rand.Text()
		a.nonces[nonce] = 0
		line := fmt.Sprintf(`Digest realm="%s", nonce="%s"`, a.camera.HTTP.Realm, nonce)
		if a.camera.HTTP.QOP != "" {
			line += fmt.Sprintf(`, qop="%s", opaque=""`, a.camera.HTTP.QOP)
		}
		if s.algorithm != "" {
			line += ", algorithm=" + s.algorithm
		}
		h.Add("WWW-Authenticate", fmt.Sprintf(`%s, stale="%s"`, line, strings.ToUpper(fmt.Sprint(staleNonce))))
	}
}

// http verifies the Authorization header. The outcome is empty without one.
func (a *authority) http(r *http.Request) (by, outcome string) {
	header := r.Header.Get("Authorization")
	kind, rest, _ := strings.Cut(header, " ")
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case header == "":
		return "", ""
	case strings.EqualFold(kind, "Basic"):
		want := base64.StdEncoding.EncodeToString([]byte(a.camera.Account.User + ":" + a.camera.Account.Password))
		offered := slices.ContainsFunc(a.schemes, func(s scheme) bool { return s.basic })
		return "basic", a.count(offered && same(want, strings.TrimSpace(rest)))
	case strings.EqualFold(kind, "Digest"):
		if a.camera.HTTP.StaleFirst && !a.staled {
			a.staled = true
			return "digest", stale
		}
		return "digest", a.count(a.digest(r, rest))
	}
	return kind, a.count(false)
}

var parameter = regexp.MustCompile(`(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))`)

// digest verifies RFC 7616 §3.4, or RFC 2069 where the challenge had no qop.
func (a *authority) digest(r *http.Request, header string) bool {
	p, bare := map[string]string{}, map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(header, 32) {
		p[m[1]], bare[m[1]] = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(m[2])+m[3], m[3]
	}
	at := slices.IndexFunc(a.schemes, func(s scheme) bool { return !s.basic && strings.EqualFold(s.algorithm, p["algorithm"]) })
	if at < 0 || p["uri"] != r.RequestURI || p["realm"] != a.camera.HTTP.Realm || p["username"] != a.camera.Account.User {
		return false
	}
	last, issued := a.nonces[p["nonce"]]
	if !issued || a.camera.HTTP.Unquoted && (p["qop"] != bare["qop"] || p["nc"] != bare["nc"]) {
		return false
	}
	s := a.schemes[at]
	h := func(parts ...string) string {
		d := s.hash()
		d.Write([]byte(strings.Join(parts, ":")))
		return hex.EncodeToString(d.Sum(nil))
	}
	secret := h(a.camera.Account.User, a.camera.HTTP.Realm, a.camera.Account.Password)
	if s.session {
		secret = h(secret, p["nonce"], p["cnonce"])
	}
	want := h(secret, p["nonce"], h(r.Method, p["uri"]))
	if a.camera.HTTP.QOP != "" {
		var nc int
		if _, err := fmt.Sscanf(p["nc"], "%08x", &nc); err != nil || nc <= last || p["qop"] != "auth" || p["cnonce"] == "" {
			return false
		}
		a.nonces[p["nonce"]] = nc
		want = h(secret, p["nonce"], p["nc"], p["cnonce"], p["qop"], h(r.Method, p["uri"]))
	}
	return same(want, p["response"])
}

// tokenAge is how far a UsernameToken may be from the camera's clock.
const tokenAge = 5 * time.Second

// wsse verifies a UsernameToken, whose parts are empty when there is none.
func (a *authority) wsse(t usernameToken, now time.Time) (outcome string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t == (usernameToken{}) {
		return ""
	}
	nonce, err := base64.StdEncoding.DecodeString(t.Nonce)
	created, timeErr := time.Parse(time.RFC3339, t.Created)
	if err != nil || timeErr != nil || a.tokens[t.Nonce] || created.Sub(now).Abs() > tokenAge {
		return a.count(false)
	}
	a.tokens[t.Nonce] = true
	login := a.camera.Account
	if o := a.camera.ONVIF; o != nil && o.Account != nil {
		login = *o.Account
	}
	sum := sha1.Sum([]byte(string(nonce) + t.Created + login.Password))
	return a.count(t.Username == login.User && same(base64.StdEncoding.EncodeToString(sum[:]), t.Password))
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
